"""What a model takes, as inputs of an ONNX graph: photos, features, or the columns of a table as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np

from snn_client.portable.graph import ML, Graph
from snn_data.columns import MISSING, Category, Columns, Number
from snn_data.model import Model
from snn_photos.reading import Reading


class ColumnInput(TypedDict):
    """Which column of a table an input takes; of one that holds categories, those that the model knows."""

    input: str
    column: str
    type: str
    values: NotRequired[list[str | None]]


class Taken(NamedTuple):
    """What was added: the numbers that the network reads (m, features), and what the model says of its inputs."""

    X: str
    about: str
    metadata: dict[str, str]


def add_inputs(graph: Graph, model: Model, batch: int | str) -> Taken:
    """Add the inputs that a model reads. Raises InvalidModel if its file does not say what it reads."""
    if "columns" in model.attributes:
        return _columns(graph, Columns.from_json(str(model.attributes["columns"]), model.source), batch)
    if len(model.shape) == 3:
        return _photos(graph, model, batch)
    return _features(graph, model, batch)


def _photos(graph: Graph, model: Model, batch: int | str) -> Taken:
    height, width, channels = model.shape
    how = Reading.of(str(model.attributes.get("photos", "")))
    colours = "RGB" if channels == 3 else "grey"
    about = (
        f"photos (m, {height}, {width}, {channels}), uint8: pixels in 0..255, {colours}, upright, in sRGB; a photo of "
        f"another size is brought to this one by {how.fit} (bilinear)"
    )
    pixels = graph.cast(graph.input("photos", np.uint8, model.shape, about, batch))
    X = graph.node("Flatten", graph.node("Div", pixels, graph.constant(255)), axis=1)
    return Taken(X, about, {"image_shape": json.dumps(model.shape), "photos": how.to_text()})


def _features(graph: Graph, model: Model, batch: int | str) -> Taken:
    """A backbone gives float32, whatever the head computes in."""
    of_backbone = "backbone" in model.attributes
    dtype = np.dtype(np.float32) if of_backbone else graph.dtype
    about = f"features (m, {model.features}), {dtype}, {'of the backbone' if of_backbone else 'as they were learned'}"
    X = graph.input("features", dtype, [model.features], about, batch)
    if of_backbone:  # which may give them as a map of one pixel, (m, d, 1, 1)
        X = graph.cast(graph.node("Flatten", X, axis=1))
    return Taken(X, about, {})


def _columns(graph: Graph, columns: Columns, batch: int | str) -> Taken:
    """An input for each column, so that a stranger feeds rows as they stand in the table.

    Encoded as `snn_data.columns` does: in float64, the result rounded to float32. Numbers that stand beside each other
    are standardised together.
    """
    told: list[ColumnInput] = []
    parts: list[str] = []
    names = _identifiers(columns.names)
    for kind, some in groupby(columns.columns, type):
        group = list(some)
        taken = [next(names) for _ in group]
        if kind is Number:
            numbers = [column for column in group if isinstance(column, Number)]
            parts.append(_numbers(graph, numbers, taken, batch))
            told += [
                {"input": name, "column": each.name, "type": "float64, NaN: missing"}
                for name, each in zip(taken, numbers, strict=True)
            ]
            continue
        for name, column in zip(taken, group, strict=True):
            assert isinstance(column, Category)  # noqa: S101
            parts.append(_category(graph, column, name, batch))
            told.append({"input": name, "column": column.name, "type": "string", "values": list(column.values)})
    encoded = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    X = graph.cast(graph.cast(encoded, np.float32))
    about = (
        f"{len(told)} columns of a table, each (m, 1): numbers as float64, NaN where one is missing; categories as "
        'text without blanks around it, "" where it is missing, numbers among them as 3 and 0.5'
    )
    return Taken(X, about, {"inputs": json.dumps(told)})


def _numbers(graph: Graph, columns: Sequence[Number], names: Sequence[str], batch: int | str) -> str:
    """Return (m, columns) in float64: (x - mean) / scale, and 0, the mean, where a value is missing."""
    given = [
        graph.input(name, np.float64, [1], f"the column {column.name!r}, a number; NaN: missing", batch)
        for name, column in zip(names, columns, strict=True)
    ]
    x = given[0] if len(given) == 1 else graph.node("Concat", *given, axis=1)
    centred = graph.node("Sub", x, graph.constant([column.mean for column in columns], np.float64))
    scaled = graph.node("Div", centred, graph.constant([column.scale for column in columns], np.float64))
    return graph.node("Where", graph.node("IsNaN", scaled), graph.constant(0, np.float64), scaled)


def _category(graph: Graph, column: Category, name: str, batch: int | str) -> str:
    """Return (m, values) in float64: 1 for the value that a text is, and none for another."""
    text = graph.input(name, str, [1], f"the column {column.name!r}, a category", batch)
    texts = list(dict.fromkeys([*(value for value in column.values if value is not None), *MISSING]))
    places = [column.place(value) for value in texts]
    encoder = {"keys_strings": texts, "values_int64s": places, "default_int64": -1}
    place = graph.node("LabelEncoder", text, domain=ML, **encoder)
    known = graph.constant(np.arange(column.width), np.int64)
    return graph.cast(graph.node("Equal", place, known), np.float64)


def _identifiers(columns: Sequence[str]) -> Iterator[str]:
    """Yield a name for each column, as ONNX wants names: letters, digits and _, none twice."""
    taken = set[str]()
    for column in columns:
        plain = re.sub(r"\W", "_", column, flags=re.ASCII) or "column"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        name, number = plain, 2
        while name in taken or name in _OURS:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        yield name


_OURS = {"probabilities", "label", "value"}
"""Outputs: no input may have their names."""
