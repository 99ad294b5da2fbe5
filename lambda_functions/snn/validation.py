"""How well a network does on samples that it does not train on: which samples, and the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.batches import HELD_OUT, Groups, Samples
from snn.errors import InvalidInput
from snn.losses import Loss, Targets
from snn.network import Network, Params
from snn.span import FirstLayer

TRIES, GROUPS_TRIED = 50, 100_000
"""Choices of groups that are drawn to take the best of, and groups that are looked at for it, at most."""

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
    held = held_out(samples.y, samples.groups, share, seed, classes)
    return samples.part(np.flatnonzero(~held)), samples.part(np.flatnonzero(held))


def check_held_out(y: NDArray[Any], groups: Groups | None, share: float, seed: int, classes: int) -> None:
    """Raise InvalidInput as `held_out` does; samples without groups need not be drawn for that."""
    if groups is None:
        held_per_class(y, share, classes)
    else:
        held_out(y, groups, share, seed, classes)


def held_out(y: NDArray[Any], groups: Groups | None, share: float, seed: int, classes: int) -> NDArray[np.bool_]:
    """Return which samples (m,) are held out: of each class its share; groups as they are, as near to it as they allow.

    Raises InvalidInput, of the field `validation`, when one of the two sides would lack a class.
    """
    random = np.random.default_rng([seed, HELD_OUT])
    labels = y if classes else np.zeros(len(y), dtype=np.int64)
    held = np.zeros(len(y), dtype=bool)
    if groups is None:
        order = random.permutation(len(y))
        for label, count in enumerate(held_per_class(y, share, classes)):
            held[order[labels[order] == label][:count]] = True
        return held
    held = latest(groups.numbers, share) if groups.in_time else _whole_groups(labels, groups.numbers, share, random)
    counts = [np.bincount(labels[side], minlength=max(classes, 1)) for side in (held, ~held)]
    if not all(count.all() for count in counts):
        of_what = "of some class " if classes else ""
        raise InvalidInput(
            f"{share:g} cannot be held out by {'time' if groups.in_time else 'group'}: one side would have no sample "
            f"{of_what}".rstrip(),
            field="validation",
            hint="choose another share, or leave it out",
        )
    return held


def latest(times: NDArray[Any], share: float) -> NDArray[np.bool_]:
    """Return which samples are of the latest times: so many, and all of the same time; none if all are of one."""
    at = np.sort(times)[len(times) - max(1, round(len(times) * share))]
    held: NDArray[np.bool_] = times >= at
    return times > at if held.all() else held


def _whole_groups(
    labels: NDArray[Any], numbers: NDArray[np.int64], share: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Return which samples are in the groups held out: of some random choices the one nearest to each class's share."""
    _, group_of = np.unique(numbers, return_inverse=True)
    of_class = np.zeros((group_of.max() + 1, int(labels.max()) + 1))
    np.add.at(of_class, (group_of, labels.astype(np.int64)), 1)
    wanted, best, nearest = of_class.sum(axis=0) * share, np.zeros(len(of_class), dtype=bool), np.inf
    for _ in range(max(1, min(TRIES, GROUPS_TRIED // len(of_class)))):
        taken, missing = np.zeros(len(of_class), dtype=bool), wanted.copy()
        for group in random.permutation(len(of_class)):
            left = missing - of_class[group]
            if np.abs(left).sum() < np.abs(missing).sum():
                taken[group], missing = True, left
        one_sided = (of_class[taken].sum(axis=0) == 0) | (of_class[~taken].sum(axis=0) == 0)
        off = float(np.abs(missing).sum()) + len(labels) * int(one_sided.sum())
        if off < nearest:
            nearest, best = off, taken
    chosen: NDArray[np.bool_] = best[group_of]
    return chosen


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
