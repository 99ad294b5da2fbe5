"""The DAG snn_training in a real Airflow: scheduler, triggerer, API server; and what a mistake in its form does."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from dag_run import DagRun, runner
from holding import held_trainers

from snn_cli.datasets import build_faces, sample_images
from snn_cli.local.airflow_api import AirflowError
from snn_client.stack.outputs import StackOutputs
from snn_photos.reading import load_image

DAG = "snn_training"
STACK = "snn-e2e"
EPOCHS = 300
ITSACAT = str(Path(__file__).parents[2] / "dags" / "parameters.json")


@dataclass(frozen=True)
class Files:
    """Real photos: a data set of faces, and some to classify."""

    dataset: Path
    images: list[Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    build_faces(folder / "faces.h5")
    return Files(folder / "faces.h5", sample_images(folder / "images"))


@pytest.fixture(scope="module")
def run(machine: Any) -> Callable[..., DagRun]:
    return runner(machine, DAG, 240, stack_name=STACK, parameters_file=ITSACAT)


@pytest.fixture(scope="module")
def trained(run: Callable[..., DagRun], files: Files) -> DagRun:
    return run(dataset=str(files.dataset), epochs=EPOCHS, images=[str(image) for image in files.images])


@pytest.fixture(scope="module")
def report(trained: DagRun) -> dict[str, Any]:
    report: dict[str, Any] = trained.xcom("report")
    return report


def read(machine: Any, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return machine.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def in_bucket(trained: DagRun) -> set[tuple[str, str]]:
    bucket = trained.xcom("deploy")["bucket"]
    pages = trained.machine.clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    return {(item["Key"], item["VersionId"]) for page in pages for item in page.get("Versions", [])}


def in_ledger(trained: DagRun) -> set[str]:
    table = trained.xcom("deploy")["table"]
    pages = trained.machine.clients.dynamodb.get_paginator("scan").paginate(TableName=table)
    return {item["run_id"]["S"] for page in pages for item in page["Items"] if item["item"]["S"] == "run"}


def probabilities(params: bytes, X: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the probabilities of class 1, computed here and by nothing of the project."""
    with h5py.File(io.BytesIO(params)) as h5:
        for number in range(1, 5):
            Z = h5[f"W{number}"][()] @ X + h5[f"b{number}"][()]
            X = np.maximum(Z, 0) if number < 4 else 1 / (1 + np.exp(-Z))
    return X[0]


def test_every_task_succeeds_at_its_first_try(trained: DagRun) -> None:
    assert trained.states == dict.fromkeys(("deploy", "stage", "train", "evaluate", "predict", "report"), "success")
    tasks = trained.machine.api.task_instances(DAG, trained.run_id)
    assert {task["try_number"] for task in tasks} == {1}


def test_the_report_is_what_an_independent_forward_pass_finds(
    trained: DagRun, report: dict[str, Any], files: Files
) -> None:
    params = read(trained.machine, report["artifacts"]["params"])
    with h5py.File(files.dataset) as h5:
        photos, labels = h5["test_set_x"][()], h5["test_set_y"][()].astype(int)
    probability = probabilities(params, photos.reshape(len(photos), -1).T / 255)
    predicted = (probability > 0.5).astype(int)
    tp, tn = int((predicted & labels).sum()), int(((1 - predicted) & (1 - labels)).sum())
    fp, fn = int((predicted & (1 - labels)).sum()), int(((1 - predicted) & labels).sum())
    test_set = report["test_set"]
    assert test_set["confusion_matrix"] == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    assert {
        name: test_set[name] for name in ("accuracy", "error", "sensitivity", "specificity", "precision", "f1")
    } == {
        "accuracy": pytest.approx((tp + tn) / 40),
        "error": pytest.approx((fp + fn) / 40),
        "sensitivity": pytest.approx(tp / (tp + fn)),
        "specificity": pytest.approx(tn / (tn + fp)),
        "precision": pytest.approx(tp / (tp + fp)),
        "f1": pytest.approx(2 * tp / (2 * tp + fp + fn)),
    }
    assert test_set["false_positive_rate"] == pytest.approx(fp / (fp + tn))
    assert test_set["mislabelled"] == [
        {
            "index": int(index),
            "label": int(labels[index]),
            "predicted": int(predicted[index]),
            "probability": pytest.approx(probability[index], abs=1e-12),
        }
        for index in np.flatnonzero(predicted != labels)
    ]
    assert test_set["accuracy"] > 0.8

    photos = np.hstack([load_image(image, (25, 25, 3)) for image in files.images])
    for image, answer, expected in zip(files.images, report["new_images"], probabilities(params, photos), strict=True):
        assert answer == {
            "uri": str(image),
            "predicted": int(expected > 0.5),
            "class_name": "face" if expected > 0.5 else "non-face",
            "probability": pytest.approx(expected, abs=1e-12),
        }


def test_the_report_tells_of_the_training_and_lies_in_s3(trained: DagRun, report: dict[str, Any]) -> None:
    results = json.loads(read(trained.machine, report["artifacts"]["results"]))
    assert list(results) == ["Start", *(f"epoch{number}" for number in range(EPOCHS)), "End"]
    assert report["training"] == {
        "epochs_configured": EPOCHS,
        "epochs_run": EPOCHS,
        "stopped_by": "epochs",
        "final_cost": results[f"epoch{EPOCHS - 1}"]["cost"],
        "seconds": report["training"]["seconds"],
        "granularity": "batch",
        "strategy": "full-batch",
        "optimizer": "gradient_descent",
        "validation_cost": None,
        "best_epoch": None,
    }
    assert 0 < report["training"]["seconds"] < 240
    assert report["cost"]["invocations"] == {"launch": 1, "trainer": 1, "neuron": 0}
    assert report["cost"]["usd"] > 0
    assert json.loads(read(trained.machine, report["artifacts"]["report_json"])) == report
    assert b"<html" in read(trained.machine, report["artifacts"]["report_html"])
    assert trained.xcom("report", "_link_ReportLink").endswith(f"/runs/{report['run_id']}/report/report.html")


def test_there_is_one_run_and_its_tasks_agree_on_its_name(trained: DagRun, report: dict[str, Any]) -> None:
    assert {report["run_id"], trained.xcom("stage")["run_id"], trained.xcom("train")["run_id"]} == {report["run_id"]}
    assert trained.xcom("train", "run_id") == report["run_id"]
    assert in_ledger(trained) == {report["run_id"]}


def test_the_log_of_a_short_training_has_its_first_and_last_epoch(trained: DagRun, report: dict[str, Any]) -> None:
    epochs = [line for line in trained.log("train") if re.match(rf"epoch \d+ of {EPOCHS}, cost \d\.\d{{6}}", line)]
    assert epochs[0].startswith(f"epoch 1 of {EPOCHS}, ")
    assert epochs[-1].startswith(f"epoch {EPOCHS} of {EPOCHS}, cost {report['training']['final_cost']:.6f}")


def test_a_longer_training_waits_in_the_triggerer_and_tells_its_epochs(
    trained: DagRun, machine: Any, files: Files
) -> None:
    form = {"stack_name": STACK, "dataset": str(files.dataset), "epochs": 60, "granularity": "layer", "seed": 3}
    form |= {"parameters_file": ITSACAT}
    with held_trainers(machine.clients, StackOutputs.from_dict(trained.xcom("deploy"))):
        longer = DagRun(machine, DAG, machine.api.trigger(DAG, {**form, "deploy": False}))
        machine.until(lambda: longer.states.get("train") == "deferred", 240)
    longer.wait(240)
    assert set(longer.states.values()) == {"success"}
    lines, report = longer.log("train"), longer.xcom("report")
    assert any(line.startswith("Pausing task as DEFERRED") for line in lines)
    epochs = [line for line in lines if re.match(r"epoch \d+ of 60, cost \d\.\d{6}", line)]
    assert epochs[0].startswith("epoch 1 of 60, ")
    assert epochs[-1].startswith(f"epoch 60 of 60, cost {report['training']['final_cost']:.6f}")
    assert len(epochs) <= 3 + report["training"]["seconds"] / 5
    assert report["cost"]["invocations"] == {"launch": 1, "trainer": 1, "neuron": 2 * 4 * 60}
    progress = longer.xcom("train", "progress")
    assert (progress["epoch"], progress["state"], progress["seconds_left"]) == (60, "COMPLETED", 0)
    assert longer.xcom("train")["run_id"] != trained.xcom("train")["run_id"]


def wrong_parameter(files: Files, folder: Path) -> tuple[dict[str, Any], str]:
    parameters = json.loads(Path(ITSACAT).read_text())
    (folder / "parameters.json").write_text(json.dumps({**parameters, "neurons": {"layer1": 20}}))
    form = {"parameters_file": str(folder / "parameters.json")}
    return form, f"{folder}/parameters.json: neurons: has layer1 where layers is 4 (name exactly "


def data_without_labels(files: Files, folder: Path) -> tuple[dict[str, Any], str]:
    shutil.copy(files.dataset, folder / "bad.h5")
    with h5py.File(folder / "bad.h5", "a") as h5:
        del h5["test_set_y"]
    return {"dataset": str(folder / "bad.h5")}, f"{folder}/bad.h5: test_set_y: is missing"


def image_that_is_none(files: Files, folder: Path) -> tuple[dict[str, Any], str]:
    (folder / "cat.png").write_text("meow")
    return {"images": [str(files.images[0]), str(folder / "cat.png")]}, f"{folder}/cat.png: not a picture"


@pytest.mark.parametrize("mistake", [wrong_parameter, data_without_labels, image_that_is_none])
def test_a_mistake_stops_at_staging_with_one_line_and_leaves_nothing(
    trained: DagRun, run: Callable[..., DagRun], files: Files, tmp_path: Path, mistake: Any
) -> None:
    stored, runs = in_bucket(trained), in_ledger(trained)
    form, line = mistake(files, tmp_path)
    failed = run(**{"dataset": str(files.dataset), "deploy": False, **form})
    assert failed.states == {
        "deploy": "success",
        "stage": "failed",
        **dict.fromkeys(("train", "evaluate", "predict", "report"), "upstream_failed"),
    }
    said = [message for message in failed.log("stage") if line in message]
    assert len(said) == 1
    assert "\n" not in said[0]
    assert failed.machine.api.failure(DAG, failed.run_id) == f"task stage failed: {said[0]}"
    assert (in_bucket(trained), in_ledger(trained)) == (stored, runs)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("epochs", 0, "0 is less than the minimum of 1"), ("granularity", "cell", "'cell' is not one of")],
)
def test_the_form_refuses_a_bad_value_with_the_field_s_name(
    machine: Any, run: Callable[..., DagRun], field: str, value: Any, reason: str
) -> None:
    with pytest.raises(AirflowError, match=f"400: Invalid input for param {field}: {reason}"):
        run(dataset="d.h5", **{field: value})
