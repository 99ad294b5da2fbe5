"""docs/drift.md: what it quotes is what is said, and its table is what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import drift_data
import drift_power
import numpy as np
import pytest

from snn_data.drift import features, reference, report
from snn_data.drift.reference import Reference

PAGE = (Path(__file__).parents[3] / "docs" / "drift.md").read_text()


def test_the_finding_that_is_quoted_is_one() -> None:
    """100 photos of faces and others beside 100 that are brighter by 40 grey levels."""
    pixels, y, classes = drift_data.photos("faces")
    order = np.random.default_rng(0).permutation(200)
    known, new = order[:100], order[100:]
    brighter = drift_data.CHANGES["brightness"](pixels[new], 40, None)
    found = report.compare(
        Reference.of(drift_data.dataset(pixels[known], y[known], classes)),
        drift_data.dataset(brighter, y[new], classes),
    )
    (quoted,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.S)
    assert " ".join(quoted.split()) == found["findings"][0]["text"]


@pytest.mark.parametrize("what", ["a column of a table, moved", "a value of a category that appears"])
def test_a_row_of_the_table_of_power_is_what_is_measured(what: str) -> None:
    assert drift_power.row(what) in PAGE.splitlines()


def test_every_change_has_a_row_in_which_it_is_found() -> None:
    begin, end = PAGE.index(drift_power.BEGIN), PAGE.index(drift_power.END)
    rows = [line.split(" | ") for line in PAGE[begin:end].splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == list(drift_power.CHANGES)
    assert min(int(row[2]) for row in rows) >= drift_power.WANTED


def test_the_limits_that_it_names_are_those() -> None:
    assert (report.ALPHA, report.MIN_STABILITY, report.MIN_DISTANCE) == (0.001, 0.1, 0.1)
    assert "probability of at most `alpha`, 0.001" in PAGE
    assert "population stability index (PSI) of 0.1 or a distance of 0.1" in " ".join(PAGE.split())
    most = reference.MOST_PHOTOS, reference.MOST_FEATURES, reference.MOST_ROWS
    assert "Of more than {:,} photos, {:,} rows of features or {:,} of a table".format(*most) in PAGE
    assert f"the first {features.MOST_COLUMNS} columns" in PAGE
    assert f"more than {features.FEW} numbers without names" in PAGE
    assert f"below {report.FEW} samples" in PAGE
    assert f"under {reference.MOST_BYTES // 1000} KB" in PAGE
