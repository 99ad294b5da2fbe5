"""What the page shows of a test set beside its matrix, and the model card; both keep a stranger's names as text."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from judged_sets import SETS
from oracle import small_network
from PIL import Image

from snn_client.judging.answers import Answers
from snn_client.judging.slices import by_slice
from snn_client.reports.card import NOT_GIVEN, model_card
from snn_client.reports.drawing import heat, histogram, plots
from snn_client.reports.headline import headlines, shown
from snn_client.reports.metrics import evaluate
from snn_client.reports.page import DataFacts, render_page
from snn_client.reports.report import LIMIT, build_report, to_json
from snn_client.runs.estimate import Machine
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_data.slices import Slices


def judged(name: str) -> tuple[Any, DataFacts]:
    given = SETS[name]
    test_set: Any = evaluate(given.truth, given.said, given.names, given.threshold)
    counts = (len(given.truth),) if not given.classes else tuple(np.bincount(given.truth, minlength=given.classes))
    return test_set, DataFacts(given.names, (7,), tuple(map(int, counts)), tuple(map(int, counts)), "ab", "s3://b/d.h5")


def recipe(name: str) -> Parameters:
    classes = SETS[name].classes
    last = "identity" if not classes else "sigmoid" if classes == 2 else "softmax"
    return Parameters.load(small_network((4, max(1, classes) if classes != 2 else 1), ("relu", last)))


def page(name: str, **changes: Any) -> tuple[str, Any, str]:
    """The page of a test set, its report and its model card."""
    test_set, data = judged(name)
    parameters = recipe(name)
    run = Run("r-1", State.COMPLETED, parameters, epoch=3, cost=0.5, started_at=1.0, ended_at=9.0)
    report = build_report(run, {**test_set, **changes.pop("test_set", {})}, [], cost_of(run, Machine(has_cache=True)))
    report["data"] = {"findings": changes.pop("findings", [])}
    report |= changes.pop("report", {})
    data = replace(data, **changes.pop("data", {}))
    card = model_card(report, parameters, data, 9.0)
    return render_page(report, parameters, {"cost": [0.7, 0.5]}, data, card=card, **changes), report, card


@pytest.mark.parametrize("name", SETS)
def test_every_kind_has_its_figures_with_intervals_on_the_page_and_on_the_card(name: str) -> None:
    html, report, card = page(name)
    found = headlines(report["test_set"])
    assert len(found) == {0: 3, 2: 11}.get(SETS[name].classes, 11)
    for one in found:
        row = re.search(rf'<tr id="figure-{one.key}"><td>([^<]*)</td><td class="n">([^<]*)</td>.*?>([^<]*)</td>', html)
        assert row is not None, one.key
        assert row.groups() == (one.name, one.text, one.between)
        assert f"| {one.name} | {one.text} | {one.between} |" in card
    assert "nan" not in card.lower()
    assert "None" not in card.replace("None was found", "")


def test_figures_are_written_as_people_read_them() -> None:
    assert shown("accuracy", 0.78) == "78\N{NO-BREAK SPACE}%"
    assert shown("roc_auc", 0.912345) == "0.9123"
    assert shown("mae", 12345.6) == "12,350"
    assert shown("f1", None) == "–"


def test_curves_are_drawn_where_their_points_are() -> None:
    test_set, _ = judged("two, perfect")
    by_key = {plot.key: plot for plot in plots(test_set)}
    assert list(by_key) == ["roc", "precision-recall", "calibration"]
    # Up the left edge, then along the top: y is down in SVG.
    assert by_key["roc"].path.startswith("M0.0 100.0L0.0 ")
    assert by_key["roc"].path.endswith("L100.0 0.0")
    bins = test_set["calibration"]["bins"]
    assert [(dot.x, dot.y) for dot in by_key["calibration"].dots] == [
        (100 * one["predicted"], 100 - 100 * one["share"]) for one in bins
    ]
    assert [plot.key for plot in plots(judged("two, class 1 missing")[0])] == ["calibration"]
    assert [plot.key for plot in plots(judged("three classes")[0])] == ["calibration"]
    assert plots(judged("numbers")[0]) == []


def test_residuals_are_bars_as_high_as_their_counts() -> None:
    test_set, _ = judged("numbers")
    bars = histogram(test_set)
    assert bars is not None
    counts = test_set["residuals"]["counts"]
    assert [bar[2] for bar in bars.bars] == pytest.approx([100 * count / max(counts) for count in counts])
    assert sum(bar[1] for bar in bars.bars) == pytest.approx(100)
    assert bars.zero is not None
    edges = test_set["residuals"]["edges"]
    assert bars.zero == pytest.approx(100 * -edges[0] / (edges[-1] - edges[0]))
    one = histogram(judged("numbers, one sample")[0])
    assert one is not None
    assert (len(one.bars), one.zero) == (1, None)
    assert histogram(judged("two, even")[0]) is None
    html, _, _ = page("numbers")
    assert html.count('class="bar-of"') == 20


def pixels(picture: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))


def test_a_matrix_of_a_hundred_classes_is_a_picture_a_dot_a_cell() -> None:
    test_set, data = judged("a hundred classes")
    matrix = np.array(test_set["confusion_matrix"])
    drawn = heat(matrix.tolist(), data.classes)
    dots = pixels(drawn.picture)
    assert dots.shape == (100, 100, 4)
    assert ((dots[..., 3] > 0) == (matrix > 0)).all()
    right, wrong = dots[np.eye(100, dtype=bool)], dots[~np.eye(100, dtype=bool)]
    assert len(np.unique(right[:, :3], axis=0)) == len(np.unique(wrong[:, :3], axis=0)) == 1
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
    order = np.argsort(shares, axis=None)
    assert (np.diff(dots[..., 3].ravel()[order].astype(int)) >= 0).all()
    label = int(np.argmax((matrix * ~np.eye(100, dtype=bool)).max(axis=1)))
    most = int((matrix[label] * (np.arange(100) != label)).argmax())
    assert drawn.rows[label].startswith(f"class {label}: ")
    assert f"most often called class {most} ({matrix[label, most]})" in drawn.rows[label]

    html, report, _ = page("a hundred classes", test_set={"confusion_matrix": None})
    assert report["test_set"]["confusion_matrix"] is None
    assert 'id="matrix"' not in html
    html, _, _ = page("a hundred classes", test_set={"confusion_matrix": None}, matrix=matrix.tolist())
    assert 'id="matrix"' in html
    assert html.count('<rect class="hover" x="0"') == 100
    assert "A matrix of so many classes is a picture, below." in " ".join(html.split())


@pytest.mark.parametrize("name", ["three classes", "two, even", "numbers"])
def test_of_few_classes_there_is_no_picture(name: str) -> None:
    assert 'id="matrix"' not in page(name)[0]


def test_the_worst_mistakes_are_told_class_by_class() -> None:
    html, report, _ = page("ten classes, float32")
    wrong = report["test_set"]["mislabelled"]
    most = max(range(10), key=lambda label: sum(one["label"] == label for one in wrong))
    section = html.partition('id="worst-by-class"')[2].partition("</section>")[0]
    first = re.search(r'<td class="words">(.*?)</td><td class="n">(\d+)</td>', section)
    assert first is not None
    assert int(first[2]) == sum(one["label"] == most for one in wrong)
    assert 'id="worst-by-class"' not in page("two, even")[0]


def sliced(name: str, names: tuple[str, ...]) -> dict[str, Any]:
    given = SETS[name]
    answers = Answers.of(given.truth, given.said, given.names, given.threshold)
    places = np.arange(len(answers)) % len(names)
    return {"slices": by_slice(answers, Slices("folder", names, places))}


@pytest.mark.parametrize("name", ["two, even", "three classes", "numbers"])
def test_slices_are_on_the_page_and_on_the_card_the_worst_first(name: str) -> None:
    html, report, card = page(name, test_set=sliced(name, ("day", "<b>night</b>", "dawn|dusk")))
    table = report["test_set"]["slices"]
    assert table["worst"] == table["slices"][0]
    section = html.partition('id="slices"')[2].partition("</section>")[0]
    told = re.findall(r'<tr><td class="words">(.*?)</td>', section)
    escaped = {"day": "day", "<b>night</b>": "&lt;b&gt;night&lt;/b&gt;", "dawn|dusk": "dawn|dusk"}
    assert told == [escaped[one["name"]] for one in table["slices"]]
    assert "<b>night" not in html
    assert "dawn\\|dusk" in card
    assert "<b>" not in card
    assert "## Slices" in card


def test_a_threshold_is_told_and_the_bars_begin_at_it() -> None:
    html, report, card = page("two, other threshold")
    assert '<b id="threshold">0.2</b>' in html
    assert "| Threshold of class 1 | 0.2 |" in card
    section = html.partition('id="mislabelled"')[2].partition("</section>")[0]
    assert "--boundary" not in section  # a table, of samples that are no photos
    html, _, _ = page("two, other threshold", data={"shape": (2, 2, 3)})
    section = html.partition('id="mislabelled"')[2].partition("</section>")[0]
    bars = re.findall(
        r'--boundary:20\.00%"><i class="(yes|no)"\s+style="(left:20|right:80)\.00%;width:([\d.]+)%', section
    )
    wrong = report["test_set"]["mislabelled"]
    assert len(bars) == min(len(wrong), 60)
    assert {(kind, side) for kind, side, _ in bars} == {("yes", "left:20"), ("no", "right:80")}


# The card


def test_the_card_has_what_a_reader_of_a_model_asks() -> None:
    finding: Any = {"kind": "few", "text": "only 3 samples of <class> 1"}
    html, _, card = page(
        "two, even", findings=[finding], report={"intended_use": "Sorting photos of *cats*.\nNot for anything else."}
    )
    parts = re.findall(r"^## (.*)$", card, re.M)
    assert parts == ["Intended use", "Data", "Recipe", "Figures", "Limits", "Cost"]
    assert "Sorting photos of \\*cats\\*. Not for anything else." in card
    assert "- only 3 samples of \\<class\\> 1" in card
    assert "| SHA-256 | `ab` |" in card
    assert "| network | 4-1 neurons, relu, sigmoid |" in card
    assert "3 epochs in 8.0 s" in card
    assert "Intended use: Sorting photos of *cats*." in html
    assert '<section class="card long" id="model-card">' in html


def test_what_nobody_said_is_named_as_missing() -> None:
    html, _, card = page("two, perfect")
    assert NOT_GIVEN in card
    assert "Nobody has said what the model is for." in html
    assert "None was found, which is no proof that there are none." in card
    assert "- 4 test samples are few: its Accuracy may be anything from 51" in card


def test_many_classes_are_not_all_named() -> None:
    _, _, card = page("a hundred classes")
    assert "distinguishes 100 classes in samples of 7 features: class 0, class 1, " in card
    assert "class 19 and 80 more" in card
    assert "class 20" not in card


# XCom


def test_a_report_of_a_thousand_classes_with_everything_fits_into_xcom() -> None:
    random = np.random.default_rng(1)
    classes, samples = 1_000, 5_000
    truth, said = random.integers(classes, size=samples), random.random((classes, samples)) ** 8
    names = tuple(f"a class with a name of some length, number {k}" for k in range(classes))
    answers = Answers.of(truth, said / said.sum(axis=0), names)
    test_set: Any = evaluate(truth, answers.said, names)
    test_set["slices"] = by_slice(answers, Slices("folder", tuple(f"folder {k}" for k in range(40)), truth % 40))
    parameters = Parameters.load(small_network((4, classes), ("relu", "softmax")))
    run = Run("r", State.COMPLETED, parameters, epoch=3, cost=0.5)
    report = build_report(run, test_set, [], cost_of(run, Machine(has_cache=True)))
    kept: Any = report["test_set"]
    assert len(to_json(report).encode()) <= LIMIT
    assert math.isclose(kept["accuracy"], test_set["accuracy"])
    assert len(kept["per_class"]) + kept["classes_left_out"] == classes
    assert len(kept["per_class"]) > 30
    assert len(kept["mislabelled"]) > 50
    assert kept["slices"] == test_set["slices"]
    assert kept["intervals"] == test_set["intervals"]
