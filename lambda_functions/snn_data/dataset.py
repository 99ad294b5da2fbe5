"""`datasets.h5`: labelled photos, and the mini-batches that an epoch walks through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.apart import allow
from snn.errors import InvalidDataset
from snn.hdf5 import check_stored, find_array, read_hdf5

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MAX_SAMPLES = 10_000_000  # whose labels are read even to refuse them
MAX_NAME = 200  # characters of a class name; it stands in the model's attributes, in pages and messages


@dataclass(frozen=True)
class Dataset:
    """Photos of two classes, split into a training and a test set.

    `*_pixels` are (samples, height, width, 3) uint8, `*_y` are (1, samples) of 0.0 and 1.0, and `*_x` are what the
    network sees: (features, samples) in 0..1, a column a photo.
    """

    train_pixels: Pixels
    train_y: Array
    test_pixels: Pixels
    test_y: Array
    classes: tuple[str, str]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (height, width, 3)."""
        shape: tuple[int, ...] = self.train_pixels.shape
        return shape[1], shape[2], shape[3]

    @property
    def features(self) -> int:
        """Return the number of inputs: height × width × 3."""
        return math.prod(self.image_shape)

    @cached_property
    def train_x(self) -> Array:
        """Return the training photos as (features, samples)."""
        return columns(self.train_pixels) / 255.0

    @cached_property
    def test_x(self) -> Array:
        """Return the test photos as (features, samples)."""
        return columns(self.test_pixels) / 255.0


@dataclass(frozen=True)
class Batch:
    """Some of the training photos: `pixels` (features, samples) uint8 and their labels `Y` (1, samples)."""

    index: int
    pixels: Pixels
    Y: Array

    @cached_property
    def X(self) -> Array:
        """Return the inputs, (features, samples) in 0..1."""
        return self.pixels / 255.0

    @property
    def size(self) -> int:
        """Return the number of samples."""
        return int(self.Y.shape[1])


def columns(pixels: Pixels) -> Pixels:
    """Return photos (samples, height, width, 3) as columns (features, samples), a view."""
    return pixels.reshape(len(pixels), -1).T


def batches(dataset: Dataset, batch_size: int | None, seed: int) -> list[Batch]:
    """Cut the training set into mini-batches, the same in every epoch; the last may be smaller.

    The photos are shuffled once, by the seed: a file is often sorted by class, and a batch of one class would win
    `best-batch` by learning to say one word.
    """
    pixels, labels = columns(dataset.train_pixels), dataset.train_y
    samples = labels.shape[1]
    if batch_size is None or batch_size >= samples:
        return [Batch(0, pixels, labels)]
    # A stream of its own ([seed, 1]), so that the shuffle does not repeat the numbers the weights were drawn from.
    order = np.random.default_rng([seed, 1]).permutation(samples)
    return [
        Batch(index, pixels[:, chosen], labels[:, chosen])
        for index, start in enumerate(range(0, samples, batch_size))
        for chosen in [order[start : start + batch_size]]
    ]


@dataclass(frozen=True)
class Header:
    """What a `datasets.h5` says of itself without its photos."""

    image_shape: tuple[int, int, int]
    train_y: Array
    test_y: Array
    classes: tuple[str, str]
    stored: tuple[int, int]
    """Bytes that the file holds of the training and of the test photos."""

    def check_stored(self, source: str) -> None:
        """Raise InvalidDataset if the photos take far more memory than the file holds of them."""
        for name, labels, stored in zip(("train", "test"), (self.train_y, self.test_y), self.stored, strict=True):
            check_stored(f"{name}_set_x", labels.size * self.features, stored, source, InvalidDataset)

    @property
    def features(self) -> int:
        """Return the number of inputs: height × width × 3."""
        return math.prod(self.image_shape)

    @property
    def samples(self) -> int:
        """Return the number of training photos."""
        return int(self.train_y.shape[1])


def load_dataset(file: Path | str | BinaryIO, source: str = "") -> Dataset:
    """Read a `datasets.h5`.

    Raises InvalidDataset, naming the file and the data set in it, unless it holds what the contract says:
    `train_set_x` and `test_set_x` (m, height, width, 3) uint8, `train_set_y` and `test_set_y` (m,) of 0 and 1,
    `list_classes` with two names.
    """
    source = source or _name(file)

    def read(h5: h5py.File) -> tuple[Header, Pixels, Pixels]:
        header = _header(h5, source)
        header.check_stored(source)
        allow((header.train_y.size + header.test_y.size) * header.features)
        train, test = (np.asarray(h5[photos][()], dtype=np.uint8) for photos in ("train_set_x", "test_set_x"))
        return header, train, test

    header, train, test = read_hdf5(file, source, InvalidDataset, read)
    return Dataset(train, header.train_y, test, header.test_y, header.classes)


def load_header(file: Path | str | BinaryIO, source: str = "") -> Header:
    """Check a `datasets.h5` as `load_dataset` does, and read all of it but the photos. Raises InvalidDataset."""
    source = source or _name(file)
    return read_hdf5(file, source, InvalidDataset, lambda h5: _header(h5, source))


def _name(file: Path | str | BinaryIO) -> str:
    return str(file) if isinstance(file, (Path, str)) else "datasets.h5"


def _header(h5: h5py.File, source: str) -> Header:
    train, test = _photos(h5, "train_set_x", source), _photos(h5, "test_set_x", source)
    if test.shape[1:] != train.shape[1:]:
        raise InvalidDataset(
            f"photos are {test.shape[1:]}, the training set's are {train.shape[1:]}",
            field="test_set_x",
            source=source,
            mend="make both the same size",
        )
    train_y = _labels(h5, "train_set_y", len(train), source)
    test_y = _labels(h5, "test_set_y", len(test), source)
    item = find_array(h5, "list_classes", source, InvalidDataset)
    # Of kind "O" are also references and sequences of any length.
    if item.shape != (2,) or h5py.check_string_dtype(item.dtype) is None:
        raise InvalidDataset(
            f"holds {item.shape} {item.dtype}",
            field="list_classes",
            source=source,
            mend="give the names of the two classes",
        )
    first, second = (name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in item[()])
    for name in (first, second):
        if len(name) > MAX_NAME:
            raise InvalidDataset(
                f"holds a name of {len(name):,} characters",
                field="list_classes",
                source=source,
                mend=f"at most {MAX_NAME}",
            )
    stored = train.id.get_storage_size(), test.id.get_storage_size()
    return Header(train.shape[1:], train_y, test_y, (first, second), stored)


def save_dataset(
    file: Path | str | BinaryIO,
    train_pixels: Pixels,
    train_y: NDArray[np.integer],
    test_pixels: Pixels,
    test_y: NDArray[np.integer],
    classes: tuple[str, str],
) -> None:
    """Write a `datasets.h5`: photos (m, height, width, 3) uint8, labels (m,) of 0 and 1."""
    with h5py.File(file, "w") as h5:
        for name, pixels, labels in (("train", train_pixels, train_y), ("test", test_pixels, test_y)):
            h5.create_dataset(f"{name}_set_x", data=pixels, dtype=np.uint8)
            h5.create_dataset(f"{name}_set_y", data=labels, dtype=np.int64)
        h5.create_dataset("list_classes", data=np.array([name.encode() for name in classes]))


def _photos(h5: h5py.File, name: str, source: str) -> h5py.Dataset:
    photos = find_array(h5, name, source, InvalidDataset)
    if photos.dtype != np.uint8 or photos.ndim != 4 or photos.shape[3] != 3 or 0 in photos.shape:
        raise InvalidDataset(
            f"is {photos.shape} {photos.dtype}",
            field=name,
            source=source,
            mend="make it (samples, height, width, 3) uint8 with at least one sample",
        )
    if len(photos) > MAX_SAMPLES:
        raise InvalidDataset(
            f"claims {len(photos):,} photos", field=name, source=source, mend=f"at most {MAX_SAMPLES:,}"
        )
    return photos


def _labels(h5: h5py.File, name: str, samples: int, source: str) -> Array:
    item = find_array(h5, name, source, InvalidDataset)
    if item.shape not in ((samples,), (1, samples)) or item.dtype.kind not in "iufb":
        raise InvalidDataset(
            f"is {item.shape} {item.dtype}",
            field=name,
            source=source,
            mend=f"give one label for each of the {samples} photos",
        )
    check_stored(name, samples * 8, item.id.get_storage_size(), source, InvalidDataset)
    labels: NDArray[np.generic] = np.asarray(item[()])
    if not np.isin(labels, (0, 1)).all():
        raise InvalidDataset("holds other values than 0 and 1", field=name, source=source, mend="use 0 and 1")
    return labels.reshape(1, samples).astype(np.float64)
