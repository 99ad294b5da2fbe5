"""What an epoch does with its mini-batches. To add a strategy, add one entry to STRATEGIES.

An epoch is a row of steps, a step a set of batches whose gradients are computed from the same weights: here, in a
thousand Lambda invocations or shared with other trainers, the strategies cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from snn.batches import ORDER, Batch
from snn.losses import Targets
from snn.network import Params

Result = tuple[float, Callable[[], Params]]
"""A batch's cost, and a function that goes back for its gradients, which nobody may want. What that returns holds until
the next one is asked for."""

GradientsOf = Callable[[Params, Sequence[Batch]], Iterable[Result]]
"""Gives the results of a step's batches, in their order, for the same weights."""


def mean(batches: Sequence[Batch], results: Iterable[Result]) -> tuple[float, Params]:
    """Return the batches' mean cost and gradients, summed in their order, whoever computed them."""
    if len(batches) == 1:
        ((cost, back),) = results
        return cost, back()
    total, cost, slopes = sum(batch.weight for batch in batches), 0.0, Params()
    for batch, (of_batch, back) in zip(batches, results, strict=True):
        share = batch.weight / total
        cost += share * of_batch
        for name, slope in back().items():
            slopes[name] = slopes[name] + share * slope if name in slopes else share * slope
    return cost, slopes


def best(batches: Sequence[Batch], results: Iterable[Result]) -> tuple[float, Params]:
    """Return the cost and the gradients of the batch that has the lowest cost.

    A last batch that is smaller takes no part: the fewer samples, the more often all of them are of one class, and then
    a network that gives every sample the same answer has the lowest cost of all.
    """
    size = max(batch.size for batch in batches)
    full = (result for batch, result in zip(batches, results, strict=True) if batch.size == size)
    cost, back = min(full, key=lambda result: result[0])
    return cost, back()


class Strategy(NamedTuple):
    """Whether an epoch draws its mini-batches anew, makes a step of each, and what it makes of a step's results."""

    meaning: str
    in_batches: bool = True
    drawn: bool = False
    step_a_batch: bool = False
    combine: Callable[[Sequence[Batch], Iterable[Result]], tuple[float, Params]] = mean


STRATEGIES: dict[str, Strategy] = {
    "full-batch": Strategy("one step on all data", in_batches=False),
    "sgd": Strategy("one step per mini-batch, the standard", drawn=True, step_a_batch=True),
    "average": Strategy("one step with the mean of the mini-batches' gradients, weighted by size"),
    "best-batch": Strategy(
        "each full mini-batch takes its own step, the one with the lowest cost wins", drawn=True, combine=best
    ),
}


class Epoch:
    """One epoch's steps. `sub_batches` is how many parts the mini-batch of a step has where it makes a step of its own:
    so many can be computed at once, without a change of the numbers."""

    def __init__(
        self, strategy: Strategy, targets: Targets, samples: int, batch_size: int | None, seed: int, number: int,
        sub_batches: int = 1,
    ) -> None:  # fmt: skip
        self._strategy, self._targets, self._samples, self._number = strategy, targets, samples, number
        self._size = min(batch_size or samples, samples) if strategy.in_batches else samples
        self._sub_batches = sub_batches
        self._order = None
        if strategy.drawn and self._size < samples:
            self._order = np.random.default_rng([seed, ORDER, number]).permutation(samples)
        self.batches = -(-samples // self._size)
        self.steps = self.batches if strategy.step_a_batch else 1

    def step(self, number: int) -> list[Batch]:
        """Return the batches of a step, numbered from 0."""
        if self._strategy.step_a_batch:
            start, end = number * self._size, min((number + 1) * self._size, self._samples)
            parts = min(self._sub_batches, end - start)
            cuts = [start + (end - start) * part // parts for part in range(parts + 1)]
        else:
            cuts = [*range(0, self._samples, self._size), self._samples]
        return [self._batch(index, number, *ends) for index, ends in enumerate(pairwise(cuts))]

    def _batch(self, index: int, step: int, start: int, end: int) -> Batch:
        places = slice(start, end) if self._order is None else self._order[start:end]
        return Batch(index, places, end - start, self._targets.weight(places), self._number, step)
