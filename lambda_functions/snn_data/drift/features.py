"""What is measured of samples, by their kind: a table's columns, the looks of photos, where features lie, labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_data.columns import Category, Columns, Number
from snn_data.drift.bins import Bins, Numbers, Values
from snn_data.drift.chance import Counts, Floats
from snn_data.drift.directions import Directions
from snn_data.drift.looks import looks
from snn_data.drift.looks import names as look_names

Kind = Literal["labels", "number", "category", "missing", "photo", "embedding"]

MOST_COLUMNS = 400
"""Of a table that are compared, the first ones."""

FEW = 64
"""Numbers of a sample up to which each is compared by itself, where they have no names; more of them by directions."""

LABELS = "labels"
_NAME = 60  # characters
_MOST_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Measured:
    """One feature of some samples: numbers (m,), or the values of a category and how often each is there (v + 1,).

    `blur` returns how far numbers near these may lie apart and still be one number.
    """

    name: str
    kind: Kind
    numbers: Floats | None = None
    values: tuple[str | None, ...] = ()
    counts: Counts | None = None
    blur: Callable[[Floats], Floats] | None = None

    def binned(self, most_cuts: int, most_values: int) -> Bins:
        """Return the bins of a reference."""
        if self.numbers is not None:
            return Numbers.of(self.numbers, most_cuts, *([self.blur] if self.blur else []))
        assert self.counts is not None  # noqa: S101 # nosec B101
        return Values.of(self.values, self.counts, most_values)

    def counted(self, bins: Bins, coarse: bool = False) -> Counts | None:
        """Return how many samples lie in each bin of a reference; None if that has values, and this numbers."""
        if isinstance(bins, Numbers):
            if self.numbers is None:
                return None
            return bins.count_coarse(self.numbers) if coarse else bins.count(self.numbers)
        return None if self.counts is None else bins.count(self.values, self.counts)


def of_photos(photos: NDArray[np.uint8]) -> Iterator[Measured]:
    """Yield the looks of photos (m, height, width, 3), (m, height, width, 1) or (m, height, width)."""
    found = looks(photos)
    for name, numbers in zip(look_names(photos.shape[1:]), found.T, strict=True):
        yield Measured(name, "photo", numbers)


def of_directions(rows: NDArray[Any], directions: Directions) -> Iterator[Measured]:
    """Yield where features (m, d) lie."""
    for name, numbers in zip(directions.names, directions.numbers(rows).T, strict=True):
        yield Measured(name, "embedding", numbers)


def of_numbers(rows: NDArray[Any]) -> Iterator[Measured]:
    """Yield each number of samples (m, d) that have no names."""
    for number, column in enumerate(rows.T):
        yield Measured(f"column {number}", "number", column.astype(np.float64))


def of_table(rows: NDArray[Any], columns: Columns) -> Iterator[Measured]:
    """Yield a table's columns, of rows (m, features) as the network sees them, in the units of the table."""
    at = 0
    for column in columns.columns[:MOST_COLUMNS]:
        encoded = rows[:, at : at + column.width]
        at += column.width
        yield from _category(encoded, column) if isinstance(column, Category) else _number(encoded[:, 0], column)


def of_labels(y: NDArray[Any], classes: Sequence[str]) -> Measured:
    """Return the labels (m,) of samples: the mix of classes, or numbers."""
    if not classes:
        return Measured(LABELS, "labels", y.astype(np.float64))
    counts = np.append(np.bincount(y.astype(np.int64), minlength=len(classes)), 0)
    return Measured(LABELS, "labels", values=tuple(map(short, classes)), counts=counts)


def short(name: str) -> str:
    """Return a name; of a very long one its beginning, and what tells it from others that begin so."""
    return name if len(name) <= _NAME else f"{name[:_NAME]}…{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _number(encoded: NDArray[Any], column: Number) -> Iterator[Measured]:
    """Yield the numbers that are there, and how many are missing: those that are the mean to the last digit."""

    def blur(at: Floats) -> Floats:
        # float32 keeps 24 bits of (x − mean) / scale, and another data set was scaled otherwise.
        return np.asarray(3e-7 * np.abs(at - column.mean) + 3e-8 * column.scale + 1e-12 * abs(column.mean))

    name, numbers = short(column.name), encoded.astype(np.float64) * column.scale + column.mean
    there = encoded != 0
    if there.any() and not there.all() and not _may_be_a_value(numbers[there], column, blur):
        counts = np.array([np.count_nonzero(there), np.count_nonzero(~there), 0])
        numbers = numbers[there]
    else:
        counts = np.array([len(encoded), 0, 0])
    yield Measured(name, "number", numbers, blur=blur)
    yield Measured(f"{name}: missing", "missing", values=("given", None), counts=counts)


def _may_be_a_value(numbers: Floats, column: Number, blur: Callable[[Floats], Floats]) -> bool:
    """Return whether the mean is written with no more decimals than the numbers: 3 among whole numbers may be a 3."""
    for decimals in range(_MOST_DECIMALS + 1):
        grid = 10.0**-decimals
        if grid < 100 * float(blur(np.array([column.mean]))[0]):
            break
        if (np.abs(numbers - np.round(numbers / grid) * grid) <= 2 * blur(numbers)).all():
            return abs(column.mean - round(column.mean / grid) * grid) <= 1e-9 * grid + 1e-12 * abs(column.mean)
    return False


def _category(encoded: NDArray[Any], column: Category) -> Iterator[Measured]:
    counts = (encoded > 0.5).sum(0).astype(np.int64)
    values = tuple(value if value is None else short(value) for value in column.values)
    yield Measured(
        short(column.name), "category", values=values, counts=np.append(counts, max(0, len(encoded) - counts.sum()))
    )
