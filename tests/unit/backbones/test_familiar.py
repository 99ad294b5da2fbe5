"""Whether a photo is like what a model knows, held to scikit-learn's nearest neighbours by cosine."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from snn.batches import Groups, Samples
from snn_data.familiar import MAX_KNOWN, NEIGHBOUR, QUANTILE, Familiar, without_mirror_images

Rows = NDArray[np.float32]


def rows(count: int, width: int = 16, seed: int = 0, spread: float = 0.3) -> Rows:
    """Return features like a backbone's: not negative, of any length, in a few bunches."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(99).uniform(0, 1, (4, width))
    found = middles[random.integers(0, 4, count)] + random.normal(0, spread, (count, width))
    return (np.maximum(found, 0) * random.uniform(0.1, 50, (count, 1))).astype(np.float32)


def by_scikit_learn(known: Rows, asked: Rows | None = None) -> NDArray[np.float64]:
    """Return the distances to the `NEIGHBOUR`-th nearest; of what is known itself, to the others."""
    found = (
        NearestNeighbors(n_neighbors=NEIGHBOUR, metric="cosine")
        .fit(known.astype(np.float64))
        .kneighbors(None if asked is None else asked.astype(np.float64))[0]
    )
    farthest: NDArray[np.float64] = found[:, NEIGHBOUR - 1]
    return farthest


@pytest.mark.parametrize(("count", "width"), [(6, 3), (50, 16), (999, 8), (1000, 8), (2501, 40)])
def test_limit_and_verdicts_are_scikit_learn_s(count: int, width: int) -> None:
    known, asked = rows(count, width), rows(1_203, width, seed=1, spread=0.5)
    familiar = Familiar(known)
    limit = float(np.quantile(by_scikit_learn(known), QUANTILE))
    assert familiar.limit == pytest.approx(limit, abs=2e-6)
    distances = by_scikit_learn(known, asked)
    clear = np.abs(distances - limit) > 5e-6
    assert clear.mean() > 0.99
    found = familiar.unlike(asked)
    assert (found.shape, found.dtype) == ((1_203,), np.dtype(np.bool_))
    np.testing.assert_array_equal(found[clear], (distances > limit)[clear])
    assert 0.02 < found.mean() < 0.98  # both answers are given


def test_two_in_a_hundred_of_what_is_known_are_farther_from_the_others_than_the_limit() -> None:
    known = rows(1_000)
    beyond = by_scikit_learn(known) > Familiar(known).limit
    assert beyond.sum() == 20
    assert (NEIGHBOUR, QUANTILE) == (5, 0.98)


def test_a_row_is_not_its_own_neighbour_when_the_limit_is_set() -> None:
    """Were it counted, the limit would be the distance to the fourth of the others."""
    known = rows(400)
    fourth = NearestNeighbors(n_neighbors=NEIGHBOUR, metric="cosine").fit(known).kneighbors()[0][:, NEIGHBOUR - 2]
    assert Familiar(known).limit > float(np.quantile(fourth, QUANTILE)) + 1e-4


def test_only_the_direction_counts() -> None:
    known, asked = rows(300), rows(100, seed=2, spread=0.6)
    familiar = Familiar(known)
    found = familiar.unlike(asked)
    assert 0 < found.sum() < 100
    np.testing.assert_array_equal(familiar.unlike(asked * 1024), found)
    scaled = Familiar((known * np.random.default_rng(3).choice([0.25, 1, 8], (300, 1))).astype(np.float32))
    assert scaled.limit == familiar.limit
    np.testing.assert_array_equal(scaled.unlike(asked), found)


def test_another_direction_is_unlike_and_what_is_known_is_not() -> None:
    known = np.zeros((60, 4), np.float32)
    known[:, 0] = 1
    known[:, 1] = np.linspace(0, 0.5, 60)
    familiar = Familiar(known)
    asked = np.array([[1, 0.2, 0, 0], [3, 0.9, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    assert familiar.unlike(asked).tolist() == [False, False, True, True, True]


def test_photos_that_are_all_the_same_are_like_themselves() -> None:
    """All distances are 0, but for how they were rounded: that must not decide."""
    wrong = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        one = random.uniform(0, 1, (1, int(random.integers(2, 1_400)))).astype(np.float32)
        familiar = Familiar(np.repeat(one, 48, axis=0))
        for copies in (1, 5, 48):
            if familiar.unlike(np.repeat(one, copies, axis=0)).any():
                wrong.append((seed, one.shape[1], copies, familiar.limit))
        assert familiar.unlike(1.1 - one).all()
    assert wrong == []


def test_of_many_each_part_of_the_file_is_known() -> None:
    """Data sets stand in the order of their folders: the first rows alone would be of one class."""
    known = np.repeat(np.eye(10, dtype=np.float32), 1_300, axis=0)
    assert len(known) > 2 * MAX_KNOWN
    familiar = Familiar(known)
    assert familiar.unlike(np.eye(12, 10, dtype=np.float32)).tolist() == [False] * 10 + [True] * 2
    assert Familiar(known[:MAX_KNOWN]).unlike(np.eye(10, dtype=np.float32)).tolist() == [False] * 4 + [True] * 6


@pytest.mark.parametrize("count", [MAX_KNOWN - 1, MAX_KNOWN, MAX_KNOWN + 1, 3 * MAX_KNOWN - 7])
def test_as_many_are_compared_with_as_can_be(count: int) -> None:
    """Each stands in a direction of its own, on a half circle, so that it can be asked for."""
    angles = np.linspace(0, np.pi, count)
    known = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    kept = Familiar(known)._known
    assert len(kept) == min(count, MAX_KNOWN)
    gaps = np.diff(np.arctan2(kept[:, 1], kept[:, 0]))
    assert (gaps > 0).all()
    assert gaps.max() < 2.1 * np.pi / min(count, MAX_KNOWN)


def test_six_are_enough_and_five_are_not() -> None:
    assert Familiar(rows(NEIGHBOUR + 1)).limit > 0
    with pytest.raises(ValueError, match="out of bounds"):
        Familiar(rows(NEIGHBOUR))


def test_mirror_images_are_not_neighbours_of_their_photos() -> None:
    """With them the distance to the 5th other is that to the 2nd, and more would be unlike than is said."""
    random = np.random.default_rng(0)
    photos = random.standard_normal((300, 12)).astype(np.float32)
    images = photos + random.normal(0, 0.01, photos.shape).astype(np.float32)
    y = np.zeros(300, np.int64)
    doubled = Samples(np.concatenate([photos, images]), np.tile(y, 2), Groups(np.tile(np.arange(300), 2)))
    np.testing.assert_array_equal(without_mirror_images(doubled), photos)
    in_groups = Samples(photos, y, Groups(np.arange(300) // 3))
    np.testing.assert_array_equal(without_mirror_images(in_groups), photos)
    np.testing.assert_array_equal(without_mirror_images(Samples(photos, y)), photos)
