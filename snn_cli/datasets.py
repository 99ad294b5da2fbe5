"""`snn dataset`: where a `datasets.h5` comes from, and what is in one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import boto3
import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from snn.batches import Samples
from snn.errors import InvalidDataset, InvalidInput
from snn_cli.console import interruptible
from snn_cli.making import SOURCE, makes_data, shown
from snn_client.data import judging
from snn_client.data.addresses import address_of
from snn_client.data.folders import Walker
from snn_client.data.options import Options, Progress
from snn_client.data.photos import split
from snn_client.data.sources import prepare
from snn_data.dataset import Dataset, check_dataset, load_dataset, save_dataset

ITSACAT_SHA256 = "24eff5d858a0f6c929f531ff721bcee60646ede1a99bce9de7d05c18128e057f"
"""The `datasets.h5` of itsacat: 209 training and 50 test photos, cats and others, 64×64."""

FACES_TEST_SHARE = 0.2
SHOWN_CLASSES = 20

app = typer.Typer(no_args_is_help=True, help="Create a datasets.h5, or inspect one.")


@app.command("faces")
def faces_command(out: Annotated[Path, typer.Argument(help="the file to write, e.g. datasets/faces.h5")]) -> None:
    """Write the default data set: 200 real photos, faces or not, from the installed scikit-image. Works offline."""
    build_faces(out)
    typer.echo(describe(out))


@app.command("make")
@makes_data
def make_command(
    source: Annotated[str, typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Argument(help="the file to write")],
    made: dict[str, Any],
    seed: Annotated[int | None, typer.Option(help="decides which samples become the test set")] = None,
) -> None:
    """Make a datasets.h5 of what you have: folders of photos, an archive of them, a table, the course's pair of files.

    A folder is a class. If there are folders named train and test, the classes are
    in those. On Ctrl-C nothing half-done stays.

    \b
    Examples:
      snn dataset make my-photos datasets/pets.h5
      snn dataset make mnist.tar.xz datasets/mnist.h5 --skip-bad
      snn dataset make patients.csv datasets/patients.h5 --label ill --group patient
      snn dataset make my-photos datasets/pets.h5 --size 32 --fit crop --classes non-cat,cat
    """
    options = Options.of({**made, "seed": seed})
    with interruptible(lambda: "Nothing was written."), shown() as progress:
        make_dataset(source, out, options, progress)
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


def make_dataset(source: str | Path, out: Path, options: Options, progress: Progress) -> None:
    """Write a data set of what is at `source` (see `sources`) to `out`, whole or not at all. Raises InvalidInput."""
    out.parent.mkdir(parents=True, exist_ok=True)
    s3 = boto3.client("s3") if address_of(source) else None
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".snn-") as workshop:
        made = prepare(source, options, Path(workshop), progress, s3)
        check_dataset(made, str(source))
        judging.check(made, options.strict, str(source), progress.warn)
        if Path(workshop) not in made.parents:  # it was a data set already
            made = Path(shutil.copyfile(made, Path(workshop, "copy.h5")))
        made.replace(out)


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
    return list(Walker(folder).files(folder))


def _write(
    out: Path,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer],
    classes: tuple[str, str],
    test_share: float,
    seed: int,
) -> None:
    """Split and save; whoever looks at `out` sees the old file or the whole new one, never half of it."""
    train, test = split(labels, test_share, seed)
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
