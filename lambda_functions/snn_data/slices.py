"""Slices of a test set: which part of the world each of its samples is of, so that a model is judged on each of them.

A `datasets.h5` may have `test_set_slices` (m,), for each test sample the number of its slice, and `list_slices`, their
names. The attribute `slices_by` of `test_set_slices` says what they are by: a folder, a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidDataset
from snn_data.hdf5 import check_stored, find_array

MAX_SLICES = 10_000
MAX_NAME = 200
NUMBERS, NAMES, BY = "test_set_slices", "list_slices", "slices_by"


@dataclass(frozen=True, eq=False)
class Slices:
    """The slice of each sample, as its place (m,) among `names`; `by` says what they are by."""

    by: str
    names: tuple[str, ...]
    places: NDArray[np.intp]


def write_slices(h5: h5py.File, by: str, of_sample: Sequence[str]) -> None:
    """Write for each test sample the name of its slice."""
    names, places = np.unique(np.array([name[:MAX_NAME] for name in of_sample], dtype=object), return_inverse=True)
    h5.create_dataset(NUMBERS, data=places.astype(np.int64)).attrs[BY] = by
    h5.create_dataset(NAMES, data=np.array([str(name).encode() for name in names]))


def read_slices(h5: h5py.File, samples: int, source: str) -> Slices | None:
    """Return the slices of a test set of so many samples, None if the file has none. Raises InvalidDataset."""
    if NUMBERS not in h5:
        return None
    numbers, names = (find_array(h5, name, source, InvalidDataset) for name in (NUMBERS, NAMES))
    if numbers.shape != (samples,) or numbers.dtype.kind not in "iu":
        hint = f"give each of the {samples:,} test samples the number of its slice"
        raise InvalidDataset(f"is {numbers.shape} {numbers.dtype}", field=NUMBERS, source=source, hint=hint)
    if names.ndim != 1 or not 1 <= len(names) <= MAX_SLICES or h5py.check_string_dtype(names.dtype) is None:
        hint = f"give the names of the slices, {MAX_SLICES:,} at most"
        raise InvalidDataset(f"is {names.shape} {names.dtype}", field=NAMES, source=source, hint=hint)
    for name, item in ((NUMBERS, numbers), (NAMES, names)):
        check_stored(name, item.nbytes, item.id.get_storage_size(), source, InvalidDataset)
    places: NDArray[Any] = np.asarray(numbers[()])
    if not ((places >= 0) & (places < len(names))).all():
        raise InvalidDataset(
            f"holds numbers other than 0 to {len(names) - 1}",
            field=NUMBERS,
            source=source,
            hint="number the slices from 0 in the order of list_slices",
        )
    told = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names[()]]
    by = numbers.attrs.get(BY, "slice")
    return Slices(
        by if isinstance(by, str) else "slice", tuple(name[:MAX_NAME] for name in told), places.astype(np.intp)
    )
