"""`datasets.h5`: labelled samples to train on, to test by and, if the file has them, to validate by."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.batches import Groups, Samples
from snn.errors import InvalidDataset
from snn_data.groups import read_groups
from snn_data.hdf5 import check_stored, find_array, read_hdf5
from snn_data.isolated import raise_limits
from snn_data.slices import Slices, read_slices

Stored = NDArray[Any]
"""Photos (m, height, width, 3), (m, height, width, 1) or (m, height, width) uint8, or features (m, d)."""

MAX_SAMPLES = 10_000_000  # whose labels are read even to refuse them
MAX_NAME = 200  # characters of a class name; it stands in the model's attributes, in pages and messages
MAX_CLASSES = 100_000
BLOCK_BYTES = 32 * 2**20  # of samples that are looked at together
FIX_LABELS = "number the classes from 0 in the order of list_classes"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples, split into a training and a test set. `classes` are their names; none where a number is to be given.

    `photos`, of what was files of photos, is JSON text: how they were read. A model trained on it keeps it.
    `columns`, of what was a table, is JSON text: what its columns became. A model trained on it keeps it.
    `backbone`, of features, is JSON text: whose they are. A model trained on it keeps it, and `pictures` (m, height,
    width, 3) show the test set's samples.
    `slices` are those of the test set.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    validation: Samples | None = None
    photos: str = ""
    columns: str = ""
    slices: Slices | None = None
    backbone: str = ""
    pictures: Stored | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one sample as it is stored."""
        return self.train.shape

    @property
    def features(self) -> int:
        """Return how many numbers a sample has."""
        return self.train.features

    @property
    def itemsize(self) -> int:
        """Return how many bytes are kept of one of those numbers: 1 of photos."""
        return self.train.stored.itemsize


@dataclass(frozen=True, eq=False)
class Part:
    """What a file says of one of its sets without the samples: their `shape` (m, …) and `dtype`, and all labels."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    y: NDArray[Any]
    stored: int
    """Bytes that the file holds of the samples."""
    groups: Groups | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Return what the samples take in memory, as they are kept there."""
        return math.prod(self.shape) * kept_as(self.dtype).itemsize


@dataclass(frozen=True)
class Header:
    """What a `datasets.h5` says of itself without its samples."""

    train: Part
    test: Part
    validation: Part | None
    classes: tuple[str, ...]
    photos: str = ""
    columns: str = ""
    backbone: str = ""
    parts: tuple[Part, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = (self.train, self.test, self.validation)
        object.__setattr__(self, "parts", tuple(part for part in given if part is not None))

    def check_stored(self, source: str) -> None:
        """Raise InvalidDataset if the samples take far more memory than the file holds of them."""
        for part in self.parts:
            check_stored(f"{part.name}_set_x", part.nbytes, part.stored, source, InvalidDataset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one sample."""
        return self.train.shape[1:]

    @property
    def features(self) -> int:
        """Return how many numbers a sample has."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Return how many bytes are kept of one of those numbers: 1 of photos."""
        return kept_as(self.train.dtype).itemsize


def kept_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that samples of a file's type are kept as: bytes and float32 stay, other numbers are float64."""
    return dtype if dtype in (np.uint8, np.float32) else np.dtype(np.float64)


def backbone_name(backbone: str) -> str:
    """Return the name in the JSON text of a backbone; "" of no text, or of one that names none."""
    try:
        name = json.loads(backbone or "{}")["name"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""


def load_dataset(file: Path | str | BinaryIO, source: str = "", pictures: bool = True) -> Dataset:
    """Read a `datasets.h5`, with the `pictures` of its test set or without.

    Raises InvalidDataset, naming the file and the data set in it, unless it holds what the contract says: in
    `train_set_x` and `test_set_x` photos or features, in `train_set_y` and `test_set_y` a label for each, and
    `list_classes`, the names of classes 0, 1 …; without that, labels are numbers to give. `validation_set_x` and
    `validation_set_y` may be there too.
    """
    source = source or _name(file)

    def read(h5: h5py.File) -> tuple[Header, list[Stored], Slices | None, Stored | None]:
        header = _header(h5, source)
        header.check_stored(source)
        raise_limits(2 * sum(part.nbytes for part in header.parts))
        slices = read_slices(h5, len(header.test), source)
        samples = [np.asarray(h5[f"{part.name}_set_x"][()], kept_as(part.dtype)) for part in header.parts]
        return header, samples, slices, _pictures(h5, len(header.test), source) if pictures else None

    header, stored, slices, shown = read_hdf5(file, source, InvalidDataset, read)
    for part, numbers in zip(header.parts, stored, strict=True):
        _check_numbers(part, numbers, 0, source)
    train, test, *others = (
        Samples(numbers, part.y, part.groups) for part, numbers in zip(header.parts, stored, strict=True)
    )
    validation = others[0] if others else None
    about = header.photos, header.columns, slices, header.backbone, shown
    return Dataset(train, test, header.classes, validation, *about)


def load_header(file: Path | str | BinaryIO, source: str = "") -> Header:
    """Check a `datasets.h5` as `load_dataset` does, and read all of it but the samples. Raises InvalidDataset."""
    source = source or _name(file)
    return read_hdf5(file, source, InvalidDataset, lambda h5: _header(h5, source))


def check_dataset(file: Path | str | BinaryIO, source: str = "") -> Header:
    """Check a `datasets.h5` as `load_dataset` does, samples and all, a block at a time. Raises InvalidDataset."""
    source = source or _name(file)

    def read(h5: h5py.File) -> Header:
        header = _header(h5, source)
        header.check_stored(source)
        raise_limits(2 * sum(part.nbytes for part in header.parts))
        read_slices(h5, len(header.test), source)
        for part in header.parts:
            for begin, block in blocks_of(h5, part):
                _check_numbers(part, block, begin, source)
        return header

    return read_hdf5(file, source, InvalidDataset, read)


def blocks_of(h5: h5py.File, part: Part) -> Iterator[tuple[int, Stored]]:
    """Yield the samples of a part, as they are kept, some megabytes at a time, and the place of the first of each."""
    kept, item = kept_as(part.dtype), h5[f"{part.name}_set_x"]
    rows = max(1, BLOCK_BYTES // max(1, math.prod(part.shape[1:]) * kept.itemsize))
    for begin in range(0, len(part), rows):
        yield begin, np.asarray(item[begin : begin + rows], kept)


def _check_numbers(part: Part, numbers: Stored, begin: int, source: str) -> None:
    """Raise InvalidDataset if samples, the first of which is number `begin`, hold what is no number."""
    if numbers.dtype == np.uint8 or np.isfinite(numbers).all():
        return
    wrong = np.argwhere(~np.isfinite(numbers))[0]
    raise InvalidDataset(
        f"holds {numbers[tuple(wrong)]} in row {begin + wrong[0]}, column {wrong[1]}",
        field=f"{part.name}_set_x",
        source=source,
        hint="fill in or leave out what is missing",
    )


def save_dataset(
    file: Path | str | BinaryIO, train_x: Stored, train_y: NDArray[Any], test_x: Stored, test_y: NDArray[Any],
    classes: Sequence[str] = (), validation_x: Stored | None = None, validation_y: NDArray[Any] | None = None,
    photos: str = "", columns: str = "", backbone: str = "",
) -> None:  # fmt: skip
    """Write a `datasets.h5`: samples as the contract has them, and for each the number of its class or a number."""
    parts = {"train": (train_x, train_y), "test": (test_x, test_y), "validation": (validation_x, validation_y)}
    with h5py.File(file, "w") as h5:
        for name, (x, y) in parts.items():
            if x is not None:
                h5.create_dataset(f"{name}_set_x", data=x)
                h5.create_dataset(f"{name}_set_y", data=y, dtype=np.int64 if classes else np.float64)
        if classes:
            h5.create_dataset("list_classes", data=np.array([name.encode() for name in classes]))
        if photos:
            h5.attrs["photos"] = photos
        if columns:
            h5.attrs["columns"] = columns
        if backbone:
            h5.attrs["backbone"] = backbone


def _name(file: Path | str | BinaryIO) -> str:
    return str(file) if isinstance(file, (Path, str)) else "datasets.h5"


def _header(h5: h5py.File, source: str) -> Header:
    classes = _classes(h5, source) if "list_classes" in h5 else ()
    names = ["train", "test", *(["validation"] if "validation_set_x" in h5 or "validation_set_y" in h5 else [])]
    parts = [_part(h5, name, classes, source) for name in names]
    for part in parts[1:]:
        if part.shape[1:] != parts[0].shape[1:] or kept_as(part.dtype) != kept_as(parts[0].dtype):
            raise InvalidDataset(
                f"samples are {part.shape[1:]} {part.dtype}, but the training set's are {parts[0].shape[1:]} "
                f"{parts[0].dtype}",
                field=f"{part.name}_set_x",
                source=source,
                hint="make both the same",
            )
    photos, columns, backbone = (h5.attrs.get(name, "") for name in ("photos", "columns", "backbone"))
    photos = photos if isinstance(photos, str) else ""
    if not isinstance(columns, str):
        raise InvalidDataset("is no text", field="columns", source=source, hint="make the file anew from the table")
    if not isinstance(backbone, str):
        raise InvalidDataset("is no text", field="backbone", source=source, hint="make the file anew from its photos")
    return Header(parts[0], parts[1], parts[2] if len(parts) > 2 else None, classes, photos, columns, backbone)


def _pictures(h5: h5py.File, samples: int, source: str) -> Stored | None:
    """Return the pictures of the test set's samples, if there are any."""
    if "test_set_pictures" not in h5:
        return None
    item = find_array(h5, "test_set_pictures", source, InvalidDataset)
    if item.dtype != np.uint8 or item.ndim != 4 or item.shape[3] != 3 or len(item) != samples:
        problem, hint = f"is {item.shape} {item.dtype}", f"give {samples} pictures, (samples, height, width, 3) uint8"
        raise InvalidDataset(problem, field="test_set_pictures", source=source, hint=hint)
    check_stored("test_set_pictures", item.nbytes, item.id.get_storage_size(), source, InvalidDataset)
    raise_limits(2 * item.nbytes)
    return np.asarray(item[()])


def _part(h5: h5py.File, name: str, classes: tuple[str, ...], source: str) -> Part:
    item = find_array(h5, f"{name}_set_x", source, InvalidDataset)
    photos = item.dtype == np.uint8 and (item.ndim == 3 or (item.ndim == 4 and item.shape[3] in (1, 3)))
    if not (photos or (item.ndim == 2 and item.dtype.kind in "iuf" and item.dtype.itemsize <= 8)) or 0 in item.shape:
        raise InvalidDataset(
            f"is {item.shape} {item.dtype}",
            field=f"{name}_set_x",
            source=source,
            hint="make it photos, (samples, height, width, 3) or (samples, height, width) uint8, or features, "
            "(samples, features) of float32 or float64, with at least one sample",
        )
    samples = len(item)
    if samples > MAX_SAMPLES:
        raise InvalidDataset(
            f"claims {samples:,} samples", field=f"{name}_set_x", source=source, hint=f"at most {MAX_SAMPLES:,}"
        )
    dtype = np.dtype(np.float64) if item.ndim == 2 and item.dtype == np.uint8 else item.dtype  # numbers, no photos
    y = _labels(h5, f"{name}_set_y", samples, len(classes), source)
    groups = read_groups(h5, samples, source) if name == "train" else None
    return Part(name, item.shape, dtype, y, item.id.get_storage_size(), groups)


def _classes(h5: h5py.File, source: str) -> tuple[str, ...]:
    item = find_array(h5, "list_classes", source, InvalidDataset)
    # Of kind "O" are also references and sequences of any length.
    if item.ndim != 1 or not 2 <= len(item) <= MAX_CLASSES or h5py.check_string_dtype(item.dtype) is None:
        raise InvalidDataset(
            f"holds {item.shape} {item.dtype}",
            field="list_classes",
            source=source,
            hint="give the names of the classes, two or more; without list_classes, labels are numbers to predict",
        )
    check_stored("list_classes", item.nbytes, item.id.get_storage_size(), source, InvalidDataset)
    names = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in item[()]]
    for name in names:
        if len(name) > MAX_NAME:
            raise InvalidDataset(
                f"holds a name of {len(name):,} characters",
                field="list_classes",
                source=source,
                hint=f"at most {MAX_NAME}",
            )
    return tuple(names)


def _labels(h5: h5py.File, name: str, samples: int, classes: int, source: str) -> NDArray[Any]:
    item = find_array(h5, name, source, InvalidDataset)
    if item.shape not in ((samples,), (1, samples), (samples, 1)) or item.dtype.kind not in "iufb":
        raise InvalidDataset(
            f"is {item.shape} {item.dtype}",
            field=name,
            source=source,
            hint=f"give one label for each of the {samples} samples",
        )
    check_stored(name, samples * 8, item.id.get_storage_size(), source, InvalidDataset)
    labels: NDArray[Any] = np.asarray(item[()]).reshape(samples)
    if not classes:
        numbers = labels.astype(np.float64)
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise InvalidDataset(f"holds {labels[row]} in row {row}", field=name, source=source, hint="give a number")
        return numbers
    wrong = ~np.isin(labels, np.arange(classes))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        known = "0 and 1" if classes == 2 else f"0 to {classes - 1}"
        raise InvalidDataset(
            f"holds values other than {known}: {labels[row]} in row {row}", field=name, source=source, hint=FIX_LABELS
        )
    return labels.astype(np.int64)
