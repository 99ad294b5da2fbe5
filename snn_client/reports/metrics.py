"""How good a model is on a test set: its rates, its confusion matrix, and which samples it got wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn.decision import DEFAULT
from snn_client.judging import figures
from snn_client.judging.answers import Answers
from snn_client.judging.contents import Calibration, Curves, Intervals, Residuals, SliceTable
from snn_client.judging.intervals import bootstrap, wilson

RateName = Literal["accuracy", "error", "sensitivity", "specificity", "false_positive_rate", "precision", "f1"]
"""The seven rates of two classes."""


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
    """What the report calls `test_set`, of two classes. `threshold` is the probability above which it says class 1.

    The seven rates are fractions of 1; a rate that would divide by zero (no sample of a class, nothing predicted as
    class 1) is None rather than a number that looks like a measurement. What may be missing is so in old reports.
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
    threshold: NotRequired[float]
    roc_auc: NotRequired[float | None]
    average_precision: NotRequired[float | None]
    log_loss: NotRequired[float]
    brier: NotRequired[float]
    intervals: NotRequired[Intervals]
    curves: NotRequired[Curves]
    calibration: NotRequired[Calibration]
    slices: NotRequired[SliceTable]


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

    `top_k_accuracy` is the share whose class is among the `top_k` most probable ones. `intervals` has macro averages
    under their names, weighted ones as `f1_weighted`.

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
    top_k: NotRequired[int]
    top_k_accuracy: NotRequired[float]
    log_loss: NotRequired[float]
    brier: NotRequired[float]
    intervals: NotRequired[Intervals]
    calibration: NotRequired[Calibration]
    slices: NotRequired[SliceTable]


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
    intervals: NotRequired[Intervals]
    residuals: NotRequired[Residuals]
    slices: NotRequired[SliceTable]


Classes = TwoClasses | ManyClasses
TestSet = TwoClasses | ManyClasses | Numbers


def evaluate(
    labels: ArrayLike, answers: ArrayLike, classes: Sequence[str] = ("0", "1"), threshold: float = DEFAULT
) -> TestSet:
    """Judge a model's answers against the true labels (m,), m ≥ 1.

    Answers are probabilities of class 1, (m,) or (1, m), which is said above the threshold; or those of K classes,
    (K, m); or, without classes, numbers. Raises as `Answers.of` does.
    """
    return judged(Answers.of(labels, answers, classes, threshold), classes)


def judged(answers: Answers, classes: Sequence[str]) -> TestSet:
    """Return the figures of answers; `classes` are the names of those that they tell apart."""
    if not answers.classes:
        return _numbers(answers)
    return _two_classes(answers) if answers.classes == 2 else _many_classes(answers, classes)


def _two_classes(answers: Answers) -> TwoClasses:
    # Here, not above: it takes over a second, and classifying photos or writing a report imports this module too.
    from sklearn.metrics import confusion_matrix

    truth, predicted, chances = answers.truth.astype(np.int64), answers.predicted, answers.said[-1]
    tn, fp, fn, tp = (int(count) for count in confusion_matrix(truth, predicted, labels=[0, 1]).ravel())
    more = figures.two_classes(truth, chances)
    return TwoClasses(
        accuracy=(tn + tp) / truth.size,
        error=(fp + fn) / truth.size,
        sensitivity=_rate(tp, tp + fn),
        specificity=_rate(tn, tn + fp),
        false_positive_rate=_rate(fp, tn + fp),
        precision=_rate(tp, tp + fp),
        f1=_rate(2 * tp, 2 * tp + fp + fn),
        confusion_matrix=ConfusionMatrix(tn=tn, fp=fp, fn=fn, tp=tp),
        mislabelled=_mislabelled(truth, predicted, chances),
        threshold=answers.threshold,
        roc_auc=more["roc_auc"],
        average_precision=more["average_precision"],
        log_loss=more["log_loss"],
        brier=more["brier"],
        intervals={
            **_intervals(answers, "f1", "roc_auc", "average_precision", "log_loss", "brier"),
            "accuracy": wilson(tn + tp, truth.size),
            "error": wilson(fp + fn, truth.size),
            "sensitivity": wilson(tp, tp + fn),
            "specificity": wilson(tn, tn + fp),
            "false_positive_rate": wilson(fp, tn + fp),
            "precision": wilson(tp, tp + fp),
        },
        curves=more["curves"],
        calibration=more["calibration"],
    )


def _many_classes(answers: Answers, classes: Sequence[str]) -> ManyClasses:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, predicted, numbers = answers.truth.astype(np.int64), answers.predicted, np.arange(len(classes))
    matrix = confusion_matrix(truth, predicted, labels=numbers)
    called, there, right = matrix.sum(axis=0), matrix.sum(axis=1), np.diag(matrix)
    averages = {
        kind: Averages(precision=float(precision), recall=float(recall), f1=float(f1))
        for kind in ("macro", "weighted")
        for precision, recall, f1, _ in [
            precision_recall_fscore_support(truth, predicted, labels=numbers, average=kind, zero_division=0)
        ]
    }
    hits, more = int(right.sum()), figures.many_classes(truth, answers.said)
    averaged = [f"{of}{kind}" for kind in ("", "_weighted") for of in ("precision", "recall", "f1")]
    return ManyClasses(
        accuracy=hits / truth.size,
        error=int(truth.size - hits) / truth.size,
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
        mislabelled=_mislabelled(truth, predicted, answers.said.max(axis=0)),
        top_k=more["top_k"],
        top_k_accuracy=more["top_k_accuracy"],
        log_loss=more["log_loss"],
        brier=more["brier"],
        intervals={
            **_intervals(answers, *averaged, "log_loss", "brier"),
            "accuracy": wilson(hits, truth.size),
            "error": wilson(truth.size - hits, truth.size),
            "top_k_accuracy": wilson(round(more["top_k_accuracy"] * truth.size), truth.size),
        },
        calibration=more["calibration"],
    )


def _numbers(answers: Answers) -> Numbers:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    truth, said = answers.truth.astype(np.float64), answers.said[0]
    furthest = np.argsort(-np.abs(truth - said), kind="stable")[:20]
    return Numbers(
        mae=float(mean_absolute_error(truth, said)),
        rmse=float(root_mean_squared_error(truth, said)),
        r2=float(r2_score(truth, said)) if truth.size > 1 else 0.0,
        samples=int(truth.size),
        mislabelled=[Off(index=int(i), label=float(truth[i]), predicted=float(said[i])) for i in sorted(furthest)],
        intervals=_intervals(answers, "mae", "rmse", "r2"),
        residuals=figures.residuals(truth, said),
    )


def _intervals(answers: Answers, *names: str) -> Intervals:
    return bootstrap({name: answers.figures[name] for name in names}, len(answers))


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
