"""What commands show of a test set of many classes and of one of numbers, and of new photos."""

from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from snn_cli.tables import classified, judged
from snn_client.judging.answers import Answers
from snn_client.judging.slices import by_slice
from snn_client.reports.metrics import evaluate
from snn_data.slices import Slices


def shown(*parts: RenderableType) -> list[list[str]]:
    """What is printed, as the words of its lines."""
    console = Console(file=StringIO(), width=200, color_system=None)
    for part in parts:
        console.print(part)
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def many_classes(matrix: list[list[int]], names: list[str]) -> dict[str, Any]:
    pairs = [(label, said) for label, row in enumerate(matrix) for said, n in enumerate(row) for _ in range(n)]
    truth, said = np.array(pairs).T
    answers = np.full((len(names), len(truth)), 0.3 / (len(names) - 1))
    answers[said, np.arange(len(truth))] = 0.7
    return {"mislabelled_left_out": 0, "classes_left_out": 0, **evaluate(truth, answers, names)}


def test_three_classes_have_averages_rates_matrix_and_who_was_mislabelled() -> None:
    lines = shown(*judged(many_classes([[8, 2, 0], [1, 5, 4], [0, 3, 0]], ["ant", "[bold]bee", "cow"])))
    assert lines[0] == ["95", "%", "interval"]
    assert [line[:-3] for line in lines[1:4]] == [
        ["accuracy", "0.5652"],
        ["error", "0.4348"],
        ["macro", "precision", "0.4630"],
    ]
    assert lines[1][-3:] == ["0.3681", "to", "0.7437"]  # Wilson's of 13 in 23
    assert ["weighted", "recall", "0.5652"] in [line[:3] for line in lines]
    assert ["top-2", "accuracy", "0.8696"] in [line[:3] for line in lines]
    place = lines.index(["class", "precision", "recall", "f1", "samples"])
    assert lines[place + 1 : place + 4] == [
        ["cow", "0.0000", "0.0000", "0.0000", "3"],
        ["[bold]bee", "0.5000", "0.5000", "0.5000", "10"],
        ["ant", "0.8889", "0.8000", "0.8421", "10"],
    ]
    place = lines.index(["called", "0", "1", "2"])
    assert lines[place + 1 : place + 4] == [
        ["is", "0", "ant", "8", "2", "0"],
        ["is", "1", "[bold]bee", "1", "5", "4"],
        ["is", "2", "cow", "0", "3", "0"],
    ]
    place = lines.index(["mislabelled", "sample", "is", "called", "probability"])
    assert lines[place + 1] == ["8", "ant", "[bold]bee", "0.7000"]
    assert len(lines) == place + 1 + 10


def test_classes_too_many_for_a_terminal_have_their_most_frequent_confusions() -> None:
    count = 30
    matrix = [[5 if k == label else int(k == (label + 1) % count) for k in range(count)] for label in range(count)]
    matrix[3][4] = 3
    names = [f"kind{k}" for k in range(count)]
    test_set = many_classes(matrix, names)
    lines = shown(*judged(test_set))
    place = lines.index(["is", "called", "samples"])
    assert lines[place + 1] == ["kind3", "kind4", "3"]
    assert lines[place + 21] == ["…", "and", "10", "more"]
    assert lines.count(["…", "and", "10", "more"]) == 2  # classes, confusions

    # As it travels where there is no room: the classes have another order, so their numbers are told.
    left = {"confusion_matrix": None, "per_class": test_set["per_class"][10:22], "classes_left_out": 18}
    cut = {**test_set, **left, "mislabelled": test_set["mislabelled"][:6], "mislabelled_left_out": 26}
    lines = shown(*judged(cut))
    place = lines.index(["is", "called", "samples"])
    assert lines[place + 1] == ["class", "3", "class", "4", "3"]
    assert ["counted", "in", "the", "6", "mislabelled", "samples", "below"] in lines
    assert lines.count(["…", "and", "18", "more"]) == 1
    assert lines[-1] == ["…", "and", "26", "more"]


def test_numbers_have_their_errors_and_those_furthest_off_first() -> None:
    test_set = evaluate([10.0, 20.0, 40.0], [11.0, 15.0, 40.5], ())
    lines = shown(*judged(dict(test_set)))
    assert all(line[-2] == "to" and float(line[-3]) <= float(line[1]) <= float(line[-1]) for line in lines[1:4])
    assert [lines[0], *(line[:2] for line in lines[1:5]), *lines[5:]] == [
        ["95", "%", "interval"],
        ["R²", "0.94375"],
        ["MAE", "2.16667"],
        ["RMSE", "2.95804"],
        ["samples", "3"],
        [],
        ["sample", "furthest", "off", "is", "answer", "off", "by"],
        ["1", "20", "15", "-5"],
        ["0", "10", "11", "1"],
        ["2", "40", "40.5", "0.5"],
    ]
    unknown = {"r2": None, "mae": None, "rmse": None, "samples": 0, "mislabelled": []}
    assert shown(*judged(unknown))[0] == ["R²", "-"]


@pytest.mark.parametrize(
    ("classes", "answer", "header", "row"),
    [
        (0, {"value": 1234.5678}, ["sample", "number"], ["[a].png", "1234.57"]),
        (
            2,
            {"predicted": 0, "class_name": "dog", "probability": 0.25},
            ["sample", "class", "p", "of", "class", "1"],
            ["[a].png", "dog", "0.2500"],
        ),
        (
            3,
            {"predicted": 0, "class_name": "dog", "probability": 0.75},
            ["sample", "class", "probability"],
            ["[a].png", "dog", "0.7500"],
        ),
    ],
)
def test_new_photos_are_answered_by_kind(
    classes: int, answer: dict[str, Any], header: list[str], row: list[str]
) -> None:
    assert shown(classified([{"uri": "[a].png", **answer}], classes)) == [header, row]


def test_two_classes_have_their_threshold_and_slices_the_worst_first() -> None:
    y = np.arange(40) % 2
    said = np.where(y == 1, 0.9, 0.1)
    said[25:30] = 1 - said[25:30]
    names = ["north"] * 20 + ["[south]"] * 20
    test_set: Any = evaluate(y, said, ("no", "yes"), threshold=0.25)
    slices = Slices("hospital", ("north", "[south]"), np.array([["north", "[south]"].index(name) for name in names]))
    test_set["slices"] = by_slice(Answers.of(y, said, ("no", "yes"), 0.25), slices)
    lines = shown(*judged(test_set))
    assert ["class", "1", "above", "a", "probability", "of", "0.25"] in lines
    place = lines.index(["hospital", "accuracy", "95", "%", "interval", "samples"])
    assert [(line[0], line[1], line[-1]) for line in lines[place + 1 : place + 3]] == [
        ("[south]", "0.7500", "20"), ("north", "1.0000", "20"),
    ]  # fmt: skip
    assert [line[0] for line in lines[1:8]] == [
        "accuracy",
        "error",
        "sensitivity",
        "specificity",
        "false",
        "precision",
        "f1",
    ]
    assert ["ROC", "AUC"] in [line[:2] for line in lines]
