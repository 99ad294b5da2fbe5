"""Which is it to be: the rule by which a challenger replaces the champion, case by case."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput
from snn_client.judging.answers import Answers
from snn_client.models.challenge import AVERAGED, METRICS, gather, judge
from snn_client.reports.metrics import evaluate


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
        ({"margin": 1.5}, "margin: 1.5 is not a difference between two rates (use a number in 0..1)"),
        (
            {"margin": -1, "metric": "mae"},
            "margin: -1 is not a difference between two figures (use a number from 0 on)",
        ),
        ({"margin": math.inf, "metric": "r2"}, "margin: inf is not a difference between two figures"),
        ({"significance": 0}, "significance: 0 is not a probability (use 0.05, or 1 to ask for no evidence)"),
        ({"significance": 1.1}, "significance: 1.1 is not a probability"),
    ],
)
def test_what_cannot_be_asked_is_one_line(asked: Any, line: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        judge(rates(), rates(), **asked)
    assert str(caught.value).startswith(line)


def found(p_value: float, **more: Any) -> Any:
    return {"test": "McNemar", "p_value": p_value, "samples": 50, "differ": 9, "needed": 400, **more}


def test_what_chance_may_have_given_is_not_promoted_and_the_reason_says_how_large_a_test_set_would_tell() -> None:
    decision = judge(rates(accuracy=0.86), rates(accuracy=0.8), margin=0.01, evidence=found(0.254))
    assert (decision["promote"], decision["significance"]) == (False, 0.05)
    assert decision["evidence"] == found(0.254)
    assert decision["reason"] == (
        "the challenger looks better by 0.060, but the test set of 50 samples is too small to tell; about 400 would "
        "tell: chance alone gives as much with p = 0.254 (McNemar), which must be below 0.05: accuracy 0.860, the "
        "champion's is 0.800"
    )
    page = (Path(__file__).parents[3] / "docs" / "judging.md").read_text()
    assert decision["reason"] in " ".join(page.split())


def test_what_chance_hardly_gives_is_promoted_and_the_reason_says_so() -> None:
    decision = judge(rates(accuracy=0.98), rates(accuracy=0.8), margin=0.01, evidence=found(0.002))
    assert decision["promote"]
    assert decision["reason"] == (
        "the challenger is better by 0.180, and not by chance (McNemar, p = 0.002, 50 samples, 9 of which only one got "
        "right): accuracy 0.980, the champion's is 0.800"
    )
    bootstrap = found(0.0004, test="paired bootstrap", differ=None)
    reason = judge(rates(f1=0.9), rates(f1=0.8), metric="f1", evidence=bootstrap)["reason"]
    assert "by chance (paired bootstrap, p < 0.001, 50 samples): f1" in reason


@pytest.mark.parametrize(("p_value", "significance", "promoted"), [
    (0.049, 0.05, True), (0.05, 0.05, False), (0.09, 0.1, True), (0.9, 1, True), (0.009, 0.01, True),
])  # fmt: skip
def test_how_sure_it_must_be_is_asked_for(p_value: float, significance: float, promoted: bool) -> None:
    decision = judge(rates(accuracy=0.9), rates(accuracy=0.8), evidence=found(p_value), significance=significance)
    assert decision["promote"] is promoted


@pytest.mark.parametrize("metric", ["log_loss", "brier", "mae", "rmse"])
def test_of_losses_less_is_better(metric: str) -> None:
    assert judge({metric: 0.2}, {metric: 0.3}, metric=metric)["promote"]
    worse = judge({metric: 0.3}, {metric: 0.2}, metric=metric)
    assert (worse["promote"], worse["reason"].split(":")[0]) == (False, "the challenger is not better")
    assert not judge({metric: 0.29}, {metric: 0.3}, metric=metric, margin=0.05)["promote"]
    assert judge({metric: 0.2}, {metric: 0.3}, metric=metric, margin=0.1)["promote"]


def test_every_metric_is_a_figure_of_some_test_set_and_has_evidence() -> None:
    """By name: what the form offers can be compared."""
    random = np.random.default_rng(1)
    y, three, numbers = random.integers(2, size=80), random.integers(3, size=80), random.standard_normal(80)
    sure = random.dirichlet(np.ones(3), 80).T
    kinds = [
        (y, np.clip(y * 0.4 + 0.6 * random.random(80), 0, 1)[None], ("a", "b")),
        (three, sure, ("a", "b", "c")),
        (numbers, (numbers + 0.1)[None], ()),
    ]
    had: dict[str, int] = dict.fromkeys(METRICS, 0)
    for truth, said, names in kinds:
        answers = Answers.of(truth, said, names)
        test_set = evaluate(truth, said, names)
        for metric in METRICS:
            decision = judge(test_set, test_set, metric=metric, evidence=gather(metric, answers, answers))
            if decision["challenger"] is not None:
                had[metric] += 1
                assert decision["evidence"] is not None, metric
                assert decision["evidence"]["p_value"] == 1.0
                weighed = answers.figures[AVERAGED.get(metric, metric) if len(names) == 3 else metric]
                assert decision["challenger"] == pytest.approx(float(weighed(np.ones((1, 80)))[0]))
    assert min(had.values()) > 0, had
    assert had["accuracy"] == 2
