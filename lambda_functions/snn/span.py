"""The first layer, computed in one of two exactly equal ways.

Directly, as any other layer: its weights W1 (neurons, features) multiply the samples X (features, m).

Or in the span of the data. Every gradient of W1 is a combination of the samples, dZ·Xᵀ, so steps that add up gradients
never leave W1 = s·W1₀ + C·Xᵀ with coefficients C (neurons, m) and s, which is 1 until L2 shrinks it. Then

    W1·X = s·W1₀·X + C·(XᵀX)

and an epoch needs the m×m Gram matrix XᵀX in place of the features×m samples; a mini-batch is a set of its columns, and
a step moves C by dZ there. This is algebra, no approximation. It holds for every rule that is linear in gradients and
weights (momentum and L2 too), not for element-wise ones such as Adam. With 209 photos of 12,288 numbers it is 59 times
less work.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from snn.activations import Array
from snn.batches import Batch, Feed, Places, Samples, Workspace, as_inputs
from snn.layers import dropout_mask, gradients
from snn.network import Params
from snn.scaling import in_own_units

BLOCK = 512  # samples, or features of all samples, that are numbers, and not bytes, at a time
STRIPE = 512  # rows of the Gram matrix that are summed up at a time


class FirstLayer(Protocol):
    """What a training asks of its first layer; `travels` names what has a column for each sample, if anything."""

    travels: ClassVar[str]

    def start(self, params: Params) -> Params:
        """Return the parameters to train, from those of the network."""

    def sums(self, params: Params, batch: Batch) -> Array:
        """Return Z (neurons, samples) of a batch."""

    def gradients(self, dZ: Array, batch: Batch) -> Params:
        """Return the cost's slope in what `start` gave."""

    def places(self, batch: Batch) -> Places:
        """Return in which columns of `travels` the gradients of a batch are not zero."""

    def held_out(self, params: Params, samples: Samples) -> Array:
        """Return Z (neurons, m) of samples that are not trained on."""

    def network(self, params: Params) -> Params:
        """Return the network's own parameters."""


class Direct:
    """W1 times the samples."""

    travels: ClassVar[str] = ""

    def __init__(self, feed: Feed, dropout: float, seed: int) -> None:
        self._feed, self._dropout, self._seed, self._work = feed, dropout, seed, Workspace()
        self._X: Array = np.empty((0, 0))

    def start(self, params: Params) -> Params:
        """Return the parameters as they are."""
        return params

    def sums(self, params: Params, batch: Batch) -> Array:
        """Return Z (neurons, samples) of a batch, whose inputs are kept for the way back."""
        W, X = params["W1"], self._feed.inputs(batch, self._work)
        mask = dropout_mask(self._dropout, batch.draw(self._seed, 0), X.shape, X.dtype)
        self._X = X if mask is None else X * mask
        Z = np.matmul(W, self._X, out=self._work("Z", (len(W), batch.size), W.dtype))
        Z += params["b1"]
        return Z

    def gradients(self, dZ: Array, batch: Batch) -> Params:
        """Return the cost's slope in W1 and b1."""
        dW, db = gradients(dZ, self._X, self._work("dW", (len(dZ), len(self._X)), dZ.dtype))
        return {"W1": dW, "b1": db}

    def places(self, batch: Batch) -> Places:
        """Return all."""
        return slice(None)

    def held_out(self, params: Params, samples: Samples) -> Array:
        """Return Z (neurons, m) of samples that are not trained on."""
        params = self.network(params)
        W = params["W1"]
        Z: Array = np.empty((len(W), len(samples)), W.dtype)
        for start in range(0, len(samples), BLOCK):  # as numbers, all samples may be more than memory holds
            where = slice(start, start + BLOCK)
            Z[:, where] = W @ samples.inputs(where, W.dtype)
        Z += params["b1"]
        return Z

    def network(self, params: Params) -> Params:
        """Return the parameters of a network that sees inputs as they are."""
        return in_own_units(params, inputs=self._feed.scaling)


class Gram:
    """The Gram matrix XᵀX (m, m) of a training set, the same for every training on it."""

    def __init__(self, samples: Samples, dtype: Any = np.float64) -> None:
        self.samples, self.dtype = samples, np.dtype(dtype)
        self._matrix: Array | None = None

    @property
    def matrix(self) -> Array:
        """Return XᵀX."""
        if self._matrix is None:
            self._matrix = self.with_others(self.samples)
        return self._matrix

    def with_others(self, others: Samples) -> Array:
        """Return XᵀX' with the columns of other samples, (m, m')."""
        product = np.zeros((len(self.samples), len(others)), self.dtype)
        for where, X in self._blocks(self.samples):
            X_others = X if others is self.samples else as_inputs(others.rows[:, where], self.dtype)
            for start in range(0, len(product), STRIPE):  # or the sum would be in memory twice
                rows = slice(start, start + STRIPE)
                product[rows] += X[:, rows].T @ X_others
        return product

    def times(self, W: Array, samples: Samples) -> Array:
        """Return W·X (neurons, m)."""
        product = np.zeros((len(W), len(samples)), self.dtype)
        for where, X in self._blocks(samples):
            product += W[:, where] @ X
        return product

    def combine(self, C: Array) -> Array:
        """Return C·Xᵀ (neurons, features)."""
        product = np.empty((len(C), self.samples.features), self.dtype)
        for where, X in self._blocks(self.samples):
            product[:, where] = C @ X.T
        return product

    def _blocks(self, samples: Samples) -> Iterator[tuple[slice, Array]]:
        """Yield samples a block of features at a time, (features, m): as numbers they may be more than memory holds."""
        for start in range(0, samples.features, BLOCK):
            where = slice(start, start + BLOCK)
            yield where, as_inputs(samples.rows[:, where], self.dtype)


class Span:
    """C times the Gram matrix; in place of W1, what is trained is C1 (neurons, m) and s1 (1, 1)."""

    travels: ClassVar[str] = "C1"

    def __init__(self, origin: Array, gram: Gram) -> None:
        self._origin, self._gram = origin, gram
        self._apart: tuple[Samples, Array, Array] | None = None

    @cached_property
    def _begin(self) -> Array:
        """W1₀·X, which whoever only wants the network does without."""
        return self._gram.times(self._origin, self._gram.samples)

    def start(self, params: Params) -> Params:
        """Return the parameters to train: W1 is the origin, C1 is 0."""
        C, s = np.zeros_like(self._begin), np.ones((1, 1), self._begin.dtype)
        return {"C1": C, "s1": s, **{name: array for name, array in params.items() if name != "W1"}}

    def sums(self, params: Params, batch: Batch) -> Array:
        """Return Z (neurons, samples) of a batch."""
        # The matrix is symmetric, and its rows lie together in memory.
        Z: Array = np.matmul(params["C1"], self._gram.matrix[batch.places].T)
        Z += params["s1"] * self._begin[:, batch.places]
        Z += params["b1"]
        return Z

    def gradients(self, dZ: Array, batch: Batch) -> Params:
        """Return the step in C1, zero in the columns of other samples, and the slope in b1; only L2 moves s1."""
        dC = np.zeros_like(self._begin)
        dC[:, batch.places] = dZ
        return {"C1": dC, "s1": np.zeros((1, 1), dC.dtype), "b1": dZ.sum(axis=1, keepdims=True)}

    def places(self, batch: Batch) -> Places:
        """Return the columns of the batch's samples."""
        return batch.places

    def held_out(self, params: Params, samples: Samples) -> Array:
        """Return Z (neurons, m) of samples that are not trained on."""
        if self._apart is None or self._apart[0] is not samples:
            self._apart = samples, self._gram.times(self._origin, samples), self._gram.with_others(samples)
        _, begin, products = self._apart
        Z: Array = params["C1"] @ products + params["s1"] * begin + params["b1"]
        return Z

    def network(self, params: Params) -> Params:
        """Return the parameters with W1 = s·W1₀ + C·Xᵀ."""
        W = self._gram.combine(params["C1"])
        W += params["s1"] * self._origin
        return {"W1": W, **{name: array for name, array in params.items() if name not in ("C1", "s1")}}


def choose_path(
    neurons: int, features: int, samples: int, epochs: int, obstacle: str = "", asked: str = "auto"
) -> tuple[bool, str]:
    """Return whether to train in the span of the data, and a line that says why.

    Multiplications and additions of the first layer: directly, an epoch takes 4·neurons·features·samples (forward and
    gradient). In the span it takes 2·neurons·samples², after features·samples² for the Gram matrix and
    4·neurons·features·samples to enter and leave. An `obstacle` is what makes the training not linear.
    """
    direct = epochs * 4 * neurons * features * samples
    span = epochs * 2 * neurons * samples**2 + features * samples**2 + 4 * neurons * features * samples
    counted = f"{direct:.2e} operations directly, {span:.2e} in the span of {samples} samples"
    if asked != "auto":
        return asked == "span", f"first layer {asked} as asked ({counted})"
    if obstacle:
        return False, f"first layer direct: {obstacle} cannot be computed in the span of the data"
    # Vectors that outnumber the dimensions span all of them: there is nothing to gain, whatever the count.
    chosen = samples < features and span < direct
    return chosen, f"first layer {'span' if chosen else 'direct'}: {counted}"
