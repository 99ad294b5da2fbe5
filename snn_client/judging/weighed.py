"""Every figure as a function of how often each sample counts: what a bootstrap asks for, a thousand times at once.

`Figure(W)` takes counts (B, m), a row a resample, and returns the figure of each (B,), NaN where there is none. With
one row of ones it is scikit-learn's figure, and with any row scikit-learn's by `sample_weight`; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from snn_client.judging.figures import TOP, Floats, Labels, normalised

Figure = Callable[[Floats], Floats]


def two_classes(truth: Labels, chances: Floats, predicted: Labels) -> dict[str, Figure]:
    """Return the figures of two classes: rates of what was `predicted`, areas and losses of the probabilities."""
    yes, called = truth.astype(np.float64), predicted.astype(np.float64)
    hit, right = yes * called, (truth == predicted).astype(np.float64)
    rightly_no = right - hit
    sure = np.clip(np.where(truth == 1, chances, 1 - chances), np.finfo(np.float64).eps, None)
    return {
        "accuracy": _mean(right),
        "error": _mean(1 - right),
        "sensitivity": _share(hit, yes),
        "specificity": _share(rightly_no, 1 - yes),
        "false_positive_rate": _share((1 - yes) * called, 1 - yes),
        "precision": _share(hit, called),
        "f1": _share(2 * hit, yes + called),
        "roc_auc": _roc_auc(yes, chances),
        "average_precision": _average_precision(yes, chances),
        "log_loss": _mean(-np.log(sure)),
        "brier": _mean((chances - yes) ** 2),
    }


def many_classes(truth: Labels, said: Floats) -> dict[str, Figure]:
    """Return the figures of K classes from their probabilities (K, m)."""
    shares, predicted, samples = normalised(said), said.argmax(axis=0), np.arange(truth.size)
    right = (truth == predicted).astype(np.float64)
    sure = np.clip(shares[truth, samples], np.finfo(np.float64).eps, None)
    # Of equal probabilities the later class comes first, as in scikit-learn's top_k_accuracy_score.
    before = np.argsort(said, axis=0, kind="stable")[::-1][: min(TOP, len(said) - 1)]
    averages = _averages(truth, predicted, len(said))
    return {
        "accuracy": _mean(right),
        "error": _mean(1 - right),
        "top_k_accuracy": _mean((before == truth).any(axis=0).astype(np.float64)),
        **averages,
        "log_loss": _mean(-np.log(sure)),
        "brier": _mean((shares**2).sum(axis=0) - 2 * shares[truth, samples] + 1),
    }


def numbers(truth: Floats, said: Floats) -> dict[str, Figure]:
    """Return the figures of numbers."""
    error, centred = (said - truth) ** 2, truth - truth.mean()

    def r2(W: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = W @ centred**2 - (W @ centred) ** 2 / W.sum(axis=1)
            return np.where(spread > 0, 1 - (W @ error) / spread, np.nan)

    squares = _mean(error)
    return {"mae": _mean(np.abs(said - truth)), "rmse": lambda W: np.sqrt(squares(W)), "r2": r2}


def _mean(values: Floats) -> Figure:
    return lambda W: (W @ values) / W.sum(axis=1)


def _share(part: Floats, whole: Floats) -> Figure:
    return lambda W: _divided(W @ part, W @ whole)


def _divided(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Floats = np.where(whole > 0, part / whole, np.nan)
    return shares


def _groups(chances: Floats, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where, in this order, each run of equal probabilities begins."""
    return np.flatnonzero(np.concatenate([[True], np.diff(chances[order]) != 0]))


def _roc_auc(yes: Floats, chances: Floats) -> Figure:
    """The share of pairs of the two classes in which class 1 has the higher probability; a tie is half of one."""
    order = np.argsort(chances, kind="stable")
    begins, no = _groups(chances, order), 1 - yes

    def area(W: Floats) -> Floats:
        W = W[:, order]
        positive = np.add.reduceat(W * yes[order], begins, axis=1)
        negative = np.add.reduceat(W * no[order], begins, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        return _divided((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))

    return area


def _average_precision(yes: Floats, chances: Floats) -> Figure:
    """Σ (recall - recall before) · precision over the thresholds, from the highest."""
    order = np.argsort(-chances, kind="stable")
    begins = _groups(chances, order)

    def area(W: Floats) -> Floats:
        W = W[:, order]
        positive = np.add.reduceat(W * yes[order], begins, axis=1)
        called = np.cumsum(np.add.reduceat(W, begins, axis=1), axis=1)
        precision = np.cumsum(positive, axis=1) / np.maximum(called, 1e-300)
        return _divided((positive * precision).sum(axis=1), positive.sum(axis=1))

    return area


def _averages(truth: Labels, predicted: Labels, classes: int) -> Mapping[str, Figure]:
    """Return macro and weighted averages; a rate of nothing counts as 0, as in scikit-learn by zero_division=0."""
    from scipy.sparse import csr_array

    def counted(labels: Labels, which: NDArray[np.bool_]) -> csr_array:
        places = np.flatnonzero(which)
        return csr_array((np.ones(places.size), (places, labels[places])), shape=(labels.size, classes))

    every = np.ones(truth.size, dtype=np.bool_)
    tables = counted(truth, every), counted(predicted, every), counted(truth, truth == predicted)

    def average(of: str, weighted: bool) -> Figure:
        def figure(W: Floats) -> Floats:
            there, called, right = (np.asarray(W @ table) for table in tables)
            shares = {"precision": (right, called), "recall": (right, there), "f1": (2 * right, there + called)}
            part, whole = shares[of]
            rates = np.where(whole > 0, part / np.maximum(whole, 1e-300), 0.0)
            return _divided((rates * there).sum(axis=1), there.sum(axis=1)) if weighted else rates.mean(axis=1)

        return figure

    return {
        f"{of}{'_weighted' if weighted else ''}": average(of, weighted)
        for weighted in (False, True)
        for of in ("precision", "recall", "f1")
    }
