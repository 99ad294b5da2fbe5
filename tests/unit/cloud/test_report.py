"""The report's contents and its size, whatever the data; the page's geometry and its figures."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn.parameters import Parameters
from snn.training import StoppedBy
from snn_cloud.errors import CloudError
from snn_cloud.money import cost_of
from snn_cloud.record import Run, State, Usage
from snn_cloud.report import LIMIT, build_report, to_json
from snn_cloud.report_chart import MOST_POINTS, cost_chart, downsample, log_ticks, nice_ticks
from snn_cloud.report_page import DataFacts, duration, number, percent, render_page, usd, utc

PARAMETERS = Parameters.load(
    {
        "epochs": 500,
        "layers": 2,
        "learning_rate": 0.0075,
        "batch_size": 64,
        "threshold": 0.01,
        "granularity": "neuron",
        "activations": {"layer1": "relu", "layer2": "sigmoid"},
        "neurons": {"layer1": 20, "layer2": 1},
    }
)
RUN = Run(
    "demo-1",
    State.COMPLETED,
    PARAMETERS,
    started_at=1_700_000_000.0,
    ended_at=1_700_000_031.25,
    epoch=321,
    cost=0.009876,
    stopped_by=StoppedBy.THRESHOLD,
    usage={"launch": Usage(1, 300, 256), "trainer": Usage(1, 31_000, 1769), "neuron": Usage(13_482, 9_000, 256)},
)
FACTS = DataFacts(("non-cat", "cat"), (64, 64, 3), (137, 72), (17, 33), "24ef" * 16, "s3://b/runs/demo-1/input/d.h5")


def judged(wrong: int = 2) -> dict[str, Any]:
    return {
        "accuracy": 0.78,
        "error": 0.22,
        "sensitivity": 27 / 33,
        "specificity": 12 / 17,
        "false_positive_rate": 5 / 17,
        "precision": 27 / 32,
        "f1": 54 / 65,
        "confusion_matrix": {"tn": 12, "fp": 5, "fn": 6, "tp": 27},
        "mislabelled": [
            {
                "index": i,
                "label": i % 2,
                "predicted": 1 - i % 2,
                "probability": 0.5 + (0.5 - i % 2) * (i + 1) / (wrong + 1),
            }
            for i in range(wrong)
        ],
    }


def photo(i: int = 0, uri: str = "photos/{}.png") -> dict[str, Any]:
    return {"uri": uri.format(i), "predicted": 1, "class_name": "cat", "probability": 0.9}


def test_the_report_is_the_object_of_the_contract() -> None:
    cost = cost_of(RUN, has_cache=True, architecture="arm64")
    report = build_report(RUN, judged(), [photo()], cost, {"params": "s3://b/runs/demo-1/params.h5"})

    assert list(report) == [
        "run_id",
        "training",
        "test_set",
        "new_images",
        "new_images_left_out",
        "cost",
        "artifacts",
    ]
    assert report["run_id"] == "demo-1"
    assert report["training"] == {
        "epochs_configured": 500,
        "epochs_run": 321,
        "stopped_by": "threshold",
        "final_cost": 0.009876,
        "seconds": 31.25,
        "granularity": "neuron",
        "strategy": "best-batch",
    }
    assert report["test_set"] == {**judged(), "mislabelled_left_out": 0}
    assert report["new_images"] == [photo()]
    assert report["cost"] == cost
    assert report["cost"]["invocations"] == {"launch": 1, "trainer": 1, "neuron": 13_482}
    assert report["artifacts"] == {"params": "s3://b/runs/demo-1/params.h5"}
    assert json.loads(to_json(report)) == report


def test_ten_thousand_mislabelled_and_a_thousand_new_photos_stay_under_48_kb() -> None:
    report = build_report(RUN, judged(10_000), [photo(i) for i in range(1_000)], cost_of(RUN, True, "arm64"), {})

    size = len(to_json(report).encode())
    assert 47_000 < size <= LIMIT < 48 * 1024  # no room is wasted either
    kept = report["test_set"]["mislabelled"]
    assert len(kept) == len(report["new_images"]) > 100
    assert report["test_set"]["mislabelled_left_out"] == 10_000 - len(kept)
    assert report["new_images_left_out"] == 1_000 - len(report["new_images"])
    # The first photos are kept, and the surest mistakes: here those with the highest index.
    assert report["new_images"] == [photo(i) for i in range(len(report["new_images"]))]
    assert [wrong["index"] for wrong in kept] == list(range(10_000 - len(kept), 10_000))


def test_what_was_left_out_before_is_counted_on() -> None:
    before = {**judged(2), "mislabelled_left_out": 40}
    assert build_report(RUN, before, [], {})["test_set"]["mislabelled_left_out"] == 40


def test_a_photo_with_an_endless_name_is_left_out_not_the_limit_broken() -> None:
    report = build_report(RUN, judged(3), [photo(uri="x" * 60_000)], {})
    assert report["new_images_left_out"] == 1
    assert len(to_json(report)) < LIMIT


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 900), st.lists(st.text(max_size=300), max_size=80))
def test_the_limit_holds_for_any_names(wrong: int, names: list[str]) -> None:
    report = build_report(RUN, judged(wrong), [{**photo(), "uri": name} for name in names], cost_of(RUN, True, "arm64"))
    assert len(to_json(report).encode()) <= LIMIT
    assert len(report["new_images"]) + report["new_images_left_out"] == len(names)
    assert len(report["test_set"]["mislabelled"]) + report["test_set"]["mislabelled_left_out"] == wrong


def test_a_run_that_never_began_has_no_report() -> None:
    with pytest.raises(CloudError, match="no parameters of run r"):
        build_report(Run("r"), judged(), [], {})


def test_a_cost_that_is_no_number_is_null_in_json() -> None:
    report = build_report(Run("r", parameters=PARAMETERS, cost=math.inf), judged(), [], {})
    assert report["training"]["final_cost"] is None


# The chart


def test_ticks_are_round_and_reach_beyond_the_data() -> None:
    assert nice_ticks(0, 0.7) == [0, 0.2, 0.4, 0.6, 0.8]
    assert nice_ticks(0, 2_999) == [0, 1_000, 2_000, 3_000]
    assert nice_ticks(0, 0) == [0]
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
    assert len(points) <= MOST_POINTS
    assert {(0, 1.0), (12_345, 5.0), (77_777, 0.1), (99_999, 1.0)} <= set(points)
    assert points == sorted(points)
    assert downsample(costs[:MOST_POINTS]) == list(enumerate(costs[:MOST_POINTS]))


def coordinates(path: str) -> np.ndarray:
    return np.array([[float(part) for part in pair.split()] for pair in path.removeprefix("M").split("L")])


def test_the_curve_is_drawn_where_its_values_are() -> None:
    chart = cost_chart([0.8, 0.4, 0.2])
    (linear,) = chart.scales  # a log scale would not help
    np.testing.assert_allclose(coordinates(linear.path), [[0, 0], [500, 500], [1000, 750]])
    assert [(tick.at, tick.label) for tick in linear.ticks] == [
        (100, "0"),
        (75, "0.2"),
        (50, "0.4"),
        (pytest.approx(25), "0.6"),
        (0, "0.8"),
    ]
    assert [(tick.at, tick.label) for tick in chart.x_ticks] == [(0, "0"), (50, "1"), (100, "2")]
    assert (linear.end.label, linear.end.at, chart.end_x) == ("0.2", 75, 100)


def test_a_curve_over_decades_is_shown_on_a_log_scale_first() -> None:
    chart = cost_chart([1.0, 0.1, 0.01], [(0.01, "threshold"), (50.0, "far away")])
    assert [scale.name for scale in chart.scales] == ["log", "linear"]
    np.testing.assert_allclose(coordinates(chart.scales[0].path), [[0, 0], [500, 500], [1000, 1000]])
    assert [(line.label, line.at) for line in chart.scales[0].lines] == [("threshold", 100)]


@pytest.mark.parametrize("costs", [[0.7], [0.0], [0.5, 0.5], [1.0, 0.0], [1e-12, 1e-13], [1e6, 3.0]])
def test_unusual_curves_stay_inside_the_plot(costs: list[float]) -> None:
    chart = cost_chart(costs, [(0.69, "guessing")])
    for scale in chart.scales:
        points = coordinates(scale.path)
        assert len(points) == len(costs)
        assert ((points >= -0.1) & (points <= 1000.1)).all()


def test_hints_tell_epoch_and_cost() -> None:
    hovers = cost_chart([1 / (epoch + 1) for epoch in range(1_001)]).hovers
    assert len(hovers) == 100
    assert (hovers[0].text, hovers[-1].text) == ("epoch 0: cost 1", "epoch 1,000: cost 0.000999001")


# The page's figures


def test_figures_as_people_write_them() -> None:
    shares = (0.78, 27 / 33, 1, 0, None)
    assert [percent(share) for share in shares] == ["78\xa0%", "81.8\xa0%", "100\xa0%", "0\xa0%", "–"]
    assert [percent(share) for share in (0.9999, 0.99951, 0.0001, 0.0005)] == [
        "> 99.9\xa0%",
        "> 99.9\xa0%",
        "< 0.1\xa0%",
        "0.1\xa0%",
    ]
    assert [usd(amount) for amount in (0, 0.00001234, 0.0095, 0.5, 1234.5)] == [
        "$0.00",
        "$0.000012",
        "$0.0095",
        "$0.50",
        "$1,234.50",
    ]
    assert [usd(price, 6) for price in (0.0000133334, 2e-7, 0.01)] == ["$0.0000133334", "$0.0000002", "$0.01"]
    assert [duration(seconds) for seconds in (0, 31.25, 59.99, 250, 7_500)] == [
        "0.0 s",
        "31.2 s",
        "60.0 s",
        "4 min 10 s",
        "2 h 5 min",
    ]
    assert [number(count) for count in (12288, 0.0000138812, 3.0, 12345.6)] == ["12,288", "0.00001388", "3", "12,346"]
    assert utc(1_700_000_000) == "2023-11-14 22:13:20 UTC"


def page(**changes: Any) -> str:
    test_set, new_images = changes.pop("test_set", judged()), changes.pop("new_images", [photo()])
    report = build_report(RUN, test_set, new_images, cost_of(RUN, True, "arm64"), {"params": "s3://b/p"})
    costs, data = changes.pop("costs", [0.7, 0.4, 0.009876]), changes.pop("data", FACTS)
    return render_page(report, PARAMETERS, costs, data, **changes)


def test_the_page_names_the_budget_of_a_run_that_had_one() -> None:
    def facts(**budget: float) -> list[str]:
        given = PARAMETERS.model_copy(update=budget)
        shown = render_page(build_report(RUN, judged(), [], {}), given, [0.5], FACTS)
        return re.findall(r"<dt>Budget</dt><dd>(.*?)</dd>", shown)

    assert facts() == []
    assert facts(max_usd=0.5) == ["at most $0.50"]
    assert facts(max_usd=0.5, max_seconds=90) == ["at most $0.50 and 1 min 30 s"]


def test_whatever_is_named_like_markup_stays_text() -> None:
    evil = "<script>alert(1)</script>\"'&"
    html = page(
        data=DataFacts((evil, evil), (64, 64, 3), (1, 1), (17, 33), evil, evil),
        new_images=[{**photo(uri=evil), "class_name": evil}],
    )
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []


def test_a_page_of_almost_nothing() -> None:
    perfect = {"tn": 0, "fp": 0, "fn": 0, "tp": 50}
    empty = {**judged(0), "confusion_matrix": perfect, "specificity": None, "accuracy": 1.0}
    html = page(test_set=empty, new_images=[], costs=[], data=DataFacts(("a", "b"), (1, 1, 3), (0, 1), (0, 50), "", ""))
    assert "No epoch was completed." in html
    assert "None were given." in html
    assert "every test photo was classified correctly" in html
    assert "There is none to take a share of." in html


def test_a_hundred_of_each_photo_are_counted_beyond_sixty() -> None:
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    many = {**judged(100), "confusion_matrix": {"tn": 0, "fp": 50, "fn": 50, "tp": 0}}
    html = page(
        test_set=many,
        new_images=[photo(i) for i in range(100)],
        mislabelled=[pixels] * 100,
        data=DataFacts(("a", "b"), (4, 4, 3), (1, 1), (50, 50), "", ""),
    )
    assert html.count('class="photo"') == 120
    assert html.count("40 more are not shown.") == 2
