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

    def network(self, weights: Weights) -> Weights:
        """Return the weights as they are."""
        return weights


class Span:
    """C times the Gram matrix; in training, the first layer's `W` holds C (neurons, m of all batches)."""

    def __init__(self, origin: Array, batches: Sequence[Batch], activation: Activation) -> None:
        self._origin, self._activation = origin, activation
        self._X = np.hstack([batch.X for batch in batches])
        ends = np.cumsum([batch.size for batch in batches])
        self._columns = [slice(end - batch.size, end) for end, batch in zip(ends, batches, strict=True)]
        gram, start = self._X.T @ self._X, origin @ self._X
        self._gram = [np.ascontiguousarray(gram[:, columns]) for columns in self._columns]
        self._start = [np.ascontiguousarray(start[:, columns]) for columns in self._columns]

    def forward(self, layer: Layer, batch: Batch) -> Array:
        """Return the activations (neurons, samples) for a batch."""
        Z = layer.W @ self._gram[batch.index]
        Z += self._start[batch.index]
        Z += layer.b
        return activate(Z, self._activation)

    def gradients(self, dZ: Array, batch: Batch) -> Layer:
        """Return the step in C and the slope in b1; zero in the columns of other batches."""
        slope = dZ / batch.size
        db = slope.sum(axis=1, keepdims=True)
        if len(self._columns) == 1:
            return Layer(slope, db)
        dC = np.zeros((len(dZ), self._X.shape[1]))
        dC[:, self._columns[batch.index]] = slope
        return Layer(dC, db)

    def network(self, weights: Weights) -> Weights:
        """Return the weights with W1 = W1₀ + C·Xᵀ in the first layer."""
        return [Layer(self._origin + weights[0].W @ self._X.T, weights[0].b), *weights[1:]]


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
