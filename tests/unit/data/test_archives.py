"""Archives: what they unpack to, and those that somebody made to do harm."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from odd_photos import BLUE, GREEN, KINDS, Heard, made, photos

from snn.errors import InvalidDataset
from snn_client.data import archives
from snn_client.data.archives import unpack

PNG = KINDS["a.png"]()


def tar(path: Path, *members: tuple[str, bytes | str | int], mode: str = "w:gz") -> Path:
    """Write an archive of files (bytes), links (text: a path; "=path": a hard link) and others (tarfile's type)."""
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                packed.addfile(info, io.BytesIO(what))
            else:
                linked = isinstance(what, str)
                info.type = (
                    tarfile.LNKTYPE if linked and what.startswith("=") else tarfile.SYMTYPE if linked else bytes([what])
                )
                info.linkname = what.removeprefix("=") if linked else ""
                packed.addfile(info)
    return path


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    photos(tmp_path / "pets" / "dogs", 5, BLUE)
    photos(tmp_path / "pets" / "cats", 7, GREEN)
    return tmp_path / "pets"


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.xz", "tar.bz2", "zip", "ZIP"])
@pytest.mark.parametrize("around", ["", "all/pets/"])
def test_an_archive_is_the_folder_in_it(pets: Path, tmp_path: Path, ending: str, around: str) -> None:
    archive = tmp_path / f"my pets.{ending}"
    files = [(around + str(path.relative_to(pets)), path.read_bytes()) for path in sorted(pets.rglob("*.png"))]
    files += [(around + "__MACOSX/cats/._000.png", b"\0"), (around + "README.md", b"pets")]
    if ending.lower() == "zip":
        zipped(archive, *files)
    else:
        kind = {"tar": "", "tgz": "gz"}.get(ending, ending.removeprefix("tar."))
        tar(archive, *files, mode=f"w:{kind}")
    data, heard = made(archive, tmp_path / "out")
    assert data.classes == ("cats", "dogs")
    assert len(data.train) + len(data.test) == 12
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["my_pets.h5"]
    assert "unpacking, bytes" in {what for what, _, _ in heard.steps}


def test_links_within_an_archive_are_copies(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar.gz", ("x/early", "late.png"), ("x/late.png", PNG), ("x/hard", "=x/late.png"),
        ("y/up", "../x/./late.png"), ("y/chain", "up"),
    )  # fmt: skip
    folder = unpack(archive, tmp_path / "new", Heard())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == dict.fromkeys(("x/early", "x/late.png", "x/hard", "y/up", "y/chain"), PNG)
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def link(target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("a/link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target.encode()


def device() -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("a/null")
    info.external_attr = (stat.S_IFCHR | 0o666) << 16
    return info, b""


def encrypted(path: Path) -> Path:
    zipped(path, ("a/1.png", PNG))
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    return path


def damaged(path: Path) -> Path:
    tar(path, *((f"a/{number}.png", os.urandom(2_000)) for number in range(50)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def huge_header(path: Path) -> Path:
    """A header that says that the next entry's name has 8 GB."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 2**30 - 1
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            file.write(bytes(2**20))
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "up": (lambda at: tar(at, ("../../evil.png", PNG)), "../../evil.png: leads out of the folder it is unpacked into"),
    "up within": (lambda at: tar(at, ("a/../../evil", PNG)), "a/../../evil: leads out of the folder"),
    "absolute": (lambda at: tar(at, ("/tmp/evil.png", PNG)), "/tmp/evil.png: leads out of the folder"),
    "drive": (lambda at: tar(at, ("C:\\evil.png", PNG)), "leads out of the folder"),
    "up, zip": (lambda at: zipped(at, ("../evil.png", PNG)), "../evil.png: leads out of the folder"),
    "absolute, zip": (lambda at: zipped(at, ("/etc/evil", PNG)), "/etc/evil: leads out of the folder"),
    "backslashes, zip": (lambda at: zipped(at, ("a\\..\\..\\evil", PNG)), "leads out of the folder"),
    "link out": (lambda at: tar(at, ("a/x", "/etc/passwd")), "a/x: is a link out of the archive, to /etc/passwd"),
    "link up": (lambda at: tar(at, ("a/x", "../../etc/passwd")), "a/x: is a link out of the archive, to ../../etc/pa"),
    "hard link out": (lambda at: tar(at, ("a/x", "=/etc/passwd")), "a/x: is a link out of the archive"),
    "through a link": (lambda at: tar(at, ("a", "/tmp"), ("a/x", PNG)), "a: is a link out of the archive, to /tmp"),
    "link round": (lambda at: tar(at, ("a", "b"), ("b", "a")), "which is no file of the archive"),
    "link to nothing": (lambda at: tar(at, ("a/x", "y")), "a/x: is a link to a/y, which is no file of the archive"),
    "link, zip": (lambda at: zipped(at, link("/etc/passwd")), "a/link.png: is a link"),
    "device": (lambda at: tar(at, ("a/null", tarfile.CHRTYPE[0])), "a/null: is a device or a pipe"),
    "device, zip": (lambda at: zipped(at, device()), "a/null: is a device or a pipe"),
    "encrypted": (encrypted, "a/1.png: is encrypted (unpack it, and give the folder)"),
    "cut off": (damaged, "cannot be unpacked: "),
    "no archive": (lambda at: Path(at.write_bytes(b"hello" * 500) and at), "cannot be unpacked: "),
    "empty": (lambda at: Path(at.touch() or at), "cannot be unpacked: "),
    "file and folder": (lambda at: tar(at, ("a", PNG), ("a/x", PNG)), "holds a file and a folder of the same name"),
    "long name": (lambda at: tar(at, ("a/" * 3_000 + "x", PNG)), "has a name that is too long"),
    "huge header": (huge_header, "has a header that is too large"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_one_clear_error(name: str, tmp_path: Path) -> None:
    make, message = HOSTILE[name]
    archive = make(tmp_path / ("given.zip" if "zip" in name or name == "encrypted" else "given.tar.gz"))
    before = sorted(path for path in tmp_path.rglob("*"))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidDataset) as caught:
            made(archive, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{archive}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path for path in tmp_path.rglob("*")) == sorted([*before, tmp_path / "out"])
    assert not Path("/tmp/evil.png").exists()


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_bomb_ends_before_the_disk_is_full(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED", 8 * 2**20)
    zeros = bytes(64 * 2**20)
    archive = tmp_path / f"bomb.{ending}"
    if ending == "zip":
        zipped(archive, ("a/zeros.bmp", zeros))
    else:
        tar(archive, ("a/zeros.bmp", zeros), mode=f"w:{ending.removeprefix('tar.')}")
    with pytest.raises(InvalidDataset, match=r"unpacks [\d,]+ bytes to more than [\d,]+ \(give a folder\)$") as caught:
        unpack(archive, tmp_path / "new", Heard())
    unpacked = sum(path.stat().st_size for path in (tmp_path / "new").rglob("*") if path.is_file())
    assert unpacked < max(8 * 2**20, 200 * archive.stat().st_size) + 2**20, caught.value


def test_a_disk_without_room(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(tmp_path / "a.tar", ("a/1.png", PNG * 100), mode="w")
    monkeypatch.setattr(archives, "SPARE_BYTES", 2**60)
    with pytest.raises(InvalidDataset, match=r"unpacks to more than the disk has room for \(free some of the disk\)"):
        unpack(archive, tmp_path / "new", Heard())


def many(count: int, path: Path) -> Path:
    """Write a `.tar.gz` of so many empty files, quickly: one header again and again."""
    header = tarfile.TarInfo("a/same.png").tobuf()
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(count // 1_000):
            file.write(header * 1_000)
        file.write(bytes(1_024))
    return path


def test_too_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archives.MAX_ENTRIES == 1_000_000
    monkeypatch.setattr(archives, "MAX_ENTRIES", 5_000)
    with pytest.raises(InvalidDataset, match=r"holds more than 5,000 entries \(give fewer files, or a folder\)$"):
        unpack(many(6_000, tmp_path / "many.tar.gz"), tmp_path / "new", Heard())


def test_a_zip_file_of_a_million_entries_is_refused_unread(tmp_path: Path) -> None:
    """Its table of contents alone would take a gigabyte of memory."""
    archive = tmp_path / "many.zip"
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 2_000_000, 2_000_000, 90_000_000, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 90_000_000, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0)
    with archive.open("wb") as file:
        file.truncate(90_000_000)
        file.seek(0, io.SEEK_END)
        file.write(record + locator + end)
    began = time.monotonic()
    with pytest.raises(InvalidDataset, match=r"holds 2,000,000 entries \(give at most 1,000,000, or a folder\)$"):
        unpack(archive, tmp_path / "new", Heard())
    assert time.monotonic() - began < 5


def test_names_in_a_zip_file_that_are_not_said_to_be_utf_8(tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "a.zip", ("caf__/1.png", PNG), ("caf__/2.png", PNG), ("tea/1.png", PNG), ("tea/2.png", PNG)
    )
    archive.write_bytes(archive.read_bytes().replace(b"caf__", "café".encode()))
    assert made(archive, tmp_path / "out")[0].classes == ("café", "tea")
