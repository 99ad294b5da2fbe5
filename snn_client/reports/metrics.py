"""How good a model is on a test set: its rates, its confusion matrix, and which samples it got wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn.errors import InvalidInput, InvalidModel

METRICS = ("accuracy", "f1", "precision", "sensitivity", "specificity", "r2")
"""Figures of a test set of which more is better: rates, of many classes their macro averages; R² of numbers."""

RateName = Literal["accuracy", "error", "sensitivity", "specificity", "false_positive_rate", "precision", "f1"]
"""The seven rates of two classes."""

BOUNDARY = 0.5
"""A probability above it is class 1; one exactly on it is class 0."""


class ConfusionMatrix(TypedDict):
    """Counts of test samples. Class 1 is "positive": fp is a sample of class 0 that the model called class 1."""

    tn: int
    fp: int
    fn: int
    tp: int


@final
class Mislabelled(TypedDict):
    """One sample that the model got wrong: its place in the test set, its label, and what the model said.

    `probability` is that of class 1, or, of more than two classes, that of the class that was predicted.
    """

    index: int
    label: int
    predicted: int
    probability: float


@final
class TwoClasses(TypedDict):
    """What the report calls `test_set`, of two classes.

    The seven rates are fractions of 1; a rate that would divide by zero (no sample of a class, nothing predicted as
    class 1) is None rather than a number that looks like a measurement.
    """

    accuracy: float
    error: float
    sensitivity: float | None
    specificity: float | None
    false_positive_rate: float | None
    precision: float | None
    f1: float | None
    confusion_matrix: ConfusionMatrix
    mislabelled: list[Mislabelled]
    mislabelled_left_out: NotRequired[int]


class Averages(TypedDict):
    """Rates of all classes in one: each class counts the same (macro), or by its samples (weighted)."""

    precision: float
    recall: float
    f1: float


class ClassRates(TypedDict):
    """The rates of one class: of what was called so, and of what is so; None where that is nothing."""

    class_name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


@final
class ManyClasses(TypedDict):
    """What the report calls `test_set`, of K classes. `confusion_matrix[label][predicted]` counts samples.

    A report leaves out what it has no room for: a large matrix (None), and some of the classes.
    """

    accuracy: float
    error: float
    samples: int
    macro: Averages
    weighted: Averages
    per_class: list[ClassRates]
    classes_left_out: NotRequired[int]
    confusion_matrix: list[list[int]] | None
    mislabelled: list[Mislabelled]
    mislabelled_left_out: NotRequired[int]


@final
class Off(TypedDict):
    """One sample whose number the model missed: its place in the test set, its number, and what the model said."""

    index: int
    label: float
    predicted: float


@final
class Numbers(TypedDict):
    """What the report calls `test_set`, of a model that gives numbers; `mislabelled` has those furthest off."""

    mae: float
    rmse: float
    r2: float
    samples: int
    mislabelled: list[Off]
    mislabelled_left_out: NotRequired[int]


Classes = TwoClasses | ManyClasses
TestSet = TwoClasses | ManyClasses | Numbers


def predicted_classes(answers: ArrayLike) -> NDArray[np.int64]:
    """Return the class for each column of answers: of one row, probabilities of class 1; of K, those of each class."""
    said = np.atleast_2d(np.asarray(answers, dtype=np.float64))
    classes: NDArray[np.int64] = (said.argmax(axis=0) if len(said) > 1 else said[0] > BOUNDARY).astype(np.int64)
    return classes


def evaluate(labels: ArrayLike, answers: ArrayLike, classes: Sequence[str] = ("0", "1")) -> TestSet:
    """Judge a model's answers against the true labels (m,), m ≥ 1.

    Answers are probabilities of class 1, (m,) or (1, m); or those of K classes, (K, m); or, without classes, numbers.
    Raises InvalidInput when they do not belong together, InvalidModel when a probability is not a number in 0..1.
    """
    truth, said = np.ravel(np.asarray(labels)), np.atleast_2d(np.asarray(answers, dtype=np.float64))
    if truth.size != said.shape[1] or truth.size == 0:
        raise InvalidInput(f"{truth.size} labels for {said.shape[1]} answers")
    hint = "the training diverged: try a lower learning_rate"
    if not classes:
        if not np.isfinite(said).all():
            raise InvalidModel("some of its answers are not numbers", hint=hint)
        return _numbers(truth.astype(np.float64), said[0])
    if not np.isin(truth, np.arange(len(classes))).all():
        known = "0 or 1" if len(classes) == 2 else f"0 to {len(classes) - 1}"
        raise InvalidInput(f"labels must be {known}", field="labels")
    # NaN is not > 0.5, so without this a model that diverged would pass for one that always answers class 0.
    unusable = int(np.count_nonzero(~((said >= 0) & (said <= 1))))
    if unusable:
        raise InvalidModel(f"{unusable} of {said.size} probabilities are not numbers in 0..1", hint=hint)
    truth = truth.astype(np.int64)
    return _two_classes(truth, said) if len(classes) == 2 else _many_classes(truth, said, classes)


def _two_classes(truth: NDArray[np.int64], said: NDArray[np.float64]) -> TwoClasses:
    # Here, not above: it takes over a second, and classifying photos or writing a report imports this module too.
    from sklearn.metrics import confusion_matrix

    predicted = predicted_classes(said)
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(truth, predicted, labels=[0, 1]).ravel())
    return TwoClasses(
        accuracy=(tn + tp) / truth.size,
        error=(fp + fn) / truth.size,
        sensitivity=_rate(tp, tp + fn),
        specificity=_rate(tn, tn + fp),
        false_positive_rate=_rate(fp, tn + fp),
        precision=_rate(tp, tp + fp),
        f1=_rate(2 * tp, 2 * tp + fp + fn),
        confusion_matrix=ConfusionMatrix(tn=tn, fp=fp, fn=fn, tp=tp),
        mislabelled=_mislabelled(truth, predicted, said[-1]),
    )


def _many_classes(truth: NDArray[np.int64], said: NDArray[np.float64], classes: Sequence[str]) -> ManyClasses:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted, numbers = predicted_classes(said), np.arange(len(classes))
    matrix = confusion_matrix(truth, predicted, labels=numbers)
    called, there, right = matrix.sum(axis=0), matrix.sum(axis=1), np.diag(matrix)
    averages = {
        kind: Averages(precision=float(precision), recall=float(recall), f1=float(f1))
        for kind in ("macro", "weighted")
        for precision, recall, f1, _ in [
            precision_recall_fscore_support(truth, predicted, labels=numbers, average=kind, zero_division=0)
        ]
    }
    accuracy = int(right.sum()) / truth.size
    return ManyClasses(
        accuracy=accuracy,
        error=int(truth.size - right.sum()) / truth.size,
        samples=int(truth.size),
        macro=averages["macro"],
        weighted=averages["weighted"],
        per_class=[
            ClassRates(
                class_name=name,
                support=int(there[k]),
                precision=_rate(int(right[k]), int(called[k])),
                recall=_rate(int(right[k]), int(there[k])),
                f1=_rate(2 * int(right[k]), int(called[k] + there[k])),
            )
            for k, name in enumerate(classes)
        ],
        confusion_matrix=matrix.tolist(),
        mislabelled=_mislabelled(truth, predicted, said.max(axis=0)),
    )


def _numbers(truth: NDArray[np.float64], said: NDArray[np.float64]) -> Numbers:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    furthest = np.argsort(-np.abs(truth - said), kind="stable")[:20]
    return Numbers(
        mae=float(mean_absolute_error(truth, said)),
        rmse=float(root_mean_squared_error(truth, said)),
        r2=float(r2_score(truth, said)) if truth.size > 1 else 0.0,
        samples=int(truth.size),
        mislabelled=[Off(index=int(i), label=float(truth[i]), predicted=float(said[i])) for i in sorted(furthest)],
    )


def _mislabelled(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], probability: NDArray[np.float64]
) -> list[Mislabelled]:
    return [
        Mislabelled(
            index=int(index),
            label=int(truth[index]),
            predicted=int(predicted[index]),
            probability=float(probability[index]),
        )
        for index in np.flatnonzero(truth != predicted)
    ]


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
