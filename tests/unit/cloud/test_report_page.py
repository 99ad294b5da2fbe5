"""The report page's geometry, figures and words, and what it shows of every kind of test set."""

from __future__ import annotations

import io
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judged import two_classes
from PIL import Image
from training import saved

from snn_client.reports.chart import MAX_POINTS, Chart, cost_chart, downsample, log_ticks, nice_ticks
from snn_client.reports.formats import (
    figure,
    number,
    percent,
    portion,
    r_squared,
    short,
    significant,
    usd,
    utc,
)
from snn_client.reports.metrics import evaluate
from snn_client.reports.page import DataFacts, render_page
from snn_client.reports.recipe import guessing_cost, training_facts
from snn_client.reports.report import build_report
from snn_client.reports.sections import confusions, confusions_are_complete, sample_count, worst_first
from snn_client.runs.estimate import Machine
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy, Usage
from snn_data.dataset import load_dataset

PARAMETERS = Parameters.load(
    oracle.small_network(
        (20, 1), ("relu", "sigmoid"), epochs=500, learning_rate=0.0075, batch_size=64, threshold=0.01,
        granularity="neuron",
    )
)  # fmt: skip
RUN = Run(
    "demo-1",
    State.COMPLETED,
    PARAMETERS,
    started_at=1_700_000_000.0,
    ended_at=1_700_000_059.97,
    epoch=321,
    cost=0.009876,
    stopped_by=StoppedBy.THRESHOLD,
    usage={"launch": Usage(1, 300, 256), "trainer": Usage(1, 31_000, 1769), "neuron": Usage(13_482, 9_000, 256)},
)
FACTS = DataFacts(("non-cat", "cat"), (64, 64, 3), (137, 72), (17, 33), "24ef" * 16, "s3://b/runs/demo-1/input/d.h5")


def recipe(last: str, neurons: int, **fields: Any) -> Parameters:
    """Parameters of a network with one hidden layer."""
    return Parameters.load(oracle.small_network((4, neurons), ("relu", last), **fields))


def many_classes(matrix: list[list[int]], names: tuple[str, ...]) -> tuple[dict[str, Any], DataFacts]:
    """What is said of samples with this confusion matrix, and their data set."""
    pairs = [(label, said) for label, row in enumerate(matrix) for said, n in enumerate(row) for _ in range(n)]
    truth, said = np.array(pairs).T
    answers = np.full((len(names), len(truth)), 0.3 / (len(names) - 1))
    answers[said, np.arange(len(truth))] = 0.7
    counts = tuple(np.bincount(truth, minlength=len(names)).tolist())
    test_set = {"mislabelled_left_out": 0, "classes_left_out": 0, **evaluate(truth, answers, names)}
    return test_set, DataFacts(names, (4, 4, 3), counts, counts, "", "")


def photo(i: int = 0, uri: str = "photos/{}.png") -> dict[str, Any]:
    return {"uri": uri.format(i), "predicted": 1, "class_name": "cat", "probability": 0.9}


def page(parameters: Parameters = PARAMETERS, **changes: Any) -> str:
    """The page of a report, with changes to it."""
    test_set, new_images = changes.pop("test_set", two_classes()), changes.pop("new_images", [photo()])
    report = build_report(RUN, two_classes(), new_images, cost_of(RUN, Machine(has_cache=True)), {"params": "s3://b/p"})
    report["test_set"] = {"mislabelled_left_out": 0, **test_set}
    report["training"] |= changes.pop("training", {})
    curves, data = changes.pop("curves", {"cost": [0.7, 0.4, 0.009876]}), changes.pop("data", FACTS)
    return render_page(report, parameters, curves, data, new_images=changes.pop("files", ()), **changes)


class Seen(HTMLParser):
    """What a browser makes of a page: the text in each element that has an id, and the rows of its tables."""

    VOID = frozenset({"meta", "link", "input", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._in_cell = False
        self._text: dict[str, str] = {}
        self.rows: list[tuple[str, list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        self._open.append(dict(attrs).get("id") or "")
        if tag == "tr":
            self.rows.append((next(filter(None, reversed(self._open)), ""), []))
        elif tag in ("td", "th"):
            self.rows[-1][1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            self._open.pop()
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        for name in filter(None, self._open):
            self._text[name] = self._text.get(name, "") + data
        if self._in_cell:
            self.rows[-1][1][-1] += data

    def text(self, name: str) -> str:
        return " ".join(self._text[name].split())

    def table(self, name: str) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in cells] for place, cells in self.rows if place == name]


# The chart


def test_ticks_are_round_and_reach_beyond_the_data() -> None:
    assert nice_ticks(0, 0.7) == [0, 0.2, 0.4, 0.6, 0.8]
    assert nice_ticks(0, 2_999) == [0, 1_000, 2_000, 3_000]
    assert nice_ticks(0, 0) == [0]
    assert nice_ticks(0, 3e-14) == [0, 1e-14, 2e-14, 3e-14]
    assert log_ticks(0.03, 0.7) == [0.02, 0.05, 0.1, 0.2, 0.5, 1]
    assert log_ticks(1e-6, 0.7) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]


@given(st.floats(1e-9, 1e9), st.floats(1, 1e6))
def test_ticks_embrace_any_range(low: float, factor: float) -> None:
    for ticks in (nice_ticks(0, low * factor), log_ticks(low, low * factor)):
        assert ticks == sorted(set(ticks))
        assert ticks[-1] >= low * factor * (1 - 1e-9)
        assert len(ticks) <= 25
    assert log_ticks(low, low * factor)[0] <= low * (1 + 1e-9)


def test_a_long_curve_keeps_its_ends_and_every_peak() -> None:
    costs = [1.0] * 100_000
    costs[12_345], costs[77_777] = 5.0, 0.1
    points = downsample(costs)
    assert len(points) <= MAX_POINTS
    assert {(0, 1.0), (12_345, 5.0), (77_777, 0.1), (99_999, 1.0)} <= set(points)
    assert points == sorted(points)
    assert downsample(costs[:MAX_POINTS]) == list(enumerate(costs[:MAX_POINTS]))


def coordinates(path: str) -> np.ndarray:
    return np.array([[float(part) for part in pair.split()] for pair in path.removeprefix("M").split("L")])


def test_the_curve_is_drawn_where_its_values_are() -> None:
    chart = cost_chart({"cost": [0.8, 0.4, 0.2]})
    (linear,) = chart.scales  # a log scale would not help
    np.testing.assert_allclose(coordinates(linear.cost.path), [[0, 0], [500, 500], [1000, 750]])
    assert [(tick.at, tick.label) for tick in linear.ticks] == [
        (100, "0"),
        (75, "0.2"),
        (50, "0.4"),
        (pytest.approx(25), "0.6"),
        (0, "0.8"),
    ]
    assert [(tick.at, tick.label) for tick in chart.x_ticks] == [(0, "0"), (50, "1"), (100, "2")]
    end = linear.cost.end
    assert (end.label, end.at, linear.cost.label_at, linear.cost.end_x) == ("0.2", 75, 75, 100)
    assert (linear.validation, chart.best) == (None, None)


def test_a_curve_over_decades_is_shown_on_a_log_scale_first() -> None:
    chart = cost_chart({"cost": [1.0, 0.1, 0.01]}, [(0.01, "threshold"), (50.0, "far away")])
    assert [scale.name for scale in chart.scales] == ["log", "linear"]
    np.testing.assert_allclose(coordinates(chart.scales[0].cost.path), [[0, 0], [500, 500], [1000, 1000]])
    assert [(line.label, line.at) for line in chart.scales[0].lines] == [("threshold", 100)]


def test_the_validation_shares_the_axes_and_its_best_epoch_is_marked() -> None:
    chart = cost_chart({"cost": [0.8, 0.4, 0.2], "validation_cost": [1.0, 0.6, 0.9]}, best_epoch=1)
    (linear,) = chart.scales
    np.testing.assert_allclose(coordinates(linear.cost.path), [[0, 200], [500, 600], [1000, 800]])
    assert linear.validation is not None
    np.testing.assert_allclose(coordinates(linear.validation.path), [[0, 0], [500, 400], [1000, 100]])
    assert (linear.validation.end.label, linear.validation.end.at) == ("0.9", pytest.approx(10))
    assert chart.best is not None
    assert (chart.best.at, chart.best.label, linear.best_at) == (50, "best: epoch 1", pytest.approx(40))
    # The costs alone would not need a log scale; with those of the validation they do.
    both = cost_chart({"cost": [1.0, 0.5], "validation_cost": [1.0, 0.01]})
    assert [scale.name for scale in both.scales] == ["log", "linear"]


@pytest.mark.parametrize("best", [None, -1, 3, 1_000])
def test_an_epoch_that_is_not_there_is_not_marked(best: int | None) -> None:
    assert cost_chart({"cost": [0.8, 0.4, 0.2], "validation_cost": [1.0, 0.6, 0.9]}, best_epoch=best).best is None


@pytest.mark.parametrize("ends", [(0.5, 0.5), (0.5, 0.51), (0.51, 0.5), (0.2, 0.9)])
def test_labels_at_the_ends_keep_apart_in_the_order_of_their_curves(ends: tuple[float, float]) -> None:
    (scale,) = cost_chart({"cost": [1.0, ends[0]], "validation_cost": [1.0, ends[1]]}).scales
    cost, validation = scale.cost, scale.validation
    assert validation is not None
    assert abs(cost.label_at - validation.label_at) >= 8 - 1e-9
    if ends[0] != ends[1]:
        assert (cost.label_at < validation.label_at) == (ends[0] > ends[1])
    if abs(ends[0] - ends[1]) > 0.1:
        assert [cost.label_at, validation.label_at] == [cost.end.at, validation.end.at]


UNUSUAL: list[list[float]] = [[0.7], [0.0], [0.5, 0.5], [1.0, 0.0], [1e-12, 1e-13], [1e6, 3.0], [-0.5, 0.2], [2e11, 1]]


@pytest.mark.parametrize("costs", UNUSUAL)
@pytest.mark.parametrize("validated", [False, True])
def test_unusual_curves_stay_inside_the_plot(costs: list[float], validated: bool) -> None:
    curves = {"cost": costs, **({"validation_cost": [cost * 2 for cost in costs]} if validated else {})}
    chart = cost_chart(curves, [(0.69, "guessing")], best_epoch=0)
    for scale in chart.scales:
        lines = [scale.cost, *([scale.validation] if scale.validation else [])]
        assert len(lines) == 1 + validated
        for line in lines:
            points = coordinates(line.path)
            assert len(points) == len(costs)
            assert ((points >= -0.1) & (points <= 1000.1)).all()
        assert -0.1 <= scale.best_at <= 100.1


def test_figures_that_are_missing_leave_a_gap() -> None:
    chart = cost_chart({"cost": [0.8, None, math.nan, 0.2], "validation_cost": [None, 0.4, 0.4, None]}, best_epoch=3)
    (linear,) = chart.scales
    np.testing.assert_allclose(coordinates(linear.cost.path), [[0, 0], [1000, 750]])
    assert linear.validation is not None
    np.testing.assert_allclose(coordinates(linear.validation.path), [[333.3, 500], [666.7, 500]])
    assert linear.validation.end_x == pytest.approx(66.7, abs=0.1)
    assert chart.hovers[1].text == "epoch 1: validation cost 0.4"


def test_hints_tell_epoch_and_all_figures() -> None:
    hovers = cost_chart({"cost": [1 / (epoch + 1) for epoch in range(1_001)]}).hovers
    assert len(hovers) == 100
    assert (hovers[0].text, hovers[-1].text) == ("epoch 0: cost 1", "epoch 1,000: cost 0.000999001")
    curves = {"cost": [0.5, 0.4], "validation_cost": [0.6, 0.7], "validation_r2": [-1.0, 0.25]}
    assert cost_chart(curves).hovers[1].text == "epoch 1: cost 0.4, validation cost 0.7, validation R² 0.25"


# The page's figures


def test_figures_as_people_write_them() -> None:
    shares = (0.78, 27 / 33, 1, 0, None, math.nan)
    assert [percent(share) for share in shares] == ["78\xa0%", "81.8\xa0%", "100\xa0%", "0\xa0%", "–", "–"]
    assert [percent(share) for share in (0.9999, 0.99951, 0.0001, 0.0005)] == [
        "> 99.9\xa0%",
        "> 99.9\xa0%",
        "< 0.1\xa0%",
        "0.1\xa0%",
    ]
    assert [portion(share) for share in (0.5, 1.2, -0.3, None, math.nan)] == ["50.00%", "100.00%", "0.00%", "0%", "0%"]
    assert [usd(amount) for amount in (0, 0.00001234, 0.0095, 0.5, 1234.5)] == [
        "$0.00",
        "$0.000012",
        "$0.0095",
        "$0.50",
        "$1,234.50",
    ]
    assert [usd(price, 6) for price in (0.0000133334, 2e-7, 0.01)] == ["$0.0000133334", "$0.0000002", "$0.01"]
    assert [number(count) for count in (12288, 0.0000138812, 3.0, 12345.6)] == ["12,288", "0.00001388", "3", "12,346"]
    assert [significant(value) for value in (0.0123461, 70_349.2, 1e15, None)] == ["0.01235", "70,350", "1e+15", "–"]
    assert [short(mark) for mark in (0, 0.05, 500, 1_500, 200_000, 5e6, 2e9)] == [
        "0", "0.05", "500", "1.5k", "200k", "5M", "2G",
    ]  # fmt: skip
    assert utc(1_700_000_000) == "2023-11-14 22:13:20 UTC"


def test_numbers_that_a_network_gives() -> None:
    assert [figure(value) for value in (4.11312, -1234.5, 12.0, 0.0, 1e-9, 3e15, math.inf, None)] == [
        "4.113", "-1,234", "12", "0", "1e-09", "3e+15", "–", "–",
    ]  # fmt: skip
    assert [r_squared(value) for value in (0.91453, 0.99996, 1, -0.25, -1234.5, math.nan)] == [
        "0.915", "> 0.999", "1.000", "-0.250", "-1,234", "–",
    ]  # fmt: skip


# How it was trained


def facts(parameters: Parameters, classes: tuple[str, ...] = ("no", "yes"), validated: int = 0) -> dict[str, str]:
    """What the page tells of the training, as it reads."""
    told = training_facts(parameters, classes, validated)
    return {fact.name: ": ".join(filter(None, (fact.choice, fact.text))) for fact in told}


def test_what_was_left_as_it_is_is_not_told() -> None:
    assert facts(recipe("sigmoid", 1)) == {
        "Optimizer": "gradient_descent",
        "Learning rate": "0.1",
        "Epochs": "at most 3",
        "Strategy": "full-batch: one step on all data",
        "Granularity": "batch: the trainer computes whole batches itself",
        "Seed": "1: the same seed and data give the same weights again",
    }


@pytest.mark.parametrize(
    ("chosen", "name", "told"),
    [
        ({"optimizer": "adam"}, "Optimizer", "adam"),
        ({"optimizer": {"name": "adam", "beta_1": 0.95}}, "Optimizer", "adam: beta_1 0.95"),
        (
            {"optimizer": {"name": "gradient_descent", "momentum": 0.9, "nesterov": True}},
            "Optimizer",
            "gradient_descent: momentum 0.9, nesterov",
        ),
        ({"schedule": {"name": "step", "step_size": 20}}, "Schedule", "step: step_size 20, gamma 0.1"),
        ({"schedule": {"name": "constant", "warmup": 2.0}}, "Schedule", "constant: warmup 2"),
        ({"threshold": 0.01}, "Epochs", "at most 3, or until the cost is at or below 0.01"),
        ({"batch_size": 1_024, "strategy": "sgd"}, "Batch size", "1,024"),
        ({"validation": 0.2}, "Validation", "0.2 of the training samples, held out"),
        ({"validation": "file"}, "Validation", "the data set's own validation set, 1,200 samples"),
        (
            {"validation": 0.2, "patience": 10},
            "Patience",
            "stops after 10 epochs in which validation gets no better",
        ),
        (
            {"validation": 0.2, "patience": 1, "min_delta": 0.01},
            "Patience",
            "stops after one epoch in which validation gets no better by more than 0.01",
        ),
        ({"max_usd": 0.5}, "Budget", "at most $0.50"),
        ({"max_usd": 0.5, "max_seconds": 90.0}, "Budget", "at most $0.50 and 1 min 30 s"),
        ({"dropout": 0.3}, "Dropout", "0.3 of each hidden layer, left out while training"),
        (
            {"dropout": {"layer0": 0.1, "layer1": 0.5}},
            "Dropout",
            "0.1 of the inputs, 0.5 of layer1, left out while training",
        ),
        ({"l2": 0.0001}, "L2", "0.0001 times the weights is added to their gradients"),
        ({"clip_norm": 1.0}, "Gradient clipping", "to a norm of at most 1.0"),
        (
            {"augmentation": {"mirror": True, "shift": 3}},
            "Augmentation",
            "mirror, shift 3: photos are changed differently in every epoch",
        ),
        ({"label_smoothing": 0.1}, "Label smoothing", "0.1 of a label is spread over all classes"),
        (
            {"class_weights": "balanced"},
            "Class weights",
            "balanced: rare classes count as much as frequent ones",
        ),
        ({"class_weights": [1.0, 2.5]}, "Class weights", "no 1, yes 2.5"),
        ({"dtype": "float32"}, "Arithmetic", "float32"),
    ],
)
def test_what_was_chosen_is_told_in_one_line(chosen: dict[str, Any], name: str, told: str) -> None:
    shown, plain = facts(recipe("sigmoid", 1, **chosen), validated=1_200), facts(recipe("sigmoid", 1))
    assert shown[name] == told
    assert plain.get(name) != told


def test_weights_of_many_classes_are_cut() -> None:
    parameters = recipe("softmax", 12, class_weights=[1.0] * 12)
    told = facts(parameters, tuple("abcdefghijkl"))["Class weights"]
    assert told == "a 1, b 1, c 1, d 1, e 1, f 1, g 1, h 1, i 1, j 1 and those of 2 more"


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, (30, 10)),
        ({}, (5, 7, 20)),
        ({"class_weights": "balanced"}, (5, 7, 20)),
        ({"class_weights": [3.0, 1.0, 0.5]}, (5, 7, 20)),
        ({"label_smoothing": 0.1}, (30, 10)),
        ({"label_smoothing": 0.2, "class_weights": [1.0, 4.0, 2.0]}, (5, 7, 20)),
    ],
)
def test_guessing_is_the_best_answer_that_is_the_same_for_all(options: dict[str, Any], counts: tuple[int, ...]) -> None:
    parameters = recipe("softmax", len(counts), **options)
    guessing = guessing_cost(parameters, counts, 0.0)
    assert guessing is not None
    targets = parameters.targets(np.repeat(np.arange(len(counts)), counts))

    def cost(logits: np.ndarray) -> tuple[float, np.ndarray]:
        found, slopes = targets.cost(np.repeat(logits[:, None], sum(counts), axis=1), slice(None))
        return found, slopes.sum(axis=1)

    # The cost that is trained on, made small over answers that know nothing of the sample.
    logits = np.zeros(len(counts))
    for _ in range(1_000):
        logits -= 2 * cost(logits)[1]
    assert guessing == pytest.approx(cost(logits)[0], abs=1e-7)


def test_guessing_numbers_is_to_give_their_mean() -> None:
    assert guessing_cost(recipe("identity", 1), (50,), 12.5) == 12.5
    assert guessing_cost(recipe("identity", 1), (50,), 0.0) is None
    assert guessing_cost(recipe("sigmoid", 1), (50, 0), 0.0) is None  # nothing to guess


# The data set


def test_the_facts_of_data_sets() -> None:
    pixels, labels = oracle.photos_and_labels(samples=10)
    both = {"validation_x": pixels[:4], "validation_y": labels[:4]}
    data = load_dataset(io.BytesIO(saved(pixels, labels, pixels[:5], labels[:5], classes=("no", "yes"), **both)))
    ones = int(labels.sum())
    assert DataFacts.of(data, "24ef", "s3://b/d.h5") == DataFacts(
        ("no", "yes"), (3, 3, 3), (10 - ones, ones), (5 - int(labels[:5].sum()), int(labels[:5].sum())), "24ef",
        "s3://b/d.h5", validation=4,
    )  # fmt: skip

    x, y = np.arange(12.0).reshape(6, 2), np.array([1.0, 2.0, 4.0, 5.0, 9.0, 9.0])
    numbers = DataFacts.of(load_dataset(io.BytesIO(saved(x, y, x[:2], y[:2]))), "", "")
    assert (numbers.classes, numbers.shape, numbers.train, numbers.test) == ((), (2,), (6,), (2,))
    assert numbers.variance == pytest.approx(sum((each - 5) ** 2 for each in y) / 6)
    assert not numbers.has_photos

    # A class without test samples is counted as such.
    three = load_dataset(io.BytesIO(saved(x, [0, 1, 2, 0, 0, 1], x[:2], [0, 1], classes=("a", "b", "c"))))
    assert (DataFacts.of(three, "", "").train, DataFacts.of(three, "", "").test) == ((3, 2, 1), (1, 1, 0))


# Two classes


def test_the_page_of_two_classes() -> None:
    html = page()
    seen = Seen(html)
    assert seen.text("accuracy") == "78 %"
    counts = [re.match(r"\d+", seen.text(name)) for name in ("tn", "fp", "fn", "tp")]
    assert [int(count[0]) for count in counts if count] == [12, 5, 6, 27]
    assert seen.text("rate-f1") == "F1 score 54 / 65 83.1 % Precision and sensitivity in one: high only when both are."
    assert "always saying “cat”: 66\xa0%" in html
    assert seen.text("seconds") == "1 min 0 s"  # of 59.97
    assert "Mean cross-entropy on the mini-batch that won the epoch" in seen.text("curve")
    assert "the two classes are would cost the dashed “guessing”" in seen.text("curve")
    assert seen.table("curve")[0] == ["Epoch", "Cost"]


def test_the_note_speaks_of_guessing_only_where_it_is_drawn() -> None:
    shown = Seen(page(curves={"cost": [1e-4, 9e-5]}))
    assert "Mean cross-entropy" in shown.text("curve")
    assert "guessing" not in shown.text("curve")


def test_whatever_is_named_like_markup_stays_text() -> None:
    evil = "<script>alert(1)</script>\"'&"
    matrix = [[3, 1, 0], [0, 2, 1], [1, 0, 4]]
    test_set, data = many_classes(matrix, (evil, "b", evil))
    for html in (
        page(
            data=DataFacts((evil, evil), (64, 64, 3), (1, 1), (17, 33), evil, evil),
            new_images=[{**photo(uri=evil), "class_name": evil}],
        ),
        page(recipe("softmax", 3, class_weights=[1.0, 2.0, 3.0]), test_set=test_set, data=data),
    ):
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)" in html
        assert re.findall(r'(?:src|href)="(?!data:)', html) == []


def test_a_page_of_almost_nothing() -> None:
    perfect = {"tn": 0, "fp": 0, "fn": 0, "tp": 50}
    empty = {**two_classes(0), "confusion_matrix": perfect, "specificity": None, "accuracy": 1.0}
    html = page(
        test_set=empty, new_images=[], curves={}, data=DataFacts(("a", "b"), (1, 1, 3), (0, 1), (0, 50), "", "")
    )
    assert "No epoch was completed." in html
    assert "None were given." in html
    assert "every test photo was classified correctly" in html
    assert "There is none to take a share of." in html
    assert "No epoch was completed." in page(curves={"cost": [None, math.nan]})


def test_a_hundred_of_each_photo_are_counted_beyond_sixty() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    many = {**two_classes(100), "confusion_matrix": {"tn": 0, "fp": 50, "fn": 50, "tp": 0}}
    html = page(
        test_set=many,
        new_images=[photo(i) for i in range(100)],
        mislabelled=[pixels] * 100,
        data=DataFacts(("a", "b"), (4, 4, 3), (1, 1), (50, 50), "", ""),
    )
    assert html.count('class="photo"') == 120
    assert html.count("40 more are not shown.") == 2


# Many classes

MATRIX = [[8, 2, 0], [1, 5, 4], [0, 3, 0]]
ANIMALS = ("ant", "bee", "cow")


def test_confusions_come_most_frequent_first() -> None:
    test_set, _ = many_classes(MATRIX, ANIMALS)
    assert confusions(test_set) == [(1, 2, 4), (2, 1, 3), (0, 1, 2), (1, 0, 1)]
    assert confusions_are_complete(test_set)
    # Without the matrix the mislabelled samples tell the same, as long as all are there.
    assert confusions({**test_set, "confusion_matrix": None}) == confusions(test_set)
    assert confusions_are_complete({**test_set, "confusion_matrix": None})
    cut = {**test_set, "confusion_matrix": None, "mislabelled": test_set["mislabelled"][:3], "mislabelled_left_out": 7}
    assert confusions(cut) == [(0, 1, 2), (1, 0, 1)]
    assert not confusions_are_complete(cut)


def test_how_many_were_judged_is_known_whatever_was_left_out() -> None:
    test_set, data = many_classes(MATRIX, ANIMALS)
    assert sample_count(test_set) == sum(data.test) == 23
    assert sample_count({**test_set, "confusion_matrix": None, "per_class": [], "classes_left_out": 3}) == 23
    assert sample_count(two_classes()) == 50


def test_classes_come_worst_first_and_those_without_a_rate_last() -> None:
    def rates(name: str, f1: float | None, support: int = 1) -> dict[str, Any]:
        return {"class_name": name, "support": support, "precision": None, "recall": None, "f1": f1}

    given = [rates("a", 0.5), rates("b", None), rates("c", 0.0, 2), rates("d", 0.0, 9), rates("e", math.nan, 5)]
    assert [one["class_name"] for one in worst_first(given)] == ["d", "c", "a", "e", "b"]


def test_the_page_of_three_classes() -> None:
    test_set, data = many_classes(MATRIX, ANIMALS)
    html = page(recipe("softmax", 3), test_set=test_set, data=data, new_images=[{**photo(), "probability": 0.4}])
    seen = Seen(html)
    assert "Distinguishes 3 classes in photos of 4×4 pixels." in " ".join(html.split())
    assert "of the test photos classified correctly: 13 of 23." in html
    assert seen.text("accuracy") == "56.5 %"
    assert "always saying “bee”: 43.5\xa0%" in html  # as many as ants
    assert seen.table("test-set") == [
        ["", "called"],
        ["really", *ANIMALS],
        ["ant", "8", "2", "0"],
        ["bee", "1", "5", "4"],
        ["cow", "0", "3", "0"],
    ]
    assert seen.table("per-class") == [
        ["Class", "Precision", "Recall", "F1", "Photos"],
        ["cow", "0 %", "0 %", "0 %", "3"],
        ["bee", "50 %", "50 %", "50 %", "10"],
        ["ant", "88.9 %", "80 %", "84.2 %", "10"],
    ]
    assert seen.table("macro") == [["Macro all classes count the same", "46.3 %", "43.3 %", "44.7 %", "23"]]
    assert seen.table("weighted")[0][1:] == ["60.4 %", "56.5 %", "58.4 %", "23"]
    assert 'from-zero" aria-hidden="true"><i style="width:40.00%"' in html
    assert "the two classes" not in html


def names_of(count: int) -> tuple[str, ...]:
    return tuple(f"class {k:03}" for k in range(count))


@pytest.mark.parametrize("count", [20, 21])
def test_above_twenty_classes_confusions_take_the_place_of_the_matrix(count: int) -> None:
    matrix = [[5 if k == label else (label + k) % 2 for k in range(count)] for label in range(count)]
    matrix[3][7], matrix[9][2] = 4, 3
    test_set, data = many_classes(matrix, names_of(count))
    seen = Seen(page(recipe("softmax", count), test_set=test_set, data=data))
    if count == 20:
        assert [[int(each) for each in row[1:]] for row in seen.table("test-set")[2:]] == matrix
        return
    assert seen.table("test-set") == []
    of = (sum(matrix[3]), sum(matrix[9]))
    assert seen.text("confusions").startswith(
        f"Most frequent confusions really class 003, called class 007: 4 of {of[0]} "
        f"really class 009, called class 002: 3 of {of[1]} "
    )
    others = sum(count > 0 for label, row in enumerate(matrix) for k, count in enumerate(row) if k != label) - 20
    assert seen.text("confusions").endswith(f"{others} rarer ones are not shown.")
    assert "has no room" not in seen.text("test-set")
    assert len(seen.table("per-class")) == 2 + 20 + 1  # a head each for the first twenty and for those in a fold
    assert "1 more classes" in seen.text("per-class")


def test_the_page_says_what_the_report_left_out() -> None:
    count = 60
    matrix = [[5 if k == label else int(k == (label + 1) % count) for k in range(count)] for label in range(count)]
    matrix[3][4] = 3
    whole, data = many_classes(matrix, names_of(count))
    test_set = {**whole, "confusion_matrix": None, "per_class": worst_first(whole["per_class"])[:40]}
    seen = Seen(page(recipe("softmax", count), test_set={**test_set, "classes_left_out": 20}, data=data))
    assert "A matrix of 60 classes has no room in this report." in seen.text("test-set")
    assert "no room for the rates of 20 more, which were distinguished better." in seen.text("per-class")
    assert seen.text("test-set").startswith("Results on the test photos 362 photos that the network never")
    assert "really class 003, called class 004: 3 of 8" in seen.text("confusions")
    assert "Counted in" not in seen.text("confusions")

    left = {
        "mislabelled": whole["mislabelled"][:30],
        "mislabelled_left_out": 32,
        "per_class": [],
        "classes_left_out": 60,
    }
    seen = Seen(page(recipe("softmax", count), test_set={**test_set, **left}, data=data))
    assert "Counted in the 30 mistakes listed in this report, the surest of 62." in seen.text("confusions")
    assert "really class 003, called class 004: ≥ 3 of 8" in seen.text("confusions")
    assert "no room for the rates of 60 single classes." in seen.text("per-class")
    assert "of the test photos classified correctly: 300 of 362." in page(test_set={**test_set, **left}, data=data)


@pytest.mark.parametrize("bad", [None, math.nan])
def test_rates_that_are_no_numbers_are_dashes(bad: float | None) -> None:
    test_set, data = many_classes(MATRIX, ANIMALS)
    for rates in test_set["per_class"]:
        rates.update(precision=bad, recall=bad, f1=bad)
    test_set.update(accuracy=bad, macro={"precision": bad, "recall": bad, "f1": bad})
    seen = Seen(page(recipe("softmax", 3), test_set=test_set, data=data, training={"final_cost": bad}))
    assert seen.text("accuracy") == "–"
    assert seen.text("final-cost") == "– from 0.7"
    assert seen.table("macro")[0][1:] == ["–", "–", "–", "23"]
    assert ["ant", "–", "–", "–", "10"] in seen.table("per-class")

    bad_two = dict.fromkeys(("accuracy", "error", "sensitivity", "specificity", "precision", "f1"), bad)
    assert Seen(page(test_set={**two_classes(), **bad_two})).text("rate-precision").startswith("Precision 27 / 32 –")
    numbers = {"mae": bad, "rmse": bad, "r2": bad, "samples": 3, "mislabelled": []}
    seen = Seen(page(recipe("identity", 1), test_set=numbers, data=DataFacts((), (2,), (9,), (3,), "", "")))
    assert [seen.text(name) for name in ("r2", "mae", "rmse")] == ["–", "–", "–"]


# Numbers, and samples that are no photos

OFF = [{"index": 4, "label": 10.0, "predicted": 12.5}, {"index": 9, "label": 1_000.0, "predicted": 990.0}]
NUMBERS = {"mae": 1.25, "rmse": 2.5, "r2": 0.75, "samples": 40, "mislabelled": OFF}


def test_the_page_of_numbers() -> None:
    data = DataFacts((), (8,), (100,), (40,), "", "", variance=25.0)
    html = page(
        recipe("identity", 1),
        test_set=NUMBERS,
        data=data,
        new_images=[],
        curves={"cost": [30.0, 6.25], "validation_cost": [28.0, 7.0], "validation_r2": [-0.1, 0.8]},
        training={"best_epoch": 1},
    )
    seen = Seen(html)
    assert "<title>demo-1: R² 0.750</title>" in html
    assert [seen.text(name) for name in ("r2", "mae", "rmse")] == ["0.750", "1.250", "2.500"]
    assert "Predicts a number for samples of 8 features." in " ".join(html.split())
    assert seen.text("curve").startswith("Cost after every epoch Mean squared error: ")
    assert "guessing 25" in seen.text("curve")
    assert seen.text("validation-cost") == "7 R² 0.800, best, in epoch 1"
    assert seen.table("curve") == [
        ["Epoch", "Cost", "Validation cost", "Validation R²"],
        ["0", "30", "28", "-0.1"],
        ["1, best", "6.25", "7", "0.8"],
    ]
    assert seen.table("mislabelled") == [
        ["#", "Really", "Answer", "Off by"],
        ["9", "1,000", "990", "-10"],
        ["4", "10", "12.50", "+2.500"],
    ]
    assert "The 2 of 40 whose numbers it missed by most" in seen.text("mislabelled")
    for name in ("test-set", "new-images", "accuracy"):
        assert f'id="{name}"' not in html
    assert "cross-entropy" not in html
    assert "photo" not in html[html.index("<body>") :]


def photo_file() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7)])
def test_numbers_of_photos_have_the_photos_beside_them(shape: tuple[int, ...]) -> None:
    data = DataFacts((), shape, (100,), (40,), "", "")
    pixels = [np.full(shape, 200, np.uint8), np.full(shape, 50, np.uint8)]
    new_images = [{"uri": "a/b.png", "value": -1234.5}]
    html = page(
        recipe("identity", 1),
        test_set=NUMBERS,
        data=data,
        mislabelled=pixels,
        new_images=new_images,
        files=[photo_file()],
    )
    seen = Seen(html)
    assert [row[1:] for row in seen.table("mislabelled")[1:]] == [
        ["9", "1,000", "990", "-10"],
        ["4", "10", "12.50", "+2.500"],
    ]
    assert html.count('src="data:image/png') == 2 + 1
    assert html.count('src="data:image/jpeg') == 1
    assert "7×5 pixels" in html
    assert "-1,234" in seen.text("new-images")


def test_two_classes_of_samples_that_are_no_photos() -> None:
    data = DataFacts(("good", "bad"), (30,), (60, 40), (17, 33), "", "")
    html = page(test_set=two_classes(3), data=data, new_images=[])
    seen = Seen(html)
    assert "from “good” in samples of 30 features." in " ".join(html.split())
    assert "Of the samples called “bad”, this share really is." in seen.text("rate-precision")
    assert seen.table("mislabelled") == [
        ["#", "Really", "Called", "Probability of “bad”"],
        ["2", "good", "bad", "87.5 %"],
        ["1", "bad", "good", "25 %"],
        ["0", "good", "bad", "62.5 %"],
    ]
    assert "photo" not in html[html.index("<body>") :]


# A training that was validated

VALIDATED = {"cost": [0.7, 0.4, 0.3], "validation_cost": [0.8, 0.5, 0.6], "validation_accuracy": [0.5, 0.75, 0.7]}


@pytest.mark.parametrize(
    ("restored", "told"), [(True, "the model is that epoch's."), (False, "the model is still the last epoch's.")]
)
def test_the_page_tells_which_epochs_model_it_is(restored: bool, told: str) -> None:
    parameters = recipe("sigmoid", 1, validation=0.2, restore_best_weights=restored)
    seen = Seen(page(parameters, curves=VALIDATED, training={"best_epoch": 1}))
    assert f"Epoch 1 validated best; {told}" in seen.text("curve")
    assert seen.text("validation-cost") == "0.5 accuracy 75 %, best, in epoch 1"
    assert "class weights" not in seen.text("curve")


def test_without_a_best_epoch_the_last_one_is_told() -> None:
    html = page(recipe("sigmoid", 1, validation=0.2, class_weights="balanced"), curves=VALIDATED)
    seen = Seen(html)
    assert seen.text("validation-cost") == "0.6 accuracy 70 %, in epoch 2"
    assert "validated best" not in html
    assert 'class="best' not in html
    assert "class weights and label smoothing are not in it" in seen.text("curve")


def test_a_report_from_before_validation_is_shown() -> None:
    report = build_report(RUN, two_classes(), [], cost_of(RUN, Machine(has_cache=True)))
    for name in ("best_epoch", "validation_cost", "optimizer"):
        del report["training"][name]
    seen = Seen(render_page(report, PARAMETERS, {"cost": [0.7, 0.4]}, FACTS))
    assert seen.text("final-cost") == "0.009876 from 0.7"


def test_stopping_for_want_of_progress_is_said_in_words() -> None:
    assert Seen(page(training={"stopped_by": "patience"})).text("epochs") == "321 of 500, validation got no better"


def test_a_chart_has_the_best_epoch_on_both_scales() -> None:
    chart: Chart = cost_chart({"cost": [1.0, 0.01], "validation_cost": [1.0, 0.1]}, best_epoch=1)
    assert [(scale.name, scale.best_at) for scale in chart.scales] == [
        ("log", pytest.approx(50)),
        ("linear", pytest.approx(90)),
    ]
