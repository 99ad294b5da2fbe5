"""Metrics by slice: a model that is good on the whole may fail a part of the world."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn_client.judging.answers import Answers
from snn_client.judging.contents import MIN_SAMPLES, Slice, SliceTable
from snn_client.judging.evidence import LOWER_IS_BETTER
from snn_client.judging.intervals import bootstrap, wilson
from snn_data.dataset import Dataset
from snn_data.slices import Slices

MAX_SHOWN = 30
"""Slices in a report: the worst ones."""

MAX_VALUES = 20
"""Different numbers in a column that are slices of their own; more are divided at their quartiles."""


def slices_of(dataset: Dataset, by: str = "") -> Slices | None:
    """Return the slices of a data set's test set: its own, or, of a table, those `by` the number of a column, from 0.

    Raises InvalidInput, of the field `slice_by`, for what there is not.
    """
    if not by:
        return dataset.slices
    if dataset.slices is not None and by == dataset.slices.by:
        return dataset.slices
    columns = dataset.features if len(dataset.shape) == 1 else 0
    if not by.isdecimal() or int(by) >= columns:
        own = f"leave it out: the data set is sliced by {dataset.slices.by}" if dataset.slices else ""
        of_table = f"give the number of a column, 0 to {columns - 1}" if columns else ""
        hint = of_table or own or "make the data set of folders that have folders of their own"
        raise InvalidInput(f"{by!r} is nothing that the test set can be divided by", field="slice_by", hint=hint)
    column = np.asarray(dataset.test.stored[:, int(by)], dtype=np.float64)
    values, places = np.unique(column, return_inverse=True)
    if values.size <= MAX_VALUES:
        return Slices(f"column {by}", tuple(f"{value:g}" for value in values), places.astype(np.intp))
    cuts = np.unique(np.quantile(column, [0.25, 0.5, 0.75]))
    ends = [f"{column.min():.4g}", *(f"{cut:.4g}" for cut in cuts), f"{column.max():.4g}"]
    names = tuple(f"{low} to {high}" for low, high in pairwise(ends))
    return Slices(f"column {by}", names, np.searchsorted(cuts, column, side="right").astype(np.intp))


def metric_of(answers: Answers) -> str:
    """Return what slices are judged by if nothing is said: the accuracy, of numbers the mean absolute error."""
    return "accuracy" if answers.classes else "mae"


def by_slice(answers: Answers, slices: Slices, metric: str = "") -> SliceTable:
    """Return how good the answers are on each slice that has a sample."""
    metric = metric or metric_of(answers)
    found = [
        _slice(answers.part(np.flatnonzero(slices.places == place)), name, metric)
        for place, name in enumerate(slices.names)
        if (slices.places == place).any()
    ]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def order(one: Slice) -> tuple[bool, bool, float]:
        value = one["value"]
        return one["samples"] < MIN_SAMPLES, value is None, 0.0 if value is None else sign * value

    ranked = sorted(found, key=order)
    large = [one for one in ranked if one["samples"] >= MIN_SAMPLES and one["value"] is not None]
    return {
        "by": slices.by,
        "metric": metric,
        "slices": ranked[:MAX_SHOWN],
        "worst": large[0] if large else None,
        "left_out": max(0, len(ranked) - MAX_SHOWN),
    }


def _slice(answers: Answers, name: str, metric: str) -> Slice:
    samples = len(answers)
    value = float(answers.figures[metric](_ones(samples))[0])
    if metric == "accuracy":
        interval = wilson(round(value * samples), samples)
    else:
        interval = bootstrap({metric: answers.figures[metric]}, samples)[metric]
    return {"name": name, "samples": samples, "value": value if np.isfinite(value) else None, "interval": interval}


def _ones(samples: int) -> NDArray[np.float64]:
    return np.ones((1, samples))
