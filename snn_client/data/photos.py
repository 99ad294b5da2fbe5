"""A data set made of folders of photos: looked at first, then decoded in parts, in children that may break."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn.batches import Groups
from snn.errors import InvalidDataset, InvalidImage, InvalidInput
from snn_client.data import featured, labels
from snn_client.data.featured import Features, refuse_bad
from snn_client.data.folders import Found, Layout, read_layout, readable
from snn_client.data.making import Writer
from snn_client.data.options import AUTO, Options, Progress, some
from snn_cloud.cost.formats import dollars, duration
from snn_data.files import read_file
from snn_data.hdf5 import MAX_BYTES
from snn_data.isolated import Broken, isolated, raise_limits
from snn_photos.pictures import MAX_BYTES as MAX_PHOTO
from snn_photos.pictures import Look, look
from snn_photos.reading import Reading, load_pixels

OWN_SIZE = 64
"""Photos that all have one size keep it up to this; others become squares of so many pixels a side."""

MAX_CHILDREN = 8  # at a time: each may take half a gigabyte for a large photo
_FILES = 256  # that one child reads, at most
_BYTES = 32 * 2**20  # of decoded photos that one child returns, at most
_PIXELS = 2**26  # of the files that one child decodes, at most, unless it is one file

T = TypeVar("T")


class Photo(NamedTuple):
    """A photo to be: where it lies, what it is, its label and its part."""

    found: Found
    look: Look

    @property
    def pixels(self) -> int:
        """Return how many it has."""
        return self.look.height * self.look.width


def make(folder: Path, options: Options, target: Path, progress: Progress, features: Features | None = None) -> None:
    """Write a data set of the photos below a folder to `target`; their classes are told by folders or by a table.

    With `features` it is one of those, and the photos are seen at their own size; if any backbone will do,
    only where it pays.
    The split is stratified, unless folders or the table tell the parts, and depends only on names, share and seed.
    Raises InvalidDataset, which names the files that are no usable photos; with `skip_bad` they are left out.
    """
    tables = labels.tables_of(folder, options)
    source = readable(folder)
    if not tables:
        options.check_no_table(source)
    layout = (
        labels.read_labels(folder, tables, options) if tables else read_layout(folder, options.classes, options.only)
    )
    photos, bad = _look(folder, layout, progress)
    given = len(photos) + len(bad)
    refuse_bad(bad, given, options, source)
    parts = _parts(photos, layout.classes, options, source)
    any_will_do = options.backbone == AUTO
    if features is not None and any_will_do and (why_not := _does_not_pay(photos)):
        progress.note(f"no backbone is used: {why_not}")
        features = None
    if features is not None:
        seconds, usd = featured.expected(len(photos))
        progress.note(
            f"{features.backbone.name} sees the photos, and its features are learned: about {duration(seconds)} and "
            f"{dollars(usd)} USD where none are known" + (" (--backbone none leaves it out)" if any_will_do else "")
        )
        bad += _write_features(folder, layout.classes, parts, features, target, options, progress)
    else:
        bad += _write_pixels(folder, layout.classes, parts, target, options, progress)
    refuse_bad(bad, given, options, source)
    if bad:
        progress.note(f"left out {len(bad)} of {given} files: {some(bad, 100)}")


def _does_not_pay(photos: Sequence[Photo]) -> str:
    """Return why a backbone, which learned from colour photos, is not taken unasked for these; "" if it is."""
    if all(one.look.grey for one in photos):
        return "the photos are grey"
    if len(photos) > featured.MOST:
        return f"there are more than {featured.MOST:,} photos (name one to have it)"
    return ""


def _write_pixels(
    folder: Path, classes: Sequence[str], parts: Mapping[str, list[Photo]], target: Path, options: Options,
    progress: Progress,
) -> list[str]:  # fmt: skip
    """Write photos, all of one size; return what is wrong with those that are left out."""
    source, bad = readable(folder), list[str]()
    photos = [one for of_part in parts.values() for one in of_part]
    shape = _shape([one.look for one in photos], options, progress)
    for part, of_part in parts.items():
        claim = len(of_part) * int(np.prod(shape))
        if claim > MAX_BYTES:
            hint = f"at most {MAX_BYTES / 1e9:.1f} GB: give a smaller size"
            raise InvalidDataset(f"{claim / 1e9:.1f} GB of photos", field=part, source=source, hint=hint)
    bits = max((one.look.bits for one in photos), default=0)
    if bits:
        progress.note(f"photos with 16 bits a pixel use {bits}: {(1 << bits) - 1:,} is white")
    how = Reading(options.fit, bits)
    with Writer(target, shape, np.uint8, classes, photos=how.to_text()) as writer:
        done, total = 0, len(photos)
        for part, of_part in parts.items():
            for pixels, kept, broken in _decoded(folder, of_part, shape, how):
                bad += broken
                if kept:
                    truth, numbers = np.array([one.label for one in kept]), [one.group for one in kept]
                    groups = None if None in numbers else Groups(np.array(numbers, np.int64), bool(options.time))
                    writer.add(part, pixels, truth, [one.slice or "." for one in kept], groups)
                done += len(kept) + len(broken)
                progress.at("reading photos", done, total)
    return bad


def split(
    truth: NDArray[Any], share: float, seed: int, of_classes: bool = True
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of training and test samples, shuffled; each class has its share, and one at least, in both."""
    random = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(truth) if of_classes else [None]:
        places = random.permutation(np.flatnonzero(truth == label) if of_classes else len(truth))
        taken = min(max(round(places.size * share), 1), places.size - 1)
        test.append(places[:taken])
        train.append(places[taken:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _write_features(
    folder: Path, classes: Sequence[str], parts: Mapping[str, list[Photo]], features: Features, target: Path,
    options: Options, progress: Progress,
) -> list[str]:  # fmt: skip
    """Write the features of photos, and pictures of those to test by; return what is wrong with those left out."""
    photos = {
        part: [
            featured.Photo(
                partial(_contents, folder, one), one.found.label, readable(one.found.path, folder),
                one.found.slice or ".", one.found.group,
            )
            for one in of_part
        ]
        for part, of_part in parts.items()
    }  # fmt: skip

    def pictures(places: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        side = featured.PICTURE
        for pixels, _, _ in _decoded(
            folder, [parts["test"][place] for place in places], (side, side, 3), Reading("crop")
        ):
            yield pixels

    return featured.write(
        target, classes, photos, features, pictures, progress, mirror=options.mirror, in_time=bool(options.time)
    )


def _contents(folder: Path, photo: Photo) -> bytes:
    return read_file(photo.found.path, MAX_PHOTO, InvalidImage, readable(photo.found.path, folder))


def _parts(photos: Sequence[Photo], classes: tuple[str, ...], options: Options, source: str) -> dict[str, list[Photo]]:
    """Return the photos of each part, shuffled. Raises InvalidDataset if a class has too few."""
    given: dict[str, list[Photo]] = {"train": [], "test": [], "validation": []}
    for photo in photos:
        given[photo.found.part or "train"].append(photo)
    needed = 1 if given["test"] else 2
    truth = np.array([one.found.label for one in given["train"]])
    for label, name in enumerate(classes or [""]):
        count = int((truth == label).sum()) if classes else truth.size
        if count < needed:
            raise InvalidDataset(
                f"{count} photos to train on" if needed == 1 else f"{count} photos",
                field=name,
                source=source,
                hint=f"at least {needed} are needed" + (", one to train and one to test" if needed == 2 else ""),
            )
    if not given["test"]:
        train, test = split(truth, options.test_share, options.seed, bool(classes))
        given["train"], given["test"] = ([given["train"][place] for place in places] for places in (train, test))
    else:
        random = np.random.default_rng(options.seed)
        for part in ("train", "test"):
            given[part] = [given[part][place] for place in random.permutation(len(given[part]))]
    return {part: of_part for part, of_part in given.items() if of_part}


def _shape(looks: Sequence[Look], options: Options, progress: Progress) -> tuple[int, int, int]:
    """Return the (height, width, channels) that photos get: as asked; else their own if all have one, up to 64."""
    sizes = {(one.height, one.width) for one in looks}
    height, width = options.pixels or (
        next(iter(sizes)) if len(sizes) == 1 and max(max(sizes)) <= OWN_SIZE else (OWN_SIZE, OWN_SIZE)
    )
    if sizes != {(height, width)} and not options.pixels:
        progress.note(f"photos become {height}×{width} pixels ({options.fit}): --size and --fit say otherwise")
    return height, width, 1 if all(one.grey for one in looks) else 3


def _look(folder: Path, layout: Layout, progress: Progress) -> tuple[list[Photo], list[str]]:
    """Return the files that are photos, with what each is, and what is wrong with the others."""
    photos, bad, done = [], list(layout.bad), 0
    groups = (layout.found[begin : begin + _FILES] for begin in range(0, len(layout.found), _FILES))
    for group, seen in _in_children(groups, lambda one: look(one.path, readable(one.path, folder)), _size_of):
        for found, one in zip(group, seen, strict=True):
            if isinstance(one, Look):
                photos.append(Photo(found, one))
            else:
                bad.append(f"{readable(found.path, folder)}: {one}")
        done += len(group)
        progress.at("looking at photos", done, len(layout.found))
    return photos, bad


def _decoded(
    folder: Path, photos: Sequence[Photo], shape: tuple[int, int, int], how: Reading
) -> Iterator[tuple[NDArray[np.uint8], list[Found], list[str]]]:
    """Yield photos of a part as they are stored, what is known of them, and what is wrong with those that are bad."""

    def decode(one: Photo) -> NDArray[np.uint8]:
        return load_pixels(one.found.path, shape, readable(one.found.path, folder), how)

    for group, read in _in_children(_grouped(photos, shape), decode, lambda one: 4 * one.pixels):
        good = [place for place, pixels in enumerate(read) if isinstance(pixels, np.ndarray)]
        wrong = [
            f"{readable(one.found.path, folder)}: {pixels}"
            for one, pixels in zip(group, read, strict=True)
            if not isinstance(pixels, np.ndarray)
        ]
        stacked = np.stack([read[place] for place in good]) if good else np.empty((0, *shape), np.uint8)
        yield stacked, [group[place].found for place in good], wrong


def _grouped(photos: Sequence[Photo], shape: tuple[int, int, int]) -> Iterator[list[Photo]]:
    """Yield the photos in groups that a child can decode within its limits."""
    most = max(1, min(_FILES, _BYTES // int(np.prod(shape))))
    group: list[Photo] = []
    pixels = 0
    for photo in photos:
        if group and (len(group) == most or pixels + photo.pixels > _PIXELS):
            yield group
            group, pixels = [], 0
        group.append(photo)
        pixels += photo.pixels
    if group:
        yield group


def _in_children(
    groups: Iterator[list[T]], work: Callable[[T], Any], nbytes: Callable[[T], int]
) -> Iterator[tuple[list[T], list[Any]]]:
    """Yield each group with what `work` returns for each of its items, in order; a text says why it has nothing.

    A child of ours does a group, as many at a time as there are processors. If it breaks, each item of the group gets
    a child of its own, so that the one that broke it is known. `nbytes` tells what an item takes to read.
    """

    def child(items: list[T]) -> list[Any]:
        def each(_: object) -> list[Any]:
            raise_limits(sum(map(nbytes, items)))
            results: list[Any] = []
            for item in items:
                try:
                    results.append(work(item))
                except InvalidInput as problem:
                    results.append(problem.problem)
            return results

        if stopped.is_set():
            raise CancelledError
        try:
            return isolated(each)
        except Broken as problem:
            if len(items) == 1:
                return [f"is so damaged that reading it {problem}"]
            return [result for item in items for result in child([item])]

    stopped, workers = threading.Event(), min(os.cpu_count() or 1, MAX_CHILDREN)  # a Ctrl-C ends our children too
    Image.init()  # imports what reads each kind of file, which every child would do for itself
    with ThreadPoolExecutor(workers) as pool:
        begun: deque[tuple[list[T], Future[list[Any]]]] = deque()
        try:
            for group in groups:
                begun.append((group, pool.submit(child, group)))
                if len(begun) > workers:
                    done, future = begun.popleft()
                    yield done, future.result()
            while begun:
                done, future = begun.popleft()
                yield done, future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _size_of(found: Found) -> int:
    try:
        return 2 * found.path.stat().st_size
    except OSError:
        return 0
