"""Every figure of a test set against scikit-learn's own, on test sets of all kinds, degenerate ones included."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from judged_sets import SETS, JudgedSet
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from snn.errors import InvalidModel
from snn_client.judging.answers import Answers
from snn_client.judging.figures import MAX_POINTS, normalised
from snn_client.reports.metrics import evaluate

TWO = {name: each for name, each in SETS.items() if each.classes == 2}
MANY = {name: each for name, each in SETS.items() if each.classes > 2}
NUMBERS = {name: each for name, each in SETS.items() if each.classes == 0}
NOTHING = {"zero_division": np.nan}


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sk._classification.UndefinedMetricWarning)
        yield


def judge(given: JudgedSet) -> dict[str, Any]:
    return dict(evaluate(given.truth, given.said, given.names, given.threshold))


def same(ours: float | None, theirs: float) -> None:
    assert (ours is None) == bool(np.isnan(theirs)), (ours, theirs)
    assert ours is None or ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_there_are_twenty_and_more() -> None:
    assert (len(TWO), len(MANY), len(NUMBERS)) == (12, 6, 5)


@pytest.mark.parametrize("name", TWO)
def test_two_classes(name: str) -> None:
    given, found = TWO[name], judge(TWO[name])
    y, p = given.truth, given.said[0]
    called = (p > given.threshold).astype(int)
    assert found["threshold"] == given.threshold
    same(found["accuracy"], sk.accuracy_score(y, called))
    same(found["error"], sk.zero_one_loss(y, called))
    same(found["sensitivity"], sk.recall_score(y, called, **NOTHING))
    same(found["specificity"], sk.recall_score(y, called, pos_label=0, **NOTHING))
    fpr = sk.recall_score(y, called, pos_label=0, **NOTHING)
    same(found["false_positive_rate"], 1 - fpr)
    same(found["precision"], sk.precision_score(y, called, **NOTHING))
    same(found["f1"], sk.f1_score(y, called, **NOTHING))
    same(found["log_loss"], sk.log_loss(y, p, labels=[0, 1]))
    same(found["brier"], float(np.mean((p - y) ** 2)) if len(set(y)) < 2 else sk.brier_score_loss(y, p))
    both = len(set(y)) == 2
    same(found["roc_auc"], sk.roc_auc_score(y, p) if both else np.nan)
    same(found["average_precision"], sk.average_precision_score(y, p) if y.any() else np.nan)
    shares, means = calibration_curve(y, p, n_bins=10)
    bins = found["calibration"]["bins"]
    assert [one["share"] for one in bins] == pytest.approx(shares.tolist(), abs=1e-6)
    assert [one["predicted"] for one in bins] == pytest.approx(means.tolist(), abs=1e-6)
    assert sum(one["samples"] for one in bins) == y.size
    error = sum(one["samples"] * abs(one["share"] - one["predicted"]) for one in bins) / y.size
    assert found["calibration"]["error"] == pytest.approx(error, abs=1e-5)


@pytest.mark.parametrize("name", TWO)
def test_the_curves_are_scikit_learns(name: str) -> None:
    given, found = TWO[name], judge(TWO[name])["curves"]
    y, p = given.truth, given.said[0]
    assert (found["roc"] is None, found["precision_recall"] is None) == (len(set(y)) < 2, not y.any())
    for curve, whole in (
        (found["roc"], lambda: sk.roc_curve(y, p)[:2]),
        (found["precision_recall"], lambda: sk.precision_recall_curve(y, p)[1::-1]),
    ):
        if curve is None:
            continue
        x, height = whole()
        points = set(zip(np.round(x, 4).tolist(), np.round(height, 4).tolist(), strict=True))
        drawn = list(zip(curve["x"], curve["y"], strict=True))
        assert set(drawn) <= points
        assert len(drawn) <= MAX_POINTS
        assert {(round(x[0], 4), round(height[0], 4)), (round(x[-1], 4), round(height[-1], 4))} <= set(drawn)
        assert curve["x"] == sorted(curve["x"])


def test_a_thinned_curve_has_the_area_of_the_whole() -> None:
    given = SETS["two, one in fifty"]
    curve, found = judge(given)["curves"]["roc"], judge(given)["roc_auc"]
    assert sk.auc(curve["x"], curve["y"]) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("name", MANY)
def test_many_classes(name: str) -> None:
    given, found = MANY[name], judge(MANY[name])
    y, shares, labels = given.truth, normalised(given.said.astype(float)).T, range(given.classes)
    called = given.said.argmax(axis=0)
    same(found["accuracy"], sk.accuracy_score(y, called))
    same(found["error"], sk.zero_one_loss(y, called))
    k = min(5, given.classes - 1)
    assert found["top_k"] == k
    same(found["top_k_accuracy"], sk.top_k_accuracy_score(y, given.said.T, k=k, labels=labels))
    same(found["log_loss"], sk.log_loss(y, shares, labels=labels))
    squares = ((shares - np.eye(given.classes)[y]) ** 2).sum(axis=1).mean()
    same(found["brier"], squares)
    for average in ("macro", "weighted"):
        rates = sk.precision_recall_fscore_support(y, called, labels=labels, average=average, zero_division=0)[:3]
        for of, rate in zip(("precision", "recall", "f1"), rates):
            same(found[average][of], rate)
    theirs = sk.precision_recall_fscore_support(y, called, labels=labels, **NOTHING)
    for number, one in enumerate(found["per_class"]):
        for of, rates in zip(("precision", "recall", "f1"), theirs):
            same(one[of], rates[number])
    assert found["confusion_matrix"] == sk.confusion_matrix(y, called, labels=labels).tolist()
    right = (called == y).astype(int)
    shares_right, means = calibration_curve(right, given.said.max(axis=0), n_bins=10)
    bins = found["calibration"]["bins"]
    assert [one["share"] for one in bins] == pytest.approx(shares_right.tolist(), abs=1e-6)
    assert [one["predicted"] for one in bins] == pytest.approx(means.tolist(), abs=1e-6)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    given, found = NUMBERS[name], judge(NUMBERS[name])
    y, said = given.truth, given.said[0]
    same(found["mae"], sk.mean_absolute_error(y, said))
    same(found["rmse"], sk.root_mean_squared_error(y, said))
    same(found["r2"], sk.r2_score(y, said) if y.size > 1 else 0.0)
    off, told = said - y, found["residuals"]
    assert (told["mean"], told["std"], told["median"]) == pytest.approx((off.mean(), off.std(), np.median(off)))
    assert (told["p5"], told["p95"]) == pytest.approx(np.percentile(off, [5, 95]).tolist())
    assert sum(told["counts"]) == y.size
    assert len(told["edges"]) == len(told["counts"]) + 1
    assert told["edges"] == pytest.approx(np.linspace(off.min(), off.max(), len(told["edges"])).tolist(), rel=1e-5)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_figure_weighs_samples_as_scikit_learn_does(name: str, seed: int | None) -> None:
    """What the bootstrap and the evidence are made of: with ones it is the figure itself."""
    given = SETS[name]
    answers = Answers.of(given.truth, given.said, given.names, given.threshold)
    w = (
        np.ones(len(answers))
        if seed is None
        else np.random.default_rng(seed).integers(0, 4, len(answers)).astype(float)
    )
    if not w.any():
        w[0] = 1.0
    theirs = by_weight(answers, w)
    assert set(theirs) == set(answers.figures)
    for figure, of in theirs.items():
        ours, wanted = float(answers.figures[figure](w[None, :])[0]), of()
        assert ours == pytest.approx(wanted, rel=1e-7, abs=1e-9, nan_ok=True), figure
    several = np.stack([w, np.ones_like(w), w])
    for figure, of in answers.figures.items():
        assert of(several)[[0, 2]] == pytest.approx(np.repeat(of(w[None, :]), 2), nan_ok=True), figure


def by_weight(answers: Answers, w: Any) -> dict[str, Callable[[], float]]:
    y, weight = answers.truth, {"sample_weight": w}
    there = y[w > 0]
    if not answers.classes:
        said = answers.said[0]
        spread = np.average((y - np.average(y, weights=w)) ** 2, weights=w)
        return {
            "mae": lambda: sk.mean_absolute_error(y, said, **weight),
            "rmse": lambda: sk.root_mean_squared_error(y, said, **weight),
            "r2": lambda: sk.r2_score(y, said, **weight) if spread > 1e-20 else np.nan,
        }
    called, numbers = answers.predicted, np.arange(answers.classes)
    if answers.classes == 2:
        p, both = answers.said[0], len(set(there)) == 2
        specificity = lambda: sk.recall_score(y, called, pos_label=0, **NOTHING, **weight)  # noqa: E731
        return {
            "accuracy": lambda: sk.accuracy_score(y, called, **weight),
            "error": lambda: sk.zero_one_loss(y, called, **weight),
            "sensitivity": lambda: sk.recall_score(y, called, **NOTHING, **weight),
            "specificity": specificity,
            "false_positive_rate": lambda: 1 - specificity(),
            "precision": lambda: sk.precision_score(y, called, **NOTHING, **weight),
            "f1": lambda: sk.f1_score(y, called, **NOTHING, **weight),
            "roc_auc": lambda: sk.roc_auc_score(y, p, **weight) if both else np.nan,
            "average_precision": lambda: sk.average_precision_score(y, p, **weight) if there.any() else np.nan,
            "log_loss": lambda: sk.log_loss(y, p, labels=[0, 1], **weight),
            "brier": lambda: np.average((p - y) ** 2, weights=w),
        }
    shares, k = normalised(answers.said).T, min(5, answers.classes - 1)

    def average(at: int, kind: str) -> Callable[[], float]:
        return lambda: float(
            sk.precision_recall_fscore_support(y, called, labels=numbers, average=kind, zero_division=0, **weight)[at]
        )

    return {
        "accuracy": lambda: sk.accuracy_score(y, called, **weight),
        "error": lambda: sk.zero_one_loss(y, called, **weight),
        "top_k_accuracy": lambda: sk.top_k_accuracy_score(y, answers.said.T, k=k, labels=numbers, **weight),
        **{of: average(at, "macro") for at, of in enumerate(("precision", "recall", "f1"))},
        **{f"{of}_weighted": average(at, "weighted") for at, of in enumerate(("precision", "recall", "f1"))},
        "log_loss": lambda: sk.log_loss(y, shares, labels=numbers, **weight),
        "brier": lambda: np.average(((shares - np.eye(answers.classes)[y]) ** 2).sum(axis=1), weights=w),
    }


@pytest.mark.parametrize("name", SETS)
def test_one_answer_that_is_no_number_is_refused(name: str) -> None:
    given = SETS[name]
    said = np.array(given.said, dtype=float)
    said[0, -1] = np.nan
    with pytest.raises(InvalidModel, match="not numbers"):
        evaluate(given.truth, said, given.names, given.threshold)
