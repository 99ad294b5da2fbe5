"""What a test set shows of a model, put in order for people: the page and the commands tell the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import TypedDict

from snn_client.reports.contents import NewImage
from snn_client.reports.formats import is_number
from snn_client.reports.metrics import ClassRates, ManyClasses, Mislabelled, Off, RateName, TestSet, TwoClasses


class Kind(StrEnum):
    """What a model was asked, and so what its `test_set` holds (see `snn_client.reports.metrics`)."""

    TWO_CLASSES = "two"
    MANY_CLASSES = "many"
    NUMBERS = "numbers"


class Rate(TypedDict):
    """One of the seven rates of two classes: `value` is `part` / `whole`, and `meaning` says what that is."""

    key: str
    name: str
    value: float | None
    part: int
    whole: int
    meaning: str
    bad: bool


def kind_of(test_set: TestSet) -> Kind:
    """Return what kind of test set it is."""
    if "r2" in test_set:
        return Kind.NUMBERS
    return Kind.MANY_CLASSES if "per_class" in test_set else Kind.TWO_CLASSES


def sample_count(test_set: TestSet) -> int:
    """Return how many samples were judged."""
    if "samples" in test_set:
        return int(test_set["samples"])
    counts = test_set["confusion_matrix"]
    return counts["tn"] + counts["fp"] + counts["fn"] + counts["tp"]


def wrong_count(test_set: TestSet) -> int:
    """Return how many samples were mislabelled, of classes."""
    return len(test_set["mislabelled"]) + int(test_set.get("mislabelled_left_out", 0))


def how_wrong(wrong: Mislabelled | Off, kind: Kind) -> float:
    """Return how sure the model was of a sample that it got wrong, or how far off it was."""
    if "probability" not in wrong:
        return abs(float(wrong["predicted"]) - float(wrong["label"]))
    # Of two classes it is the probability of class 1, of more that of the class that was predicted.
    said = float(wrong["probability"])
    return said if kind is not Kind.TWO_CLASSES else (said if wrong["predicted"] else 1 - said) - 0.5


def worst_first(per_class: Sequence[ClassRates]) -> list[ClassRates]:
    """Return the rates of classes by their F1, the lowest first; last those of which nothing is known."""

    def order(rates: ClassRates) -> tuple[bool, float, int]:
        known = is_number(rates["f1"])
        return not known, (rates["f1"] or 0.0) if known else 0.0, -rates["support"]

    return sorted(per_class, key=order)


def confusions(test_set: ManyClasses) -> list[tuple[int, int, int]]:
    """Return (label, predicted, samples) of each confusion of two of many classes, the most frequent first.

    Where the report had no room for the matrix they are counted in the mislabelled samples that it tells of: in all of
    them unless `confusions_are_complete` says otherwise.
    """
    matrix = test_set["confusion_matrix"]
    counts: Counter[tuple[int, int]] = Counter()
    if matrix is None:
        counts.update((wrong["label"], wrong["predicted"]) for wrong in test_set["mislabelled"])
    else:
        for label, row in enumerate(matrix):
            counts.update({(label, k): count for k, count in enumerate(row) if count and k != label})
    return [(label, predicted, count) for (label, predicted), count in counts.most_common()]


def confusions_are_complete(test_set: ManyClasses) -> bool:
    """Return whether `confusions` has counted all of them."""
    return test_set["confusion_matrix"] is not None or not test_set.get("mislabelled_left_out")


def in_a_line(test_set: TestSet) -> str:
    """Return what a log says of a test set."""
    if "r2" in test_set:
        return f"R² {test_set['r2']:.3f}, mean absolute error {test_set['mae']:.4g}"
    if "per_class" in test_set:
        return f"accuracy {test_set['accuracy']:.3f}, macro F1 {test_set['macro']['f1']:.3f}"
    return f"accuracy {test_set['accuracy']:.3f}, {test_set['confusion_matrix']}"


def answer_in_a_line(image: NewImage) -> str:
    """Return what a log says of a new photo."""
    unlike = ", but it is unlike all that was learned" if image.get("unlike") else ""
    if "value" in image:
        return f"{image['uri']}: {image['value']:.6g}{unlike}"
    return f"{image['uri']}: {image['class_name']} ({image['probability']:.3f}){unlike}"


def two_class_rates(test_set: TwoClasses, classes: Sequence[str], things: str) -> list[Rate]:
    """Return the seven rates with the fraction each one is and a sentence on what it means for photos, or samples."""
    no, yes = classes
    m = test_set["confusion_matrix"]
    tn, fp, fn, tp = m["tn"], m["fp"], m["fn"], m["tp"]
    everything = tn + fp + fn + tp
    rows: list[tuple[RateName, int, int, str]] = [
        ("accuracy", tn + tp, everything, f"Of all test {things}, this share was classified correctly."),
        ("error", fp + fn, everything, "The rest: this share was classified wrongly."),
        ("sensitivity", tp, tp + fn, f"Of the {things} that are “{yes}”, this share was found."),
        ("specificity", tn, tn + fp, f"Of the {things} that are “{no}”, this share was recognised as that."),
        ("false_positive_rate", fp, tn + fp, f"Of the {things} that are “{no}”, this share was taken for “{yes}”."),
        ("precision", tp, tp + fp, f"Of the {things} called “{yes}”, this share really is."),
        ("f1", 2 * tp, 2 * tp + fp + fn, "Precision and sensitivity in one: high only when both are."),
    ]
    names = {"f1": "F1 score"}
    return [
        {
            "key": key,
            "name": names.get(key, key.replace("_", " ").capitalize()),
            "value": test_set[key],
            "part": part,
            "whole": whole,
            "meaning": meaning,
            "bad": key in ("error", "false_positive_rate"),
        }
        for key, part, whole, meaning in rows
    ]
