"""A model's answers to a test set, checked: what every figure of it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn.decision import DEFAULT, predicted_classes
from snn.errors import InvalidInput, InvalidModel
from snn_client.judging import weighed
from snn_client.judging.figures import Floats, Labels


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model said of samples whose labels are known, in their order; see `Answers.of`.

    `truth` (m,) are classes or numbers, `said` (1, m) or (K, m); `classes` is K, 0 of numbers.
    """

    truth: NDArray[np.int64] | Floats
    said: Floats
    classes: int
    threshold: float = DEFAULT

    @classmethod
    def of(cls, labels: ArrayLike, answers: ArrayLike, classes: Sequence[str], threshold: float = DEFAULT) -> Answers:
        """Return the answers to m ≥ 1 samples, if they can be judged.

        Raises InvalidInput when labels and answers do not belong together, InvalidModel when a probability is not a
        number in 0..1, or a number is none.
        """
        truth, said = np.ravel(np.asarray(labels)), np.atleast_2d(np.asarray(answers, dtype=np.float64))
        if truth.size != said.shape[1] or truth.size == 0:
            raise InvalidInput(f"{truth.size} labels for {said.shape[1]} answers")
        hint = "the training diverged: try a lower learning_rate"
        if not classes:
            if not np.isfinite(said).all():
                raise InvalidModel("some of its answers are not numbers", hint=hint)
            return cls(truth.astype(np.float64), said, 0)
        if not np.isin(truth, np.arange(len(classes))).all():
            known = "0 or 1" if len(classes) == 2 else f"0 to {len(classes) - 1}"
            raise InvalidInput(f"labels must be {known}", field="labels")
        # NaN is not > 0.5, so without this a model that diverged would pass for one that always answers class 0.
        unusable = int(np.count_nonzero(~((said >= 0) & (said <= 1))))
        if unusable:
            raise InvalidModel(f"{unusable} of {said.size} probabilities are not numbers in 0..1", hint=hint)
        return cls(truth.astype(np.int64), said, len(classes), threshold)

    def __len__(self) -> int:
        return int(self.truth.size)

    @cached_property
    def predicted(self) -> Labels:
        """Return the classes that it said."""
        return predicted_classes(self.said, self.threshold)

    @property
    def right(self) -> Floats:
        """Return 1.0 for each sample that it got right, 0.0 for the others; of classes."""
        right: Floats = (self.predicted == self.truth).astype(np.float64)
        return right

    @cached_property
    def figures(self) -> dict[str, weighed.Figure]:
        """Return its figures by their names, as functions of how often each sample counts."""
        if not self.classes:
            return weighed.numbers(self.truth.astype(np.float64), self.said[0])
        truth = self.truth.astype(np.int64)
        if self.classes == 2:
            return weighed.two_classes(truth, self.said[-1], self.predicted)
        return weighed.many_classes(truth, self.said)

    def part(self, places: NDArray[np.intp]) -> Answers:
        """Return the answers to some of the samples."""
        return Answers(self.truth[places], self.said[:, places], self.classes, self.threshold)
