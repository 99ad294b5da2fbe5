"""A multi-layer perceptron: its layers, its first weights, and the one way forward and back through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from snn.activations import ACTIVATIONS, Array
from snn.layers import Dense
from snn.losses import LOSSES, Loss

Params = dict[str, Array]
"""W1, b1 … WL, bL: W (neurons, inputs), b (neurons, 1). Or what has the same names and shapes, such as gradients."""

T = TypeVar("T")


class Network(NamedTuple):
    """Layers 1..L, which read `features` numbers; the last one gives logits, which the loss makes answers of."""

    features: int
    layers: tuple[Dense, ...]
    loss: Loss
    input_dropout: float = 0.0

    @classmethod
    def of(
        cls, features: int, sizes: Sequence[int], activations: Sequence[str], loss: Loss | None = None,
        dropout: Mapping[str, float] | None = None,
    ) -> Network:  # fmt: skip
        """Return the network of these layers; without a loss, that which belongs to the last activation.

        `dropout` has the share of outputs left out, by the layer's name; "layer0" is the input.
        """
        left_out = dropout or {}
        loss = loss or next(known for known in LOSSES.values() if known.output == activations[-1])
        functions = [ACTIVATIONS[name] for name in (*activations[:-1], "identity")]
        layers = tuple(
            Dense(size, function, left_out.get(f"layer{number}", 0.0))
            for number, (size, function) in enumerate(zip(sizes, functions, strict=True), start=1)
        )
        return cls(features, layers, loss, left_out.get("layer0", 0.0))

    def first_params(self, seed: int, dtype: Any = np.float64) -> Params:
        """Draw the parameters that a training starts from, the same for the same seed."""
        random, params, inputs = np.random.default_rng(seed), Params(), self.features
        for number, layer in enumerate(self.layers, start=1):
            W, b = layer.first(random, inputs)
            params[f"W{number}"], params[f"b{number}"] = W.astype(dtype), b.astype(dtype)
            inputs = layer.size
        return params

    def logits(self, params: Params, Z1: Array) -> Array:
        """Return the last layer's weighted sums from the first one's, with nothing left out."""
        Z = Z1
        for number, layer in enumerate(self.layers[1:], start=2):
            A, _ = self.layers[number - 2].forward(Z)
            Z = layer.sums(params[f"W{number}"], params[f"b{number}"], A)
        return Z

    def answers(self, params: Params, X: Array) -> Array:
        """Return what the network says to inputs X (features, m): probabilities, or numbers, (o, m)."""
        return self.loss.answers(self.logits(params, self.layers[0].sums(params["W1"], params["b1"], X)))


class Walker(Protocol[T]):
    """Computes single layers: here, or by Lambda invocations; T is an array, or says where one lies."""

    def forward(self, layer: int, A_prev: T) -> tuple[T, T]:
        """Return a layer's outputs, and what its way back will need."""

    def cost(self, Z: T) -> tuple[float, T]:
        """Return the cost of the last layer's logits, and its slope dZ in them."""

    def backward(self, layer: int, dZ: T, kept: T, A_prev: T) -> tuple[T, Params]:
        """Return a layer's own dZ and gradients; `dZ` is the layer above's, and the last layer's own."""


def walk(layers: int, walker: Walker[T], X: T) -> tuple[float, Callable[[], Params]]:
    """Go forward through the layers; return the cost, and a function that goes back and returns the gradients."""
    outputs, kept = [X], [X]
    for layer in range(1, layers + 1):
        A, keep = walker.forward(layer, outputs[-1])
        outputs.append(A)
        kept.append(keep)
    cost, error = walker.cost(outputs[-1])

    def back() -> Params:
        dZ, gradients = error, Params()
        for layer in range(layers, 0, -1):
            dZ, of_layer = walker.backward(layer, dZ, kept[layer], outputs[layer - 1])
            gradients |= of_layer
        return gradients

    return cost, back
