"""Of 200 pairs of data sets that are alike, at most one is said to have changed: for each kind of data.

Family-wise α is 0.001, so 0.2 alarms are expected, and two come once in 57 times; the draws are fixed.
"""

from __future__ import annotations

from typing import Any

import drift_data
import numpy as np
import pytest
from scipy.stats import ks_2samp

from snn_data.drift.directions import LEFT, Directions
from snn_data.drift.features import of_labels, of_photos
from snn_data.drift.looks import looks
from snn_data.drift.reference import Reference
from snn_data.drift.report import MIN_DISTANCE, compare
from snn_data.drift.summary import Summary

DRAWS = 200


def alarms(report: dict[str, Any], alpha: float = 0.001) -> tuple[bool, bool]:
    """Whether there is one, and whether there would be without a smallest effect."""
    return report["drifted"], any(test["adjusted"] <= alpha for test in report["tests"])


def check(found: list[tuple[bool, bool]], record_property: Any) -> None:
    said, certain = (sum(each) for each in zip(*found))
    record_property("alarms", said)
    record_property("alarms without a smallest effect", certain)
    assert len(found) == DRAWS
    assert said <= 1
    assert certain <= 1


@pytest.mark.parametrize(("known", "new"), [(500, 500), (2_000, 100), (150, 60)])
def test_tables_with_ties_and_rare_values(known: int, new: int, record_property: Any) -> None:
    found = []
    for seed in range(DRAWS):
        chance = np.random.default_rng([11, seed, known])
        reference = Reference.of(drift_data.table_dataset(chance, known))
        report = compare(reference, drift_data.table_dataset(chance, new))
        assert (
            len(report["tests"]) == 13
        )  # labels, five columns of numbers, as many of missing values, two of categories
        found.append(alarms(report))
    check(found, record_property)


@pytest.mark.parametrize(("name", "known", "new"), [("cifar10", 200, 150), ("mnist", 300, 200), ("faces", 100, 100)])
def test_photos(name: str, known: int, new: int, record_property: Any) -> None:
    """Real ones, drawn without putting back: what is compared shares no photo."""
    pixels, y, classes = drift_data.photos(name)
    found = []
    for seed in range(DRAWS):
        order = np.random.default_rng([12, seed]).permutation(len(pixels))
        first, second = order[:known], order[known : known + new]
        reference = Reference.of(drift_data.dataset(pixels[first], y[first], classes))
        found.append(alarms(compare(reference, drift_data.dataset(pixels[second], y[second], classes))))
    check(found, record_property)


@pytest.mark.parametrize(("known", "new"), [(400, 200), (60, 60)])
def test_features_of_a_backbone(known: int, new: int, record_property: Any) -> None:
    """Also where samples are fewer than their 256 numbers, so that directions fit what they were found in."""
    found = []
    for seed in range(DRAWS):
        chance = np.random.default_rng([13, seed])
        reference = Reference.of(drift_data.dataset(drift_data.features(chance, known)))
        report = compare(reference, drift_data.dataset(drift_data.features(chance, new)))
        assert {test["kind"] for test in report["tests"]} == {"embedding", "labels"}
        found.append(alarms(report))
    check(found, record_property)


def test_counted_requests(record_property: Any) -> None:
    """By a dozen bins a feature, 400 requests against 1,000 training samples."""
    found = []
    for seed in range(DRAWS):
        chance = np.random.default_rng([14, seed])
        reference = Reference.of(drift_data.dataset(chance.standard_normal((1_000, 12)).round(1)))
        summary = Summary(reference)
        summary.add_rows(chance.standard_normal((400, 12)).round(1))
        found.append(alarms(compare(reference, summary)))
    check(found, record_property)


def test_the_two_halves_are_what_keeps_features_quiet() -> None:
    """Directions found in the very samples that others are compared with say drift where there is none."""
    known, new = np.random.default_rng(15).standard_normal((2, 80, 256)).astype(np.float32)
    directions = Directions.of(known)
    place = directions.names.index(LEFT)
    same, honest = directions.numbers(known)[:, place], directions.numbers(new)[:, place]
    assert ks_2samp(same, honest).pvalue < 1e-6
    half = Directions.of(known[::2])
    assert ks_2samp(half.numbers(known[1::2])[:, place], half.numbers(new)[:, place]).pvalue > 0.01


def test_with_very_many_samples_a_trifle_is_certain_and_does_not_matter() -> None:
    """0.05 standard deviations in 100,000 rows: p far below α, and no drift."""
    chance = np.random.default_rng(16)
    reference = Reference.of(drift_data.dataset(chance.standard_normal((100_000, 1))))
    report = compare(reference, drift_data.dataset(chance.standard_normal((100_000, 1)) + 0.05))
    test = next(test for test in report["tests"] if test["name"] == "column 0")
    assert test["adjusted"] < 1e-12
    assert test["distance"] < MIN_DISTANCE
    assert not report["drifted"]
    assert report["findings"] == []


def test_looks_measured_once_are_those_that_a_data_set_has() -> None:
    """What the other tests rely on: a feature's numbers do not depend on the photos beside it."""
    pixels, y, classes = drift_data.photos("faces")
    whole = looks(pixels)
    np.testing.assert_array_equal(whole[40:90], looks(pixels[40:90]))
    assert [one.name for one in of_photos(pixels)] == ["brightness", "contrast", "sharpness", "noise", "clipped"]
    assert of_labels(y, classes).counts.tolist() == [100, 100, 0]  # type: ignore[union-attr]
