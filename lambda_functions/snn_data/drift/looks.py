"""Photos as a few numbers that a person can name: how bright, how sharp, which colours.

Each says one thing, so that what has changed is told by its name. Brightness is luma (ITU-R BT.601). Sharpness is the
variance of the Laplacian (Pech-Pacheco et al. 2000) beside that of the luma, so that contrast does not look sharp.
Noise is seen by Immerkær's mask (1996), which hardly sees edges, in the quietest quarter of a photo, in whole grey
levels: blur makes quiet places no quieter. Colours are shares of the light: a brighter photo of a thing has the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidImage
from snn_data.drift.chance import Floats

CLIPPED = "clipped"
GREY = ("brightness", "contrast", "sharpness", "noise", CLIPPED)
COLOUR = (*GREY, "saturation", "red", "blue")
ABOUT = {
    "brightness": "mean luma, 0 to 1",
    "contrast": "standard deviation of the luma, 0 to 0.5",
    "sharpness": "logarithm of the Laplacian's variance beside the luma's",
    "noise": "its standard deviation in quiet places, in grey levels of 255",
    CLIPPED: "share of black and white pixels, 0 to 1",
    "saturation": "mean saturation (of HSV), 0 to 1",
    "red": "red's share of the light, 0 to 1",
    "blue": "blue's share of the light, 0 to 1",
}

_AT_ONCE = 2**22  # numbers
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FLOOR = 1e-6  # of a variance: a photo of one colour has none
_QUIET = 0.25
_QUIET_NORMAL = 0.31864  # as large is a quarter of the absolute values of normal noise, in standard deviations


def names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the numbers for photos of a shape (height, width, 3), (height, width, 1) or (h, w)."""
    return COLOUR if len(shape) == 3 and shape[2] == 3 else GREY


def looks(photos: NDArray[np.uint8]) -> Floats:
    """Return the numbers (m, names) of photos (m, height, width, 3), (m, height, width, 1) or (m, height, width).

    Some photos at a time, so that memory stays bounded. Raises InvalidImage for what is no photo of bytes.
    """
    if photos.dtype != np.uint8 or photos.ndim not in (3, 4) or (photos.ndim == 4 and photos.shape[3] not in (1, 3)):
        hint = "give (photos, height, width, 3), (photos, height, width, 1) or (photos, height, width) of uint8"
        raise InvalidImage(f"is {photos.shape} {photos.dtype}", field="photos", hint=hint)
    rows = max(1, _AT_ONCE // max(1, int(np.prod(photos.shape[1:]))))
    found = [_looks(photos[begin : begin + rows]) for begin in range(0, len(photos), rows)]
    return np.concatenate(found) if found else np.empty((0, len(names(photos.shape[1:]))))


def _looks(photos: NDArray[np.uint8]) -> Floats:
    coloured = photos.ndim == 4 and photos.shape[3] == 3
    # Channel by channel: NumPy is slow along an axis of three.
    channels = [photos[..., at].astype(np.float32) / np.float32(255) for at in range(3)] if coloured else []
    luma = _LUMA[0] * channels[0] + _LUMA[1] * channels[1] + _LUMA[2] * channels[2] if coloured else (
        photos.reshape(photos.shape[:3]).astype(np.float32) / np.float32(255)
    )  # fmt: skip
    of_pixels = (1, 2)
    variance = luma.var(of_pixels)
    columns = [
        luma.mean(of_pixels),
        np.sqrt(variance),
        np.log((_laplacian(luma).var(of_pixels) + _FLOOR) / (variance + 10 * _FLOOR)),
        _noise(luma),
        ((luma < 0.5 / 255) | (luma > 254.5 / 255)).mean(of_pixels),
    ]
    if coloured:
        high, low = np.maximum.reduce(channels), np.minimum.reduce(channels)
        columns.append(((high - low) / np.maximum(high, np.float32(1 / 255))).mean(of_pixels))
        means = np.stack([channel.mean(of_pixels) for channel in channels])
        total = means.sum(0)
        share = np.where(total > 0, means / np.maximum(total, 1e-9), 1 / 3)
        columns += [share[0], share[2]]
    return np.column_stack(columns).astype(np.float64)


def _laplacian(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Laplacian; beyond the border is what lies at it, so that photos of one pixel have one too."""
    wide = np.pad(luma, ((0, 0), (1, 1), (1, 1)), mode="edge")
    found: NDArray[np.float32] = (
        wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:] - 4 * luma
    )
    return found


def _noise(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the noise in whole grey levels: what is left of a difference of two Laplacians, 6 standard deviations."""
    wide = np.pad(luma, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = wide[:, :, :-2] - 2 * wide[:, :, 1:-1] + wide[:, :, 2:]
    both = np.abs(across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]).reshape(len(luma), -1)
    place = int(both.shape[1] * _QUIET)
    found: NDArray[np.float32] = np.rint(np.partition(both, place, axis=1)[:, place] * 255 / 6 / _QUIET_NORMAL)
    return found
