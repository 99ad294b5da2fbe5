"""How good a model is: the confusion matrix of a test set, the seven rates read from it, and who was mislabelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from snn.errors import InvalidInput, InvalidModel

BOUNDARY = 0.5
"""A probability above it is class 1; one exactly on it is class 0."""


class ConfusionMatrix(BaseModel):
    """Counts of test samples. Class 1 is "positive": fp is a sample of class 0 that the model called class 1."""

    model_config = ConfigDict(frozen=True)

    tn: int
    fp: int
    fn: int
    tp: int


class Mislabelled(BaseModel):
    """One sample that the model got wrong: its place in the test set, its label, and what the model said."""

    model_config = ConfigDict(frozen=True)

    index: int
    label: int
    predicted: int
    probability: float


class Evaluation(BaseModel):
    """What the report calls `test_set`.

    The seven rates are fractions of 1; a rate that would divide by zero (no sample of a class, nothing predicted as
    class 1) is None rather than a number that looks like a measurement.
    """

    model_config = ConfigDict(frozen=True)

    accuracy: float
    error: float
    sensitivity: float | None
    specificity: float | None
    false_positive_rate: float | None
    precision: float | None
    f1: float | None
    confusion_matrix: ConfusionMatrix
    mislabelled: list[Mislabelled]


def predicted_classes(probabilities: ArrayLike) -> np.ndarray:
    """Return class 0 or 1 for each probability of class 1, in the same shape."""
    return (np.asarray(probabilities, dtype=np.float64) > BOUNDARY).astype(np.int64)


def evaluate(labels: ArrayLike, probabilities: ArrayLike) -> Evaluation:
    """Judge probabilities of class 1 against the true labels 0 and 1; both are (m,) or (1, m), m ≥ 1.

    Raises InvalidInput when they do not belong together, InvalidModel when a probability is not a number in 0..1.
    """
    # Here, not above: it takes over a second, and classifying photos or writing a report imports this module too.
    from sklearn.metrics import confusion_matrix

    truth = np.ravel(np.asarray(labels))
    chances = np.ravel(np.asarray(probabilities, dtype=np.float64))
    if truth.size != chances.size or truth.size == 0:
        raise InvalidInput(f"{truth.size} labels for {chances.size} probabilities")
    if not np.isin(truth, (0, 1)).all():
        raise InvalidInput("labels must be 0 or 1", field="labels")
    # NaN is not > 0.5, so without this a model that diverged would pass for one that always answers class 0.
    unusable = int(np.count_nonzero(~((chances >= 0) & (chances <= 1))))
    if unusable:
        raise InvalidModel(
            f"{unusable} of {chances.size} probabilities are not numbers in 0..1",
            mend="the training diverged: try a lower learning_rate",
        )
    answers = predicted_classes(chances)
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(truth, answers, labels=[0, 1]).ravel())
    return Evaluation(
        accuracy=(tn + tp) / truth.size,
        error=(fp + fn) / truth.size,
        sensitivity=_rate(tp, tp + fn),
        specificity=_rate(tn, tn + fp),
        false_positive_rate=_rate(fp, tn + fp),
        precision=_rate(tp, tp + fp),
        f1=_rate(2 * tp, 2 * tp + fp + fn),
        confusion_matrix=ConfusionMatrix(tn=tn, fp=fp, fn=fn, tp=tp),
        mislabelled=[
            Mislabelled(
                index=int(index),
                label=int(truth[index]),
                predicted=int(answers[index]),
                probability=float(chances[index]),
            )
            for index in np.flatnonzero(truth != answers)
        ],
    )


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
