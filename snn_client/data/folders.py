"""Folders as people have them: which files are photos of which class, and for training or test."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from snn.errors import InvalidDataset
from snn_client.data.archives import MAX_ENTRIES
from snn_client.data.options import some
from snn_data.dataset import MAX_CLASSES, MAX_NAME

CLUTTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"}
"""What file managers leave in folders of photos; dot files are passed over too."""

Part = Literal["train", "test", "validation"]

PARTS: dict[Part, frozenset[str]] = {
    "train": frozenset({"train", "training", "train_set", "training_set", "trainset"}),
    "test": frozenset({"test", "testing", "test_set", "testset"}),
    "validation": frozenset({"validation", "valid", "val", "dev", "validation_set", "val_set"}),
}
"""The usual names of folders that hold a part of the samples each, in any case and with `-` for `_`."""

_NOTES = {".txt", ".md", ".json", ".xml", ".html", ".pdf", ".yaml", ".yml"}  # read me, licence
_TABLES = {".csv", ".tsv"}
_DATA = {*_TABLES, ".gz", ".parquet", ".pq", ".h5", ".hdf5"}


@dataclass(frozen=True)
class Found:
    """A file that is to be a photo, its label (the number of its class, or a number), and its part, if that is said.

    `slice` is the folder that it lies in below that of its class, "" for that folder itself. `group` is the number of
    the group, or of the time, that the photos were split by; None: by neither.
    """

    path: Path
    label: float
    part: Part | None = None
    slice: str = ""
    group: int | None = None


@dataclass(frozen=True)
class Layout:
    """The photos of a folder, and the names of classes 0, 1 …; none where a number is to be given.

    `bad` are files that cannot be photos, each as "name: why".
    """

    found: list[Found]
    classes: tuple[str, ...]
    bad: list[str] = field(default_factory=list)


def clutter(name: str) -> bool:
    """Return whether nobody put a file or folder of this name there as data."""
    return name.startswith(".") or name.lower() in CLUTTER


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder but clutter, by name. Raises InvalidDataset if the folder cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not clutter(entry.name)), key=lambda entry: entry.name)
    except OSError as problem:
        raise InvalidDataset((problem.strerror or str(problem)).lower(), source=readable(folder)) from None


def innermost(folder: Path) -> Path:
    """Return the folder itself or, while it holds nothing but one folder that holds all, that one.

    Archives mostly do.
    """
    while True:
        inside = [entry for entry in entries(folder) if not (entry.is_file() and _suffix(entry.name) in _NOTES)]
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        within = entries(Path(inside[0].path))
        if not any(entry.is_dir() or _suffix(entry.name) in _DATA for entry in within):
            return folder
        folder = Path(inside[0].path)


def lone_file(folder: Path, is_data: Callable[[str], bool]) -> Path | None:
    """Return the file in a folder that holds nothing else, if its name says that it is data; of a pair the first."""
    inside = [Path(entry.path) for entry in entries(folder) if _suffix(entry.name) not in _NOTES]
    stored = [path for path in inside if _suffix(path.name) in {".h5", ".hdf5"}]
    if inside and (len(inside) == 1 or len(stored) == len(inside)) and inside[0].is_file():
        return inside[0] if is_data(inside[0].name) else None
    return None


def read_layout(root: Path, classes: Sequence[str] = (), only: Sequence[str] = ()) -> Layout:
    """Return the photos below a folder: a folder a class or, below folders named as in `PARTS`, a part and a class.

    Folders of photos may have folders of their own. Links are followed; those that lead nowhere or back are `bad`.
    `classes` are the names in their order, that of class 0 first; without them the order is alphabetical whatever the
    case, that of numbers theirs and, of a pair such as cat and non-cat, the positive one is class 1. Folders of other
    classes than `only`, if it names some, are left alone.
    Raises InvalidDataset, which says what it found and what it expects.
    """
    walker = Walker(root)
    parts = parts_of(root)
    named: dict[str, list[tuple[Path, Part | None]]] = {}
    for part, folder in parts:
        inside = folders_in(folder)
        photos = [entry.name for entry in entries(folder) if entry.is_file()]
        if not inside:
            what = f"{len(photos)} files and no folders" if photos else "nothing"
            raise InvalidDataset(
                f"expected folders, one for each class; found {what}",
                source=readable(folder),
                hint="sort the photos into folders, or put a CSV beside them that tells the class of each",
            )
        for path in inside:
            named.setdefault(_class_name(path.name, readable(root)), []).append((path, part))
        walker.bad += [
            f"{readable(folder / name, root)}: lies beside the folders of the classes"
            for name in photos
            if _suffix(name) not in _NOTES | _TABLES
        ]
    order = ordered(chosen(list(named), only, readable(root)), classes, readable(root))
    if len(order) < 2:
        raise InvalidDataset(
            f"expected two folders or more, one for each class; found {order[0]}", source=readable(root)
        )
    found = []
    for label, name in enumerate(order):
        for folder, part in named[name]:
            files = list(walker.files(folder))
            if not files:
                raise InvalidDataset("holds no photos", source=readable(folder), hint="take the folder away")
            found += [Found(path, label, part, _slice(path, folder)) for path in files]
    _check_parts(root, found, order)
    return Layout(found, order, walker.bad)


def _slice(path: Path, folder: Path) -> str:
    return readable(path.parent, folder) if folder in path.parents and path.parent != folder else ""


def part_of(name: str) -> Part | None:
    """Return the part of the samples that a folder of this name holds, if it is a usual name of one."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return next((part for part, names in PARTS.items() if plain in names), None)


def chosen(names: Sequence[str], only: Sequence[str], source: str) -> list[str]:
    """Return the names of the classes that are wanted: all, if `only` names none. Raises InvalidDataset."""
    wanted = {unicodedata.normalize("NFC", name) for name in only}
    if unknown := sorted(wanted - set(names)):
        raise InvalidDataset(
            f"names {unknown[0]}; the classes are {some(sorted(names), 20).replace(';', ',')}",
            field="only",
            source=source,
            hint="name classes that there are",
        )
    return [name for name in names if not wanted or name in wanted]


def ordered(names: Sequence[str], wanted: Sequence[str], source: str) -> tuple[str, ...]:
    """Return the names of classes in their order. Raises InvalidDataset unless `wanted`, if given, names the same."""
    if len(names) > MAX_CLASSES:
        raise InvalidDataset(f"{len(names):,} classes", source=source, hint=f"at most {MAX_CLASSES:,}")
    if wanted:
        given = tuple(unicodedata.normalize("NFC", name) for name in wanted)
        if len(set(given)) != len(given) or set(given) != set(names):
            raise InvalidDataset(
                f"names {', '.join(given)}; the classes are {some(sorted(names), 20).replace(';', ',')}",
                field="classes",
                source=source,
                hint="name each once, that of class 0 first",
            )
        return given
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    order = sorted(names, key=lambda name: (name.casefold(), name))
    if len(order) == 2:
        for positive, negative in (order, order[::-1]):
            if re.fullmatch(rf"(non|not|no)[-_ ]?{re.escape(positive)}", negative, re.IGNORECASE):
                return negative, positive
    return tuple(order)


def readable(path: Path | str, root: Path | None = None) -> str:
    """Return a path as text that can be printed and stored, whatever bytes are in its name; from `root`, if given.

    Names that are not UTF-8 are mostly of an old Windows.
    """
    raw = os.fsencode(path.relative_to(root) if root and isinstance(path, Path) else path)
    return unicodedata.normalize("NFC", "/".join(map(_decoded, raw.split(b"/"))))


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp1252", "replace")


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder but clutter, by name."""
    return [Path(entry.path) for entry in entries(folder) if entry.is_dir()]


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()


def parts_of(root: Path) -> list[tuple[Part | None, Path]]:
    """Return the folders whose folders are classes, each with its part; `root` alone if it has no parts."""
    of_parts = {part_of(path.name): path for path in folders_in(root)}
    folders = {part: of_parts[part] for part in PARTS if part in of_parts}
    if "train" not in folders or len(folders) < 2:
        return [(None, root)]
    others = [path.name for path in folders_in(root) if path not in folders.values()]
    if others:
        raise InvalidDataset(
            f"holds {', '.join(path.name for path in folders.values())}, which hold classes, and beside them "
            f"{some([readable(name) for name in others], 5)}",
            source=readable(root),
            hint="take away what is neither train, test nor validation",
        )
    return list(folders.items())


def _check_parts(root: Path, found: list[Found], classes: tuple[str, ...]) -> None:
    """Raise InvalidDataset for a class that is in another part and not in the one to train on."""
    trained = {one.label for one in found if one.part in (None, "train")}
    for one in found:
        if one.label not in trained:
            raise InvalidDataset(
                f"the class is in the {one.part} part and not in the training part",
                field=classes[int(one.label)],
                source=readable(root),
                hint="use the same names of folders in all parts",
            )


def _class_name(name: str, source: str) -> str:
    shown = readable(name)
    if len(shown) > MAX_NAME or not shown.strip():
        raise InvalidDataset(
            f"no class can have a name of {len(shown)} characters", field=shown, source=source, hint="rename the folder"
        )
    return shown


class Walker:
    """All files below folders, through links, each folder once; `bad` are the links that lead nowhere or back."""

    def __init__(self, root: Path) -> None:
        self._root, self.bad, self._count = root, list[str](), 0

    def files(self, folder: Path) -> Iterator[Path]:
        """Yield the files below a folder, by name."""
        yield from self._below(folder, frozenset())

    def _below(self, folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
        about = folder.stat()
        here = (about.st_dev, about.st_ino)
        if here in above:
            self.bad.append(f"{readable(folder, self._root)}: is a link back to a folder above it")
            return
        for entry in entries(folder):
            self._count += 1
            if self._count > MAX_ENTRIES:
                raise InvalidDataset(f"holds more than {MAX_ENTRIES:,} files", source=readable(self._root))
            path = Path(entry.path)
            try:
                kind = entry.stat().st_mode
            except OSError as problem:
                why = "is a link that leads nowhere" if entry.is_symlink() else (problem.strerror or "").lower()
                self.bad.append(f"{readable(path, self._root)}: {why}")
                continue
            if stat.S_ISDIR(kind):
                yield from self._below(path, above | {here})
            elif stat.S_ISREG(kind):
                yield path
            else:
                self.bad.append(f"{readable(path, self._root)}: is no plain file")
