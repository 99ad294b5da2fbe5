"""The epoch loop. It knows neither where gradients are computed nor who watches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from snn.dataset import Batch
from snn.errors import SnnError
from snn.first_layer import Direct, FirstLayer, Gram, Span, choose_path
from snn.layers import Array
from snn.network import Layer, Weights, cost_and_gradients
from snn.parameters import Parameters, Path
from snn.strategies import GradientsOf, epoch


class Diverged(SnnError):
    """The cost left the numbers: the steps are too long for this data."""


class StoppedBy(StrEnum):
    """Why a training ended."""

    EPOCHS = "epochs"
    THRESHOLD = "threshold"
    CANCEL = "cancel"
    BUDGET = "budget"


@dataclass
class Training:
    """A training at some epoch: all that is needed to go on from there as if it had never paused."""

    weights: Weights
    costs: list[float] = field(default_factory=list)
    # W1 as it was before the first epoch, for a training in the span of the data: there the first layer's W in
    # `weights` holds coefficients. Kept, not folded in, so that a continued training has the very same numbers.
    origin: Array | None = None

    @property
    def epoch(self) -> int:
        """Return the number of epochs completed."""
        return len(self.costs)

    def stopped_by(self, parameters: Parameters) -> StoppedBy | None:
        """Return why there is no next epoch, or None when there is one."""
        if self.costs and parameters.threshold is not None and self.costs[-1] <= parameters.threshold:
            return StoppedBy.THRESHOLD
        return StoppedBy.EPOCHS if self.epoch >= parameters.epochs else None


def train(
    training: Training, parameters: Parameters, batches: Sequence[Batch], gradients_of: GradientsOf
) -> Iterator[float]:
    """Advance `training` epoch by epoch, yielding each epoch's cost, until the last epoch or the threshold.

    Raises Diverged, leaving the last good state, when a cost is not finite.
    """
    while training.stopped_by(parameters) is None:
        cost, weights = epoch(parameters.strategy, training.weights, batches, gradients_of, parameters.learning_rate)
        if not math.isfinite(cost):
            raise Diverged(
                f"the cost of epoch {training.epoch} is {cost} (lower learning_rate, now {parameters.learning_rate:g})"
            )
        training.weights = weights
        training.costs.append(cost)
        yield cost


def on_this_machine(parameters: Parameters, first: FirstLayer) -> GradientsOf:
    """Return the `gradients_of` that computes every batch right here."""
    functions = parameters.activation_per_layer
    return lambda weights, batches: [cost_and_gradients(weights, batch, functions, first) for batch in batches]


def first_layer(training: Training, parameters: Parameters, gram: Gram, features: int) -> tuple[FirstLayer, str]:
    """Return the cheaper way to compute the first layer, and a line that says why; `training` is made to fit it."""
    path, why = choose_path(parameters, features, gram.samples)
    activation = parameters.activation_per_layer[0]
    if path is Path.DIRECT:
        return Direct(activation), why
    if training.origin is None:
        W, b = training.weights[0]
        training.origin = W
        training.weights = [Layer(np.zeros((len(W), gram.samples)), b), *training.weights[1:]]
    return Span(training.origin, gram, activation), why
