"""The first layer, computed in one of two exactly equal ways.

Directly, as any other layer: its weights W1 (neurons, features) multiply the photos X (features, m).

Or in the span of the data. Every gradient of W1 is a combination of the photos, dZ·Xᵀ/m, so gradient descent never
leaves W1 = W1₀ + C·Xᵀ with coefficients C (neurons, m). Then

    W1·X = W1₀·X + C·(XᵀX)

and an epoch needs the m×m Gram matrix XᵀX in place of the features×m photos; a step moves C by dZ/m in the batch's
columns. This is algebra, no approximation, and holds for every rule that adds up gradients (momentum and weight decay
too), not for element-wise ones such as Adam. With 209 photos of 12,288 numbers it is 59 times less work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from snn.dataset import Batch
from snn.layers import Array, activate, forward, gradients
from snn.network import Layer, Weights
from snn.parameters import Activation, Parameters, Path


class FirstLayer(Protocol):
    """What the rest of the network asks of its first layer."""

    def forward(self, layer: Layer, batch: Batch) -> Array:
        """Return the activations (neurons, samples) for a batch."""

    def gradients(self, dZ: Array, batch: Batch) -> Layer:
        """Return the cost's slope in what `layer` holds."""

    def columns(self, batch: Batch) -> slice:
        """Return the columns of W's slope that a batch has a part in; all others are zero."""

    def network(self, weights: Weights) -> Weights:
        """Return the weights as a network has them, whatever they look like while training."""


class Direct:
    """W1 times the photos."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    def forward(self, layer: Layer, batch: Batch) -> Array:
        """Return the activations (neurons, samples) for a batch."""
        return forward(layer.W, layer.b, batch.X, self._activation)

    def gradients(self, dZ: Array, batch: Batch) -> Layer:
        """Return the cost's slope in W1 and b1."""
        return Layer(*gradients(dZ, batch.X))

    def columns(self, batch: Batch) -> slice:
        """Return all columns."""
        return slice(None)

    def network(self, weights: Weights) -> Weights:
        """Return the weights as they are."""
        return weights


class Gram:
    """The Gram matrix XᵀX of a training set, column by column as the batches need it; the same for every training."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.samples = sum(batch.size for batch in batches)
        ends = np.cumsum([batch.size for batch in batches])
        self.columns = [slice(end - batch.size, end) for end, batch in zip(ends, batches, strict=True)]
        self._batches, self._products = batches, dict[int, Array]()

    @cached_property
    def X(self) -> Array:
        """Return all photos (features, m), in the order of the batches."""
        return self._batches[0].X if len(self._batches) == 1 else np.hstack([batch.X for batch in self._batches])

    def of(self, batch: Batch) -> Array:
        """Return XᵀX in the columns of a batch, (m, samples)."""
        if batch.index not in self._products:
            self._products[batch.index] = self.X.T @ self.X[:, self.columns[batch.index]]
        return self._products[batch.index]


class Span:
    """C times the Gram matrix; in training, the first layer's `W` holds C (neurons, m of all batches)."""

    def __init__(self, origin: Array, gram: Gram, activation: Activation) -> None:
        self._origin, self._gram, self._activation = origin, gram, activation
        self._starts: dict[int, Array] = {}

    def forward(self, layer: Layer, batch: Batch) -> Array:
        """Return the activations (neurons, samples) for a batch."""
        Z = layer.W @ self._gram.of(batch)
        Z += self._start(batch)
        Z += layer.b
        return activate(Z, self._activation)

    def gradients(self, dZ: Array, batch: Batch) -> Layer:
        """Return the step in C and the slope in b1; zero in the columns of other batches."""
        slope = dZ / batch.size
        db = slope.sum(axis=1, keepdims=True)
        if len(self._gram.columns) == 1:
            return Layer(slope, db)
        dC = np.zeros((len(dZ), self._gram.samples))
        dC[:, self.columns(batch)] = slope
        return Layer(dC, db)

    def columns(self, batch: Batch) -> slice:
        """Return the columns of the batch's samples."""
        return self._gram.columns[batch.index]

    def network(self, weights: Weights) -> Weights:
        """Return the weights with W1 = W1₀ + C·Xᵀ in the first layer."""
        return [Layer(self._origin + weights[0].W @ self._gram.X.T, weights[0].b), *weights[1:]]

    def _start(self, batch: Batch) -> Array:
        if batch.index not in self._starts:
            self._starts[batch.index] = self._origin @ batch.X
        return self._starts[batch.index]


def choose_path(parameters: Parameters, features: int, samples: int) -> tuple[Path, str]:
    """Return which way is cheaper for this training, and a line that says why.

    Multiplications and additions of the first layer: directly, an epoch takes 4·neurons·features·samples (forward and
    gradient). In the span it takes 2·neurons·samples², after features·samples² for the Gram matrix and
    4·neurons·features·samples to enter and leave.
    """
    neurons = parameters.neurons_per_layer[0]
    direct = parameters.epochs * 4 * neurons * features * samples
    span = parameters.epochs * 2 * neurons * samples**2 + features * samples**2 + 4 * neurons * features * samples
    counted = f"{direct:.2e} operations directly, {span:.2e} in the span of {samples} samples"
    if parameters.first_layer is not Path.AUTO:
        return parameters.first_layer, f"first layer {parameters.first_layer.value} as asked ({counted})"
    # Vectors that outnumber the dimensions span all of them: there is nothing to gain, whatever the count.
    chosen = Path.SPAN if samples < features and span < direct else Path.DIRECT
    return chosen, f"first layer {chosen.value}: {counted}"
