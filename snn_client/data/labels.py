"""Photos whose classes are told by a CSV file beside them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from snn.errors import InvalidDataset
from snn_client.data.folders import Found, Layout, Part, Walker, folders_in, ordered, part_of, parts_of, readable
from snn_client.data.options import Options, some
from snn_data.dataset import MAX_NAME, MAX_SAMPLES
from snn_data.files import read_file

MAX_CLASSES_OF_NUMBERS = 50  # different whole numbers; of more, they are amounts
MAX_BYTES = 50_000_000  # of the table
_LABELS = ("label", "target", "class", "y", "category", "classname", "class_name", "diagnosis")
_PARTS = ("split", "set", "subset", "part", "partition")
_LOOKED_AT = 50  # rows, to find the column that names the files
Row = list[str]


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
    split, set or part tells the part. Raises InvalidDataset, naming table, column and row.
    """
    walker = Walker(root)
    files = _Files(root, [path for path in walker.files(root) if path.suffix.lower() not in (".csv", ".tsv")])
    told: list[tuple[Path, str, Part | None]] = []
    bad = list(walker.bad)
    for table, part in tables:
        told += _rows(table, part, files, options, bad)
    texts = [label for _, label, _ in told]
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
        return Layout([Found(path, float(text), part) for path, text, part in told], (), bad)
    names = {text: f"{float(text):g}" if whole else text for text in kinds}
    wrong = next((name for name in names.values() if len(name) > MAX_NAME), None)
    if wrong is not None:
        raise InvalidDataset(f"no class can have a name of {len(wrong)} characters", source=source)
    order = ordered(sorted(set(names.values())), options.classes, source)
    if len(order) < 2:
        raise InvalidDataset(f"tells of one class only, {order[0]}" if order else "tells of no photos", source=source)
    numbered = {name: number for number, name in enumerate(order)}
    return Layout([Found(path, numbered[names[text]], part) for path, text, part in told], order, bad)


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


def _rows(
    table: Path, part: Part | None, files: _Files, options: Options, bad: list[str]
) -> Iterator[tuple[Path, str, Part | None]]:
    source = readable(table)
    rows = _read(table, source)
    if len(rows) > MAX_SAMPLES:
        raise InvalidDataset(f"has {len(rows):,} rows", source=source, hint=f"at most {MAX_SAMPLES:,}")
    names, label, split, begin = _columns(rows, files, options, source)
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
        own = part_of(row[split].strip()) if split is not None and split < len(row) else part
        yield path, row[label].strip(), own or part


def _columns(rows: list[Row], files: _Files, options: Options, source: str) -> tuple[int, int, int | None, int]:
    """Return the columns of the files' names, the labels and the parts (None: no such), and the first row of data."""
    width = max((len(row) for row in rows[:_LOOKED_AT]), default=0)
    hits = [
        sum(1 for row in rows[:_LOOKED_AT] if column < len(row) and files.find(row[column])) for column in range(width)
    ]
    if not any(hits):
        raise InvalidDataset("no column names photos of the folder", source=source, hint="name them in the first one")
    names = hits.index(max(hits))
    titled = files.find(rows[0][names]) is None
    titles = [cell.strip().lower() for cell in rows[0]] if titled else []
    others = [column for column in range(width) if column != names]
    wanted: Sequence[str] = [options.split.lower()] if options.split else _PARTS
    split = next((titles.index(title) for title in wanted if title in titles), None)
    wanted = [options.label.lower()] if options.label else _LABELS
    label = next((titles.index(title) for title in wanted if title in titles), None)
    if label is None:
        left = [column for column in others if column != split]
        if options.label or not left:
            has = ", ".join(titles) or f"{width} columns without names"
            raise InvalidDataset(f"has no column of labels, only {has}", field=options.label, source=source)
        label = left[-1]
    return names, label, split, int(titled)


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
