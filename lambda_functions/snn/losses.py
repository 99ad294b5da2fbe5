"""What is minimised: the cost of the last layer's weighted sums Z (its logits), and the cost's slope dZ in them.

A loss takes the logits of all neurons of the last layer at once, since softmax couples them: neurons that are computed
apart give logits, and who holds the layer finishes. To add a loss, add one entry to LOSSES. Names are Keras', formulas
PyTorch's. Shapes: o neurons in the last layer, m samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn.activations import Array, sigmoid


class Loss(NamedTuple):
    """A cost for one kind of last layer.

    `output` is that layer's activation and `answers` what it computes of the logits: probabilities, or numbers.
    `costs(Z, T)` returns the sum of the samples' costs and its slope in Z; may overwrite Z. T (K, m) says how much of
    each class a sample should be (see `Targets`), or, without classes, what number (1, m) it should give.
    """

    output: str
    answers: Callable[[Array], Array]
    costs: Callable[[Array, Array], tuple[float, Array]]
    of_classes: bool = True


def softmax(Z: Array) -> Array:
    """Return each column's exp(Z) / Σ exp(Z), without overflow."""
    E: Array = np.exp(Z - Z.max(axis=0))
    E /= E.sum(axis=0)
    return E


def _binary_crossentropy(Z: Array, T: Array) -> tuple[float, Array]:
    """-(t₁·log σ(z) + t₀·log(1 - σ(z))), by log(1 + exp(z)): no probability is rounded to 0 or 1."""
    softplus = np.log1p(np.exp(-np.abs(Z))) + np.maximum(Z, 0)
    whole = T[:1] + T[1:]
    return _sum(whole * softplus - T[1:] * Z), whole * sigmoid(Z) - T[1:]


def _categorical_crossentropy(Z: Array, T: Array) -> tuple[float, Array]:
    """-Σ t·log softmax(z)."""
    Z -= Z.max(axis=0)
    E = np.exp(Z)
    total = E.sum(axis=0)
    cost = _sum(T * (np.log(total) - Z))
    E *= T.sum(axis=0) / total
    E -= T
    return cost, E


def _mean_squared_error(Z: Array, T: Array) -> tuple[float, Array]:
    error = Z - T
    return _sum(error * error), 2 * error


def _sum(costs: Array) -> float:
    return float(np.sum(costs, dtype=np.float64))


LOSSES: dict[str, Loss] = {
    "binary_crossentropy": Loss("sigmoid", sigmoid, _binary_crossentropy),
    "categorical_crossentropy": Loss("softmax", softmax, _categorical_crossentropy),
    "mean_squared_error": Loss("identity", lambda Z: Z, _mean_squared_error, of_classes=False),
}


class Targets:
    """What the samples should give, a mini-batch at a time, and how much each of them weighs in the mean.

    A sample of class y should be all y; with `label_smoothing` s all of s/K, and of y (1 - s) more. It weighs 1, or its
    class's part of `class_weights`. Means are taken over the weights, as by PyTorch's CrossEntropyLoss. `y` are the
    classes, or the numbers to give as they are learned.
    """

    def __init__(
        self,
        loss: Loss,
        y: NDArray[Any],
        classes: int = 0,
        class_weights: Sequence[float] | str | None = None,
        label_smoothing: float = 0.0,
        dtype: Any = np.float64,
    ) -> None:
        self._loss, self.weights = loss, None
        if not loss.of_classes:
            self.y, self._table = y.astype(dtype), None
            return
        self.y = y.astype(np.intp)
        per_class = np.ones(classes)
        if isinstance(class_weights, str):  # "balanced", scikit-learn's: rare classes weigh as much as frequent ones
            counts = np.bincount(self.y, minlength=classes)
            per_class = len(y) / (classes * np.maximum(counts, 1))
        elif class_weights is not None:
            per_class = np.array(class_weights, dtype=np.float64)
        shares = (1 - label_smoothing) * np.eye(classes) + label_smoothing / classes
        self._table = np.ascontiguousarray((per_class[:, None] * shares).astype(dtype))
        if class_weights is not None:
            self.weights = per_class[self.y]

    def weight(self, places: NDArray[np.intp] | slice) -> float:
        """Return what the samples at these places weigh together; without weights of classes, how many they are."""
        chosen = self.y[places] if self.weights is None else self.weights[places]
        return float(len(chosen) if self.weights is None else chosen.sum())

    def cost(self, Z: Array, places: NDArray[np.intp] | slice) -> tuple[float, Array]:
        """Return the mean cost of logits Z (o, m) of the samples at these places, and its slope dZ (o, m)."""
        y = self.y[places]
        total, dZ = self._loss.costs(Z, y[None, :] if self._table is None else self._table[:, y])
        weight = self.weight(places)
        return total / weight, dZ / weight
