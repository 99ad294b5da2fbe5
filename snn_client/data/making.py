"""Writing a `datasets.h5` piece by piece, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.batches import Groups
from snn_data.groups import write_groups
from snn_data.slices import MAX_SLICES, write_slices

_CHUNK_BYTES = 2**20


class Writer:
    """A `datasets.h5` that grows: `add` appends samples to a part. The same samples give the same bytes.

    `attributes` are texts that are kept beside the samples. A context: on the way out the labels and `list_classes` are
    written; after an error the file is gone.
    """

    def __init__(
        self, target: Path, shape: Sequence[int], dtype: Any, classes: Sequence[str] = (), slices_by: str = "folder",
        **attributes: str,
    ) -> None:  # fmt: skip
        self._target, self._shape, self._dtype, self._classes = target, tuple(shape), np.dtype(dtype), tuple(classes)
        self._file = h5py.File(target, "w")
        for name, text in attributes.items():
            self._file.attrs[name] = text
        self._labels: dict[str, list[NDArray[Any]]] = {}
        self._slices, self._slices_by = list[str](), slices_by
        self._groups: list[NDArray[np.int64]] = []
        self._in_time = False

    def add(
        self,
        part: str,
        samples: NDArray[Any],
        labels: NDArray[Any],
        slices: Sequence[str] = (),
        groups: Groups | None = None,
    ) -> None:
        """Append samples (m, …) and their labels (m,) to the part "train", "test" or "validation".

        `slices` name the slice of each (`snn_data.slices`); those of the test set are kept, if there are several.
        `groups` of the training set are kept (`snn_data.groups`).
        """
        if part == "train" and groups is not None:
            self._groups.append(groups.numbers)
            self._in_time = groups.in_time
        if part == "test":
            self._slices += slices
        name = f"{part}_set_x"
        if part not in self._labels:
            rows = max(1, _CHUNK_BYTES // max(1, int(np.prod(self._shape)) * self._dtype.itemsize))
            self._file.create_dataset(
                name, (0, *self._shape), self._dtype, maxshape=(None, *self._shape), chunks=(rows, *self._shape)
            )
            self._labels[part] = []
        stored = self._file[name]
        begin = len(stored)
        stored.resize(begin + len(samples), axis=0)
        stored[begin:] = samples
        self._labels[part].append(np.asarray(labels))

    def show(self, pictures: NDArray[np.uint8]) -> None:
        """Append pictures (m, height, width, 3) of the test set's samples, for reports of what has none of its own."""
        if "test_set_pictures" not in self._file:
            shape = pictures.shape[1:]
            self._file.create_dataset(
                "test_set_pictures", (0, *shape), np.uint8, maxshape=(None, *shape), chunks=(8, *shape), compression=1
            )
        stored = self._file["test_set_pictures"]
        begin = len(stored)
        stored.resize(begin + len(pictures), axis=0)
        stored[begin:] = pictures

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                # FeatureLambda could see a photo of which this machine could make no picture: then there are none.
                shown = self._file.get("test_set_pictures")
                if shown is not None and len(shown) != len(self._file["test_set_x"]):
                    del self._file["test_set_pictures"]
                for part, labels in self._labels.items():
                    dtype = np.int64 if self._classes else np.float64
                    self._file.create_dataset(f"{part}_set_y", data=np.concatenate(labels).astype(dtype))
                if 1 < len(set(self._slices)) <= MAX_SLICES:
                    write_slices(self._file, self._slices_by, self._slices)
                if self._groups:
                    write_groups(self._file, Groups(np.concatenate(self._groups), self._in_time))
                if self._classes:
                    self._file.create_dataset("list_classes", data=np.array([name.encode() for name in self._classes]))
        finally:
            self._file.close()
            if kind is not None:
                self._target.unlink(missing_ok=True)
