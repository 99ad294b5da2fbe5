"""Evidence that one model is better: against scipy's tests, and by how often it is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from snn_client.judging.answers import Answers
from snn_client.judging.evidence import compare, mcnemar, paired_bootstrap


def right(gained: int, lost: int, both: int = 10, neither: int = 5) -> tuple[Any, Any]:
    """Right answers of challenger and champion, of whom one alone got so many."""
    parts = (gained, 1, 0), (lost, 0, 1), (both, 1, 1), (neither, 0, 0)
    return (
        np.concatenate([np.full(count, float(new)) for count, new, _ in parts]),
        np.concatenate([np.full(count, float(old)) for count, _, old in parts]),
    )


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (9, 2), (3, 3), (0, 4), (60, 35), (1_100, 1_000)])
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(gained: int, lost: int) -> None:
    found = mcnemar(*right(gained, lost))
    assert found["p_value"] == pytest.approx(binomtest(gained, gained + lost, alternative="greater").pvalue)
    assert (found["differ"], found["samples"]) == (gained + lost, gained + lost + 15)
    assert (found["needed"] is None) == (gained <= lost)


def test_models_that_are_right_on_the_same_samples_are_alike() -> None:
    found = mcnemar(*right(0, 0))
    assert (found["p_value"], found["differ"], found["needed"]) == (1.0, 0, None)


def test_the_samples_that_are_needed_tell_four_times_in_five() -> None:
    """Of a difference as large as was seen, on test sets of the size that was named."""
    found = mcnemar(*right(6, 3, both=36, neither=5))
    needed, told = found["needed"], 0
    assert needed is not None
    assert found["p_value"] > 0.05
    random = np.random.default_rng(1)
    for _ in range(400):
        gained, lost, *_ = random.multinomial(needed, [6 / 50, 3 / 50, 41 / 50])
        told += mcnemar(*right(gained, lost, needed - gained - lost, 0))["p_value"] < 0.05
    assert 0.72 <= told / 400 <= 0.88


def test_a_bootstrap_of_the_accuracy_says_about_what_mcnemar_does() -> None:
    new, old = right(30, 15, both=400, neither=100)
    of = [lambda W, values=values: (W @ values) / W.sum(axis=1) for values in (new, old)]
    found = paired_bootstrap("accuracy", *of, samples=len(new))
    exact = mcnemar(new, old)
    assert found["p_value"] == pytest.approx(exact["p_value"], abs=0.015)
    assert found["needed"] == pytest.approx(exact["needed"], rel=0.1)
    assert found["differ"] is None


def test_of_a_loss_less_is_better() -> None:
    random = np.random.default_rng(2)
    y = random.standard_normal(200)
    good, bad = (Answers.of(y, y + spread * random.standard_normal(200), ()) for spread in (0.5, 1.0))
    for metric in ("mae", "rmse", "r2"):
        assert compare(metric, good, bad)["p_value"] < 0.01, metric
        assert compare(metric, bad, good)["p_value"] > 0.99, metric
        assert compare(metric, bad, good)["needed"] is None


def test_accuracy_is_told_by_mcnemar_and_the_rest_by_a_bootstrap() -> None:
    y = np.arange(40) % 2
    new, old = Answers.of(y, np.where(y, 0.9, 0.1), "ab"), Answers.of(y, np.where(np.arange(40) % 4, 0.9, 0.1), "ab")
    assert compare("accuracy", new, old)["test"] == "McNemar"
    assert compare("f1", new, old)["test"] == "paired bootstrap"
