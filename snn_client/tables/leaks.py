"""Features that alone give the label: mostly what is known only once the label is.

Of each feature a rule is learned on the training part, what label its values have there, and judged on the test part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_data.columns import Category, Columns

ALONE = 0.98
"""The share of a guess's errors on the test part that a suspect avoids; of numbers, of the variance of their ranks."""

UNLIKELY = 0.01
"""So rarely would one of the features do that by accident."""

MAX_ROWS = 2_000  # of a part, that are looked at
MAX_BYTES = 64 * 2**20  # of them
LEAST = 10  # rows of the test part; of fewer a number may be met by accident
_INTERVALS = 256  # of a number's values, at most


class Suspect(NamedTuple):
    """A feature that alone gives the label, and the share of the test part's that it gives."""

    name: str
    share: float


class Looked(NamedTuple):
    """What is looked at of a part: some rows (m, d), and their labels (m,)."""

    x: NDArray[Any]
    y: NDArray[Any]


def some_rows(count: int, nbytes: int) -> slice:
    """Return which of `count` rows of `nbytes` each are looked at: all, or so many from the first to the last."""
    most = max(1, min(MAX_ROWS, MAX_BYTES // max(1, nbytes)))
    return slice(0, count, -(-count // most) or 1)


def suspects(train: Looked, test: Looked, classes: int, columns: str = "") -> list[Suspect]:
    """Return the features that alone give the label, the first of them first.

    `classes` is 0 where a number is to be given; `columns`, of what was a table, its columns as JSON text.
    """
    if len(test.y) < LEAST or np.ptp(train.y) == 0:
        return []
    from scipy.stats import binom  # here, not above, as it takes half a second

    # A number is told by its rank: whatever the units, a function that grows is as good as the number itself.
    truth = test.y if classes else _ranks(train.y, test.y)
    learned = train.y if classes else _ranks(train.y, train.y)
    guessed = float(np.bincount(truth).max() / len(truth)) if classes else 0.0
    found, features = [], 0
    for name, here, there, intervals in _features(train.x, test.x, columns):
        features += 1
        said = _told(here, there, learned, classes, intervals)
        if classes:
            right = int((said == truth).sum())
            share = right / len(truth)
            if guessed < 1 and (share - guessed) / (1 - guessed) >= ALONE:
                found.append((Suspect(name, share), float(binom.sf(right - 1, len(truth), guessed))))
        else:
            spread = float(np.square(truth - truth.mean()).mean())
            share = 1 - float(np.square(said - truth).mean()) / spread if spread else 0.0
            if share >= ALONE:
                found.append((Suspect(name, share), 0.0))
    return [suspect for suspect, chance in found if chance * features < UNLIKELY]


def _features(
    here: NDArray[Any], there: NDArray[Any], columns: str
) -> Iterator[tuple[str, NDArray[Any], NDArray[Any], int]]:
    """Yield each feature's name, its values in both parts, and in how many intervals they are seen (0: each alone).

    The features of a column of categories are one again: the number of the category.
    """
    if not columns:
        for place in range(here.shape[1]):
            yield f"column {place}", here[:, place], there[:, place], _INTERVALS
        return
    begin = 0
    for column in Columns.from_json(columns, "the data set").columns:
        x, other = here[:, begin : begin + column.width], there[:, begin : begin + column.width]
        begin += column.width
        if isinstance(column, Category):
            yield column.name, _number(x), _number(other), 0
        else:
            yield column.name, x[:, 0], other[:, 0], _INTERVALS


def _number(features: NDArray[Any]) -> NDArray[Any]:
    """Return of each row the place of its 1, -1 if it has none."""
    return np.where(features.any(axis=1), features.argmax(axis=1), -1)


def _told(here: NDArray[Any], there: NDArray[Any], y: NDArray[Any], classes: int, intervals: int) -> NDArray[Any]:
    """Return the label that each value of the other part has in the training part: the most frequent, or the mean."""
    distinct = np.unique(here)
    if intervals and len(distinct) > intervals:
        distinct = np.unique(np.quantile(here, np.linspace(0, 1, intervals), method="nearest"))
    edges = (distinct[1:].astype(np.float64) + distinct[:-1]) / 2
    interval, of_other, count = np.searchsorted(edges, here), np.searchsorted(edges, there), len(distinct)
    if classes:
        counts = np.bincount(interval * classes + y, minlength=count * classes).reshape(count, classes)
        return np.asarray(counts.argmax(axis=1)[of_other])
    sums = np.bincount(interval, weights=y, minlength=count)
    return np.asarray((sums / np.bincount(interval, minlength=count))[of_other])


def _ranks(known: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of the known numbers that lie below each."""
    ordered = np.sort(known)
    return (np.searchsorted(ordered, y, "left") + np.searchsorted(ordered, y, "right")) / (2 * len(ordered))
