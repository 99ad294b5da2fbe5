"""What people have (folders, archives, tables, HDF5 files; here or in S3) made into the one file that Lambda reads."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from snn.errors import InvalidDataset, InvalidInput
from snn_client.data import archives, featured, fetching, folders, pairs, photos, tables
from snn_client.data.addresses import address_of
from snn_client.data.featured import Features, check_same
from snn_client.data.options import AUTO, NONE, Options, Progress
from snn_client.tables.files import CSV_ENDINGS, PARQUET_ENDINGS
from snn_data.dataset import load_header
from snn_data.files import check_file

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Maker = Callable[[Path, Options, Path, Progress], None]
"""Makes a data set of a source and writes it to the target, a path that does not exist yet. Raises InvalidInput."""


See = Callable[[], Features | None]
"""Gives what computes features; None only if any backbone will do, and there is none."""


class Kind(Enum):
    """What a source is, by its name: the endings that say so."""

    HDF5 = (".h5", ".hdf5")
    CSV = CSV_ENDINGS
    PARQUET = PARQUET_ENDINGS
    ARCHIVE = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".zip")
    FOLDER = ()

    @classmethod
    def of(cls, name: str) -> Kind | None:
        """Return what a file of this name is; None if the name does not tell."""
        return next((kind for kind in cls if name.lower().endswith(kind.value or ("/",))), None)


ENDINGS = ", ".join(ending for kind in Kind for ending in kind.value)


def prepare(
    source: str | Path,
    options: Options,
    folder: Path,
    progress: Progress,
    s3: S3Client | None = None,
    see: See | None = None,
) -> Path:
    """Return the path of a `datasets.h5` with what is at `source`: that file itself, or one made in `folder`.

    `source` is a path or an `s3://` address of a file or, if it ends in "/", of all that begins so. Whatever is
    unpacked or downloaded on the way lies in `folder`, and is gone when this returns or raises. Where the
    options name a backbone, the data set is made of what it sees in photos; `see` is asked for it only if there are
    some.
    Raises InvalidInput, naming the file, for what cannot be used.
    """
    if options.backbone in ("", NONE):
        see = None
    elif see is None and options.backbone != AUTO:
        hint = "name it where a run is started: snn train, or the DAG's form"
        raise InvalidInput("sees photos in Lambda, where a run is staged", field="backbone", hint=hint)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".snn-") as workshop:
        shown, local = str(source), Path(source)
        if address_of(shown):
            if s3 is None:
                raise InvalidInput("lies in S3", source=shown, hint="name it where there is a connection to AWS")
            local = fetching.fetch(s3, shown, Path(workshop, "fetched"), progress)
        found = _made(local, shown, options, folder, Path(workshop), progress, see)
        return found.replace(folder / found.name) if Path(workshop) in found.parents else found


def _made(
    local: Path, shown: str, options: Options, folder: Path, workshop: Path, progress: Progress, see: See | None
) -> Path:  # fmt: skip
    named = see if options.backbone != AUTO else None  # that one, whether or not it pays
    kind = Kind.FOLDER if local.is_dir() else Kind.of(local.name)
    if kind is not Kind.FOLDER:
        check_file(local, InvalidDataset, shown)
        kind = kind or _by_contents(local)
    if kind is Kind.HDF5:
        options.check_no_table(shown)
        if options.only:
            raise InvalidDataset("cannot be taken apart", field="only", source=shown, hint="give what it was made of")
        if not pairs.is_half(local):
            return _seen(local, shown, named, options, folder, workshop, progress) if named else local
    if kind is Kind.ARCHIVE:
        local = archives.unpack(local, workshop / "unpacked", progress, shown)
        kind = Kind.FOLDER
    name = stem(shown)
    if kind is Kind.FOLDER:
        outer, local = local, folders.innermost(local)
        shown = shown if local == outer else f"{shown.rstrip('/')}/{folders.readable(local, outer)}"
        found = folders.lone_file(local, lambda name: Kind.of(name) in (Kind.HDF5, Kind.CSV, Kind.PARQUET))
        if found:
            return _made(found, f"{shown}/{found.name}", options, folder, workshop, progress, see)
    make = _MAKERS.get(kind) if kind else None
    if make is None:
        raise InvalidDataset("is nothing that a data set is made of", source=shown, hint=f"give a folder, or {ENDINGS}")
    unfinished, target = workshop / "unfinished.h5", folder / f"{name}.h5"
    try:
        if named and kind is Kind.HDF5:
            pairs.make(local, options, workshop / "pair.h5", progress)
            return _seen(workshop / "pair.h5", shown, named, options, folder, workshop, progress)
        if named and kind is not Kind.FOLDER:
            hint = "leave backbone out: it sees photos"
            raise InvalidDataset("is a table", field="backbone", source=shown, hint=hint)
        if see and kind is Kind.FOLDER:
            photos.make(local, options, unfinished, progress, see())
        else:
            make(local, options, unfinished, progress)
    except InvalidInput as problem:
        # Of what is unpacked nobody knows the path: the source is named as it was given.
        within = problem.source.replace(str(local), shown, 1) or shown
        raise type(problem)(problem.problem, field=problem.field, source=within, hint=problem.hint) from None
    return unfinished.replace(target)


def _seen(
    local: Path, shown: str, see: See, options: Options, folder: Path, workshop: Path, progress: Progress
) -> Path:
    """Return a data set of the features of a `datasets.h5` of photos; one of features of this backbone as it is."""
    header = load_header(local, shown)
    if header.backbone:
        check_same(header.backbone, options.backbone, shown)
        return local
    features, unfinished = see(), workshop / "unfinished.h5"
    if features is None:  # only where any would do there may be none
        return local
    featured.of_pixels(local, shown, features, unfinished, options, progress)
    return unfinished.replace(folder / f"{stem(shown)}.h5")


def _by_contents(file: Path) -> Kind | None:
    with file.open("rb") as stream:
        return Kind.HDF5 if stream.read(8) == b"\x89HDF\r\n\x1a\n" else None


def stem(source: str) -> str:
    """Return the name of a source without its endings: what a file made of it is called."""
    name = PurePosixPath(source.partition("?versionId=")[0]).name
    kind = Kind.of(name)
    ending = max((end for end in kind.value if name.lower().endswith(end)), key=len) if kind and kind.value else ""
    return re.sub(r"[^\w.-]+", "_", name[: len(name) - len(ending)]) or "data"


_MAKERS: dict[Kind, Maker] = {
    Kind.HDF5: pairs.make, Kind.FOLDER: photos.make, Kind.CSV: tables.make, Kind.PARQUET: tables.make,
}  # fmt: skip
