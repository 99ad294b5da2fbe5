"""The report's contents and its size, whatever the data; the page's geometry and its figures."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judged import two_classes

from snn_client.reports.metrics import evaluate
from snn_client.reports.report import build_report, fit_test_set, to_json
from snn_client.runs.estimate import Machine
from snn_client.runs.lists import LIMIT
from snn_cloud.aws.errors import CloudError
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy, Usage

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


def photo(i: int = 0, uri: str = "photos/{}.png") -> dict[str, Any]:
    return {"uri": uri.format(i), "predicted": 1, "class_name": "cat", "probability": 0.9}


def test_the_report_is_the_object_of_the_contract() -> None:
    cost = cost_of(RUN, Machine(has_cache=True))
    report = build_report(RUN, two_classes(), [photo()], cost, {"params": "s3://b/runs/demo-1/params.h5"})

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
        "optimizer": "gradient_descent",
        "validation_cost": None,
        "best_epoch": None,
    }
    assert report["test_set"] == {**two_classes(), "mislabelled_left_out": 0}
    assert report["new_images"] == [photo()]
    assert report["cost"] == cost
    assert report["cost"]["invocations"] == {"launch": 1, "trainer": 1, "neuron": 13_482}
    assert report["artifacts"] == {"params": "s3://b/runs/demo-1/params.h5"}
    assert json.loads(to_json(report)) == report


def test_ten_thousand_mislabelled_and_a_thousand_new_photos_stay_under_48_kb() -> None:
    report = build_report(
        RUN, two_classes(10_000), [photo(i) for i in range(1_000)], cost_of(RUN, Machine(has_cache=True)), {}
    )

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
    before = {**two_classes(2), "mislabelled_left_out": 40}
    assert build_report(RUN, before, [], {})["test_set"]["mislabelled_left_out"] == 40


def test_a_photo_with_an_endless_name_is_left_out_not_the_limit_broken() -> None:
    report = build_report(RUN, two_classes(3), [photo(uri="x" * 60_000)], {})
    assert report["new_images_left_out"] == 1
    assert len(to_json(report)) < LIMIT


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 900), st.lists(st.text(max_size=300), max_size=80))
def test_the_limit_holds_for_any_names(wrong: int, names: list[str]) -> None:
    report = build_report(
        RUN, two_classes(wrong), [{**photo(), "uri": name} for name in names], cost_of(RUN, Machine(has_cache=True))
    )
    assert len(to_json(report).encode()) <= LIMIT
    assert len(report["new_images"]) + report["new_images_left_out"] == len(names)
    assert len(report["test_set"]["mislabelled"]) + report["test_set"]["mislabelled_left_out"] == wrong


def test_a_run_that_never_began_has_no_report() -> None:
    with pytest.raises(CloudError, match="no parameters of run r"):
        build_report(Run("r"), two_classes(), [], {})


def test_a_cost_that_is_no_number_is_null_in_json() -> None:
    report = build_report(Run("r", parameters=PARAMETERS, cost=math.inf), two_classes(), [], {})
    assert report["training"]["final_cost"] is None


# Many classes


def of_many(classes: int, samples: int = 3_000, seed: int = 1) -> dict[str, Any]:
    """A test set that a bad model of so many classes was judged by."""
    random = np.random.default_rng(seed)
    truth, said = np.arange(samples) % classes, random.random((classes, samples))
    return {**evaluate(truth, said / said.sum(axis=0), tuple(f"class {k}" for k in range(classes)))}


@pytest.mark.parametrize("classes", [3, 10, 30, 31, 400])
def test_many_mistakes_take_no_class_its_rates(classes: int) -> None:
    whole = of_many(classes)
    report = build_report(RUN, whole, [], cost_of(RUN, Machine(has_cache=True)))
    kept = report["test_set"]
    assert len(to_json(report).encode()) <= LIMIT
    assert len(kept["mislabelled"]) + kept["mislabelled_left_out"] == len(whole["mislabelled"]) > 1_900
    assert len(kept["mislabelled"]) > 100
    assert len(kept["per_class"]) + kept["classes_left_out"] == classes
    assert kept["samples"] == 3_000
    if classes <= 30:
        assert kept["per_class"] == whole["per_class"]
        assert kept["confusion_matrix"] == whole["confusion_matrix"]
    else:
        assert kept["confusion_matrix"] is None
        assert len(kept["per_class"]) > 30


def test_what_is_cut_twice_is_counted_once() -> None:
    once = fit_test_set(of_many(400))
    assert once["classes_left_out"] > 0
    assert fit_test_set(once) == once
    again = fit_test_set(once, LIMIT // 2)
    assert len(again["per_class"]) < len(once["per_class"])
    assert len(again["per_class"]) + again["classes_left_out"] == 400
    worst = [rates["f1"] for rates in again["per_class"]]
    assert worst == sorted(worst)
    assert worst == sorted(rates["f1"] for rates in of_many(400)["per_class"])[: len(worst)]


def test_the_surest_mistake_of_many_classes_is_the_most_probable_one() -> None:
    """With ten classes 0.1 is a guess; of two classes it would be near certainty."""
    wrong = [
        {"index": i, "label": 0, "predicted": 1, "probability": 0.1 + 0.8 * (i % 7) / 6 + i * 1e-6} for i in range(900)
    ]
    kept = build_report(RUN, {**of_many(10), "mislabelled": wrong}, [], {})["test_set"]["mislabelled"]
    surest = sorted(wrong, key=lambda one: one["probability"])[-len(kept) :]
    assert 0 < len(kept) < 900
    assert kept == sorted(surest, key=lambda one: one["index"])
