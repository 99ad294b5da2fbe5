"""Unpacking archives that anyone may have made: only plain files, only below the folder, only so many and so large."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from snn.errors import InvalidDataset
from snn_client.data.options import Progress

MAX_ENTRIES = 1_000_000
MAX_NAME_BYTES = 4_096
MAX_RATIO = 200
MAX_UNPACKED = 256 * 2**20
"""Of an archive that unpacks to more than this, a byte may become `MAX_RATIO` at most: else it is a bomb."""

MAX_DIRECTORY = 512 * MAX_ENTRIES
"""Bytes of a ZIP file's table of contents, which is read as a whole."""

SPARE_BYTES = 256 * 2**20  # left free on the disk
_BLOCK = 2**20
_MAX_READ = 16 * 2**20  # at once, of what is unpacked
_MAX_LINKS = 40  # one after the other, as on Linux
_HINT = "make the archive anew"

_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    ValueError,
    OSError,
)


Entry = tuple[str, Callable[[], IO[bytes]] | None]
"""A file's name and what opens it; None of a folder."""


def unpack(archive: Path, folder: Path, progress: Progress, source: str = "") -> Path:
    """Unpack a `.tar` (plain, gz, bz2 or xz) or `.zip` file into a new folder and return that folder.

    Links that lead to another file of a `.tar` become copies of it. Raises InvalidDataset, naming the archive as
    `source` and the entry, for a path or link that leads out of the folder, a device, an encrypted entry, what is
    damaged, and what unpacks to far more than it is; what was unpacked until then lies in the folder.
    """
    source = source or str(archive)
    packed, unpacked = archive.stat().st_size, 0
    room = shutil.disk_usage(folder.parent).free - SPARE_BYTES
    folder.mkdir(parents=True)
    try:
        with archive.open("rb") as raw:
            entries = _zipped(raw) if zipfile.is_zipfile(raw) else _tarred(raw, folder)
            for count, (name, opener) in enumerate(entries, 1):
                if count > MAX_ENTRIES:
                    raise _Refused(f"holds more than {MAX_ENTRIES:,} entries", "give fewer files, or a folder")
                target = _target(folder, name)
                if opener is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with opener() as stream, target.open("wb") as file:
                    while block := stream.read(_BLOCK):
                        unpacked += len(block)
                        if unpacked > MAX_UNPACKED and unpacked > MAX_RATIO * packed:
                            raise _Refused(f"unpacks {packed:,} bytes to more than {unpacked:,}", "give a folder")
                        if unpacked > room:
                            raise _Refused("unpacks to more than the disk has room for", "free some of the disk")
                        file.write(block)
                progress.at("unpacking, bytes", min(raw.tell(), packed), packed)
    except _Refused as refused:
        raise InvalidDataset(refused.problem, field=refused.entry, source=source, hint=refused.hint) from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise InvalidDataset("holds a file and a folder of the same name", source=source, hint=_HINT) from None
    except (*_DAMAGED, RuntimeError, NotImplementedError) as problem:
        why = " ".join(str(problem).split()) or type(problem).__name__
        raise InvalidDataset(f"cannot be unpacked: {why}", source=source, hint=_HINT) from None
    return folder


class _Refused(Exception):
    def __init__(self, problem: str, hint: str = _HINT, entry: str = "") -> None:
        super().__init__(problem)
        self.problem, self.hint, self.entry = problem, hint, entry


def _target(folder: Path, name: str) -> Path:
    """Return where an entry goes. Raises _Refused if that is not below the folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts:
        return folder
    if parts[0].startswith("/") or ".." in parts or re.fullmatch("[A-Za-z]:", parts[0]):
        raise _Refused("leads out of the folder it is unpacked into", entry=name)
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise _Refused("has a name that is too long", entry=name)
    return folder.joinpath(*parts)


class _Bounded(io.BufferedIOBase):
    """An unpacked stream of which nobody reads much at once: a header of a `.tar` may claim to be gigabytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > _MAX_READ:
            raise _Refused("has a header that is too large")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _tarred(raw: IO[bytes], folder: Path) -> Iterator[Entry]:
    raw.seek(0)
    magic = raw.read(6)
    raw.seek(0)
    stream: Any = raw
    if magic.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=raw)
    elif magic.startswith(b"BZh"):
        stream = bz2.BZ2File(raw)
    elif magic.startswith(b"\xfd7zXZ\0"):
        stream = lzma.LZMAFile(raw)  # noqa: SIM115
    plain, links = set(), {}
    with tarfile.open(fileobj=_Bounded(stream), mode="r:") as tar:
        while (member := tar.next()) is not None:
            vars(tar)["members"].clear()  # else it keeps them all
            if member.isdir():
                yield member.name, None
            elif member.isreg():
                plain.add(_normal(member.name))
                yield member.name, partial(_of_tar, tar, member)
            elif member.islnk() or member.issym():
                near = PurePosixPath(member.name).parent if member.issym() else PurePosixPath()
                leads_to = _normal(str(near / member.linkname))
                if leads_to.startswith(("/", "..")):
                    raise _Refused(f"is a link out of the archive, to {member.linkname}", entry=member.name)
                links[_normal(member.name)] = leads_to
                if len(plain) + len(links) > MAX_ENTRIES:
                    raise _Refused(f"holds more than {MAX_ENTRIES:,} entries", "give fewer files, or a folder")
            else:
                raise _Refused("is a device or a pipe", entry=member.name)
    for name in links:
        leads_to, steps = links[name], 0
        while leads_to in links and steps < _MAX_LINKS:
            leads_to, steps = links[leads_to], steps + 1
        if leads_to not in plain:
            raise _Refused(f"is a link to {leads_to}, which is no file of the archive", entry=name)
        yield name, partial(_open, _target(folder, leads_to))


def _open(file: Path) -> IO[bytes]:
    return file.open("rb")


def _of_tar(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} is no plain file")
    return stream


def _normal(name: str) -> str:
    """Return a path without "." and, where it can be, without "..": what cannot be leads out."""
    parts: list[str] = []
    for part in PurePosixPath(name).parts:
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        else:
            parts.append(part)
    return str(PurePosixPath(*parts))


def _zipped(raw: IO[bytes]) -> Iterator[Entry]:
    _check_directory(raw)
    with zipfile.ZipFile(raw) as packed:
        for info in packed.infolist():
            mode, name = info.external_attr >> 16, _name_in_zip(info)
            if stat.S_ISLNK(mode):
                raise _Refused("is a link", entry=name)
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refused("is a device or a pipe", entry=name)
            if info.flag_bits & 1:
                raise _Refused("is encrypted", "unpack it, and give the folder", name)
            yield name, None if info.is_dir() else partial(packed.open, info)


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """Return an entry's name. Without the flag that says UTF-8 it is often UTF-8 all the same."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _check_directory(raw: IO[bytes]) -> None:
    """Raise _Refused for a ZIP file whose table of contents is too large to be read."""
    raw.seek(max(raw.seek(0, io.SEEK_END) - 2**16 - 22, 0))
    tail = raw.read()
    end = tail.rfind(b"PK\5\6")
    if not 0 <= end <= len(tail) - 22:
        return
    entries, length = struct.unpack_from("<HL", tail, end + 10)
    at = tail.rfind(b"PK\6\6")  # the record of a ZIP file of more than 65,535 entries
    if (entries == 0xFFFF or length == 0xFFFF_FFFF) and 0 <= at <= len(tail) - 56:
        entries, length = struct.unpack_from("<QQ", tail, at + 32)
    if entries > MAX_ENTRIES or length > MAX_DIRECTORY:
        raise _Refused(f"holds {entries:,} entries", f"give at most {MAX_ENTRIES:,}, or a folder")
