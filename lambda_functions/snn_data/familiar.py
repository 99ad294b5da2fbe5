"""Whether a photo is like anything that a model was trained on: by its distance to the nearest training photos.

The rule is that of Sun et al. (Out-of-Distribution Detection with Deep Nearest Neighbors, 2022): features as
directions, and the distance, one less the cosine, to the 5th nearest. What is farther than 98 in 100 training photos
are from the others is unlike them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn.activations import Array
from snn.batches import Samples

NEIGHBOUR = 5
QUANTILE = 0.98
MAX_KNOWN = 5_000
"""Training photos that are compared with; of more, so many evenly spread over the file."""

_ROWS = 1_000
_ROUNDED = 2e-6  # what float32 may make of a distance


def without_mirror_images(samples: Samples) -> NDArray[np.float32]:
    """Return the features of training photos alone. A photo's nearest neighbour is its own mirror image, if it has one.

    Mirror images follow the photos in their order, each in the group of its photo (`snn_client.data.featured`).
    """
    rows: NDArray[np.float32] = samples.rows
    half = len(rows) // 2
    groups = samples.groups.numbers if samples.groups is not None else np.arange(len(rows))
    doubled = len(rows) == 2 * half and np.array_equal(groups[:half], groups[half:])
    return rows[:half] if doubled else rows


class Familiar:
    """What a model knows: the features (m, d) of its training photos, at least `NEIGHBOUR` + 1 of them."""

    def __init__(self, known: NDArray[np.float32]) -> None:
        kept = min(len(known), MAX_KNOWN)
        self._known = _directions(known[np.arange(kept) * len(known) // kept])
        # Each one's own distance to itself is the first.
        self.limit = float(np.quantile(self._distances(self._known, NEIGHBOUR + 1), QUANTILE))

    def unlike(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return for each of the photos with these features (n, d) whether it is unlike all that is known."""
        far: NDArray[np.bool_] = self._distances(_directions(features), NEIGHBOUR) > self.limit + _ROUNDED
        return far

    def _distances(self, directions: Array, neighbour: int) -> Array:
        """Return the distance of each direction (n, d) to that neighbour, counted from 1."""
        found = [
            np.partition(1 - directions[begin : begin + _ROWS] @ self._known.T, neighbour - 1, axis=1)[:, neighbour - 1]
            for begin in range(0, len(directions), _ROWS)
        ]
        return np.concatenate(found)


def _directions(features: NDArray[np.float32]) -> Array:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions: Array = features / np.where(lengths > 0, lengths, 1)
    return directions
