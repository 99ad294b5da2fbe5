"""Reading files by path."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from snn.errors import InvalidInput


def check_file(path: str | Path, error: type[InvalidInput] = InvalidInput, source: str = "") -> None:
    """Raise `error` unless the path leads to a plain file: a pipe, a device or a folder may never come to an end."""
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise error(_why(problem), source=source or str(path), hint="check the path") from None
    if stat.S_ISDIR(kind):
        raise error("is a directory", source=source or str(path), hint="name a file in it")
    if not stat.S_ISREG(kind):
        raise error("is not a regular file", source=source or str(path), hint="copy it into one")


def read_file(path: str | Path, most: int, error: type[InvalidInput] = InvalidInput, source: str = "") -> bytes:
    """Return a file's contents. Raises `error`, naming it as `source`, if that cannot be done or is over `most` bytes.

    Bytes past `most` are not read.
    """
    source = source or str(path)
    check_file(path, error, source)
    try:
        with open(path, "rb") as stream:
            content = stream.read(most + 1)
    except OSError as problem:
        raise error(_why(problem), source=source, hint="check the path") from None
    check_size(len(content), most, error, source)
    return content


def check_size(size: int, most: int, error: type[InvalidInput], source: str) -> None:
    """Raise `error` for more than `most` bytes."""
    if size > most:
        raise error(f"is larger than {most / 1e6:,.4g} MB", source=source, hint="give a smaller file")


def _why(problem: OSError | ValueError) -> str:
    return ((problem.strerror if isinstance(problem, OSError) else "") or str(problem)).lower()
