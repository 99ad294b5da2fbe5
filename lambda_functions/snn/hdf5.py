"""Reading HDF5 files that anyone may have made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput

# Read whole into memory, so bounded: a file of a few kilobytes can claim a data set of petabytes.
MAX_BYTES = 2 * 1024**3


@contextmanager
def opened(file: Path | str | BinaryIO, source: str, error: type[InvalidInput]) -> Iterator[h5py.File]:
    """Open a file to read. Raises `error`, naming the file as `source`, for whatever is damaged in what is read."""
    try:
        with h5py.File(file, "r") as h5:
            yield h5
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as problem:  # from h5py, if damaged
        raise error(f"cannot be read as HDF5: {problem}", source=source) from None


def read_array(h5: h5py.File, name: str, source: str, error: type[InvalidInput]) -> NDArray[np.generic]:
    """Return the contents of what `find_array` finds, and raise what it raises."""
    return np.asarray(find_array(h5, name, source, error)[()])


def find_array(h5: h5py.File, name: str, source: str, error: type[InvalidInput]) -> h5py.Dataset:
    """Return one data set that lies in this file itself: a link or external storage could name any file of the host.

    Nothing is read yet. Raises `error`, naming the file as `source`, when it is missing, is none, or is too large.
    """
    if name not in h5:
        raise error(
            "is missing", field=name, source=source, mend=f"the file holds {', '.join(sorted(h5)) or 'nothing'}"
        )
    if not isinstance(h5.get(name, getlink=True), h5py.HardLink):
        raise error("is a link", field=name, source=source, mend="store the data itself")
    item = h5[name]
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
        raise error("is no plain data set", field=name, source=source, mend="store the data itself")
    if item.nbytes > MAX_BYTES:
        claim, most = item.nbytes / 1e9, MAX_BYTES / 1e9
        raise error(f"claims {claim:.1f} GB", field=name, source=source, mend=f"at most {most:.1f} GB")
    return item
