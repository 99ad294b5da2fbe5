"""Metrics by slice: a model that is good on the whole may fail a part of the world."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput, one_line
from snn_client.judging.answers import Answers
from snn_client.judging.contents import MIN_SAMPLES, Slice, SliceTable
from snn_client.judging.evidence import LOWER_IS_BETTER
from snn_client.judging.intervals import bootstrap, wilson
from snn_data.columns import Columns, Number
from snn_data.dataset import Dataset
from snn_data.slices import Slices

MAX_SHOWN = 30
"""Slices in a report: the worst ones."""

MAX_VALUES = 20
"""Different numbers in a column that are slices of their own; more are divided at their quartiles."""

MAX_NAME, MAX_NAMES = 100, 300
"""Characters of the name of a slice, and of a list of columns in an error."""

NO_VALUE, NOT_TRAINED_ON = "(no value)", "(not in the training part)"


def slices_of(dataset: Dataset, by: str = "") -> Slices | None:
    """Return the slices of a data set's test set: its own, or those `by` a column of a table.

    A column is given by its name in the table that the data set was made of; of a data set that was none, by its
    number, from 0. Raises InvalidInput, of the field `slice_by`, for what there is not.
    """
    if not by:
        return dataset.slices
    if dataset.slices is not None and by == dataset.slices.by:
        return dataset.slices
    if dataset.columns:
        found = _by_name(dataset, by)
    elif len(dataset.shape) == 1 and by.isdecimal() and int(by) < dataset.features:
        found = _by_number(dataset.test.stored[:, int(by)], f"column {by}")
    else:
        found = None
    if found is None:
        problem = f"{one_line(by, MAX_NAME)!r} is nothing that the test set can be divided by"
        raise InvalidInput(problem, field="slice_by", hint=_what_there_is(dataset))
    return found


def _by_name(dataset: Dataset, by: str) -> Slices | None:
    """Return the slices by a column of what was a table; None if the network sees no such column."""
    first = 0
    for column in Columns.from_json(dataset.columns, "datasets.h5").columns:
        seen = dataset.test.stored[:, first : first + column.width]
        first += column.width
        if column.name != by:
            continue
        if isinstance(column, Number):
            return _by_number(seen[:, 0].astype(np.float64) * column.scale + column.mean, by)
        places = np.where(seen.any(axis=1), seen.argmax(axis=1), column.width)
        values = (*(NO_VALUE if value is None else value for value in column.values), NOT_TRAINED_ON)
        return Slices(by, tuple(one_line(value, MAX_NAME) for value in values), places.astype(np.intp))
    return None


def _by_number(column: NDArray[Any], by: str) -> Slices:
    """Return the slices by a column of numbers: its values, if they are few, or its quarters."""
    column = np.asarray(column, dtype=np.float64)
    # To six digits of the largest: what was standardised in float32 is 34.000001 in one row and 34 in another.
    largest = float(np.abs(column).max())
    column = np.round(column / largest, 6) * largest + 0.0 if largest else column
    values, places = np.unique(column, return_inverse=True)
    if values.size <= MAX_VALUES:
        return Slices(by, tuple(f"{value:g}" for value in values), places.astype(np.intp))
    cuts = np.unique(np.quantile(column, [0.25, 0.5, 0.75]))
    ends = [f"{column.min():.4g}", *(f"{cut:.4g}" for cut in cuts), f"{column.max():.4g}"]
    names = tuple(f"{low} to {high}" for low, high in pairwise(ends))
    return Slices(by, names, np.searchsorted(cuts, column, side="right").astype(np.intp))


def _what_there_is(dataset: Dataset) -> str:
    """Return what a test set can be divided by."""
    if dataset.columns:
        named = one_line(", ".join(Columns.from_json(dataset.columns, "datasets.h5").names), MAX_NAMES)
        return f"give one of the columns that the network sees: {named}"
    if len(dataset.shape) == 1:
        return f"give the number of a column, 0 to {dataset.features - 1}"
    if dataset.slices:
        return f"leave it out: the data set is sliced by {dataset.slices.by}"
    return "make the data set of folders that have folders of their own"


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
