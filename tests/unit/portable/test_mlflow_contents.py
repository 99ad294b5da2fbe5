"""What MLflow gets to know of a run, before any server: names, limits, addresses."""

from __future__ import annotations

import json
import re

import pytest

from snn.errors import InvalidInput
from snn_client.portable import mlflow_contents
from snn_client.portable.mlflow_contents import MAX_VALUE, curves, figures, flat
from snn_client.portable.mlflow_runs import check_address
from snn_cloud.ledger.parameters import Parameters


def test_parameters_are_text_by_names_that_mlflow_takes() -> None:
    given = {
        "epochs": 5, "optimizer": {"name": "adam", "beta_1": 0.8}, "class_weights": [1.0, 2.5], "backbone": None,
        "decision_threshold": {"precision": 0.9}, "strange": {"what?": 1}, "none": {}, "long": "x" * 7_000,
    }  # fmt: skip
    found = flat(given)
    assert found.pop("long") == "x" * (MAX_VALUE - 2) + " …"
    assert found == {
        "epochs": "5", "optimizer.name": "adam", "optimizer.beta_1": "0.8", "class_weights": "[1.0, 2.5]",
        "backbone": "null", "decision_threshold.precision": "0.9", "strange": '{"what?": 1}', "none": "{}",
    }  # fmt: skip


def test_every_parameter_has_a_name_that_mlflow_takes() -> None:
    layers = {f"layer{number}": 3 for number in range(1, 101)}
    activations = {**dict.fromkeys(layers, "relu"), "layer100": "softmax"}
    largest = Parameters.load(
        {"epochs": 1, "layers": 100, "neurons": layers, "activations": activations, "learning_rate": 0.1}
    )
    found = flat(json.loads(largest.to_json()))
    assert len(found) > 200  # more than MLflow takes at once
    assert all(re.fullmatch(r"[\w\-. :/]{1,250}", name) for name in found)


def test_figures_are_those_of_the_report() -> None:
    report = {
        "test_set": {"accuracy": 0.9, "f1": None, "confusion_matrix": {"tn": 1}, "mislabelled": [], "top_k": 5},
        "training": {"epochs_run": 7, "seconds": 1.5, "final_cost": None},
        "cost": {"usd": 0.01},
    }
    assert [(point.name, point.value) for point in figures(report, 9)] == [
        ("test_accuracy", 0.9), ("test_top_k", 5.0), ("epochs_run", 7.0), ("seconds", 1.5), ("usd", 0.01),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("", "is missing"),
        ("sqlite:///x.db", "is not the address of a tracking server"),
        ("./mlruns", "is not the address of a tracking server"),
        ("https://anna:secret@host", "holds a name or a password"),
        ("https://secret@host/path", "holds a name or a password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(uri: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        check_address(uri)
    assert str(raised.value).startswith("tracking-uri: ")
    assert problem in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "https://mlflow.example.com/a@b", "databricks", "databricks://p"]
)
def test_the_address_of_a_server_is_taken(uri: str) -> None:
    assert check_address(uri) == uri


def test_of_a_very_long_run_not_every_epoch_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_contents, "MAX_POINTS", 100)
    epochs = {f"epoch{number}": {"cost": float(number)} for number in range(1_000)}
    times = {"Start": "2026-11-01 00:00:00.000000", "End": "2026-11-01 00:16:40.000000"}
    points = list(curves({"Start": times["Start"], **epochs, "End": times["End"]}))
    assert [(point.step, point.value) for point in points] == [(at, float(at)) for at in [*range(0, 1_000, 10), 999]]
    assert points[-1].at - points[0].at == 999_000
