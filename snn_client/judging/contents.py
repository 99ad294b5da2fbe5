"""What is said of a model beside its rates: curves, calibration, residuals, and how sure each figure is."""

from __future__ import annotations

from typing import TypedDict

METRICS = (
    "accuracy", "f1", "precision", "sensitivity", "specificity", "roc_auc", "average_precision", "log_loss", "brier",
    "top_k_accuracy", "f1_weighted", "precision_weighted", "recall_weighted", "r2", "mae", "rmse",
)  # fmt: skip
"""Figures of a test set to compare models by: of many classes f1, precision and sensitivity are macro averages."""

MIN_SAMPLES = 10
"""Below that a slice is shown, but says too little to be the worst one or to stop a promotion."""


class Interval(TypedDict):
    """Where a figure would lie in 95 of 100 test sets of this size."""

    low: float
    high: float


Intervals = dict[str, Interval | None]
"""The interval of each headline figure, by its name; None where the figure itself is."""


class Points(TypedDict):
    """A curve, thinned to `figures.MAX_POINTS` points of four decimals at most: to be drawn, not to be counted with."""

    x: list[float]
    y: list[float]


class Curves(TypedDict):
    """Two classes by every threshold; None where the test set lacks the class that it is about.

    `roc`: x is the false positive rate, y the sensitivity. `precision_recall`: x is the sensitivity, y the precision.
    """

    roc: Points | None
    precision_recall: Points | None


class Bin(TypedDict):
    """Samples of which the model was about as sure: the mean of what it said, the share that it was right about."""

    predicted: float
    share: float
    samples: int


class Calibration(TypedDict):
    """How far probabilities can be taken at their word.

    `error` is the mean distance between `share` and `predicted` of all bins, weighted by their samples. Of two
    classes it is about the probability of class 1, of more about that of the class that was predicted.
    """

    error: float
    bins: list[Bin]


class Residuals(TypedDict):
    """What a model's numbers are off by, answer - truth: `counts` between each two of `edges`."""

    mean: float
    std: float
    median: float
    p5: float
    p95: float
    edges: list[float]
    counts: list[int]


class Slice(TypedDict):
    """How good a model is on some of the samples; None where the metric is undefined there."""

    name: str
    samples: int
    value: float | None
    interval: Interval | None


class SliceTable(TypedDict):
    """The slices of a test set, the worst first; those of fewer than MIN_SAMPLES samples come last.

    `worst` is the first one, None if all are too small. `left_out` counts those that the report has no room for.
    """

    by: str
    metric: str
    slices: list[Slice]
    worst: Slice | None
    left_out: int
