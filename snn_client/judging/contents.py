"""What is said of a model beside its rates: curves, calibration, residuals, and how sure each figure is."""

from __future__ import annotations

from typing import TypedDict


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
    """How far probabilities can be taken at their word. `error` is |share - predicted|, weighted by samples.

    Of two classes it is about the probability of class 1, of more about that of the class that was predicted.
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
