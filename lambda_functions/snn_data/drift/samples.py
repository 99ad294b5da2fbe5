"""Which samples are compared: some of many, and none that is another one's copy."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from snn.batches import Samples

Places = NDArray[np.intp]


def spread(count: int, most: int) -> Places:
    """Return the places of at most so many of the samples, evenly over all of them; the same ones every time."""
    kept = min(count, most)
    places: Places = np.arange(kept) * count // max(kept, 1)
    return places


def independent(samples: Samples) -> Samples:
    """Return samples that say something each: no mirror images, and of each group one sample, its first.

    A p-value takes samples for independent; two photos of one patient are not. Groups in time stay as they are: what
    belongs to one moment is what changes.
    """
    if samples.groups is None:
        return samples
    numbers, half = samples.groups.numbers, len(samples) // 2
    mirrored = len(samples) == 2 * half and np.array_equal(numbers[:half], numbers[half:])  # they follow all photos
    if mirrored and (numbers != numbers[0]).any():
        samples, numbers = samples.part(slice(half)), numbers[:half]
    if samples.groups is None or samples.groups.in_time:
        return samples
    _, first = np.unique(numbers, return_index=True)
    return samples.part(np.sort(first))


def fresh(samples: Samples, known: Mapping[bytes, int]) -> Places:
    """Return the places of samples that are not, byte for byte, in data that are known by their `digests`.

    Data to retrain on often hold the former ones, which would hide what is new. What the known data have several times
    (a black photo) stays, as it may be there again by chance.
    """
    return np.array([place for place, digest in enumerate(_digests(samples)) if known.get(digest) != 1], np.intp)


def digests(parts: Iterable[Samples]) -> Counter[bytes]:
    """Return how often each sample is in one of a data set's parts, at most, by a digest of 16 bytes."""
    found = Counter[bytes]()
    for part in parts:
        found |= Counter(_digests(part))
    return found


def _digests(samples: Samples) -> Iterator[bytes]:
    return (hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in samples.stored)
