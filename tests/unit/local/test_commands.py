"""The `snn` command: errors in one line, and what the demo makes of its options and of a report."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from snn.errors import InvalidInput
from snn_cli.local import demo
from snn_cli.local.demo_summary import show_results
from snn_cli.main import app
from snn_client.reports.metrics import evaluate

REPORT: dict[str, Any] = {
    "run_id": "a-run",
    "training": {
        "epochs_configured": 500, "epochs_run": 40, "stopped_by": "threshold", "final_cost": 0.09876,
        "seconds": 2.116, "granularity": "neuron", "strategy": "best-batch",
    },
    "test_set": {
        "mislabelled_left_out": 1, "accuracy": 0.925, "error": 0.075, "sensitivity": None, "specificity": 0.95,
        "false_positive_rate": 0.05, "precision": 0.9, "f1": 0.8,
        "confusion_matrix": {"tn": 19, "fp": 1, "fn": 2, "tp": 18},
        "mislabelled": [{"index": 1}, {"index": 7}],
    },
    "new_images": [{"uri": "/photos/a [cat].png", "predicted": 1, "class_name": "cat", "probability": 0.9644}],
    "cost": {
        "usd": 0.0005954, "invocations": {"launch": 1, "trainer": 2, "neuron": 198},
        "prices": {"region": "us-east-1", "date": "2026-11-01"},
    },
}  # fmt: skip


def test_an_error_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["local", "env", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output == "error: the emulator is not running; start it with: snn local up\n"


def test_status_of_an_empty_home_says_stopped_and_fails(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["local", "status", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.count("stopped") == 7


def test_down_in_an_empty_home_does_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["local", "down", "--home", str(tmp_path)])
    assert (result.exit_code, result.output) == (0, "everything is stopped\n")


def test_the_summary_tells_what_the_report_holds() -> None:
    console = Console(file=StringIO(), width=200)
    show_results(console, REPORT, {"install": 1.2, "start": 20.0, "rest": 8.6})
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in (
        "run a-run",
        "40 of 500 epochs in 2.1 s, best-batch, an invocation per neuron",
        "0.0988 (stopped by threshold)",
        "accuracy 0.925, error 0.075, sensitivity -, specificity 0.950",
        "19 tn, 1 fp, 2 fn, 18 tp; 3 mislabelled",
        "a [cat].png: cat (p of class 1: 0.964)",
        "launch 1, trainer 2, neuron 198",
        "0.000595 USD (prices of us-east-1, 2026-11-01)",
        "install 1 s, start 20 s, rest 9 s: 30 s in all",
    ):
        assert part in text


@pytest.mark.parametrize(("judged", "image", "parts"), [
    (evaluate([0, 1, 2, 2], np.eye(3)[[0, 1, 2, 1]].T, "abc"), REPORT["new_images"][0], (
        "accuracy 0.750, error 0.250, macro F1 0.778", "1 mislabelled", "cat (probability: 0.964)")),
    (evaluate([1.0, 2.0, 4.0], [1.5, 2.0, 4.0], ()), {"uri": "/photos/b.png", "value": 12.3456789}, (
        "R² 0.946, MAE 0.167, RMSE 0.289", "b.png: 12.3457")),
])  # fmt: skip
def test_the_summary_of_more_than_two_classes_and_of_numbers(judged: Any, image: Any, parts: tuple[str, ...]) -> None:
    console = Console(file=StringIO(), width=200)
    show_results(console, {**REPORT, "test_set": judged, "new_images": [image]}, {"rest": 8.6})
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert [part for part in parts if part not in text] == []
    assert ("confusion" in text) == ("mislabelled" in parts[1])


def test_images_are_split_like_in_a_shell_and_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = demo._images("cat.jpeg 'a dog.jpeg' s3://bucket/key.png", "", tmp_path)
    assert [demo._absolute(image) for image in given] == [
        f"{tmp_path}/cat.jpeg",
        f"{tmp_path}/a dog.jpeg",
        "s3://bucket/key.png",
    ]
    with pytest.raises(InvalidInput, match="images: No closing quotation"):
        demo._images("'oops", "", tmp_path)


def test_sample_photos_go_with_the_sample_data_only(tmp_path: Path) -> None:
    assert demo._images("", "other.h5", tmp_path) == []
    samples = demo._images("", "", tmp_path)
    assert len(samples) == 5
    assert all(Path(sample).is_file() for sample in samples)


def test_the_form_is_filled_in_with_the_default_data_set_made_once(tmp_path: Path) -> None:
    faces = Path(demo.form_defaults(tmp_path)["SNN_DATASET"])
    made = faces.stat().st_mtime_ns
    assert Path(demo.form_defaults(tmp_path)["SNN_DATASET"]).stat().st_mtime_ns == made
