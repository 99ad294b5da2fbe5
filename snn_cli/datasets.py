"""`snn dataset`: where a `datasets.h5` comes from, and what is in one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from snn.batches import Samples
from snn.errors import InvalidDataset, InvalidImage, InvalidInput
from snn_client.data.images import load_pixels
from snn_data.dataset import Dataset, load_dataset, save_dataset

ITSACAT_SHA256 = "24eff5d858a0f6c929f531ff721bcee60646ede1a99bce9de7d05c18128e057f"
"""The `datasets.h5` of itsacat: 209 training and 50 test photos, cats and others, 64×64."""

FACES_TEST_SHARE = 0.2
CLUTTER = {"thumbs.db", "desktop.ini"}  # what file managers leave in folders of photos; dot files are passed over too

SHOWN_CLASSES = 20

app = typer.Typer(no_args_is_help=True, help="Create a datasets.h5, or inspect one.")


@app.command("faces")
def faces_command(out: Annotated[Path, typer.Argument(help="the file to write, e.g. datasets/faces.h5")]) -> None:
    """Write the default data set: 200 real photos, faces or not, from the installed scikit-image. Works offline."""
    build_faces(out)
    typer.echo(describe(out))


@app.command("from-folder")
def from_folder_command(
    directory: Annotated[Path, typer.Argument(help="has two folders of photos, one for each class")],
    out: Annotated[Path, typer.Argument(help="the file to write")],
    size: Annotated[int, typer.Option(min=1, max=1024, help="photos are resized to SIZE×SIZE pixels")] = 64,
    test_share: Annotated[float, typer.Option(min=0.01, max=0.99, help="share of the photos for the test set")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="determines which photos")] = 0,
) -> None:
    """Create a data set from your own photos. In alphabetical order the first folder is class 0, the second class 1."""
    build_from_folder(directory, out, size=size, test_share=test_share, seed=seed)
    typer.echo(describe(out))


@app.command("check")
def check_command(file: Annotated[Path, typer.Argument(help="a datasets.h5")]) -> None:
    """Show what a data set holds, and whether it is itsacat's."""
    typer.echo(describe(file))


@app.command("samples")
def samples_command(directory: Annotated[Path, typer.Argument(help="where to write them")]) -> None:
    """Write a few real photos to classify: scikit-image's astronaut, her face, a cat, coffee, a rocket."""
    for path in sample_images(directory):
        typer.echo(path)


def build_faces(out: Path | str) -> None:
    """Write scikit-image's 100 faces and 100 pieces of background as a data set: 160 to train, 40 to test, 25×25.

    Class 0 is "non-face", class 1 "face". The same bytes of content every time.
    Raises InvalidInput when scikit-image is not installed.
    """
    grey = np.load(_scikit_image_data("lfw_subset.npy"))  # (200, 25, 25) in 0..1; the first 100 are faces
    pixels = np.repeat(np.rint(grey * 255).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    labels = np.repeat([1, 0], [100, 100])
    _write(Path(out), pixels, labels, ("non-face", "face"), FACES_TEST_SHARE, seed=0)


def build_from_folder(
    directory: Path | str, out: Path | str, *, size: int = 64, test_share: float = 0.2, seed: int = 0
) -> None:
    """Write a data set of the photos below `directory`, which has exactly two folders, one for each class.

    Folders of photos may have folders of their own. The split is stratified and depends only on the names, the share
    and the seed. Raises InvalidDataset, which names every file that is no picture; nothing is written then.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InvalidDataset("not a folder", source=str(directory))
    folders = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) != 2:
        found = ", ".join(folder.name for folder in folders) or "none"
        raise InvalidDataset(f"expected two folders, one for each class; found {found}", source=str(directory))
    photos: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    bad: list[str] = []
    for label, folder in enumerate(folders):
        for path in files_of(folder):
            try:
                photos.append(load_pixels(path, (size, size, 3), source=str(path.relative_to(directory))))
                labels.append(label)
            except InvalidImage as problem:
                bad.append(f"{problem.source}: {problem.problem}")
    if bad:
        raise InvalidDataset(
            f"{len(bad)} of {len(bad) + len(photos)} files are not usable pictures: {'; '.join(bad)}",
            source=str(directory),
            hint="remove them from the folder",
        )
    for label, folder in enumerate(folders):
        if labels.count(label) < 2:
            raise InvalidDataset(
                f"{labels.count(label)} photos",
                field=folder.name,
                source=str(directory),
                hint="at least 2 are needed, one to train and one to test",
            )
    _write(Path(out), np.stack(photos), np.array(labels), (folders[0].name, folders[1].name), test_share, seed)


def sample_images(directory: Path | str) -> list[Path]:
    """Write five photos that scikit-image brings along, as files to classify, and return their paths.

    All are free of copyright (NASA, SpaceX, CC0). Raises InvalidInput when scikit-image is not installed.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    face = directory / "astronaut-face.png"
    with Image.open(_scikit_image_data("astronaut.png")) as astronaut:
        astronaut.crop((165, 65, 285, 185)).save(face)  # framed as the faces of the data set are
    paths = [face]
    for name, known_as in [
        ("astronaut.png", "astronaut.png"),
        ("chelsea.png", "cat.png"),
        ("coffee.png", "coffee.png"),
        ("rocket.jpg", "rocket.jpg"),
    ]:
        paths.append(Path(shutil.copyfile(_scikit_image_data(name), directory / known_as)))
    return paths


def describe(file: Path | str) -> str:
    """Return what a data set holds, in a few lines. Raises InvalidDataset."""
    file = Path(file)
    if not file.is_file():
        raise InvalidDataset("no such file", source=str(file))
    dataset = load_dataset(file)
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    names = "  ".join(f"{label} = {name}" for label, name in enumerate(dataset.classes[:SHOWN_CLASSES]))
    more = len(dataset.classes) - SHOWN_CLASSES
    rows = [
        ("file", str(file)),
        ("classes", f"{names}  … and {more:,} more" if more > 0 else names or "none: labels are numbers to predict"),
        _kind(dataset),
        ("train", _balance(dataset.train, dataset.classes)),
        ("test", _balance(dataset.test, dataset.classes)),
        *([("validation", _balance(dataset.validation, dataset.classes))] if dataset.validation else []),
        ("sha256", sha256),
        ("itsacat's", "yes, byte for byte" if sha256 == ITSACAT_SHA256 else "no, another data set"),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def _kind(dataset: Dataset) -> tuple[str, str]:
    if len(dataset.shape) == 1:
        return "features", f"{dataset.features:,} inputs, {dataset.train.stored.dtype}"
    height, width, *channels = dataset.shape
    colours = f"{channels[0]} colours" if channels == [3] else "grey"
    return "photos", f"{height}×{width} pixels, {colours}: {dataset.features:,} inputs"


def _balance(samples: Samples, classes: tuple[str, ...]) -> str:
    if not classes:
        return f"{len(samples)} (from {samples.y.min():g} to {samples.y.max():g}, mean {samples.y.mean():g})"
    counts = np.bincount(samples.y, minlength=len(classes))
    named = [f"{count} {name}" for count, name in zip(counts[:SHOWN_CLASSES], classes, strict=False)]
    return f"{len(samples)} ({', '.join(named)}{' …' if len(classes) > SHOWN_CLASSES else ''})"


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder, without those that nobody put there as photos."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.name.lower() not in CLUTTER
    )


def _split(labels: NDArray[np.integer], test_share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of training and test samples, shuffled; each class has its share, and one at least, in both."""
    random = np.random.default_rng(seed)
    train, test = [], []
    for label in (0, 1):
        places = random.permutation(np.flatnonzero(labels == label))
        share = min(max(round(places.size * test_share), 1), places.size - 1)
        test.append(places[:share])
        train.append(places[share:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _write(
    out: Path,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer],
    classes: tuple[str, str],
    test_share: float,
    seed: int,
) -> None:
    """Split and save; whoever looks at `out` sees the old file or the whole new one, never half of it."""
    train, test = _split(labels, test_share, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".snn-") as workshop:
        unfinished = Path(workshop) / out.name
        save_dataset(unfinished, pixels[train], labels[train], pixels[test], labels[test], classes)
        os.replace(unfinished, out)


def _scikit_image_data(name: str) -> Path:
    """Return the path of a file in scikit-image's own data folder (without importing it, and never by download)."""
    package = importlib.util.find_spec("skimage")
    for place in (package.submodule_search_locations if package else None) or ():
        path = Path(place) / "data" / name
        if path.is_file():
            return path
    raise InvalidInput("scikit-image's photos are not installed", field=name, hint="pip install scikit-image")
