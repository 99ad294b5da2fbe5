"""What one line says of a test set, and of a new photo: of two classes, of more, and of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from snn_client.reports.contents import NewImage
from snn_client.reports.metrics import TestSet, evaluate
from snn_client.reports.sections import Kind, answer_in_a_line, how_wrong, in_a_line, kind_of, sample_count, wrong_count

TWO = evaluate([0, 0, 1, 1], [0.1, 0.9, 0.8, 0.7])
MANY = evaluate([0, 1, 2, 2], np.array([[0.8, 0.1, 0.1, 0.2], [0.1, 0.8, 0.2, 0.6], [0.1, 0.1, 0.7, 0.2]]), "abc")
NUMBERS = evaluate([1.0, 2.0, 4.0], [1.5, 2.0, 4.0], ())


@pytest.mark.parametrize(
    ("test_set", "kind", "samples", "wrong", "line"),
    [
        (TWO, Kind.TWO_CLASSES, 4, 1, "accuracy 0.750, {'tn': 1, 'fp': 1, 'fn': 0, 'tp': 2}"),
        # F1 of the three classes: 1, 2/3 and 2/3
        (MANY, Kind.MANY_CLASSES, 4, 1, "accuracy 0.750, macro F1 0.778"),
        # errors of 0.5, 0 and 0; around the mean of 7/3 the squares add up to 42/9
        (NUMBERS, Kind.NUMBERS, 3, 3, "R² 0.946, mean absolute error 0.1667"),
    ],
)
def test_a_test_set_in_a_line(test_set: TestSet, kind: Kind, samples: int, wrong: int, line: str) -> None:
    assert (kind_of(test_set), sample_count(test_set), wrong_count(test_set)) == (kind, samples, wrong)
    assert in_a_line(test_set) == line


def test_how_wrong_a_sample_is() -> None:
    # Class 1 at 0.9 where it is class 0; the class that was called, at 0.6; a number that is off by a half.
    assert [how_wrong(each["mislabelled"][0], kind_of(each)) for each in (TWO, MANY, NUMBERS)] == pytest.approx(
        [0.4, 0.6, 0.5]
    )


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ({"uri": "a.png", "predicted": 1, "class_name": "cat", "probability": 0.75}, "a.png: cat (0.750)"),
        ({"uri": "b.png", "value": 12.3456789}, "b.png: 12.3457"),
    ],
)
def test_a_new_photo_in_a_line(image: NewImage, line: str) -> None:
    assert answer_in_a_line(image) == line
