"""Photos that were changed a little are those that SciPy and NumPy make of the same moves."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from snn.augmentation import AT_ONCE, brightness, mirror, rotation, shift


def photos(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 6, 5, 3), (40, 6, 5), (40, 6, 5, 1)], ids=str)
@pytest.mark.parametrize("most", [1, 2, 9])
def test_a_shift_is_scipys_with_the_edge_repeated(shape: tuple[int, ...], most: int) -> None:
    given = photos(*shape)
    draw = np.random.default_rng(most).random((len(given), 2))
    moves = np.floor(draw * (2 * most + 1)).astype(int) - most
    assert (moves.min(), moves.max()) == (-most, most)  # both ends are drawn
    wanted = [
        ndimage.shift(one, [*move, *[0] * (one.ndim - 2)], order=0, mode="nearest")
        for one, move in zip(given, moves, strict=True)
    ]
    found = shift(given, most, draw)
    assert found.dtype == np.uint8
    assert (found == np.array(wanted)).all()
    assert (found != given).any()


@pytest.mark.parametrize("shape", [(40, 7, 5, 3), (40, 6, 6), (AT_ONCE + 9, 4, 9, 1)], ids=str)
@pytest.mark.parametrize("most", [5, 30.5, 180])
def test_a_rotation_is_scipys_with_the_edge_repeated(shape: tuple[int, ...], most: float) -> None:
    given = photos(*shape)
    draw = np.random.default_rng(int(most)).random((len(given), 1))
    draw[:2, 0] = 0, 1  # both ends of what is drawn from
    degrees = (2 * draw[:, 0] - 1) * most
    assert (degrees.min(), degrees.max()) == (-most, most)
    wanted = [
        ndimage.rotate(one, angle, reshape=False, order=1, mode="nearest")
        for one, angle in zip(given, degrees, strict=True)
    ]
    found = rotation(given, most, draw)
    assert found.dtype == np.uint8
    assert (found == np.array(wanted)).all()
    assert (found != given).any()


def test_a_photo_that_is_turned_by_nothing_stays() -> None:
    given = photos(5, 8, 7, 3)
    assert (rotation(given, 90, np.full((5, 1), 0.5)) == given).all()
    quarter = rotation(given[:, :7], 90, np.ones((5, 1)))
    assert (quarter == np.rot90(given[:, :7], axes=(1, 2))).all()


@pytest.mark.parametrize("shape", [(40, 6, 5, 3), (40, 6, 5), (AT_ONCE + 9, 3, 3, 1)], ids=str)
@pytest.mark.parametrize("most", [0.1, 0.5, 1])
def test_brightness_is_pillows(shape: tuple[int, ...], most: float) -> None:
    given = photos(*shape)
    draw = np.linspace(0, 1, len(given))[:, None]
    found = brightness(given, most, draw)
    assert found.dtype == np.uint8
    for one, other, drawn in zip(given, found, draw[:, 0], strict=True):
        picture = Image.fromarray(one.reshape(one.shape[:2]) if one.shape[-1] == 1 else one)
        wanted = np.asarray(ImageEnhance.Brightness(picture).enhance(1 + (2 * drawn - 1) * most)).reshape(one.shape)
        assert np.abs(other.astype(int) - wanted).max() <= 1  # Pillow cuts off, we round
    assert found[0].mean() < given[0].mean() * (1.02 - most)
    assert found[-1].mean() > given[-1].mean()


@pytest.mark.parametrize("shape", [(40, 6, 5, 3), (40, 6, 5)], ids=str)
def test_half_of_the_photos_are_mirrored(shape: tuple[int, ...]) -> None:
    given, draw = photos(*shape), np.linspace(0, 1, 40, endpoint=False)[:, None]
    found = mirror(given, True, draw)
    for number, (one, other) in enumerate(zip(given, found, strict=True)):
        assert (other == (np.fliplr(one) if number < 20 else one)).all()
