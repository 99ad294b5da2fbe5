"""What a layer makes of its weighted sums Z: A = g(Z). To add an activation, add one entry to ACTIVATIONS.

Names are Keras', formulas and constants PyTorch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Of float32 or float64: whatever the recipe says, all arrays of a training are of one type."""


class Activation(NamedTuple):
    """A function g of the weighted sums and its slope g', both element by element.

    `slope` is given the output A = g(Z), or Z itself where `slope_of` says so; only then must `function` leave Z as it
    is. First weights are N(0,1)·√(gain/inputs): 2 for those that cut off half of what comes in (He et al.,
    arXiv:1502.01852), 1 for all others.
    """

    function: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    gain: float = 1.0
    slope_of: Literal["A", "Z"] = "A"


def sigmoid(Z: Array) -> Array:
    """Return 1 / (1 + exp(-Z)), written so that exp never overflows."""
    decay = np.exp(-np.abs(Z))
    A: Array = np.where(Z >= 0, 1, decay) / (1 + decay)
    return A


def normal_cdf(Z: Array) -> Array:
    """Return the normal distribution's Φ(Z) = (1 + erf(Z/√2)) / 2; NumPy has no erf, Lambda no SciPy."""
    x = np.minimum(np.abs(Z) * math.sqrt(0.5), 6)  # erf(6) is 1 to the last bit
    nearest = np.rint(x * 64).astype(np.intp)
    h, terms = x - nearest.astype(x.dtype) / 64, ERF.astype(x.dtype)
    erf: Array = terms[-1][nearest]
    for term in terms[-2::-1]:
        erf = erf * h + term[nearest]
    erf = np.copysign(erf, Z)
    return (1 + erf) / 2


def _taylor_series_of_erf(terms: int = 8) -> NDArray[np.float64]:
    """Return erf's Taylor coefficients, (terms, 385), around 0, 1/64 … 6: from erf'' = -2x·erf'."""
    x = np.arange(6 * 64 + 1) / 64
    c = [np.array([math.erf(value) for value in x]), 2 / math.sqrt(math.pi) * np.exp(-x * x)]
    for k in range(terms - 2):
        c.append(-2 * (x * (k + 1) * c[k + 1] + k * c[k]) / ((k + 2) * (k + 1)))
    return np.array(c)


ERF = _taylor_series_of_erf()
"""Taylor coefficients of erf, (terms, 385), around 0, 1/64 … 6."""


def _gelu_slope(Z: Array) -> Array:
    return normal_cdf(Z) + Z * np.exp(Z * Z * -0.5) / math.sqrt(2 * math.pi)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda Z: Z, lambda A: np.ones_like(A)),
    "relu": Activation(lambda Z: np.maximum(Z, 0, out=Z), lambda A: A > 0, gain=2),
    "leaky_relu": Activation(lambda Z: np.maximum(Z, 0.01 * Z), lambda A: np.where(A > 0, 1, A.dtype.type(0.01)), 2),
    "elu": Activation(lambda Z: np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0))), lambda A: np.minimum(A, 0) + 1, 2),
    "gelu": Activation(lambda Z: Z * normal_cdf(Z), _gelu_slope, 2, slope_of="Z"),
    "tanh": Activation(lambda Z: np.tanh(Z, out=Z), lambda A: 1 - A * A),
    "sigmoid": Activation(sigmoid, lambda A: A * (1 - A)),
}
