"""Reading untrusted HDF5 files."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn_data.files import check_file
from snn_data.isolated import Broken, isolated, raise_limits

T = TypeVar("T")

# Read whole into memory, so bounded: a file of a few kilobytes can claim a data set of petabytes.
MAX_BYTES = 2 * 1024**3
# More than this has to be there in the file, at least a hundredth of it. No photos compress so well; nothing does.
MAX_UNSTORED = 32 * 1024**2
MAX_RATIO = 100
MAX_CHUNK = 64 * 1024**2  # is unpacked as a whole, however little of it is looked at

# Registered with the HDF Group, and used by those who write large files; none is in h5py's own wheel.
FILTERS = {
    307: "bzip2", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard", 32017: "SZ",
    32024: "SZ3", 32026: "Blosc2",
}  # fmt: skip

# A process that another thread began while the file was being written inherits its lock, until it begins its own work.
LOCKED_SECONDS = 1.0

_HINT = "create the file again"
_LOCKED = "is open in another program, which may be writing to it", "", "close it there, or wait, and then try again"
_SHOWN = 20  # names of a file that holds others than it should


def read_hdf5(
    file: Path | str | BinaryIO, source: str, error: type[InvalidInput], reader: Callable[[h5py.File], T]
) -> T:
    """Return what `reader` makes of a file, in a child process: a damaged file can break or hang the HDF5 library.

    Raises `error`, naming the file as `source`, for what `reader` refuses, and for what is damaged where it reads.
    """
    if isinstance(file, (str, Path)):
        check_file(file, error, source)
    # A file in memory is the child's as well; another open one is read by its owner.
    lent = None if isinstance(file, (str, Path, io.BytesIO)) else file

    def work(borrowed: io.RawIOBase | None) -> tuple[T | None, tuple[str, str, str] | None]:
        try:
            with h5py.File(borrowed or file, "r") as h5:
                return reader(h5), None
        except InvalidInput as refusal:
            return None, (refusal.problem, refusal.field, refusal.hint)
        # From h5py, if damaged; its names need not be text (AttributeError, LookupError).
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, AttributeError) as problem:
            return None, _unreadable(problem)

    patience = time.monotonic() + LOCKED_SECONDS
    try:
        result, refusal = isolated(work, lent)
        while refusal == _LOCKED and time.monotonic() < patience:
            time.sleep(0.05)
            result, refusal = isolated(work, lent)
    except Broken as problem:
        raise error(
            f"cannot be read as HDF5: is so damaged that reading it {problem}", source=source, hint=_HINT
        ) from None
    if refusal is not None:
        raise error(refusal[0], field=refusal[1], source=source, hint=refusal[2])
    return result  # type: ignore[return-value]


def _unreadable(problem: Exception) -> tuple[str, str, str]:
    """Return what is wrong with a file that the HDF5 library does not open or read: (problem, field, hint)."""
    words = str(problem)
    if isinstance(problem, BlockingIOError):
        return _LOCKED
    if "unable to lock file" in words:
        return f"lies where files cannot be locked: {words}", "", "copy it to a disk of this machine"
    if "already open for write" in words:
        hint = "close it there; if that program has crashed, h5clear -s"
        return "was never closed by the program that wrote it", "", hint
    return f"cannot be read as HDF5: {words}", "", _HINT


def _check_filters(item: h5py.Dataset, name: str, source: str, error: type[InvalidInput]) -> None:
    """Raise `error` for a data set that was compressed by what this HDF5 library cannot undo."""
    stored = item.id.get_create_plist()
    for number, _, _, label in (stored.get_filter(place) for place in range(stored.get_nfilters())):
        if not h5py.h5z.filter_avail(number):
            called = FILTERS.get(number) or label.decode(errors="replace") or "a filter that is not registered"
            hint = "write it with compression gzip, or with none"
            raise error(
                f"is compressed by {called} ({number}), which is not read", field=name, source=source, hint=hint
            )


def read_array(h5: h5py.File, name: str, source: str, error: type[InvalidInput]) -> NDArray[np.generic]:
    """Return the contents of what `find_array` finds, and raise what it raises."""
    item = find_array(h5, name, source, error)
    check_stored(name, item.nbytes, item.id.get_storage_size(), source, error)
    if item.nbytes > MAX_UNSTORED:
        raise_limits(2 * item.nbytes)
    return np.asarray(item[()])


def check_stored(name: str, claimed: int, stored: int, source: str, error: type[InvalidInput]) -> None:
    """Raise `error` for a data set that takes a hundred times the memory of what the file holds of it: a bomb."""
    if claimed > MAX_UNSTORED and claimed > MAX_RATIO * stored:
        raise error(
            f"claims {claimed / 1e6:,.0f} MB of which the file holds {stored / 1e6:,.3f} MB",
            field=name,
            source=source,
            hint="store the data itself, not compressed",
        )


def find_array(h5: h5py.File, name: str, source: str, error: type[InvalidInput]) -> h5py.Dataset:
    """Return one data set that lies in this file itself: a link or external storage could name any file of the host.

    Nothing is read yet. Raises `error`, naming the file as `source`, when it is missing, is none, or is too large.
    """
    if name not in h5:
        names = sorted(h5)
        found = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
        raise error("is missing", field=name, source=source, hint=f"the file holds {found or 'nothing'}")
    if not isinstance(h5.get(name, getlink=True), h5py.HardLink):
        raise error("is a link", field=name, source=source, hint="store the data itself")
    item = h5[name]
    if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
        raise error("is not a plain data set", field=name, source=source, hint="store the data itself")
    if item.nbytes > MAX_BYTES:
        claim, most = item.nbytes / 1e9, MAX_BYTES / 1e9
        raise error(f"claims {claim:.1f} GB", field=name, source=source, hint=f"at most {most:.1f} GB")
    chunk = item.dtype.itemsize * int(np.prod(item.chunks or (0,), dtype=np.float64))
    if chunk > MAX_CHUNK:
        hint = f"store it in chunks of at most {MAX_CHUNK >> 20} MiB, or in none"
        raise error(f"is stored in chunks of {chunk / 1e6:,.0f} MB", field=name, source=source, hint=hint)
    _check_filters(item, name, source, error)
    return item
