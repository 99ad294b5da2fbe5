"""A data set made of a table: which column is learned, which rows train and test, and what the other columns become.

The file is read three times and never held whole: to see what its columns hold, to learn from the training part what
they become, and to write them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from snn.batches import Groups
from snn.errors import InvalidDataset, InvalidInput
from snn_client.data.folders import chosen, ordered
from snn_client.data.options import Options, Progress, some
from snn_client.tables import splits
from snn_client.tables.columns import Learner, Seen, encode, missing_rows, to_numbers, to_texts, to_times
from snn_client.tables.files import ENDINGS, TableFile, is_table
from snn_data.columns import Columns, number_text
from snn_data.dataset import MAX_CLASSES, MAX_SAMPLES
from snn_data.groups import write_groups
from snn_data.hdf5 import MAX_BYTES

LABELS = ("label", "target", "class", "y")
FEW_NUMBERS = 50
"""So many different whole numbers are classes; more are numbers to give."""

SPLITS = ("group", "time", "split")
PARTS = {"train": splits.TRAIN, "test": splits.TEST, "validation": splits.VALIDATION}


def make(path: Path, options: Options, target: Path, progress: Progress) -> None:
    """Write a `datasets.h5` of a CSV or Parquet file.

    Raises InvalidDataset, naming the file and the column, for what cannot be used.
    """
    table = TableFile(path)
    label = _label(table, options)
    progress.note(f"{path.name}: learns {label}")
    split_by = {way: column for way in SPLITS if (column := getattr(options, way))}
    for name in (*options.drop, *split_by.values()):
        check_name(table, name)
    if len(split_by) > 1:
        raise table.error("are two ways to split", field=" and ".join(split_by), hint="choose one")
    kept = {label, *split_by.values()}
    features = [name for name in table.names if name not in kept and name not in options.drop]
    seen, whole = _look(table, features, [name for name in table.names if name in kept], progress)
    numbered = {name: column.numbers for name, column in seen.items() if not column.useless}
    left_out = [f"{name} {column.useless}" for name, column in seen.items() if column.useless]
    y, classes = _answers(table, label, whole[label], options)
    usable = _usable(table, y, list(numbered), options, progress)
    parts, groups = _parts(table, whole, y, classes, usable, options)
    learners = [Learner(name, numbers) for name, numbers in numbered.items()]
    for block, places in _blocks(table, list(numbered)):
        training = block.filter(pa.array(parts[places] == splits.TRAIN))
        for learner in learners:
            learner.look(training.column(learner.name))
    learned = {learner.name: learner.learned() for learner in learners}
    left_out += [f"{name} {why}" for name, why in learned.items() if isinstance(why, str)]
    columns = Columns(tuple(column for column in learned.values() if not isinstance(column, str)))
    if left_out:
        progress.note(f"{path.name}: left out: {some(left_out)}")
    if not columns.columns:
        raise table.error("no column is left to learn from", hint="check what was left out, or name another label")
    _write(table, columns, parts, y, classes, groups, target, progress)


def read_rows(path: Path | str, columns: Columns, source: str = "") -> Iterator[NDArray[np.float32]]:
    """Yield the rows of a table as a network's inputs (rows, features), some thousand at a time.

    The table needs the columns that the network was trained on; others in it are passed over. Raises InvalidDataset.
    """
    table = TableFile(path, source)
    for name in columns.names:
        check_name(table, name, "is missing: the network was trained on it")
    for block, places in _blocks(table, columns.names):
        yield encode(columns, block, places.start, table.source)


def rows_in(content: bytes, columns: Columns, source: str) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of a table in memory as `read_rows` does; `source` is its name, which says what kind it is."""
    with tempfile.NamedTemporaryFile(prefix="snn-") as file:
        file.write(content)
        file.flush()
        yield from read_rows(file.name, columns, source)


def check_rows(content: bytes, columns: str, source: str) -> None:
    """Raise InvalidInput if a network that reads `columns` (JSON text) cannot be asked about a table's rows."""
    check_table(source)
    for _ in rows_in(content, Columns.from_json(columns, source), source):
        pass


def check_table(name: str) -> None:
    """Raise InvalidInput unless a file of this name is a table."""
    if not is_table(name):
        raise InvalidInput("is not a table", source=name, hint=f"rows are asked about: give {', '.join(ENDINGS)}")


def _label(table: TableFile, options: Options) -> str:
    if options.label:
        check_name(table, options.label)
        return options.label
    taken = (*options.drop, options.group, options.time, options.split)
    names = [name for name in table.names if name not in taken]
    known = [name for wanted in LABELS for name in names if name.lower() == wanted]
    if not names:
        raise table.error("has no column to learn", hint="name it by label")
    return (known or names[-1:])[0]


def check_name(table: TableFile, name: str, problem: str = "is not a column of this table") -> None:
    """Raise InvalidDataset if a table has no column of this name."""
    if name not in table.names:
        shown = ", ".join(table.names[:20]) + (" …" if len(table.names) > 20 else "")
        raise table.error(problem, field=name, hint=f"it has {shown}")


def _blocks(table: TableFile, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, slice]]:
    """Yield the table block by block, each with its rows' places."""
    start = 0
    for block in table.blocks(columns):
        yield block, slice(start, start + block.num_rows)
        start += block.num_rows


def _look(
    table: TableFile, features: Sequence[str], kept: Sequence[str], progress: Progress
) -> tuple[dict[str, Seen], dict[str, pa.ChunkedArray]]:
    """Return what the features hold, and the other columns as a whole."""
    seen, whole, rows = {name: Seen(name) for name in features}, {name: list[pa.Array]() for name in kept}, 0
    for block, places in _blocks(table, [*features, *kept]):
        rows = places.stop
        if rows > MAX_SAMPLES:
            raise table.error(f"has more than {MAX_SAMPLES:,} rows", hint="give fewer")
        for name in features:
            seen[name].look(block.column(name))
        for name in kept:
            whole[name].append(block.column(name))
        progress.at(f"reading {table.path.name}, rows", rows, rows)
    if not rows:
        raise table.error("has no rows", hint="a table has a header and rows")
    return seen, {name: pa.chunked_array(arrays) for name, arrays in whole.items()}


def _answers(
    table: TableFile, label: str, column: pa.ChunkedArray, options: Options
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the number of each row's class, or the one to give, NaN where it is missing; and the classes' names."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    numbers = None if pa.types.is_boolean(array.type) else to_numbers(array)
    if numbers is not None:
        present = np.unique(numbers[np.isfinite(numbers)])
        few = len(present) <= FEW_NUMBERS and bool((present == np.floor(present)).all())
        if options.task == "regression" or not (few or options.task):
            if np.isinf(numbers).any():
                row = int(np.flatnonzero(np.isinf(numbers))[0]) + 1
                raise table.error(f"holds {numbers[row - 1]} in row {row:,}", field=label, hint="give a number")
            return numbers, ()
        names = [str(number_text(value)) for value in present]
        values = pa.array([number_text(value) for value in numbers.tolist()], pa.string())
    else:
        if options.task == "regression":
            raise table.error("holds no numbers: there is no regression", field=label, hint="leave task out")
        values, numbers = to_texts(array), None
        names = sorted(value for value in values.unique().to_pylist() if value is not None)
    if options.only:
        names = chosen(names, options.only, table.source)
        values = pc.if_else(pc.is_in(values, pa.array(names, pa.string())), values, pa.scalar(None, pa.string()))
    if options.classes:
        if sorted(options.classes) != sorted(names):
            raise table.error(f"has the classes {some(names)}", field=label, hint="name exactly these by classes")
        names = list(options.classes)
    rows = len(values) - values.null_count
    if not 2 <= len(names) <= MAX_CLASSES or (len(names) > FEW_NUMBERS and 2 * len(names) > rows):
        raise table.error(
            f"has {len(names):,} different values in {rows:,} rows: these are no classes", field=label,
            hint="name another column by label",
        )  # fmt: skip
    if numbers is None and not options.classes:
        names = list(ordered(names, (), table.source))
    found = np.asarray(pc.index_in(values, pa.array(names, pa.string())).cast(pa.float64()).fill_null(np.nan))
    return found, tuple(names)


def _usable(
    table: TableFile, y: NDArray[np.float64], names: Sequence[str], options: Options, progress: Progress
) -> NDArray[np.bool_]:
    """Return which rows can be used: those with a label and, if so asked, with no value missing."""
    usable = ~np.isnan(y)
    if count := int((~usable).sum()):
        others = ", or of other classes than are wanted," if options.only else ""
        progress.note(f"{table.path.name}: {count:,} rows without a label{others} left out")
    if options.missing == "drop":
        before = int(usable.sum())
        for block, places in _blocks(table, names):
            usable[places] &= ~missing_rows(block)
        if count := before - int(usable.sum()):
            progress.note(f"{table.path.name}: {count:,} rows with missing values left out")
    if not usable.any():
        raise table.error("no row can be used: in each something is missing", hint="fill in what is missing")
    return usable


def _parts(
    table: TableFile, whole: dict[str, pa.ChunkedArray], y: NDArray[np.float64], classes: tuple[str, ...],
    usable: NDArray[np.bool_], options: Options,
) -> tuple[splits.Parts, Groups | None]:  # fmt: skip
    """Return the part of each row, and the groups of those to train on, if rows are split by group or time."""
    parts, groups = np.full(len(y), splits.LEFT_OUT, np.int8), None
    way = next((name for name in SPLITS if getattr(options, name)), "")
    column = getattr(options, way) if way else ""
    rows = np.flatnonzero(usable)
    labels = y[rows].astype(np.int64) if classes else None
    try:
        if way == "split":
            texts = _texts(whole[column])
            parts[rows] = splits.given([texts[row] for row in rows])
        elif way:
            groups = groups_of(whole[column].take(pa.array(rows)), options)
            parts[rows] = split_by_groups(groups, labels, classes, options)
            groups = groups._replace(numbers=groups.numbers[parts[rows] == splits.TRAIN])
        else:
            parts[rows] = splits.by_class(labels, len(rows), options.test_share, options.seed, classes)
        if labels is not None:
            splits.check_classes(parts[rows], labels, classes)
    except InvalidDataset as problem:
        raise table.error(problem.problem, field=problem.field or column, hint=problem.hint) from None
    return parts, groups


def groups_of(column: pa.ChunkedArray, options: Options) -> Groups:
    """Return the groups that a column tells or, if `options` say so, the times. Raises InvalidDataset."""
    told = _times(column) if options.time else np.array(_texts(column), object).astype(str)
    return Groups(np.unique(told, return_inverse=True)[1].astype(np.int64), bool(options.time))


def split_by_groups(
    groups: Groups, y: NDArray[np.int64] | None, classes: Sequence[str], options: Options
) -> splits.Parts:
    """Return the part of each sample, which parts no group; of times the latest are tested.

    `y` are the samples' classes, None where a number is to be given. Raises InvalidDataset.
    """
    numbers = groups.numbers

    def split(places: NDArray[np.intp], held: float) -> splits.Parts:
        if groups.in_time:
            return splits.by_time(numbers[places], held)
        return splits.by_group(None if y is None else y[places], numbers[places], held, options.seed, classes)

    return splits.apart(len(numbers), options.test_share, split)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    return [text for chunk in column.chunks for text in to_texts(chunk).to_pylist()]


def _times(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column as times, or other numbers that grow. Raises InvalidDataset."""
    seen = Seen("")
    for chunk in column.chunks:
        seen.look(chunk)
    if seen.missing:
        raise InvalidDataset(f"is missing in {seen.missing:,} rows", hint="fill it in, or leave the rows out")
    if seen.numbers:
        return np.concatenate([numbers for chunk in column.chunks if (numbers := to_numbers(chunk)) is not None])
    if not seen.dates:
        raise InvalidDataset("holds no times", hint="write them as 2026-11-29 or 2026-11-29 21:30:00, or as numbers")
    if len(seen.dates) > 1 and not pa.types.is_temporal(column.type):
        raise InvalidDataset("may be day/month or month/day", hint="write dates as 2026-11-29")
    times = [to_times(chunk, seen.dates[0]) for chunk in column.chunks]
    return np.concatenate([each for each in times if each is not None])


def _write(
    table: TableFile, columns: Columns, parts: splits.Parts, y: NDArray[np.float64], classes: tuple[str, ...],
    groups: Groups | None, target: Path, progress: Progress,
) -> None:  # fmt: skip
    counts = {name: int((parts == part).sum()) for name, part in PARTS.items()}
    size = max(counts.values()) * columns.features * 4
    if size > MAX_BYTES:
        raise table.error(
            f"would become {size / 1e9:.1f} GB: {columns.features:,} features of {sum(counts.values()):,} rows",
            hint=f"at most {MAX_BYTES / 1e9:.1f} GB: drop columns, or give fewer rows",
        )
    with h5py.File(target, "w") as h5:
        for name, part in PARTS.items():
            if counts[name]:
                h5.create_dataset(f"{name}_set_x", (counts[name], columns.features), np.float32)
                labels = y[parts == part]
                h5.create_dataset(f"{name}_set_y", data=labels.astype(np.int64) if classes else labels)
        if classes:
            h5.create_dataset("list_classes", data=np.array([name.encode() for name in classes]))
        h5.attrs["columns"] = columns.to_json()
        if groups is not None:
            write_groups(h5, groups)
        written = dict.fromkeys(PARTS, 0)
        for block, places in _blocks(table, columns.names):
            encoded = encode(columns, block, places.start, table.source)
            for name, part in PARTS.items():
                rows = encoded[parts[places] == part]
                if len(rows):
                    h5[f"{name}_set_x"][written[name] : written[name] + len(rows)] = rows
                    written[name] += len(rows)
            progress.at(f"writing {target.name}, rows", places.stop, len(parts))
    if written != counts:
        raise table.error("changed while it was being read", hint="try again")
