"""The rows of a table that a batch is asked about."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from snn_client.data.tables import check_name
from snn_client.serving.batch_contents import Kind
from snn_client.serving.batch_inputs import CHARACTERS_AT_ONCE, Inputs, Survey, changed
from snn_client.tables.columns import to_numbers, to_texts
from snn_client.tables.files import TableFile
from snn_data.columns import Category, Columns
from snn_data.model import Model

ROWS_AT_ONCE = 5_000
ANSWERS_AT_ONCE = 400_000
"""Probabilities in the answers of a part: of many classes there are fewer rows in it."""

_CONVERTED = 2_000  # rows at a time


class Rows:
    """The rows of a table, each as the values that the model reads. A name is the table's, # and the row's number.

    Raises InvalidInput for a table without a column that the model reads.
    """

    kind: Kind = "rows"

    def __init__(self, path: Path, model: Model, source: str = "") -> None:
        self.source = source or str(path)
        self._name = self.source.rpartition("/")[2]
        self._path, self._table = path, TableFile(path, self.source)
        text = model.attributes.get("columns")
        self._columns = None if text is None else Columns.from_json(str(text), model.source)
        if self._columns is not None:
            for name in self._columns.names:
                check_name(self._table, name, "is missing: the network was trained on it")
        elif len(self._table.names) != model.features:
            problem = f"has {len(self._table.names):,} columns, but the model reads {model.features:,} features"
            raise self._table.error(problem, hint="give exactly these, in their order")
        self._most = max(1, min(ROWS_AT_ONCE, ANSWERS_AT_ONCE // max(1, len(model.classes))))

    def survey(self) -> Survey:
        """Read the table's bytes, and count its rows."""
        before = self._stamp()
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        rows = sum(block.num_rows for block in self._table.blocks(self._table.names[:1]))
        if not rows:
            raise self._table.error("has no rows", hint="a table has a header and rows")
        if self._stamp() != before:
            raise changed(self.source)
        return Survey(rows, math.ceil(rows / self._most), before[0], digest.hexdigest())

    def parts(self) -> Iterator[Inputs]:
        """Yield the rows as JSON values."""
        before, first = self._stamp(), 1
        some, length, beside = list[list[Any]](), 0, len(json.dumps(self._name)) + 20
        for row in self._rows():
            characters = len(json.dumps(row)) + beside
            if characters > CHARACTERS_AT_ONCE:
                raise self._table.error(f"row {first + len(some):,} is too large to be sent")
            if some and (len(some) == self._most or length + characters > CHARACTERS_AT_ONCE):
                yield self._part(first, some)
                first, some, length = first + len(some), [], 0
            some.append(row)
            length += characters
        if some:
            yield self._part(first, some)
        if self._stamp() != before:
            raise changed(self.source)

    def _part(self, first: int, rows: list[list[Any]]) -> Inputs:
        names = [f"{self._name}#{number}" for number in range(first, first + len(rows))]
        fields: dict[str, Any] = {"rows": rows, "first": first}
        if self._columns is not None:
            fields["columns"] = self._columns.names
        return Inputs(first, names, hashlib.sha256(json.dumps(rows).encode()).hexdigest(), lambda: fields)

    def _rows(self) -> Iterator[list[Any]]:
        columns = self._columns
        names = list(self._table.names) if columns is None else columns.names
        texts = {column.name for column in columns.columns if isinstance(column, Category)} if columns else set()
        for block in self._table.blocks(names):
            for start in range(0, block.num_rows, _CONVERTED):  # a block as Python's objects is many times its size
                some = block.slice(start, _CONVERTED)
                values = [json_values(some.column(name), name in texts) for name in names]
                yield from map(list, zip(*values, strict=True))

    def _stamp(self) -> tuple[int, int]:
        about = self._path.stat()
        return about.st_size, about.st_mtime_ns


def json_values(array: pa.Array, is_text: bool) -> list[Any]:
    """Return a column's values as JSON has them: text, or numbers, or what stands there instead; None for missing."""
    if is_text:
        texts: list[Any] = to_texts(array).to_pylist()
        return texts
    numbers = to_numbers(array)
    if numbers is None:  # one of them at least is none, and its row shall be named
        return [None if value is None else str(value) for value in array.to_pylist()]
    return [None if math.isnan(x) else x if math.isfinite(x) else str(x) for x in numbers.tolist()]
