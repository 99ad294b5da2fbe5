"""Which is it to be: the rule by which a challenger replaces the champion, case by case."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput
from snn_client.models.challenge import METRICS, judge


def rates(**given: Any) -> dict[str, Any]:
    return {**dict.fromkeys(METRICS, 0.5), **given}


def test_the_first_one_is_promoted_however_bad() -> None:
    decision = judge(rates(accuracy=0.1), None, margin=0.5)
    assert (decision["promote"], decision["champion"], decision["challenger"]) == (True, None, 0.1)
    assert decision["reason"] == "there is no champion yet; the challenger's accuracy is 0.100"


@pytest.mark.parametrize(
    ("challenger", "champion", "margin", "promoted", "reason"),
    [
        (0.9, 0.8, 0.0, True, "the challenger is better by 0.100: accuracy 0.900, the champion's is 0.800"),
        (0.8, 0.8, 0.0, False, "the challenger is not better: accuracy 0.800, the champion's is 0.800"),
        (0.7, 0.8, 0.0, False, "the challenger is not better: accuracy 0.700, the champion's is 0.800"),
        (0.85, 0.8, 0.05, True, "the challenger is better by 0.050: accuracy 0.850, the champion's is 0.800"),
        (
            0.825,
            0.8,
            0.05,
            False,
            "the challenger is better by only 0.025, but 0.05 is required: accuracy 0.825, the champion's is 0.800",
        ),
        (1.0, 0.0, 1.0, True, "the challenger is better by 1.000: accuracy 1.000, the champion's is 0.000"),
    ],
)
def test_better_by_the_margin(challenger: float, champion: float, margin: float, promoted: bool, reason: str) -> None:
    decision = judge(rates(accuracy=challenger), rates(accuracy=champion), margin=margin)
    assert (decision["promote"], decision["reason"]) == (promoted, reason)
    assert (decision["metric"], decision["margin"], decision["champion"], decision["challenger"]) == (
        "accuracy",
        margin,
        champion,
        challenger,
    )


@given(right=st.integers(0, 200), before=st.integers(0, 200), wanted=st.integers(0, 200))
def test_rounding_decides_nothing(right: int, before: int, wanted: int) -> None:
    """Rates are counts of photos: what the counts say is what is decided, though 0.85 - 0.80 < 0.05 in a computer."""
    decision = judge(rates(accuracy=right / 200), rates(accuracy=before / 200), margin=wanted / 200)
    assert decision["promote"] == (right > before and right - before >= wanted)


def test_another_metric_is_what_counts() -> None:
    challenger, champion = rates(accuracy=0.9, f1=0.2), rates(accuracy=0.5, f1=0.3)
    assert judge(challenger, champion)["promote"]
    decision = judge(challenger, champion, metric="f1")
    assert (decision["promote"], decision["metric"], decision["champion"], decision["challenger"]) == (
        False,
        "f1",
        0.3,
        0.2,
    )


def test_an_obstacle_keeps_the_champion() -> None:
    decision = judge(rates(accuracy=1.0), None, obstacle="the champion was trained for other photos: it stays")
    assert (decision["promote"], decision["reason"]) == (False, "the champion was trained for other photos: it stays")


def test_a_rate_that_there_is_not_wins_nothing() -> None:
    assert judge(rates(f1=None), rates(), metric="f1")["reason"] == "the challenger has no f1 on this test set"
    assert not judge(rates(f1=None), None, metric="f1")["promote"]
    decision = judge(rates(), rates(f1=None), metric="f1")
    assert (decision["promote"], decision["reason"]) == (
        False,
        "the champion has no f1 on this test set: compare by another metric",
    )


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"metric": "error"}, "metric: 'error' is not a metric to compare by (use one of accuracy, f1, precision, "),
        ({"margin": -0.1}, "margin: -0.1 is not a difference between two rates"),
        ({"margin": math.nan}, "margin: nan is not a difference between two rates"),
    ],
)
def test_what_cannot_be_asked_is_one_line(asked: Any, line: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        judge(rates(), rates(), **asked)
    assert str(caught.value).startswith(line)
