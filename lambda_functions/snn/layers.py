"""The arithmetic of a layer, forward and back.

Every function takes any rows of a layer, from one neuron to all of them, so a Lambda invocation that computes a single
neuron runs the very lines that a whole layer runs. Shapes: n neurons, p inputs, m samples (a column a sample).
Formulas: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323 (1986).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from snn.activations import Activation, Array


class Dense(NamedTuple):
    """A layer of `size` neurons, each of which reads all its inputs; `dropout` is the share of its outputs left out."""

    size: int
    activation: Activation
    dropout: float = 0.0

    def first(self, random: np.random.Generator, inputs: int) -> tuple[Array, Array]:
        """Draw the weights W (n, p) and biases b (n, 1) to start from, in float64."""
        scale = np.sqrt(self.activation.gain / inputs)
        return random.standard_normal((self.size, inputs)) * scale, np.zeros((self.size, 1))

    def sums(self, W: Array, b: Array, A_prev: Array, out: Array | None = None) -> Array:
        """Return Z = W·A_prev + b, (n, m)."""
        Z = np.matmul(W, A_prev, out=out)
        Z += b
        return Z

    def forward(self, Z: Array, mask: Array | None = None) -> tuple[Array, Array]:
        """Return the outputs (n, m), and what `error` wants to have kept. May overwrite Z."""
        A = self.activation.function(Z)
        kept = Z if self.activation.slope_of == "Z" else A
        return (A if mask is None else A * mask), kept

    def error(self, dA: Array, kept: Array, mask: Array | None = None) -> Array:
        """Return dZ (n, m) from the cost's slope in the outputs, dA (n, m). Overwrites dA."""
        if mask is not None:
            dA *= mask
        dA *= self.activation.slope(kept)
        return dA


def slope_below(W: Array, dZ: Array, out: Array | None = None) -> Array:
    """Return dA (p, m) of the layer below: of all its neurons, or of those whose columns W has."""
    return np.matmul(W.T, dZ, out=out)


def gradients(dZ: Array, A_prev: Array, out: Array | None = None) -> tuple[Array, Array]:
    """Return dW (n, p) and db (n, 1), the cost's slope in each weight and bias."""
    return np.matmul(dZ, A_prev.T, out=out), dZ.sum(axis=1, keepdims=True)


def dropout_mask(rate: float, draw: Sequence[int], shape: tuple[int, ...], dtype: Any) -> Array | None:
    """Return what a layer's outputs, of `shape` (neurons, samples), are multiplied by: 0 for a share `rate` of them,
    1/(1-rate) for the others.

    None if nothing is left out. `draw` says which draw of all it is: whoever computes some of the neurons makes the
    mask of the whole layer and takes their rows. (Srivastava et al., JMLR 15, 2014.)
    """
    if not rate:
        return None
    kept = np.random.default_rng(draw).random(shape, dtype=np.float32) >= rate
    return kept.astype(dtype) / (1 - rate)
