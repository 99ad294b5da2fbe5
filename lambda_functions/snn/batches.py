"""The samples to train on, and how an epoch cuts them into mini-batches.

Where mini-batches are drawn, they are drawn anew for every epoch, from (seed, epoch) alone: whoever goes on with a
training, or helps with it, draws the same ones. All draws have a stream of their own, [seed, stream, …], so that none
repeats the numbers that the weights were drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn.activations import Array
from snn.augmentation import Augmentation
from snn.scaling import Scaling

ORDER, HELD_OUT, DROPOUT, AUGMENTATION = 1, 2, 3, 4  # streams

Places = NDArray[np.intp] | slice


class Groups(NamedTuple):
    """Samples that belong together, and are held out together: `numbers` (m,) says of which group each is.

    Photos of one patient, say; or, `in_time`, samples of one time, a later one having the greater number: then the
    latest are held out.
    """

    numbers: NDArray[np.int64]
    in_time: bool = False


class Samples:
    """Samples as they are stored, converted as they are needed.

    `stored` is (m, height, width, 3), (m, height, width) or (m, d): photos of uint8, which the network sees as numbers
    in 0..1, or features that it sees as they are. `y` (m,) has the number of each sample's class, or the one to give.
    `groups` are None of samples that have nothing to do with each other.
    """

    def __init__(self, stored: NDArray[Any], y: NDArray[Any], groups: Groups | None = None) -> None:
        self.stored, self.y, self.groups = stored, y, groups
        self.shape = stored.shape[1:]
        self.rows = stored.reshape(len(stored), -1)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def features(self) -> int:
        """Return how many numbers a sample has."""
        return int(self.rows.shape[1])

    def inputs(self, places: Places = slice(None), dtype: Any = np.float64, out: Array | None = None) -> Array:
        """Return what the network sees of some samples, (features, samples). `out` (samples, features) is filled."""
        return as_inputs(self.rows[places], dtype, out)

    def part(self, places: Places) -> Samples:
        """Return some of the samples."""
        groups = self.groups and self.groups._replace(numbers=self.groups.numbers[places])
        return Samples(self.stored[places], self.y[places], groups)


def as_inputs(
    rows: NDArray[Any], dtype: Any = np.float64, out: Array | None = None, scaling: Scaling | None = None
) -> Array:
    """Return stored samples (m, features) as inputs (features, m): photos' bytes as numbers in 0..1, then scaled."""
    own = rows.dtype == np.uint8  # an array that nobody else has
    if own:
        rows = np.divide(rows, 255, out=out, dtype=dtype)
    X: Array = rows.astype(dtype, copy=False)
    if scaling:
        X = np.subtract(X, scaling.mean, out=X if own else None)
        X /= scaling.scale
    return X.T


class Batch(NamedTuple):
    """Some samples whose cost and gradients are computed together.

    `places` are theirs in the training set, `weight` is what they weigh together in a mean. `epoch`, `step` and
    `number` (within the step) name the batch: they decide what is drawn for it.
    """

    number: int
    places: Places
    size: int
    weight: float
    epoch: int = 0
    step: int = 0

    def draw(self, seed: int, layer: int) -> Sequence[int]:
        """Return the name of the draw of what a layer leaves out for this batch."""
        return seed, DROPOUT, self.epoch, self.step, self.number, layer


class Feed:
    """The training set, a mini-batch at a time: as it is stored, or as the network sees it; augmented if asked."""

    def __init__(
        self, samples: Samples, dtype: Any, augmentation: Augmentation, seed: int, scaling: Scaling | None = None
    ) -> None:
        self.samples, self.dtype, self.scaling = samples, np.dtype(dtype), scaling
        self._augmentation, self._seed = augmentation, seed
        self._fixed: dict[int, Array] = {}
        self._drawn: tuple[int, NDArray[np.float64]] | None = None

    def rows(self, batch: Batch) -> NDArray[Any]:
        """Return a batch's samples as they are stored, (samples, features)."""
        if not self._augmentation:
            return self.samples.rows[batch.places]
        if self._drawn is None or self._drawn[0] != batch.epoch:
            numbers = len(self.samples), self._augmentation.numbers
            self._drawn = batch.epoch, np.random.default_rng([self._seed, AUGMENTATION, batch.epoch]).random(numbers)
        photos, draw = self.samples.stored[batch.places], self._drawn[1][batch.places]
        return self._augmentation.apply(photos, draw).reshape(len(photos), -1)

    def inputs(self, batch: Batch, work: Workspace) -> Array:
        """Return what the network sees of a batch, (features, samples); of one that never changes it is kept."""
        if isinstance(batch.places, slice) and not self._augmentation:
            if batch.number not in self._fixed:
                self._fixed[batch.number] = as_inputs(self.rows(batch), self.dtype, scaling=self.scaling)
            return self._fixed[batch.number]
        rows = self.rows(batch)
        out = work("X", rows.shape, self.dtype) if rows.dtype == np.uint8 else None
        return as_inputs(rows, self.dtype, out, self.scaling)


class Workspace:
    """Arrays that a loop fills again and again, instead of asking the system for new memory every time."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, tuple[int, ...]], Array] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return the array of this name and shape; it holds whatever it held last."""
        if (name, shape) not in self._arrays:
            self._arrays[name, shape] = np.empty(shape, dtype)
        return self._arrays[name, shape]
