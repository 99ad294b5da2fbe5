"""Curves of any length as some thousand points: each stands for some epochs, with their mean, least and greatest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from snn_cloud.ledger.ledger import Curves, Mark

MOST_POINTS = 2_000
GROWTH = math.log(10_000_000) / 1_500  # of a point's epochs on a logarithmic axis

Axis = Literal["linear", "log"]
Numbers = NDArray[np.float64]


class Band(TypedDict):
    """A curve's points: the mean of a point's epochs; `least` and `greatest` are empty where each is one epoch."""

    mean: list[float]
    least: list[float]
    greatest: list[float]


class Curve(TypedDict):
    """Points `first`, `first` + 1 … of a run's curves.

    `width` is how many epochs a point stands for (0: as a logarithmic axis has them). A point lies at the number of
    epochs done at its end; there it has the seconds since the run began and what it had cost then (None: not known),
    and the learning rate.
    """

    axis: Axis
    width: int
    first: int
    epochs: list[int]
    cost: Band
    validation_cost: Band
    validation_metric: Band
    seconds: list[float | None]
    usd: list[float | None]
    rate: list[float]


def width_for(epochs: int) -> int:
    """Return how many epochs a point stands for: a power of two, so that points that are done never change."""
    return 1 << max(0, math.ceil(math.log2(max(1, epochs) / MOST_POINTS)))


def starts(axis: Axis, width: int, end: int) -> NDArray[np.int64]:
    """Return the epochs, from 0, that points begin with, of those below `end`."""
    if end <= 0:
        return np.empty(0, np.int64)
    if axis == "linear":
        return np.arange(0, end, width, dtype=np.int64)
    powers = np.floor(np.exp(np.arange(math.ceil(math.log(end) / GROWTH) + 1) * GROWTH)).astype(np.int64) - 1
    found = np.unique(powers)
    return found[found < end]


def points(
    curves: Curves,
    axis: Axis = "linear",
    *,
    began: float,
    rate: Callable[[int], float],
    width: int = 0,
    first: int = 0,
    span: tuple[int, int] | None = None,
) -> Curve:
    """Return a run's curves as points; `curves` are all of them, from epoch 0 on.

    `began` is when the run began, in seconds since 1970, `rate` gives the learning rate of an epoch. Who has points
    already names their `width` and how many are done, `first`: they get the others, or all if the width has changed.
    `span` are the first epoch and the end of what is wanted; then points are as narrow as they can be.
    """
    begin, end = (max(0, span[0]), min(span[1], len(curves))) if span else (0, len(curves))
    new_width = width_for(end - begin) if axis == "linear" else 0
    if width != new_width or span:
        first = 0
    begins = begin + starts(axis, new_width, end - begin)
    first = min(first, max(0, len(begins) - 1))
    begins = begins[first:]
    ends = np.append(begins[1:], end) if len(begins) else begins
    known = [curve[:end] for curve in (curves.costs, curves.validation_costs, curves.validation_metrics)]
    bands = [_band(curve, begins, ends) for curve in known]
    seconds, usd = at(curves.marks, ends, began)
    return {
        "axis": axis, "width": new_width, "first": first, "epochs": ends.tolist(),
        "cost": bands[0], "validation_cost": bands[1], "validation_metric": bands[2],
        "seconds": seconds, "usd": usd, "rate": [rate(epoch - 1) for epoch in ends.tolist()],
    }  # fmt: skip


def sparkline(costs: Numbers, most: int = 60) -> list[float]:
    """Return a curve as at most so many numbers, the first and the last among them."""
    if len(costs) <= most:
        return [float(cost) for cost in costs]
    places = np.unique(np.round(np.linspace(0, len(costs) - 1, most)).astype(int))
    return [float(cost) for cost in costs[places]]


def at(marks: Sequence[Mark], epochs: NDArray[np.int64], began: float) -> tuple[list[float | None], list[float | None]]:
    """Return when so many epochs were done, in seconds since the run began, and what they had cost, in USD.

    Between two writes of the ledger both grow evenly. None where it does not say: of epochs that the run was resumed
    with, and of all that an earlier version wrote.
    """
    if not marks or not len(epochs):
        return [None] * len(epochs), [None] * len(epochs)
    began_with = marks[0].first
    done = np.array([began_with, *(mark.epoch + 1 for mark in marks)], float)
    times = np.maximum.accumulate(np.array([0.0, *(max(0.0, mark.at - began) for mark in marks)]))
    usd = np.maximum.accumulate(np.array([0.0, *(mark.usd for mark in marks)]))
    own = epochs > began_with
    found = [np.interp(epochs, done, values).tolist() for values in (times, usd)]
    seconds, dollars = ([value if mine else None for value, mine in zip(one, own, strict=True)] for one in found)
    return seconds, dollars


def speed(marks: Sequence[Mark], now: float, window: float = 30.0) -> float | None:
    """Return the epochs a second of the last half minute, or between the last two writes if those are further apart.

    None while it cannot be known.
    """
    recent = [mark for mark in marks if now - mark.at <= window]
    recent = list(marks[-max(2, len(recent) + 1) :])
    if len(recent) < 2 or recent[-1].at <= recent[0].at:
        return None
    return (recent[-1].epoch - recent[0].epoch) / (recent[-1].at - recent[0].at)


def _band(curve: Numbers, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Band:
    if not len(curve) or not len(begins):
        return {"mean": [], "least": [], "greatest": []}
    piece, places = curve[begins[0] : ends[-1]], begins - begins[0]
    mean = np.add.reduceat(piece, places) / (ends - begins)
    if (ends - begins).max() == 1:
        return {"mean": mean.tolist(), "least": [], "greatest": []}
    least, greatest = np.minimum.reduceat(piece, places), np.maximum.reduceat(piece, places)
    return {"mean": mean.tolist(), "least": least.tolist(), "greatest": greatest.tolist()}
