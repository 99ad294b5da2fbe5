"""Photos that were changed a little are those that SciPy and NumPy make of the same moves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from snn.augmentation import mirror, shift


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


@pytest.mark.parametrize("shape", [(40, 6, 5, 3), (40, 6, 5)], ids=str)
def test_half_of_the_photos_are_mirrored(shape: tuple[int, ...]) -> None:
    given, draw = photos(*shape), np.linspace(0, 1, 40, endpoint=False)[:, None]
    found = mirror(given, True, draw)
    for number, (one, other) in enumerate(zip(given, found, strict=True)):
        assert (other == (np.fliplr(one) if number < 20 else one)).all()
