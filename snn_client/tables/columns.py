"""The columns of a table as PyArrow reads them: what they hold, and how what they become is learned from them."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from snn.errors import InvalidDataset
from snn_data.columns import Category, Columns, Number, number_text

MAX_VALUES = 1_000
"""Of a column of categories; more of them are text, of which a network of numbers learns nothing."""

FEW = 10  # rows: among so few, values that never repeat say nothing
DATES = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
"""How dates are written, besides ISO's way."""

_ID = re.compile(r"(?:^|[_ .-])(id|index|idx|key|uuid|guid|no|nr|row|rownum|unnamed: ?0)$|(?<=[a-z])(Id|ID)$", re.I)


def encode(columns: Columns, block: pa.RecordBatch, first_row: int, source: str) -> NDArray[np.float32]:
    """Return rows as the network's inputs, (rows, features). Raises InvalidDataset for what is no number."""
    parts = [_encode(column, block.column(column.name), first_row, source) for column in columns.columns]
    return np.hstack(parts).astype(np.float32)


def _encode(column: Number | Category, array: pa.Array, first_row: int, source: str) -> NDArray[np.float64]:
    """Return (rows, features of the column). Raises InvalidDataset for a value that is no number."""
    if isinstance(column, Category):
        found = pc.index_in(to_texts(array), pa.array(column.values, pa.string()))
        return column.encode(np.asarray(found.fill_null(-1)))
    numbers = to_numbers(array)
    if numbers is None or np.isinf(numbers).any():
        raise _not_a_number(array, column.name, first_row, source)
    return column.encode(numbers)


@dataclass
class Seen:
    """What a column holds, found out block by block: numbers, dates, or text."""

    name: str
    rows: int = 0
    missing: int = 0
    numbers: bool = True
    dates: list[str] = field(default_factory=lambda: ["", *DATES])
    nested: bool = False
    whole: bool = True
    counts_up: bool = True
    rises: bool = True
    _last: float = math.nan

    def look(self, array: pa.Array) -> None:
        """Take the next block into account."""
        self.rows += len(array)
        self.missing += array.null_count
        kind = array.type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            self.nested, self.numbers, self.dates = True, False, []
        elif pa.types.is_temporal(kind):
            self.numbers = False
        else:
            self._look_at_values(array)

    def _look_at_values(self, array: pa.Array) -> None:
        numbers = to_numbers(array) if self.numbers else None
        self.numbers = numbers is not None
        if numbers is not None:
            if self.dates and array.null_count < len(array):
                self.dates = []
            present = numbers[~np.isnan(numbers)]
            self.missing += int(np.isnan(numbers).sum()) - array.null_count
            self.whole = self.whole and bool((present == np.floor(present)).all())
            if self.rises and len(present):
                steps = np.diff(present, prepend=self._last)
                steps = steps[~np.isnan(steps)]  # the first value of all has none before it
                self.rises = bool((steps > 0).all())
                self.counts_up = self.counts_up and bool((steps == 1).all())
                self._last = float(present[-1])
        elif self.dates:
            texts = to_texts(array)
            self.dates = [way for way in self.dates if to_times(texts, way) is not None]

    @property
    def is_date(self) -> bool:
        """Return whether it holds dates or times."""
        return bool(self.dates) and not self.numbers and self.missing < self.rows

    @property
    def useless(self) -> str:
        """Return why nothing can be learned from the column, whatever its training part is, or nothing."""
        if self.nested:
            return "holds neither numbers nor text"
        if self.missing == self.rows:
            return "is empty"
        if self.is_date:
            return "holds dates"
        counted = self.whole and self.numbers and not self.missing and self.rows > FEW
        if counted and self.rises and (self.counts_up or _ID.search(self.name)):
            return "numbers the rows"
        return ""


class Learner:
    """Learns what a column becomes, from the training part, block by block."""

    def __init__(self, name: str, numbers: bool) -> None:
        self.name, self._numbers = name, numbers
        self._rows = self._present = 0
        self._mean = self._squares = 0.0
        self._counts: Counter[str | None] = Counter()

    def look(self, array: pa.Array) -> None:
        """Take the training part's rows of the next block into account."""
        self._rows += len(array)
        if not self._numbers:
            if len(self._counts) <= MAX_VALUES or len(self._counts) == self._rows - len(array):
                for pair in pc.value_counts(to_texts(array)).to_pylist():
                    self._counts[pair["values"]] += pair["counts"]
            return
        numbers = to_numbers(array)
        assert numbers is not None  # noqa: S101  # as `Seen` has found
        present = numbers[~np.isnan(numbers)]
        if not len(present):
            return
        # Chan, Golub and LeVeque: means and squares of two parts make those of both, without cancellation.
        count, mean = len(present), float(present.mean())
        squares, delta = float(np.square(present - mean).sum()), mean - self._mean
        whole = self._present + count
        self._squares += squares + delta * delta * self._present * count / whole
        self._mean += delta * count / whole
        self._present = whole

    def learned(self) -> Number | Category | str:
        """Return what the column becomes, or why nothing can be learned from it."""
        if not self._numbers:
            if len(self._counts) < 2:
                return "is constant in the training part"
            if self._rows > FEW and len(self._counts) == self._rows:
                return "has another text in every row"
            if len(self._counts) > MAX_VALUES:
                return f"is text: more than {MAX_VALUES:,} different values"
            return Category(self.name, tuple(sorted(self._counts, key=lambda value: (value is None, value or ""))))
        # The scale is that of the column once the mean stands where values are missing, as scikit-learn has it.
        variance = self._squares / self._rows if self._rows else 0.0
        scale = math.sqrt(variance)
        if not scale > 1e-12 * max(1e-300, abs(self._mean)):
            return "is constant in the training part"
        return Number(self.name, self._mean, scale)


def to_numbers(array: pa.Array) -> NDArray[np.float64] | None:
    """Return a column as numbers, NaN where one is missing; None if it holds others values than numbers."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if not (_is_text(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind) or _is_number(kind)):
        return None
    try:
        numbers = pc.cast(array, pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return None
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def to_texts(array: pa.Array) -> pa.Array:
    """Return a column as text, null where a value is missing; whole numbers without their ".0"."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _is_text(array.type):
        return array if pa.types.is_string(array.type) else pc.cast(array, pa.string())
    if pa.types.is_floating(array.type):
        return pa.array([number_text(value) for value in array.to_pylist()], pa.string())
    return pc.cast(array, pa.string())


def to_times(array: pa.Array, way: str = "") -> NDArray[np.float64] | None:
    """Return dates as microseconds, NaN where one is missing; None if they are not written this way ("": ISO's)."""
    try:
        if pa.types.is_temporal(array.type):
            times = pc.cast(array, pa.timestamp("us"), safe=False)
        elif way:
            times = pc.strptime(array, way, "us")
        else:
            times = pc.cast(array, pa.timestamp("us"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    numbers = pc.cast(pc.cast(times, pa.int64()), pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def missing_rows(block: pa.RecordBatch) -> NDArray[np.bool_]:
    """Return which rows of a block lack a value."""
    missing = np.zeros(block.num_rows, bool)
    for array in block.columns:
        missing |= np.asarray(pc.is_null(array, nan_is_null=pa.types.is_floating(array.type)))
    return missing


def _not_a_number(array: pa.Array, name: str, first_row: int, source: str) -> InvalidDataset:
    """Return the error that names the first value that is no number, or is no finite one."""
    for row, value in enumerate(array.to_pylist(), start=first_row + 1):
        try:
            if value is None or not math.isinf(float(value)):
                continue
        except (TypeError, ValueError):
            pass
        return InvalidDataset(
            f"holds {str(value)[:100]!r} in row {row:,}", field=name, source=source, hint="give a number, or none"
        )
    return InvalidDataset("holds no numbers", field=name, source=source, hint="give numbers")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
