"""A multi-layer perceptron: its first weights, and one pass forward and back on one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from snn.dataset import Batch
from snn.layers import Array, cross_entropy, forward, gradients, hidden_error, output_error
from snn.parameters import Activation, Parameters

if TYPE_CHECKING:
    from snn.first_layer import FirstLayer


class Layer(NamedTuple):
    """A layer's weights W (neurons, inputs) and biases b (neurons, 1); or, as a gradient, the cost's slope in them."""

    W: Array
    b: Array


Weights = list[Layer]


def initial_weights(parameters: Parameters, features: int) -> Weights:
    """Draw the weights a training starts from, the same for the same seed.

    N(0,1)·√(2/inputs) for ReLU layers (He et al., arXiv:1502.01852), N(0,1)/√inputs for sigmoid layers, zero biases.
    """
    random = np.random.default_rng(parameters.seed)
    weights, inputs = [], features
    for neurons, activation in zip(parameters.neurons_per_layer, parameters.activation_per_layer, strict=True):
        scale = np.sqrt((2.0 if activation is Activation.RELU else 1.0) / inputs)
        weights.append(Layer(random.standard_normal((neurons, inputs)) * scale, np.zeros((neurons, 1))))
        inputs = neurons
    return weights


def activations(weights: Weights, X: Array, functions: Sequence[Activation]) -> list[Array]:
    """Return the activations of layers 0..L for inputs X (features, m); the last are the probabilities (1, m)."""
    A = [X]
    for (W, b), function in zip(weights, functions, strict=True):
        A.append(forward(W, b, A[-1], function))
    return A


def cost_and_gradients(
    weights: Weights, batch: Batch, functions: Sequence[Activation], first: FirstLayer
) -> tuple[float, Callable[[], Weights]]:
    """Return the batch's cost, forward through the layers, and a function that goes back for the gradients."""
    A = [first.forward(weights[0], batch)]
    for (W, b), function in zip(weights[1:], functions[1:], strict=True):
        A.append(forward(W, b, A[-1], function))

    def back() -> Weights:
        dZ = output_error(A[-1], batch.Y)
        slopes = []
        for above in range(len(weights) - 1, 0, -1):
            slopes.append(Layer(*gradients(dZ, A[above - 1])))
            dZ = hidden_error(weights[above].W, dZ, A[above - 1], functions[above - 1])
        slopes.append(first.gradients(dZ, batch))
        return slopes[::-1]

    return cross_entropy(A[-1], batch.Y), back
