"""Photos changed a little, differently in every epoch, so that a network learns what does not matter.

To add a way, add one entry to AUGMENTATIONS: a function of photos (m, height, width[, channels]) uint8, what the recipe
asks for, and for each photo a number drawn from 0..1 for every one that the entry names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

Photos = NDArray[Any]


def mirror(photos: Photos, asked: Any, draw: NDArray[np.float64]) -> Photos:
    """Turn half of the photos left to right."""
    turned = photos.copy()
    chosen = draw[:, 0] < 0.5
    turned[chosen] = photos[chosen, :, ::-1]
    return turned


def shift(photos: Photos, most: int, draw: NDArray[np.float64]) -> Photos:
    """Move each photo by up to `most` pixels, down and right or back; what comes in at the edge is the edge's own."""
    moves = np.floor(draw * (2 * most + 1)).astype(np.intp) - most
    rows, columns = (
        np.clip(np.arange(size) - moves[:, [axis]], 0, size - 1) for axis, size in enumerate(photos.shape[1:3])
    )
    return photos[np.arange(len(photos))[:, None, None], rows[:, :, None], columns[:, None, :]]


class Kind(NamedTuple):
    """A way to change photos, how many numbers it draws for each, and the type of what the recipe asks for."""

    change: Callable[[Photos, Any, NDArray[np.float64]], Photos]
    numbers: int
    asked: Any


AUGMENTATIONS: dict[str, Kind] = {
    "mirror": Kind(mirror, 1, bool),
    "shift": Kind(shift, 2, Annotated[int, Ge(0), Le(64)]),
}


class Augmentation(tuple[tuple[str, Any], ...]):
    """What a recipe asks for, in the order of AUGMENTATIONS; nothing, if it asks for nothing."""

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Augmentation:
        """Return what is asked for by name."""
        return cls((name, asked[name]) for name in AUGMENTATIONS if asked.get(name))

    @property
    def numbers(self) -> int:
        """Return how many numbers are drawn for a photo."""
        return sum(AUGMENTATIONS[name].numbers for name, _ in self)

    def apply(self, photos: Photos, draw: NDArray[np.float64]) -> Photos:
        """Return the photos changed, by their draws (m, numbers)."""
        at = 0
        for name, asked in self:
            kind = AUGMENTATIONS[name]
            photos = kind.change(photos, asked, draw[:, at : at + kind.numbers])
            at += kind.numbers
        return photos
