"""What is counted of a feature: how many samples lie in each of its bins.

Of numbers the bins are cut at values of the reference, so that its empirical distribution is known exactly there; where
that of other samples is as well, the largest difference at the cuts is the Kolmogorov-Smirnov distance. Of a few
distinct values each has a bin of its own, and the distance is exact; of more it may be too small by what lies between
two cuts, never too large, so no p-value is too small.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn_data.drift.chance import Counts, Floats

DECILES = np.arange(1, 10) / 10
OTHER, MISSING = "any other value", "no value"


@dataclass(frozen=True, eq=False)
class Numbers:
    """Bins of numbers, cut at `cuts` (c,), and how many samples of the reference lie in each of the c + 1.

    A number that equals a cut lies below it.
    """

    cuts: Floats
    counts: Counts

    @classmethod
    def of(cls, values: Floats, most: int, blur: Callable[[Floats], Floats] = lambda at: 1e-9 * np.abs(at)) -> Numbers:
        """Return the bins of at least one number (m,), cut at no more than about `most` places.

        `blur` returns how far two numbers near these may lie apart and still be the same one.
        """
        ordered = np.sort(values)
        width = np.maximum(blur(ordered), 1e-300)
        first = np.concatenate([[True], np.diff(ordered) > width[1:]])  # of a run of equal numbers
        begin = np.flatnonzero(first)
        end = np.append(begin[1:], ordered.size)
        below, above = ordered[begin] - width[begin], ordered[end - 1] + width[end - 1]
        if 2 * begin.size <= most:
            cuts = np.concatenate([below, above])
        else:
            # Evenly by rank; a value that is frequent has a bin of its own.
            ranks = np.linspace(0, ordered.size - 1, most).round().astype(np.int64)
            chosen = np.unique(np.searchsorted(begin, ranks, side="right") - 1)
            often = np.argsort(begin - end, kind="stable")[: most // 4]
            often = often[(end - begin)[often] * most > ordered.size]
            cuts = np.concatenate([above[chosen], below[often], above[often], below[:1], above[-1:]])
        cuts = np.unique(cuts)
        return cls(cuts, count_numbers(values, cuts))

    @cached_property
    def coarse(self) -> NDArray[np.int64]:
        """Return the places of the cuts that are nearest to the deciles, and those outside of all samples."""
        shares = np.cumsum(self.counts)[:-1] / self.counts.sum()
        nearest = np.abs(shares[:, None] - DECILES).argmin(0)
        return np.unique(np.concatenate([nearest, [0, len(self.cuts) - 1]]))

    def count(self, values: Floats) -> Counts:
        """Return how many of these numbers (m,) lie in each bin."""
        return count_numbers(values, self.cuts)

    def count_coarse(self, values: Floats) -> Counts:
        """Return how many of these numbers lie in each bin between the `coarse` cuts: a dozen at most."""
        return count_numbers(values, self.cuts[self.coarse])

    def coarsened(self, counts: Counts) -> Counts:
        """Return counts by all bins as counts by those between the `coarse` cuts."""
        begins = np.concatenate([[0], self.coarse + 1])
        found: Counts = np.add.reduceat(counts, begins)
        return found

    def middle(self, counts: Counts) -> float:
        """Return about where the median lies of samples counted by all bins, or by the coarse ones."""
        cuts = self.cuts if counts.size == self.cuts.size + 1 else self.cuts[self.coarse]
        place = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
        low, high = cuts[max(0, place - 1)], cuts[min(place, cuts.size - 1)]
        return float(low + (high - low) / 2)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"cuts": pack(self.cuts, "<f8"), "counts": pack(self.counts, "<u4")}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], field: str, source: str) -> Numbers:
        """Read what `to_dict` returned. Raises InvalidInput, naming the field."""
        cuts = unpack(given, "cuts", "<f8", field, source).astype(np.float64)
        counts = unpack(given, "counts", "<u4", field, source).astype(np.int64)
        if not cuts.size or counts.size != cuts.size + 1 or not (np.diff(cuts) > 0).all() or not counts.sum():
            raise damaged(field, source)
        return cls(cuts, counts)


@dataclass(frozen=True, eq=False)
class Values:
    """The values of a category that are counted each by itself, all others as one, and the counts (v + 1,).

    None among them is a missing value.
    """

    names: tuple[str | None, ...]
    counts: Counts

    @classmethod
    def of(cls, names: Sequence[str | None], counts: Counts, most: int) -> Values:
        """Return bins of so many of these values, the most frequent; the last count (names + 1,) is the others'."""
        kept = np.sort(np.argsort(-counts[:-1], kind="stable")[:most])
        kept = kept[counts[kept] > 0]
        own = counts[kept]
        return cls(tuple(names[place] for place in kept), np.append(own, counts.sum() - own.sum()))

    def count(self, names: Sequence[str | None], counts: Counts) -> Counts:
        """Return counts of values of these names, the last one of all others, by the bins here."""
        there = {name: int(count) for name, count in zip(names, counts[:-1], strict=True)}
        own = np.array([there.get(name, 0) for name in self.names], np.int64)
        return np.append(own, counts.sum() - own.sum())

    def name(self, place: int) -> str:
        """Return what a bin is called."""
        if place == len(self.names):
            return OTHER
        named = self.names[place]
        return MISSING if named is None else named

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"values": list(self.names), "counts": [int(count) for count in self.counts]}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], field: str, source: str) -> Values:
        """Read what `to_dict` returned. Raises InvalidInput, naming the field."""
        names, counts = given.get("values"), given.get("counts")
        if (
            not isinstance(names, list)
            or not isinstance(counts, list)
            or len(counts) != len(names) + 1
            or not all(isinstance(name, str | None) for name in names)
            or not all(type(count) is int and 0 <= count < 2**53 for count in counts)
        ):
            raise damaged(field, source)
        return cls(tuple(names), np.array(counts, np.int64))


Bins = Numbers | Values


def count_numbers(values: Floats, cuts: Floats) -> Counts:
    """Return how many numbers lie in each of the bins between these cuts, (cuts + 1,)."""
    found: Counts = np.bincount(np.searchsorted(cuts, values, side="left"), minlength=cuts.size + 1).astype(np.int64)
    return found


def distance(first: Counts, second: Counts) -> float:
    """Return the Kolmogorov-Smirnov distance of samples counted by the same bins of numbers, at their cuts."""
    if not first.sum() or not second.sum():
        return 0.0
    return float(np.abs(np.cumsum(first) / first.sum() - np.cumsum(second) / second.sum()).max())


def pack(array: NDArray[Any], kind: str) -> str:
    """Return an array as text: the numbers' bytes in base 64, exact and a third larger."""
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


def unpack(given: Mapping[str, Any], name: str, kind: str, field: str, source: str) -> NDArray[Any]:
    """Return the array that `pack` made the text of. Raises InvalidInput, naming the field."""
    try:
        found: NDArray[Any] = np.frombuffer(base64.b64decode(given[name], validate=True), kind)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise damaged(field, source) from None
    if kind.startswith("<f") and not np.isfinite(found).all():
        raise damaged(field, source)
    return found


def damaged(field: str, source: str) -> InvalidInput:
    """Return the error of a reference that is not what it was when it was written."""
    return InvalidInput("is damaged", field=field, source=source, hint="make the reference anew from the training data")
