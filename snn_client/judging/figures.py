"""The figures beside the rates, as scikit-learn counts them: of two classes, of K classes, and of numbers.

scikit-learn is imported where it is used: that takes over a second, and who writes a report imports this module too.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from snn_client.judging.contents import Bin, Calibration, Curves, Points, Residuals

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_POINTS = 60
"""Of a curve in a report: as many as can be told apart in a drawing as wide as a hand."""

BINS = 10
"""Of equal width, that calibration is counted in; so are residuals, in twice as many."""

TOP = 5
"""Classes, among which the right one shall be; of fewer than six classes, all but one."""


class TwoClassFigures(TypedDict):
    """See `two_classes`."""

    roc_auc: float | None
    average_precision: float | None
    log_loss: float
    brier: float
    curves: Curves
    calibration: Calibration


class ManyClassFigures(TypedDict):
    """See `many_classes`."""

    top_k: int
    top_k_accuracy: float
    log_loss: float
    brier: float
    calibration: Calibration


def two_classes(truth: Labels, chances: Floats) -> TwoClassFigures:
    """Return what does not depend on the threshold; `chances` (m,) are the probabilities of class 1.

    `roc_auc` is None unless both classes are there, `average_precision` unless class 1 is.
    """
    from sklearn.metrics import (
        average_precision_score,
        brier_score_loss,
        log_loss,
        precision_recall_curve,
        roc_auc_score,
        roc_curve,
    )

    both, positive = 0 < truth.sum() < truth.size, bool(truth.any())
    roc = precision_recall = None
    if both:
        x, y, _ = roc_curve(truth, chances)
        roc = thinned(x, y)
    if positive:
        precision, recall, _ = precision_recall_curve(truth, chances, drop_intermediate=True)
        precision_recall = thinned(recall[::-1], precision[::-1])
    return {
        "roc_auc": float(roc_auc_score(truth, chances)) if both else None,
        "average_precision": float(average_precision_score(truth, chances)) if positive else None,
        "log_loss": float(log_loss(truth, chances, labels=[0, 1])),
        "brier": float(brier_score_loss(truth, chances, pos_label=1)),
        "curves": {"roc": roc, "precision_recall": precision_recall},
        "calibration": calibration(truth, chances),
    }


def many_classes(truth: Labels, said: Floats) -> ManyClassFigures:
    """Return the figures of probabilities `said` (K, m) of more than two classes."""
    from sklearn.metrics import brier_score_loss, log_loss, top_k_accuracy_score

    shares, numbers, k = normalised(said).T, np.arange(len(said)), min(TOP, len(said) - 1)
    return {
        "top_k": k,
        "top_k_accuracy": float(top_k_accuracy_score(truth, said.T, k=k, labels=numbers)),
        "log_loss": float(log_loss(truth, shares, labels=numbers)),
        "brier": float(brier_score_loss(truth, shares, labels=numbers)),
        "calibration": calibration((said.argmax(axis=0) == truth).astype(np.int64), said.max(axis=0)),
    }


def residuals(truth: Floats, said: Floats) -> Residuals:
    """Return what numbers are off by: in equal steps between the lowest and the highest residual."""
    off = said - truth
    # Given as edges: numbers that lie closer together than floats have room for would be refused as a number of bins.
    counts, edges = np.histogram(off, np.linspace(off.min(), off.max(), 1 + (2 * BINS if np.ptp(off) > 0 else 1)))
    low, middle, high = np.quantile(off, [0.05, 0.5, 0.95])
    return {
        "mean": float(off.mean()),
        "std": float(off.std()),
        "median": float(middle),
        "p5": float(low),
        "p95": float(high),
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "counts": [int(count) for count in counts],
    }


def calibration(right: Labels, sure: Floats) -> Calibration:
    """Return how often it was right (0 or 1) where it was about so sure (0..1)."""
    from sklearn.calibration import calibration_curve

    shares, predicted = calibration_curve(right, sure, n_bins=BINS, strategy="uniform")
    # In which bin a sample is, is no part of scikit-learn's answer; it has left out those that are empty.
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure), minlength=BINS)
    bins: list[Bin] = [
        {"predicted": round(float(mean), 6), "share": round(float(share), 6), "samples": int(count)}
        for mean, share, count in zip(predicted, shares, counts[counts > 0], strict=True)
    ]
    error = float(np.abs(shares - predicted) @ counts[counts > 0]) / right.size
    return {"error": error, "bins": bins}


def normalised(said: Floats) -> Floats:
    """Return probabilities (K, m) whose columns sum to 1 in float64; float32's do so only up to its own rounding."""
    total = said.sum(axis=0)
    shares: Floats = np.where(total > 0, said, 1.0) / np.where(total > 0, total, len(said))
    return shares


def thinned(x: Floats, y: Floats) -> Points:
    """Return a monotonic curve by at most MAX_POINTS of its points, evenly spread along its way, with both ends."""
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    places = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MAX_POINTS - 1)))
    places = np.unique([0, *places[places < len(x)], len(x) - 1])
    return {"x": [round(float(x[at]), 4) for at in places], "y": [round(float(y[at]), 4) for at in places]}
