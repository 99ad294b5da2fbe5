"""What people are asked about a candidate."""

from __future__ import annotations

from typing import Any

import pytest
from judged import two_classes

from snn.errors import InvalidInput
from snn_client.models.approval import OPTIONS, Row, answer_of, option_of, question, rows_of, status_of
from snn_client.reports.headline import headlines
from snn_cloud.registry.record import Status, Version


def version(number: int, model: str = "default", **metrics: Any) -> Version:
    return {
        "model": model, "number": number, "run_id": f"r{number}", "status": "candidate", "dataset": "d.h5",
        "sha256": "0" * 64, "parameters": {}, "backbone": "", "metrics": metrics, "by": "ann", "created": 1.0,
        "asked_at": 0.0, "decided": None, "promoted_at": 0.0,
    }  # fmt: skip


def plain(text: str) -> list[str]:
    return text.replace("\N{NO-BREAK SPACE}", " ").splitlines()


def test_without_a_comparison_the_figures_are_the_registry_s() -> None:
    old = version(1, accuracy={"value": 0.8, "low": 0.7, "high": 0.875}, r2={"value": 0.5})
    new = version(2, accuracy={"value": 0.9}, log_loss={"value": 0.25})
    asked = question(new, None, old, deadline=1796094602.0, default=Status.APPROVED)
    assert asked.subject == "Version 2 of default: become champion?"
    assert plain(asked.body) == [
        "Version 2 of default, trained by run `r2`, wants to become champion. The champion is run `r1`.",
        "",
        "| on the test set | champion | candidate |",
        "|---|---|---|",
        "| Accuracy | 80 % (70 % to 87.5 %) | 90 % |",
        "| Log loss | – | 0.2500 |",
        "",
        "Data set: `d.h5`",
        "",
        "If nobody answers until 2026-12-01 03:10:02 UTC, the answer is **Approve**.",
        "",
        "The first answer counts, here or by `snn models approve 2` or `snn models reject 2`.",
    ]


def test_a_first_candidate_that_nobody_has_judged() -> None:
    asked = question(version(1, "cats"), None, None)
    assert plain(asked.body) == [
        "Version 1 of cats, trained by run `r1`, wants to become champion. There is no champion that it was compared "
        "with.",
        "",
        "Nobody has judged it on a test set.",
        "",
        "Data set: `d.h5`",
        "",
        "The first answer counts, here or by `snn models approve 1 --model cats` or "
        "`snn models reject 1 --model cats`.",
    ]


def test_a_comparison_has_every_figure_of_both_as_the_report_has_them() -> None:
    test_set = two_classes()
    comparison: Any = {
        "champion": {"run_id": "old", "test_set": {**test_set, "accuracy": 0.5}},
        "challenger": {"run_id": "new", "test_set": test_set},
        "decision": {"promote": True, "reason": "| <b>better</b> |\x1b[31m *than* `_it_`"},
    }
    rows = rows_of(comparison)
    expected = headlines(test_set)
    assert [row.name for row in rows] == [one.name for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert row.candidate.startswith(one.text)
        assert one.key == "accuracy" or row.champion == row.candidate
    assert isinstance(rows[0], Row)
    assert rows[0].champion.startswith("50\N{NO-BREAK SPACE}%")
    body = question(version(2), comparison, None, "https://x/report.html").body
    # What classes are called stands in a reason: none of it is markup.
    assert r"**Decision by rule:** \| \<b\>better\</b\> \|\\x1b\[31m \*than\* \`\_it\_\`." in body.splitlines()
    assert "Data set: `d.h5`. [Report](https://x/report.html)" in body.splitlines()


@pytest.mark.parametrize("status", OPTIONS.values())
def test_each_answer_has_a_status(status: Status) -> None:
    option = option_of(status)
    assert status_of(option, "x") is status_of(option.lower(), "x") is status_of(option.upper(), "x") is status


def test_another_word_is_no_answer() -> None:
    with pytest.raises(InvalidInput, match=r"^default: 'champion' is no answer \(use approve or reject\)$"):
        status_of("champion", "default")


def test_an_answer_says_who_and_why() -> None:
    decided: Any = {"status": "rejected", "by": "ann", "at": 7.0, "reason": "blind"}
    assert answer_of({**version(3), "status": "rejected", "decided": decided}) == {
        "model": "default", "number": 3, "run_id": "r3", "status": "rejected", "by": "ann", "reason": "blind",
        "at": 7.0,
    }  # fmt: skip
