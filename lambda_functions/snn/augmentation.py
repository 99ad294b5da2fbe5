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
AT_ONCE = 256  # photos, where numbers in between take many times their memory


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


def rotation(photos: Photos, most: float, draw: NDArray[np.float64]) -> Photos:
    """Turn each photo about its middle by up to `most` degrees; what comes in at the edge is the edge's own.

    A pixel is the mean of the four that it comes from, weighted by how near they are (bilinear).
    """
    height, width = photos.shape[1:3]
    angles = np.deg2rad((2 * draw[:, 0] - 1) * most)[:, None, None]
    down, right = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    turned = np.empty_like(photos)
    for begin in range(0, len(photos), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        sin, cos = np.sin(angles[part]), np.cos(angles[part])
        rows = np.clip(cos * down + sin * right + (height - 1) / 2, 0, height - 1)
        columns = np.clip(cos * right - sin * down + (width - 1) / 2, 0, width - 1)
        turned[part] = _between(photos[part], rows, columns)
    return turned


def _between(photos: Photos, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Photos:
    """Return what is at places (m, height, width) between the pixels of photos, rounded."""
    top, left = rows.astype(np.intp), columns.astype(np.intp)
    below, beside = np.minimum(top + 1, photos.shape[1] - 1), np.minimum(left + 1, photos.shape[2] - 1)
    number = np.arange(len(photos))[:, None, None]
    channels = (1,) * (photos.ndim - 3)
    lower, farther = ((at - first).reshape(*at.shape, *channels) for at, first in ((rows, top), (columns, left)))
    upper_row = (1 - farther) * photos[number, top, left] + farther * photos[number, top, beside]
    lower_row = (1 - farther) * photos[number, below, left] + farther * photos[number, below, beside]
    mixed: Photos = np.floor((1 - lower) * upper_row + lower * lower_row + 0.5)
    return mixed


def brightness(photos: Photos, most: float, draw: NDArray[np.float64]) -> Photos:
    """Make each photo lighter or darker: all its pixels times a number from 1 - `most` to 1 + `most`, 255 at most."""
    factors = (1 + (2 * draw[:, 0] - 1) * most).reshape(-1, *(1,) * (photos.ndim - 1))
    changed = np.empty_like(photos)
    for begin in range(0, len(photos), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        changed[part] = np.minimum(np.floor(photos[part] * factors[part] + 0.5), 255)
    return changed


class Kind(NamedTuple):
    """A way to change photos, how many numbers it draws for each, and the type of what the recipe asks for."""

    change: Callable[[Photos, Any, NDArray[np.float64]], Photos]
    numbers: int
    asked: Any


AUGMENTATIONS: dict[str, Kind] = {
    "mirror": Kind(mirror, 1, bool),
    "shift": Kind(shift, 2, Annotated[int, Ge(0), Le(64)]),
    "rotation": Kind(rotation, 1, Annotated[float, Ge(0), Le(180)]),
    "brightness": Kind(brightness, 1, Annotated[float, Ge(0), Le(1)]),
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
