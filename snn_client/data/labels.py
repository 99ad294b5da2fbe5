"""Photos whose classes are told by a CSV file beside them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from snn.errors import InvalidDataset
from snn_client.data.folders import (
    Found,
    Layout,
    Part,
    Walker,
    chosen,
    folders_in,
    ordered,
    part_of,
    parts_of,
    readable,
)
from snn_client.data.options import Options, some
from snn_client.data.tables import groups_of, split_by_groups
from snn_client.tables import splits
from snn_data.dataset import MAX_NAME, MAX_SAMPLES
from snn_data.files import read_file

MAX_CLASSES_OF_NUMBERS = 50  # different whole numbers; of more, they are amounts
MAX_BYTES = 50_000_000  # of the table
_LABELS = ("label", "target", "class", "y", "category", "classname", "class_name", "diagnosis")
_PARTS = ("split", "set", "subset", "part", "partition")
_ONE_WAY = "choose one way to split"
_LOOKED_AT = 50  # rows, to find the column that names the files
Row = list[str]


class _Told(NamedTuple):
    """What a row tells of a photo: its label, its part if that is said, and the group or time to split by."""

    path: Path
    label: str
    part: Part | None
    by: str


class _Columns(NamedTuple):
    """Where a table has what; None: no such column. `begin` is the first row of data."""

    names: int
    label: int
    split: int | None
    by: int | None
    begin: int


def tables_of(root: Path, options: Options) -> list[tuple[Path, Part | None]]:
    """Return the tables that tell the classes of a folder's photos, each with the part that its name says; or none.

    Without the option `labels` a table is looked for where no folders tell classes. Raises InvalidDataset.
    """
    if options.labels:
        given = root / options.labels
        return [(given if given.exists() else Path(options.labels), None)]
    parts = parts_of(root)
    if any(folders_in(folder) for _, folder in parts) if len(parts) > 1 else len(folders_in(root)) > 1:
        return []
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv") and path.is_file())
    of_parts = [(path, part_of(path.stem)) for path in found if part_of(path.stem)]
    if len(found) > 1 and not of_parts:
        raise InvalidDataset(
            f"holds {len(found)} tables: {some([readable(path.name) for path in found], 5)}",
            source=readable(root),
            hint="name the one that tells the classes: labels",
        )
    return of_parts if len(found) > 1 else [(path, None) for path in found]


def read_labels(root: Path, tables: Sequence[tuple[Path, Part | None]], options: Options) -> Layout:
    """Return the photos that tables tell the classes of.

    A row names a photo by its path below the folder, or by its file's name, with or without the ending. A column named
    split, set or part tells the part, unless the photos are split by group or time. Raises InvalidDataset, naming
    table, column and row.
    """
    walker = Walker(root)
    files = _Files(root, [path for path in walker.files(root) if path.suffix.lower() not in (".csv", ".tsv")])
    told: list[_Told] = []
    bad = list(walker.bad)
    for table, part in tables:
        told += _rows(table, part, files, options, bad)
    texts = [one.label for one in told]
    kinds = set(texts)
    numbers = [number for text in kinds if (number := _number(text)) is not None]
    whole = len(numbers) == len(kinds) and all(number.is_integer() for number in numbers)
    few = len(kinds) <= MAX_CLASSES_OF_NUMBERS
    source = readable(tables[0][0])
    if options.task != "classification" and (
        options.task == "regression" or (len(numbers) == len(kinds) and not (whole and few))
    ):
        if len(numbers) != len(kinds):
            odd = next(text for text in texts if _number(text) is None)
            raise InvalidDataset(f"{odd!r} is no number", source=source, hint="give numbers, or learn classes")
        return Layout(_found(told, [float(text) for text in texts], (), options, source), (), bad)
    names = {text: f"{float(text):g}" if whole else text for text in kinds}
    wrong = next((name for name in names.values() if len(name) > MAX_NAME), None)
    if wrong is not None:
        raise InvalidDataset(f"no class can have a name of {len(wrong)} characters", source=source)
    order = ordered(chosen(sorted(set(names.values())), options.only, source), options.classes, source)
    if len(order) < 2:
        raise InvalidDataset(f"tells of one class only, {order[0]}" if order else "tells of no photos", source=source)
    numbered = {name: number for number, name in enumerate(order)}
    told = [one for one in told if names[one.label] in numbered]
    return Layout(_found(told, [numbered[names[one.label]] for one in told], order, options, source), order, bad)


def _found(
    told: Sequence[_Told], labels: Sequence[float], classes: tuple[str, ...], options: Options, source: str
) -> list[Found]:
    """Return the photos with their labels and parts: those that are told, or those by group or time."""
    column = options.group or options.time
    if not column:
        return [Found(one.path, label, one.part) for one, label in zip(told, labels, strict=True)]
    by = pa.chunked_array([pa.array([one.by or None for one in told], pa.string())])
    try:
        groups = groups_of(by, options)
        parts = split_by_groups(groups, np.array(labels, np.int64) if classes else None, classes, options)
    except InvalidDataset as problem:
        raise InvalidDataset(problem.problem, field=problem.field or column, source=source, hint=problem.hint) from None
    names: dict[int, Part] = {splits.TRAIN: "train", splits.TEST: "test", splits.VALIDATION: "validation"}
    return [
        Found(one.path, label, names[int(part)], group=int(group))
        for one, label, part, group in zip(told, labels, parts, groups.numbers, strict=True)
    ]


class _Files:
    """The files of a folder, found by path, name, or name without its ending where that is of one only."""

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        self._found: dict[str, Path | None] = {}
        for path in paths:
            below = readable(path, root)
            name = PurePosixPath(below)
            for known_as in {below, str(name.with_suffix("")), name.name, name.stem}:
                self._found[known_as] = None if known_as in self._found else path
        for path in paths:  # a whole path is never of two
            self._found[readable(path, root)] = path

    def find(self, name: str) -> Path | None:
        """Return the file of this name; None if there is none, or more than one."""
        return self._found.get(name.strip().removeprefix("./").replace("\\", "/"))


def _rows(table: Path, part: Part | None, files: _Files, options: Options, bad: list[str]) -> Iterator[_Told]:
    source = readable(table)
    rows = _read(table, source)
    if len(rows) > MAX_SAMPLES:
        raise InvalidDataset(f"has {len(rows):,} rows", source=source, hint=f"at most {MAX_SAMPLES:,}")
    names, label, split, by, begin = _columns(rows, files, options, source)
    if by is not None and part:
        raise InvalidDataset(f"is the {part} part", field=options.group or options.time, source=source, hint=_ONE_WAY)
    for number, row in enumerate(rows[begin:], begin + 1):
        if not any(cell.strip() for cell in row):
            continue
        if max(names, label) >= len(row) or not row[label].strip():
            bad.append(f"{table.name}, line {number}: has no label")
            continue
        path = files.find(row[names])
        if path is None:
            bad.append(f"{table.name}, line {number}: {row[names].strip()} is no one photo in the folder")
            continue
        says = row[split].strip() if split is not None and split < len(row) else ""
        own = part_of(says)
        if options.split and own is None:
            hint = "say train, test or validation"
            raise InvalidDataset(f"says {says!r} in line {number}", field=options.split, source=source, hint=hint)
        yield _Told(path, row[label].strip(), own or part, row[by].strip() if by is not None and by < len(row) else "")


def _columns(rows: list[Row], files: _Files, options: Options, source: str) -> _Columns:
    """Return where the files' names, the labels and what splits them are."""
    width = max((len(row) for row in rows[:_LOOKED_AT]), default=0)
    hits = [
        sum(1 for row in rows[:_LOOKED_AT] if column < len(row) and files.find(row[column])) for column in range(width)
    ]
    if not any(hits):
        raise InvalidDataset("no column names photos of the folder", source=source, hint="name them in the first one")
    names = hits.index(max(hits))
    titled = files.find(rows[0][names]) is None
    titles = [cell.strip().lower() for cell in rows[0]] if titled else []
    has = ", ".join(titles) or f"{width} columns without names"
    ways = [column for column in (options.group, options.time, options.split) if column]
    if len(ways) > 1:
        raise InvalidDataset("are two ways to split", field=" and ".join(ways), source=source, hint=_ONE_WAY)
    asked = titles.index(ways[0].lower()) if ways and ways[0].lower() in titles else None
    if ways and asked is None:
        raise InvalidDataset("is not a column of this table", field=ways[0], source=source, hint=f"it has {has}")
    split = next((titles.index(title) for title in _PARTS if title in titles), None) if not ways else None
    split, by = (asked, None) if options.split else (split, asked)
    wanted: Sequence[str] = [options.label.lower()] if options.label else _LABELS
    label = next((titles.index(title) for title in wanted if title in titles), None)
    if label is None:
        left = [column for column in range(width) if column not in (names, split, by)]
        if options.label or not left:
            raise InvalidDataset(f"has no column of labels, only {has}", field=options.label, source=source)
        label = left[-1]
    return _Columns(names, label, split, by, int(titled))


def _read(table: Path, source: str) -> list[Row]:
    raw = read_file(table, MAX_BYTES, InvalidDataset, source)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    head = text.partition("\n")[0]
    delimiter = max(",;\t|", key=head.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as problem:
        raise InvalidDataset(f"is no CSV: {problem}", source=source, hint="save it as CSV anew") from None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
