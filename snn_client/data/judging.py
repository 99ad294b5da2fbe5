"""What is suspicious about a data set, told before anything is learned from it.

Each finding is a reason why a figure on the test set may say something else than how good the network is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.batches import Samples
from snn.errors import InvalidDataset
from snn_client.data.options import some
from snn_client.tables.leaks import Looked, some_rows, suspects
from snn_data.dataset import Dataset, Header, Stored, blocks_of, kept_as, load_header
from snn_data.hdf5 import read_hdf5
from snn_data.isolated import raise_limits

Kind = Literal["same sample", "label shift", "few samples", "constant", "leak"]

FEW = 10
"""Samples of a class, in a part, of which no figure says much."""

UNLIKELY = 0.001
"""So rarely would a random split make parts whose classes differ as much."""

NOTABLE = 0.1
"""The share of the samples that another class would have to be of, at least, to be told of: with many samples even a
small difference is no accident."""

_NAMED = 5  # rows, classes and columns that a finding names


class Finding(TypedDict):
    """Something suspicious: of what kind, and one line for a person that says what it means and what to do."""

    kind: Kind
    text: str


class _Seen(NamedTuple):
    """What is known of a part: its name, labels (m,), a digest of each sample; of features, which are all alike, and
    some rows.
    """

    name: str
    y: NDArray[Any]
    digests: list[bytes]
    constant: NDArray[np.bool_] | None = None
    looked: Looked | None = None


def judge(data: Path | Dataset) -> list[Finding]:
    """Return what is suspicious about a data set, in memory or in a file that was checked.

    A file is read a block at a time, in a child process.
    """
    known: Header | Dataset
    if isinstance(data, Path):
        known = load_header(data)
        seen = _seen_in_file(data, known)
    else:
        known, seen = data, _seen_in_memory(data)
    classes = known.classes
    told = [*_same(seen), *_shifted(seen, classes), *_few(seen, classes), *_constant(seen)]
    return [*told, *_leaking(seen, classes, known.columns)]


def check(data: Path | Dataset, strict: bool, source: str, tell: Callable[[str], None]) -> list[Finding]:
    """Tell what is suspicious about a data set. If `strict`, raise InvalidDataset instead."""
    findings = judge(data)
    if strict and findings:
        raise InvalidDataset(
            "; ".join(finding["text"] for finding in findings),
            source=source,
            hint="correct the data, or be less strict",
        )
    for finding in findings:
        tell(finding["text"])
    return findings


def _same(seen: list[_Seen]) -> list[Finding]:
    """Return a finding for each part that shares samples with the training part."""
    train, *others = seen
    first: dict[bytes, int] = {}
    for place, digest in enumerate(train.digests):
        first.setdefault(digest, place)
    findings: list[Finding] = []
    for part in others:
        pairs = [(first[digest], place) for place, digest in enumerate(part.digests) if digest in first]
        if pairs:
            rows = some([f"{row} and {other}" for row, other in pairs], _NAMED)
            differ = sum(1 for row, other in pairs if train.y[row] != part.y[other])
            labelled = f", {differ:,} of them with another label" if differ else ""
            text = (
                f"{len(pairs):,} of {len(part.y):,} samples of the {part.name} part are in the training part too"
                f"{labelled} (rows {rows}): what is learned by heart looks as if it were understood"
            )
            findings.append({"kind": "same sample", "text": text})
    return findings


def _shifted(seen: list[_Seen], classes: tuple[str, ...]) -> list[Finding]:
    """Return a finding for each part whose classes are mixed in another way than by chance."""
    if not classes:
        return []
    from scipy.stats import chi2_contingency  # here, not above, as it takes half a second

    train, *others = seen
    findings: list[Finding] = []
    here = np.bincount(train.y, minlength=len(classes))
    for part in others:
        there = np.bincount(part.y, minlength=len(classes))
        table = np.stack([here, there])[:, (here + there) > 0]
        shares = table / table.sum(axis=1, keepdims=True)
        if table.shape[1] < 2 or np.abs(shares[0] - shares[1]).sum() / 2 < NOTABLE:
            continue
        if chi2_contingency(table).pvalue >= UNLIKELY:
            continue
        differences = there / there.sum() - here / here.sum()
        worst = np.argsort(-np.abs(differences).round(9), kind="stable")[: min(_NAMED, len(classes))]
        told = ", ".join(
            f"{classes[label]} {here[label] / here.sum():.0%} and {there[label] / there.sum():.0%}"
            for label in worst
            if differences[label]
        )
        text = (
            f"the classes are mixed in another way in the training and the {part.name} part ({told}): no random split "
            "does that, so they may not be of one source"
        )
        findings.append({"kind": "label shift", "text": text})
    return findings


def _few(seen: list[_Seen], classes: tuple[str, ...]) -> list[Finding]:
    """Return a finding for each part in which classes have few samples, or which has few itself."""
    findings: list[Finding] = []
    for part in seen:
        counts = np.bincount(part.y, minlength=len(classes)) if classes else np.array([len(part.y)])
        few = np.flatnonzero(counts < FEW)
        if len(few):
            named = [f"{counts[label]} of {classes[label]}" if classes else str(counts[label]) for label in few]
            text = f"the {part.name} part has few samples: {some(named, _NAMED)}; fewer than {FEW} say little"
            findings.append({"kind": "few samples", "text": text})
    return findings


def _constant(seen: list[_Seen]) -> list[Finding]:
    """Return a finding if features are the same in all samples to train on."""
    alike = seen[0].constant
    if alike is None or not alike.any():
        return []
    columns = some([str(column) for column in np.flatnonzero(alike)], _NAMED)
    text = f"{int(alike.sum()):,} of {len(alike):,} features are the same in all training samples: columns {columns}"
    return [{"kind": "constant", "text": text}]


def _leaking(seen: list[_Seen], classes: tuple[str, ...], columns: str) -> list[Finding]:
    """Return a finding if features alone give the label."""
    train, test, *_ = seen
    if train.looked is None or test.looked is None:
        return []
    found = suspects(train.looked, test.looked, len(classes), columns)
    if not found:
        return []
    named = some([f"{one.name} ({one.share:.1%})" for one in found], _NAMED)
    what = "the class of nearly every test sample" if classes else "nearly all of what is to be predicted"
    text = (
        f"alone {'gives' if len(found) == 1 else 'each give'} {what}: {named}; what is known only once the label is "
        "has to be left out"
    )
    return [{"kind": "leak", "text": text}]


def _seen_in_memory(dataset: Dataset) -> list[_Seen]:
    def seen(name: str, samples: Samples) -> _Seen:
        stored, y, digests = samples.stored, samples.y, _digests(samples.stored)
        if stored.ndim != 2:
            return _Seen(name, y, digests)
        rows = some_rows(*_size(stored.shape, stored.dtype))
        return _Seen(name, y, digests, _alike(stored), Looked(stored[rows], y[rows]))

    parts = {"training": dataset.train, "test": dataset.test, "validation": dataset.validation}
    return [seen(name, samples) for name, samples in parts.items() if samples is not None]


def _seen_in_file(file: Path, header: Header) -> list[_Seen]:
    def read(h5: h5py.File) -> list[_Seen]:
        raise_limits(2 * sum(part.nbytes for part in header.parts))
        return [_seen_of(h5, header, place) for place in range(len(header.parts))]

    return read_hdf5(file, str(file), InvalidDataset, read)


def _seen_of(h5: h5py.File, header: Header, place: int) -> _Seen:
    part, digests = header.parts[place], list[bytes]()
    name = "training" if part.name == "train" else part.name
    features = len(part.shape) == 2
    first, alike = None, np.ones(part.shape[1:] if features else (), np.bool_)
    rows, looked = some_rows(*_size(part.shape, kept_as(part.dtype))), list[Stored]()
    for begin, block in blocks_of(h5, part):
        digests += _digests(block)
        if features:
            first = block[0] if first is None else first
            alike &= (block == first).all(axis=0)
            looked.append(block[-begin % rows.step :: rows.step])
    if not features:
        return _Seen(name, part.y, digests)
    return _Seen(name, part.y, digests, alike, Looked(np.concatenate(looked), part.y[rows]))


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return how many samples there are, and how many bytes one takes."""
    return shape[0], int(np.prod(shape[1:])) * dtype.itemsize


def _digests(stored: Stored) -> list[bytes]:
    return [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in stored]


def _alike(stored: Stored) -> NDArray[np.bool_]:
    return np.asarray((stored == stored[0]).all(axis=0))
