"""What the columns of a table become before a network sees them.

Numbers are standardised, a missing one is the mean; of categories each value is a feature of its own, 0 or 1, and one
that was not in the training part is none of them. A model keeps this as JSON text, so that it takes raw rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from snn.errors import InvalidDataset, InvalidModel

MISSING = [
    "", "?", "#N/A", "#NA", "N/A", "n/a", "NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "Null", "null", "None",
]  # fmt: skip
"""What stands for a missing value in text: what pandas takes for one, and the UCI archive's question mark."""

_MISSING = frozenset(MISSING)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Number:
    """A column of numbers: the network sees (x - mean) / scale."""

    name: str
    mean: float
    scale: float

    width = 1

    def encode(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (rows, 1) for numbers (rows,), NaN where one is missing."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.nan_to_num((numbers - self.mean) / self.scale)[:, None]


@dataclass(frozen=True)
class Category:
    """A column of categories: a feature of 0 or 1 for each of `values`; None is that the value is missing."""

    name: str
    values: tuple[str | None, ...]

    @property
    def width(self) -> int:
        """Return how many features the column becomes."""
        return len(self.values)

    def place(self, text: str | None) -> int:
        """Return the place of a value, -1 of none of them. Text that stands for none is that, unless it is a value."""
        missing = self._places.get(None, -1) if text in _MISSING else -1
        return self._places.get(text, missing)

    @cached_property
    def _places(self) -> dict[str | None, int]:
        return {value: place for place, value in enumerate(self.values)}

    def encode(self, places: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return (rows, values) for the places (rows,) of their values, -1 for one that is none of them."""
        return np.asarray(places[:, None] == np.arange(self.width), np.float64)


_COLUMNS: TypeAdapter[tuple[Number | Category, ...]] = TypeAdapter(tuple[Number | Category, ...])


@dataclass(frozen=True)
class Columns:
    """The columns that a network sees, in the order of its inputs."""

    columns: tuple[Number | Category, ...]

    @property
    def names(self) -> list[str]:
        """Return the columns' names in the table."""
        return [column.name for column in self.columns]

    @property
    def features(self) -> int:
        """Return how many numbers a row becomes."""
        return sum(column.width for column in self.columns)

    def encode_rows(self, rows: Sequence[Any], source: str) -> NDArray[np.float32]:
        """Return rows as JSON has them, each an object by the columns' names or a list in their order, as inputs.

        That is (rows, features). A value may be a number, text, true, false, or null where it is missing; what a table
        holds beside the columns is ignored. Raises InvalidDataset, naming column and row.
        """
        values: list[list[Any]] = [[] for _ in self.columns]
        for number, row in enumerate(rows, start=1):
            for kept, value in zip(values, self._in_order(row, number, source), strict=True):
                kept.append(value)
        parts = [_encode(column, held, source) for column, held in zip(self.columns, values, strict=True)]
        with np.errstate(over="ignore"):
            found = np.hstack(parts).astype(np.float32)
        if not np.isfinite(found).all():
            row = int(np.argmin(np.isfinite(found).all(axis=1))) + 1
            raise InvalidDataset(f"row {row:,} holds a number that is too large", source=source)
        return found

    def _in_order(self, row: Any, number: int, source: str) -> Sequence[Any]:
        if isinstance(row, Mapping):
            for name in self.names:
                if name not in row:
                    hint = f"give it, or null where its value is missing; the model reads {_some(self.names)}"
                    raise InvalidDataset(f"is not in row {number:,}", field=name, source=source, hint=hint)
            return [row[name] for name in self.names]
        if not isinstance(row, list):
            hint = f"give an object such as {{{self.names[0]!r}: …}}, or a list"
            raise InvalidDataset(f"row {number:,} is neither an object nor a list", source=source, hint=hint)
        if len(row) != len(self.columns):
            problem = f"row {number:,} has {len(row):,} values, not {len(self.columns):,}"
            raise InvalidDataset(problem, source=source, hint=f"give {_some(self.names)}, in this order")
        return row

    def to_json(self) -> str:
        """Return it as JSON text."""
        return _COLUMNS.dump_json(self.columns).decode()

    @classmethod
    def from_json(cls, text: str, source: str) -> Columns:
        """Read what `to_json` wrote. Raises InvalidModel."""
        try:
            return cls(_COLUMNS.validate_json(text, strict=True))
        except ValidationError as error:
            problem = f"is not what a table's columns become: {error.errors()[0]['msg']}"
            raise InvalidModel(problem, field="columns", source=source, hint="train it anew") from None


def _encode(column: Number | Category, values: Sequence[Any], source: str) -> NDArray[np.float64]:
    if isinstance(column, Category):
        told = [_text(value, column.name, row, source) for row, value in enumerate(values, start=1)]
        return column.encode(np.array([column.place(text) for text in told], np.int64))
    return column.encode(
        np.array([_number(value, column.name, row, source) for row, value in enumerate(values, start=1)], np.float64)
    )


def _number(value: Any, name: str, row: int, source: str) -> float:
    """Return a value as a number, NaN for a missing one."""
    try:
        if value is None:
            return math.nan
        if isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
        if isinstance(value, str):
            text = value.strip()
            if text in _MISSING:
                return math.nan
            if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
                return float(text)
    except OverflowError:
        pass
    hint = "give a number, or null where its value is missing"
    raise InvalidDataset(f"holds {_shown(value)} in row {row:,}", field=name, source=source, hint=hint)


def _text(value: Any, name: str, row: int, source: str) -> str | None:
    """Return a value as the text of a category, None for a missing one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and not math.isinf(value)):
        return str(value) if isinstance(value, int) else number_text(value)
    if value is None or isinstance(value, str):
        return value and value.strip()
    hint = "give text or a number, or null where its value is missing"
    raise InvalidDataset(f"holds {_shown(value)} in row {row:,}", field=name, source=source, hint=hint)


def _shown(value: Any) -> str:
    """Return a value as a message quotes it; a list or an object may nest without end, so it is not written out."""
    if isinstance(value, list | Mapping):
        return "an object" if isinstance(value, Mapping) else "a list"
    return repr(str(value)[:100])


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def number_text(value: float | None) -> str | None:
    """Return a number as people write it, None of one that is missing."""
    if value is None or math.isnan(value):
        return None
    return str(int(value)) if value == math.floor(value) and abs(value) < 1e15 else repr(float(value))
