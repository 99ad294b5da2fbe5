"""The course's pair of files, `train_….h5` and `test_….h5`, made into one data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidDataset
from snn_client.data.making import Writer
from snn_client.data.options import Options, Progress
from snn_data.hdf5 import check_stored, find_array, read_hdf5
from snn_data.isolated import raise_limits

_ROWS_BYTES = 32 * 2**20  # that are copied at a time


def is_half(file: Path) -> bool:
    """Return whether a file is one of a pair: named train… or test…, with the other beside it, and no more in it.

    Raises InvalidDataset if it cannot be read.
    """
    return _pair(file) is not None and read_hdf5(
        file, str(file), InvalidDataset, lambda h5: ("train_set_x" in h5) != ("test_set_x" in h5)
    )


def make(file: Path, options: Options, target: Path, progress: Progress) -> None:
    """Write the data set that a pair of files is to `target`. `file` is either of the two.

    Raises InvalidDataset, naming the file, for what is missing or damaged.
    """
    pair = _pair(file)
    if pair is None:
        raise InvalidDataset("has no other of its pair beside it", source=str(file))
    train, test = pair
    names = _classes(train)
    if _classes(test) != names:
        raise InvalidDataset(f"has other classes than {train.name}", field="list_classes", source=str(test))
    shape, dtype = _rows(train, "train_set_x", 0, 0)
    with Writer(target, shape, dtype, names) as writer:
        for part, source in (("train", train), ("test", test)):
            _copy(part, source, shape, dtype, writer, progress)


def _copy(
    part: str, file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], writer: Writer, progress: Progress
) -> None:
    def labels(h5: h5py.File) -> NDArray[Any]:
        item = find_array(h5, f"{part}_set_y", str(file), InvalidDataset)
        check_stored(f"{part}_set_y", item.nbytes, item.id.get_storage_size(), str(file), InvalidDataset)
        return np.asarray(item[()]).ravel()

    truth = read_hdf5(file, str(file), InvalidDataset, labels)
    at_once = max(1, _ROWS_BYTES // max(1, int(np.prod(shape)) * dtype.itemsize))
    for begin in range(0, len(truth), at_once):
        end = min(begin + at_once, len(truth))
        rows = read_hdf5(file, str(file), InvalidDataset, _reader(file, f"{part}_set_x", begin, end))
        if rows.shape != (end - begin, *shape) or rows.dtype != dtype:
            raise InvalidDataset(
                f"holds samples {rows.shape[1:]} {rows.dtype} and {len(truth)} labels, expected {shape} {dtype}",
                field=f"{part}_set_x",
                source=str(file),
                hint="give the pair as it was published",
            )
        writer.add(part, rows, truth[begin:end])
        progress.at("copying samples", end, len(truth))


def _reader(file: Path, name: str, begin: int, end: int) -> Any:
    def read(h5: h5py.File) -> NDArray[Any]:
        item = find_array(h5, name, str(file), InvalidDataset)
        check_stored(name, item.nbytes, item.id.get_storage_size(), str(file), InvalidDataset)
        raise_limits(4 * _ROWS_BYTES)
        return np.asarray(item[begin:end])

    return read


def _rows(file: Path, name: str, begin: int, end: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    rows = read_hdf5(file, str(file), InvalidDataset, _reader(file, name, begin, end))
    return rows.shape[1:], rows.dtype


def _classes(file: Path) -> tuple[str, ...]:
    def read(h5: h5py.File) -> tuple[str, ...]:
        if "list_classes" not in h5:
            return ()
        item = find_array(h5, "list_classes", str(file), InvalidDataset)
        check_stored("list_classes", item.nbytes, item.id.get_storage_size(), str(file), InvalidDataset)
        return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in item[()])

    return read_hdf5(file, str(file), InvalidDataset, read)


def _pair(file: Path) -> tuple[Path, Path] | None:
    """Return the two files of a pair that holds this one, if it is of one."""
    name = file.name
    for own, other in (("train", "test"), ("test", "train")):
        if name.lower().startswith(own):
            beside = file.with_name(other + name[len(own) :])
            if beside.is_file():
                return (file, beside) if own == "train" else (beside, file)
    return None
