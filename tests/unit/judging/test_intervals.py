"""The interval beside a figure: against scipy's, and by how often it covers the truth."""

from __future__ import annotations

import numpy as np
import pytest
from judged_sets import SETS
from scipy.stats import binomtest

from snn_client.judging.answers import Answers
from snn_client.judging.intervals import bootstrap, how_many, resamples, wilson
from snn_client.reports.metrics import evaluate


@pytest.mark.parametrize(("part", "whole"), [(0, 1), (1, 1), (0, 50), (39, 50), (50, 50), (7_812, 10_000)])
def test_of_a_share_it_is_wilsons(part: int, whole: int) -> None:
    theirs = binomtest(part, whole).proportion_ci(method="wilson")
    ours = wilson(part, whole)
    assert ours is not None
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_of_nothing_there_is_none() -> None:
    assert wilson(0, 0) is None


def test_resamples_are_drawn_with_replacement_and_the_same_again() -> None:
    drawn = np.concatenate(list(resamples(30, 500)))
    assert drawn.shape == (500, 30)
    assert (drawn.sum(axis=1) == 30).all()
    assert drawn.mean() == 1.0
    assert drawn.var() == pytest.approx(1 - 1 / 30, abs=0.05)  # of a binomial
    assert np.array_equal(drawn, np.concatenate(list(resamples(30, 500))))
    # In parts, where all at once would take too much memory, the draws are as many and as long.
    parts = list(resamples(1_500_000, 5))
    assert [len(part) for part in parts] == [2, 2, 1]


def test_fewer_are_drawn_of_very_many_samples() -> None:
    assert [how_many(samples) for samples in (1, 10_000, 500_000, 10_000_000)] == [1_000, 1_000, 400, 200]


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    """Of 200 test sets of 100 numbers: percentiles of a bootstrap are a little narrow at this size."""
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        truth = random.standard_normal(100)
        said = truth + random.standard_normal(100)  # |N(0, 1)| has the mean √(2/π)
        interval = bootstrap({"mae": Answers.of(truth, said, ()).figures["mae"]}, 100)["mae"]
        assert interval is not None
        covered += interval["low"] <= np.sqrt(2 / np.pi) <= interval["high"]
    assert 180 <= covered <= 199


@pytest.mark.parametrize("name", SETS)
def test_every_headline_figure_has_one_and_lies_in_it(name: str) -> None:
    given = SETS[name]
    found = dict(evaluate(given.truth, given.said, given.names, given.threshold))
    flat = {**found, **found.get("macro", {}), **{f"{k}_weighted": v for k, v in found.get("weighted", {}).items()}}
    wanted = {
        0: {"mae", "rmse", "r2"},
        2: {
            "accuracy", "error", "sensitivity", "specificity", "false_positive_rate", "precision", "f1", "roc_auc",
            "average_precision", "log_loss", "brier",
        },
    }.get(given.classes) or {
        "accuracy", "error", "top_k_accuracy", "precision", "recall", "f1", "precision_weighted", "recall_weighted",
        "f1_weighted", "log_loss", "brier",
    }  # fmt: skip
    assert set(found["intervals"]) == wanted
    for figure, interval in found["intervals"].items():
        if interval is None:
            # R² of one number, or of numbers that are all the same, is no measurement.
            assert flat[figure] is None or figure == "r2", figure
        else:
            assert interval["low"] <= interval["high"]
            assert flat[figure] is not None
            # The macro F1 of a few samples per class is biased in a bootstrap: classes drop out of resamples.
            if len(given.truth) >= 200 and given.classes != 100:
                assert interval["low"] - 1e-9 <= flat[figure] <= interval["high"] + 1e-9, figure
