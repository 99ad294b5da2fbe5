"""What commands show: tables that say what the numbers are, and the live view of a run."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from snn_cli.aws import Aws
from snn_cli.curve import Curve
from snn_cli.follow import how_to_go_on, view
from snn_cli.tables import classified, judged, run_details, run_table
from snn_cli.train import DEFAULT_PARAMETERS

RUN: dict[str, Any] = {
    "run_id": "faces-1", "state": "COMPLETED", "epochs_run": 1_234, "epochs_configured": 5_000, "final_cost": 0.0123456,
    "stopped_by": "threshold", "seconds": 65.4, "granularity": "batch", "strategy": "full-batch",
    "dataset_key": "runs/faces-1/input/d.h5", "invocations": {"launch": 1, "trainer": 2, "neuron": 0},
    "launched": "2026-11-22 20:00:00", "usd": 0.00123, "reason": "", "resumed_from": "",
    "artifacts": {"params": "s3://b/runs/faces-1/params.h5", "results": "s3://b/runs/faces-1/results.json"},
}  # fmt: skip
FAILED = {
    **RUN, "run_id": "x" * 63, "state": "FAILED", "final_cost": None, "reason": "MemoryError: [too] wide",
    "artifacts": {}, "stopped_by": None, "epochs_run": 0,
}  # fmt: skip
RECORD = {
    "run_id": "faces-1", "state": "RUNNING", "epoch": 250, "epochs": 1_000, "cost": 0.5, "epochs_per_second": 12.5,
    "seconds_left": 60.0, "usd": 0.00042,
}  # fmt: skip


def shown(*parts: RenderableType, width: int = 200) -> list[str]:
    console = Console(file=StringIO(), width=width, color_system=None)
    for part in parts:
        console.print(part)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_the_table_of_runs_has_their_names_in_full() -> None:
    header, first, second = (line.split() for line in shown(run_table([RUN, FAILED])))
    assert header == ["run", "state", "epochs", "cost", "time", "USD", "launched", "(UTC)"]
    assert first[:6] == ["faces-1", "COMPLETED", "1,234", "of", "5,000", "0.012346"]
    assert first[6:] == ["1", "min", "5", "s", "0.0013", "2026-11-22", "20:00:00"]
    assert second[:2] == ["x" * 63, "FAILED"]


def test_the_details_of_a_run_leave_out_what_it_has_not() -> None:
    lines = dict(line.strip().split("  ", 1) for line in shown(run_details(RUN)))
    assert {name: value.strip() for name, value in lines.items()} == {
        "run": "faces-1",
        "state": "COMPLETED",
        "epochs": "1,234 of 5,000, stopped by threshold",
        "cost": "0.012346",
        "training": "full-batch, an invocation per batch",
        "launched": "2026-11-22 20:00:00 UTC",
        "time": "1 min 5 s",
        "USD": "0.0013",
        "invocations": "launch 1, trainer 2, neuron 0",
        "data set": "runs/faces-1/input/d.h5",
        "model": "s3://b/runs/faces-1/params.h5",
        "costs": "s3://b/runs/faces-1/results.json",
    }
    failed = "\n".join(shown(run_details(FAILED)))
    assert "MemoryError: [too] wide" in failed
    assert "model" not in failed


def test_a_judged_test_set_has_rates_confusion_and_who_was_mislabelled() -> None:
    test_set = {
        "accuracy": 0.9, "error": 0.1, "sensitivity": None, "specificity": 0.95, "false_positive_rate": 0.05,
        "precision": 0.875, "f1": 0.7, "confusion_matrix": {"tn": 19, "fp": 1, "fn": 3, "tp": 17},
        "mislabelled": [{"index": 7, "label": 1, "predicted": 0, "probability": 0.4321}], "mislabelled_left_out": 3,
    }  # fmt: skip
    lines = [line.split() for line in shown(*judged(test_set))]
    assert ["sensitivity", "-"] in lines
    assert ["false", "positive", "rate", "0.0500"] in lines
    assert lines[lines.index(["called", "0", "called", "1"]) + 1 :][:2] == [
        ["is", "0", "19", "1"],
        ["is", "1", "3", "17"],
    ]
    assert lines[-2:] == [["7", "1", "0", "0.4321"], ["…", "and", "3", "more"]]


def test_photos_are_shown_as_their_names_are() -> None:
    image = {"uri": "/photos/a [cat].png", "predicted": 1, "class_name": "[bold]cat", "probability": 0.96441}
    assert shown(classified([image]))[1].split() == ["/photos/a", "[cat].png", "[bold]cat", "0.9644"]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 4)])
def test_the_view_of_a_run_fits_its_terminal(width: int, height: int) -> None:
    curve = Curve()
    curve.add(1 / (epoch + 1) for epoch in range(250))
    lines = shown(view(RECORD, curve, width, height), width=width)
    assert lines[0] == "faces-1 RUNNING"
    if width >= 80:
        assert "epoch 250 of 1,000" in lines[1]
        assert lines[2] == "cost 0.500000, 12.5 epochs/s, about 1 min 0 s left, 0.00042 USD so far"
        assert lines[-1].endswith("250")
        assert len(lines) == min(12, height - 5) + 4
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 8)


def test_a_run_that_waits_says_so() -> None:
    waiting = {**RECORD, "state": "PENDING", "epoch": 0, "cost": None, "epochs_per_second": None, "seconds_left": None}
    assert shown(view(waiting, Curve(), 80, 24))[2] == "waiting for the first epoch, 0.00042 USD so far"


def test_the_default_network_is_the_one_beside_the_dags() -> None:
    beside = Path(__file__).parents[3] / "dags" / "parameters.json"
    assert json.loads(beside.read_text()) == DEFAULT_PARAMETERS


def test_who_stops_following_is_told_what_to_type_for_the_same_stack() -> None:
    there = Aws(None, "snn-two", "", " --profile work --region eu-west-1")  # type: ignore[arg-type]
    where = "--stack snn-two --profile work --region eu-west-1"
    assert [line.split(":  ")[-1].strip() for line in how_to_go_on(there, "r").splitlines()] == [
        "Run r continues in Lambda.",
        f"snn status r --follow {where}",
        f"snn cancel r {where}",
        f"snn resume r {where}",
    ]
