"""How well a network does on samples that it does not train on: which samples, and the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.batches import HELD_OUT, Samples
from snn.errors import InvalidInput
from snn.losses import Loss, Targets
from snn.network import Network, Params
from snn.span import FirstLayer

METRIC_NAMES = {True: "accuracy", False: "r2"}
"""What `metric` is called, of classes and of numbers."""


def held_per_class(y: NDArray[Any], share: float, classes: int) -> NDArray[np.int64]:
    """Return how many samples of each class are held out; without classes, of them all.

    Of n samples ⌈share·n⌉ are, of each class in proportion: what is left over of whole samples goes to the classes with
    the largest remainders, as in scikit-learn's StratifiedShuffleSplit. Raises InvalidInput, of the field `validation`,
    when one of the two sides would lack a class.
    """
    counts = np.bincount(y, minlength=classes) if classes else np.array([len(y)])
    wanted = counts * np.ceil(share * len(y)) / len(y)
    held: NDArray[np.int64] = np.floor(wanted).astype(np.int64)
    held[np.argsort(held - wanted, kind="stable")[: round(wanted.sum() - held.sum())]] += 1
    worst = int(np.argmin(np.minimum(held, counts - held)))
    if min(held[worst], counts[worst] - held[worst]) < 1:
        of_class = f" of class {worst}" if classes else ""
        raise InvalidInput(
            f"{share:g} cannot be held out of the {counts[worst]:,} samples{of_class}: one side would have none",
            field="validation",
            hint="choose another share, or leave it out",
        )
    return held


def hold_out(samples: Samples, share: float, seed: int, classes: int) -> tuple[Samples, Samples]:
    """Return the samples to train on and those held out, drawn by the seed. Raises InvalidInput as above."""
    groups = samples.y if classes else np.zeros(len(samples), dtype=np.int64)
    order = np.random.default_rng([seed, HELD_OUT]).permutation(len(samples))
    held_out = np.zeros(len(samples), dtype=bool)
    for group, count in enumerate(held_per_class(samples.y, share, classes)):
        held_out[order[groups[order] == group][:count]] = True
    return samples.part(np.flatnonzero(~held_out)), samples.part(np.flatnonzero(held_out))


def metric(loss: Loss, answers: NDArray[Any], y: NDArray[Any]) -> float:
    """Return the accuracy of answers (o, m), or, of numbers, R²: 1 - Σ(y - answer)² / Σ(y - mean)²."""
    if not loss.of_classes:
        error, spread = y - answers[0].astype(np.float64), y - y.mean()
        whole = float(spread @ spread)
        return 1 - float(error @ error) / whole if whole else 0.0
    said = answers.argmax(axis=0) if len(answers) > 1 else answers[0] > 0.5
    return float(np.mean(said == y))


class Validation:
    """Evaluates parameters on samples that were held out."""

    def __init__(self, network: Network, first: FirstLayer, samples: Samples, targets: Targets) -> None:
        self._network, self._first, self._samples, self._targets = network, first, samples, targets

    @property
    def y(self) -> NDArray[Any]:
        """Return the labels of the samples."""
        return self._samples.y

    def answers(self, params: Params) -> NDArray[Any]:
        """Return what the network says of the samples, (o, m)."""
        return self._network.loss.answers(self._logits(params))

    def _logits(self, params: Params) -> NDArray[Any]:
        return self._network.logits(params, self._first.held_out(params, self._samples))

    def __call__(self, params: Params) -> tuple[float, float]:
        """Return the cost and the metric."""
        Z = self._logits(params)
        answers = self._network.loss.answers(Z)
        cost, _ = self._targets.cost(Z.copy(), slice(None))
        return cost, metric(self._network.loss, answers, self._targets.y)
