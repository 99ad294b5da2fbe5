"""Numbers as pictures: weights, gradients and what spoke for an answer, exactly a pixel a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn.activations import Array

COLUMNS = 10  # of pictures in one sheet
BLUE, WHITE, ORANGE = (33, 102, 172), (247, 247, 247), (179, 88, 6)
"""Below zero, zero, above zero: colours that those who see no red or green tell apart."""

Pixels = NDArray[np.uint8]


def image_of(numbers: Array, shape: Sequence[int], scale: float) -> Pixels:
    """Return a neuron's numbers (h·w·c,) as pixels (h, w, 3); `shape` is (h, w, c).

    Of colour photos each channel goes from 0 (-`scale` and below) over 127.5 (0) to 255 (`scale` and above), rounded
    half to even; of grey ones blue is below and orange above zero.
    """
    of_scale = np.clip(numbers.reshape(shape) / scale if scale > 0 else np.zeros(shape), -1, 1)
    if shape[-1] == 3:
        return np.rint(127.5 + 127.5 * of_scale).astype(np.uint8)
    return diverging(of_scale[..., 0])


def diverging(numbers: Array) -> Pixels:
    """Return numbers (h, w) in -1..1 as pixels (h, w, 3), from blue over white to orange."""
    share = np.abs(numbers)[..., None]
    end = np.where(numbers[..., None] < 0, BLUE, ORANGE)
    pixels: Pixels = np.rint((1 - share) * np.array(WHITE) + share * end).astype(np.uint8)
    return pixels


def shrunk(pixels: Pixels, size: int) -> Pixels:
    """Return pixels whose longer side has at most `size`: each the mean of those in its place."""
    height, width = pixels.shape[:2]
    if max(height, width) <= size:
        return pixels
    factor = size / max(height, width)
    wanted = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(wanted, Image.Resampling.BOX))


def sheet(tiles: Sequence[Pixels]) -> Pixels:
    """Return pictures of one size side by side, `COLUMNS` in a row."""
    height, width = tiles[0].shape[:2]
    columns = min(COLUMNS, len(tiles))
    whole = np.zeros((math.ceil(len(tiles) / columns) * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width
        whole[top : top + height, left : left + width] = tile
    return whole


def png(pixels: Pixels) -> bytes:
    """Return pixels as a PNG file, without loss."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
