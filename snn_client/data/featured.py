"""Data sets of features: what a backbone sees in photos, and of the test set small pictures for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn.batches import Groups
from snn.errors import InvalidDataset
from snn_client.data.making import Writer
from snn_client.data.options import Options, Progress, some
from snn_data.dataset import load_dataset
from snn_photos.reference import BackboneReference

PICTURE = 64
"""Pixels a side of the pictures of test photos that a report shows."""


MOST = 20_000
"""Photos up to which a backbone is taken unasked: two minutes and 0.04 USD, by `expected`."""

_SECONDS, _USD = 0.05, 1.8e-6
"""What FeatureLambda takes for a photo of EfficientNet-Lite0's size, and what that costs with what S3 takes for it."""


def expected(photos: int, at_once: int = 8) -> tuple[float, float]:
    """Return in how many seconds, and for how many USD, the features of so many photos are computed, about."""
    return photos * _SECONDS / min(at_once, max(1, photos // 32)), photos * _USD


class Features(Protocol):
    """What turns photos, each its file's contents unopened, into features."""

    @property
    def backbone(self) -> BackboneReference:
        """Return what sees the photos."""

    @property
    def used(self) -> dict[str, str]:
        """Return what that took so far, as a data set's object in S3 tells it."""

    @property
    def seen(self) -> list[str]:
        """Return the SHA-256 of all photos so far that have features, in their order."""

    @property
    def summary(self) -> str:
        """Return in one line what was computed so far, by how many invocations, and for how much."""

    def of(
        self, photos: Sequence[Callable[[], bytes]], mirrored: bool = False
    ) -> Iterator[tuple[NDArray[np.float32], list[tuple[int, str]]]]:
        """Yield features (m, d) of the next photos that are good, and (place, problem) of those that are not."""


class Photo(NamedTuple):
    """A photo to be seen: what reads its file, its label, what errors call it, its slice and its group, if any."""

    read: Callable[[], bytes]
    label: float
    name: str
    slice: str = ""
    group: int | None = None


def write(
    target: Path,
    classes: Sequence[str],
    parts: Mapping[str, Sequence[Photo]],
    features: Features,
    pictures: Callable[[Sequence[int]], Iterable[NDArray[np.uint8]]],
    progress: Progress,
    *,
    mirror: bool = False,
    in_time: bool = False,
    slices_by: str = "folder",
) -> list[str]:
    """Write the features of photos to a `datasets.h5`; return what is wrong with those that are left out, by name.

    `pictures` yields those of test photos, by their places, for reports. With `mirror` the training part has mirror
    images too: each is in one group with its photo, so that the two are never parted. `in_time` says that groups are;
    `slices_by` says what the slices are by.
    """
    backbone, bad, done = features.backbone, list[str](), 0
    total = sum(map(len, parts.values())) + (len(parts["train"]) if mirror else 0)
    with Writer(
        target, (backbone.features,), np.float32, classes, slices_by=slices_by, backbone=backbone.to_json()
    ) as writer:
        for part, photos in parts.items():
            good = list[int]()
            doubled = mirror and part == "train"
            for mirrored in (False, True) if doubled else (False,):
                places = list(good) if mirrored else range(len(photos))
                for rows, kept, wrong in _computed(features, photos, places, mirrored):
                    bad += [f"{photos[place].name}: {problem}" for place, problem in wrong]
                    good += [] if mirrored else kept
                    if kept:
                        some = [photos[place] for place in kept]
                        numbers = [place if doubled and one.group is None else one.group
                                   for place, one in zip(kept, some, strict=True)]  # fmt: skip
                        groups = None if None in numbers else Groups(np.array(numbers, np.int64), in_time)
                        labels, slices = np.array([one.label for one in some]), [one.slice for one in some]
                        writer.add(part, rows, labels, slices, groups)
                    done += len(kept) + len(wrong)
                    progress.at("computing features", done, total)
            if part == "test":
                for shown in pictures(good):
                    writer.show(shown)
    progress.note(features.summary)
    return bad


def _computed(
    features: Features, photos: Sequence[Photo], places: Sequence[int], mirrored: bool
) -> Iterator[tuple[NDArray[np.float32], list[int], list[tuple[int, str]]]]:
    """Yield features of photos at these places, the places of those that have some, and what is wrong with others."""
    begun = 0
    for rows, wrong in features.of([photos[place].read for place in places], mirrored):
        there, problems = range(begun, begun + len(rows) + len(wrong)), dict(wrong)
        begun = there.stop
        kept = [places[number] for number in there if number not in problems]
        yield rows, kept, [(places[number], problem) for number, problem in wrong]


def of_pixels(file: Path, source: str, features: Features, target: Path, options: Options, progress: Progress) -> None:
    """Write a data set of the features of a `datasets.h5` of photos to `target`. Raises InvalidDataset."""
    dataset = load_dataset(file, source)
    check_colour(dataset.shape, source)
    parts = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    slices = dataset.slices
    photos = {
        name: [
            Photo(partial(_png, part.stored[place]), part.y[place], f"{name}_set_x {place}",
                  slices.names[slices.places[place]] if slices and name == "test" else "",
                  int(part.groups.numbers[place]) if part.groups else None)
            for place in range(len(part))
        ]
        for name, part in parts.items()
        if part is not None
    }  # fmt: skip

    def pictures(places: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        yield np.stack([_picture(dataset.test.stored[place]) for place in places])

    groups = dataset.train.groups
    bad = write(
        target, dataset.classes, photos, features, pictures, progress,
        mirror=options.mirror, in_time=groups is not None and groups.in_time, slices_by=slices.by if slices else "",
    )  # fmt: skip
    refuse_bad(bad, sum(map(len, photos.values())), options, source)


def check_colour(shape: Sequence[int], source: str) -> None:
    """Raise InvalidDataset unless a sample's shape is that of a coloured photo."""
    if len(shape) != 3 or shape[2] != 3:
        problem = "has features, not photos" if len(shape) == 1 else "has grey photos"
        hint = "leave backbone out: it was trained on coloured photos"
        raise InvalidDataset(problem, field="backbone", source=source, hint=hint)


def check_same(text: str, backbone: str, source: str) -> None:
    """Raise InvalidDataset if features, by the text that names their backbone, are not those of this one."""
    theirs = BackboneReference.load(text, source)
    if theirs.name != backbone:
        hint = "name that one, or give the photos"
        raise InvalidDataset(
            f"has features of {theirs.name}, not of {backbone}", field="backbone", source=source, hint=hint
        )


def refuse_bad(bad: Sequence[str], given: int, options: Options, source: str) -> None:
    """Raise InvalidDataset, naming files that are no usable pictures, unless they are to be skipped."""
    if bad and not options.skip_bad:
        raise InvalidDataset(
            f"{len(bad)} of {given} files are no usable pictures: {some(bad)}",
            source=source,
            hint="take them out of the folder, or skip them: --skip-bad",
        )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _picture(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(pixels).resize((PICTURE, PICTURE), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8)
