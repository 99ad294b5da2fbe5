"""What an epoch does with its mini-batches: three ways to turn their gradients into new weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from snn.dataset import Batch
from snn.layers import Array
from snn.network import Layer, Weights
from snn.parameters import Strategy

# A batch's cost, and a function that gives its gradients: a strategy may not want the gradients of every batch.
Result = tuple[float, Callable[[], Weights]]

# Gives the results of every batch for the same weights. Here, in a thousand Lambda invocations or shared with other
# trainers: the strategies cannot tell.
GradientsOf = Callable[[Weights, Sequence[Batch]], Sequence[Result]]


def epoch(
    strategy: Strategy, weights: Weights, batches: Sequence[Batch], gradients_of: GradientsOf, learning_rate: float
) -> tuple[float, Weights]:
    """Run one epoch and return its cost and the weights after it. The cost is that of the weights before."""
    results = gradients_of(weights, batches)
    costs = [cost for cost, _ in results]
    if strategy is Strategy.BEST_BATCH:
        # itsacat's: each batch would take its own step from the same weights; the one with the lowest cost does.
        best = int(np.argmin(costs))
        return costs[best], step(weights, results[best][1](), learning_rate)
    # full-batch is average over one batch. Summed in the order of the batches, whoever computed them.
    shares = np.array([batch.size for batch in batches], dtype=np.float64)
    shares /= shares.sum()
    slopes = mean([gradients() for _, gradients in results], shares)
    return float(np.dot(shares, costs)), step(weights, slopes, learning_rate)


def step(weights: Weights, slopes: Weights, learning_rate: float) -> Weights:
    """Return the weights one step of gradient descent further down."""
    return [
        Layer(W - learning_rate * dW, b - learning_rate * db) for (W, b), (dW, db) in zip(weights, slopes, strict=True)
    ]


def mean(slopes: Sequence[Weights], shares: Array) -> Weights:
    """Return the batches' gradients, each weighted by its share of the samples."""
    if len(slopes) == 1:
        return slopes[0]
    return [
        Layer(
            sum(share * layer.W for share, layer in zip(shares, layers, strict=True)),
            sum(share * layer.b for share, layer in zip(shares, layers, strict=True)),
        )
        for layers in zip(*slopes, strict=True)
    ]
