"""Data sets of features: what a backbone sees in photos, and of the test set small pictures for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn.batches import Samples
from snn.errors import InvalidDataset
from snn_client.data.making import Writer
from snn_client.data.options import Options, Progress, some
from snn_data.dataset import Dataset, load_dataset
from snn_photos.reference import BackboneReference

PICTURE = 64
"""Pixels a side of the pictures of test photos that a report shows."""


class Features(Protocol):
    """What turns photos, each its file's contents unopened, into features."""

    @property
    def backbone(self) -> BackboneReference:
        """Return what sees the photos."""

    @property
    def used(self) -> dict[str, str]:
        """Return what that took so far, as a data set's object in S3 tells it."""

    def of(self, photos: Sequence[Callable[[], bytes]]) -> Iterator[tuple[NDArray[np.float32], list[tuple[int, str]]]]:
        """Yield features (m, d) of the next photos that are good, and (place, problem) of those that are not."""


def of_pixels(file: Path, source: str, features: Features, target: Path, progress: Progress) -> None:
    """Write a data set of the features of a `datasets.h5` of photos to `target`. Raises InvalidDataset."""
    dataset = load_dataset(file, source)
    check_colour(dataset.shape, source)
    total, done = sum(len(part) for _, part in _parts(dataset)), 0
    backbone = features.backbone
    with Writer(target, (backbone.features,), np.float32, dataset.classes, backbone=backbone.to_json()) as writer:
        for name, part in _parts(dataset):
            photos = [partial(_png, pixels) for pixels in part.stored]
            begun = 0
            for found, bad in features.of(photos):
                if bad:  # pixels that were decoded once
                    raise InvalidDataset(f"photo {bad[0][0]} {bad[0][1]}", field=f"{name}_set_x", source=source)
                rows = slice(begun, begun + len(found))
                writer.add(name, found, part.y[rows], groups=part.part(rows).groups)
                begun += len(found)
                done += len(found)
                progress.at("computing features", done, total)
            if name == "test":
                writer.show(np.stack([_picture(pixels) for pixels in part.stored]))


def check_colour(shape: Sequence[int], source: str) -> None:
    """Raise InvalidDataset unless a sample's shape is that of a coloured photo."""
    if len(shape) != 3 or shape[2] != 3:
        problem = "has features, not photos" if len(shape) == 1 else "has grey photos"
        hint = "leave backbone out: it was trained on coloured photos"
        raise InvalidDataset(problem, field="backbone", source=source, hint=hint)


def check_same(text: str, backbone: BackboneReference, source: str) -> None:
    """Raise InvalidDataset if features, by the text that names their backbone, are not those of this one."""
    theirs = BackboneReference.load(text, source)
    if theirs.digest != backbone.digest:
        raise InvalidDataset(
            f"has features of {theirs.name} ({theirs.digest}), not of {backbone.name} ({backbone.digest})",
            field="backbone",
            source=source,
            hint="make it anew from its photos",
        )


def refuse_bad(bad: Sequence[str], given: int, options: Options, source: str) -> None:
    """Raise InvalidDataset, naming files that are no usable pictures, unless they are to be skipped."""
    if bad and not options.skip_bad:
        raise InvalidDataset(
            f"{len(bad)} of {given} files are no usable pictures: {some(bad)}",
            source=source,
            hint="take them out of the folder, or skip them: --skip-bad",
        )


def _parts(dataset: Dataset) -> Iterator[tuple[str, Samples]]:
    yield "train", dataset.train
    yield "test", dataset.test
    if dataset.validation is not None:
        yield "validation", dataset.validation


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _picture(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(pixels).resize((PICTURE, PICTURE), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8)
