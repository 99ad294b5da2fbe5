"""The loop of steps and epochs. It knows neither where gradients are computed nor who watches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from snn.activations import Array
from snn.errors import SnnError
from snn.losses import Targets
from snn.network import Params
from snn.optimizers import clip, move
from snn.recipe import Recipe
from snn.schedules import rate_at
from snn.strategies import Epoch, GradientsOf


class Diverged(SnnError):
    """The cost is no longer finite: the steps are too long for this data."""


class Stop(StrEnum):
    """Why a training needs no further epoch."""

    EPOCHS = "epochs"
    THRESHOLD = "threshold"
    PATIENCE = "patience"


@dataclass
class History:
    """What came out of every epoch so far: as many as have a cost. Without validation samples the last two stay empty.

    A cost is the mean over the epoch's samples as they were stepped on, that is before their step; without L2. What
    validation found is that of the weights after the epoch.
    """

    costs: list[float] = field(default_factory=list)
    validation_costs: list[float] = field(default_factory=list)
    validation_metrics: list[float] = field(default_factory=list)


@dataclass
class Training:
    """A training at some step: all that is needed to go on from there as if it had never paused.

    `params` are what is trained: the network's, or, in the span of the data, coefficients in place of W1; then `origin`
    is W1 as it was at first. `memory` is the optimizer's, `steps` counts all steps, `step` those of the present epoch,
    whose costs so far are `cost_sum`, weighted by `weight_sum`. `best` are the parameters after the epoch that
    validated best.
    """

    params: Params
    memory: dict[str, Params] = field(default_factory=dict)
    history: History = field(default_factory=History)
    origin: Array | None = None
    steps: int = 0
    step: int = 0
    cost_sum: float = 0.0
    weight_sum: float = 0.0
    best: Params | None = None
    best_epoch: int = -1

    @property
    def epoch(self) -> int:
        """Return the number of epochs completed."""
        return len(self.history.costs)

    def stopped_by(self, recipe: Recipe) -> Stop | None:
        """Return why there is no next step, or None when there is one."""
        if self.step:
            return None
        costs = self.history.costs
        if costs and recipe.threshold is not None and costs[-1] <= recipe.threshold:
            return Stop.THRESHOLD
        # A trainer that only helps another one validates nothing, and leaves the end to that one.
        validated = costs and len(self.history.validation_costs) == self.epoch
        if validated and recipe.patience is not None and self.epoch - 1 - self.best_epoch >= recipe.patience:
            return Stop.PATIENCE
        return Stop.EPOCHS if self.epoch >= recipe.epochs else None

    def result(self, recipe: Recipe) -> Params:
        """Return what the training has found: the parameters that validated best, or the last ones, as asked."""
        return self.best if self.best is not None and recipe.restore_best_weights else self.params


Validate = Callable[[Params], tuple[float, float]]
"""Returns the validation samples' cost and metric."""


def train(
    training: Training, recipe: Recipe, samples: int, targets: Targets, gradients_of: GradientsOf,
    validate: Validate | None = None,
) -> Iterator[int]:  # fmt: skip
    """Advance `training` step by step until the last epoch or a reason to stop; yield after each how many an epoch has.

    Raises Diverged, leaving the last good state, when a cost is not finite.
    """
    if not training.memory:
        names = recipe.optimizer.memory
        training.memory = {kind: {k: np.zeros_like(w) for k, w in training.params.items()} for kind in names}
    while training.stopped_by(recipe) is None:
        epoch = Epoch(recipe.how, targets, samples, recipe.batch_size, recipe.seed, training.epoch, recipe.sub_batches)
        for number in range(training.step, epoch.steps):
            batches = epoch.step(number)
            cost, slopes = recipe.how.combine(batches, gradients_of(training.params, batches))
            check_finite(cost, f"the cost of epoch {training.epoch}", recipe)
            if recipe.clip_norm is not None:
                clip(slopes, recipe.clip_norm)
            rate = rate_at(recipe.schedule, recipe.learning_rate, training.steps, epoch.steps, recipe.epochs)
            training.steps, training.step = training.steps + 1, number + 1
            move(recipe.optimizer, training.params, slopes, training.memory, rate, training.steps, recipe.l2)
            weight = sum(batch.weight for batch in batches)
            training.cost_sum, training.weight_sum = training.cost_sum + cost * weight, training.weight_sum + weight
            if training.step == epoch.steps:
                _end_epoch(training, recipe, cost, validate)
            yield epoch.steps


def _end_epoch(training: Training, recipe: Recipe, cost: float, validate: Validate | None) -> None:
    history, epoch = training.history, training.epoch
    if validate is not None:
        validation_cost, metric = validate(training.params)
        check_finite(validation_cost, f"the validation cost of epoch {epoch}", recipe)
        best = history.validation_costs[training.best_epoch] if training.best_epoch >= 0 else math.inf
        history.validation_costs.append(validation_cost)
        history.validation_metrics.append(metric)
        if validation_cost < best - recipe.min_delta:
            training.best_epoch = epoch
            training.best = {name: array.copy() for name, array in training.params.items()}
    # The cost comes last: with it the epoch counts, also for whoever looks on from another thread.
    history.costs.append(cost if training.step == 1 else training.cost_sum / training.weight_sum)
    training.step, training.cost_sum, training.weight_sum = 0, 0.0, 0.0


def check_finite(value: float, what: str, recipe: Recipe) -> None:
    """Raise Diverged, with what to change, unless a number is finite."""
    if math.isfinite(value):
        return
    knobs = f"lower learning_rate, now {recipe.learning_rate:g}"
    knobs += "" if recipe.clip_norm else ", or set clip_norm to 1"
    raise Diverged(f"{what} is {value} ({knobs})")
