"""One layer of neurons: what it does forward, and how its error becomes gradients.

Every function takes any rows of a layer, from one neuron to all of them, so a Lambda invocation that computes a single
neuron runs the very lines that a whole layer runs. Shapes: n neurons, p inputs, m samples (a column a sample).
Formulas: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323 (1986).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def forward(W: Array, b: Array, A_prev: Array, activation: str) -> Array:
    """Return the activations A = g(W·A_prev + b), (n, m), of neurons with weights W (n, p) and biases b (n, 1)."""
    Z = W @ A_prev
    Z += b
    return activate(Z, activation)


def activate(Z: Array, activation: str) -> Array:
    """Return g(Z). Takes over Z's memory where it can."""
    return np.maximum(Z, 0.0, out=Z) if activation == "relu" else sigmoid(Z)


def sigmoid(Z: Array) -> Array:
    """Return 1 / (1 + exp(-Z)), written so that exp never overflows."""
    decay = np.exp(-np.abs(Z))
    return np.where(Z >= 0.0, 1.0, decay) / (1.0 + decay)


def cross_entropy(A: Array, Y: Array) -> float:
    """Return the cost: the mean of -(Y·log A + (1 - Y)·log(1 - A)) over the samples, A and Y being (1, m).

    A probability that rounding has made exactly 0 or 1 counts as one step away from it, so the cost stays finite.
    """
    step = np.finfo(np.float64).eps
    A = np.clip(A, step, 1.0 - step)
    return float(-np.mean(Y * np.log(A) + (1.0 - Y) * np.log1p(-A)))


def output_error(A: Array, Y: Array) -> Array:
    """Return dZ (1, m) of the last layer; sigmoid and cross-entropy together leave the plain difference."""
    return A - Y


def hidden_error(W_next: Array, dZ_next: Array, A: Array, activation: str) -> Array:
    """Return dZ (n, m) of neurons whose activations are A (n, m), from the layer above them.

    `W_next` holds the columns of the next layer's weights that read these neurons, (n_next, n).
    """
    dA = W_next.T @ dZ_next
    # The slope g'(Z) from the activation itself: Z need not be kept.
    return dA * (A > 0.0) if activation == "relu" else dA * (A * (1.0 - A))


def gradients(dZ: Array, A_prev: Array) -> tuple[Array, Array]:
    """Return dW (n, p) and db (n, 1), the cost's slope in each weight and bias: means over the m samples."""
    samples = dZ.shape[1]
    return dZ @ A_prev.T / samples, dZ.sum(axis=1, keepdims=True) / samples
