"""A run in MLflow: all that its REST API says of it is what the ledger and S3 have; logged twice, it is there once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from tracked import VENV, Server
from typer.testing import CliRunner

from snn_cli import datasets
from snn_cli.main import app
from snn_client.portable.mlflow_contents import flat
from snn_client.portable.runs import model_in
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_data.dataset import load_dataset

EPOCHS = 700  # with three figures each: more than MLflow takes at once


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, stack: StackOutputs) -> Path:
    """Where `snn` was called: it trained `tracked`, with a validation, and wrote its report."""
    folder = tmp_path_factory.mktemp("tracked")
    datasets.build_faces(folder / "faces.h5")
    parameters = {
        "epochs": EPOCHS, "layers": 3, "activations": {"layer1": "relu", "layer2": "gelu", "layer3": "sigmoid"},
        "neurons": {"layer1": 9, "layer2": 5, "layer3": 1}, "learning_rate": 0.01, "validation": 0.2,
        "optimizer": {"name": "adam", "beta_1": 0.8}, "class_weights": [1.0, 2.5],
    }  # fmt: skip
    (folder / "parameters.json").write_text(json.dumps(parameters))
    snn(folder, "train", "--dataset", "faces.h5", "--parameters", "parameters.json", "--name", "tracked", "--json")
    snn(folder, "report", "tracked", "--json")
    return folder


def snn(folder: Path, *words: str | Path, code: int = 0) -> Result:
    with contextlib.chdir(folder):
        ended = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200", "SNN_STACK_NAME": "snn-tracked"})
    assert ended.exit_code == code, (words, ended.stdout, ended.stderr)
    return ended


def log(folder: Path, server: Server, *words: str, code: int = 0) -> Any:
    done = snn(folder, "mlflow", "log", "--tracking-uri", server.url, *words, "--json", code=code)
    return done.stderr.splitlines()[-1] if code else json.loads(done.stdout)


def of_mlflow(items: Any) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in items}


def history(server: Server, run: str, metric: str) -> list[tuple[int, float, int]]:
    found: list[tuple[int, float, int]] = []
    token: dict[str, str] = {}
    while True:
        page: Any = server.get("metrics/get-history", run_id=run, metric_key=metric, max_results=500, **token)
        found += [(each["step"], each["value"], each["timestamp"]) for each in page["metrics"]]
        if not page.get("next_page_token"):
            return found
        token = {"page_token": page["next_page_token"]}


def everything(server: Server) -> Any:
    """Return all that the server has, to compare."""
    experiments: Any = server.post("experiments/search", max_results=100)
    runs: Any = server.post(
        "runs/search", experiment_ids=[each["experiment_id"] for each in experiments["experiments"]], max_results=100,
        run_view_type="ALL",
    )  # fmt: skip
    files = {str(path): path.read_bytes() for path in sorted(server.artifacts.rglob("*")) if path.is_file()}
    return experiments, runs, server.get("model-versions/search"), files


def stored(clients: Clients, stack: StackOutputs, key: str) -> bytes:
    content: bytes = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    return content


def test_a_run_is_there_as_the_ledger_and_s3_have_it(
    folder: Path, server: Server, clients: Clients, stack: StackOutputs
) -> None:
    told = log(folder, server, "--run-id", "tracked", "--register-as", "faces")
    run = Ledger(clients.dynamodb, stack.table).get("tracked")
    assert run.parameters is not None
    mlflow_run_id = told.pop("mlflow_run_id")
    assert told == {"run_id": "tracked", "experiment": "snn", "new": True, "model": "faces", "version": 1}

    found: Any = server.get("runs/get", run_id=mlflow_run_id)["run"]
    info, data = found["info"], found["data"]
    experiment: Any = server.get("experiments/get-by-name", experiment_name="snn")["experiment"]
    assert (info["run_name"], info["status"], info["lifecycle_stage"]) == ("tracked", "FINISHED", "active")
    assert info["experiment_id"] == experiment["experiment_id"]
    assert (info["start_time"], info["end_time"]) == (round(run.started_at * 1000), round(run.ended_at * 1000))

    parameters = of_mlflow(data["params"])
    assert parameters == flat(json.loads(run.parameters.to_json()))
    assert (parameters["optimizer.name"], parameters["optimizer.beta_1"]) == ("adam", "0.8")
    assert (parameters["activations.layer2"], parameters["learning_rate"]) == ("gelu", "0.01")

    results = json.loads(stored(clients, stack, places.results("tracked")))
    epochs = [value for name, value in results.items() if name.startswith("epoch")]
    assert len(epochs) == run.epoch == EPOCHS
    for name in ("cost", "validation_cost", "validation_accuracy"):
        points = history(server, mlflow_run_id, name)
        assert [(step, value) for step, value, _ in points] == [(at, each[name]) for at, each in enumerate(epochs)]
        times = [at for _, _, at in points]
        assert times == sorted(times)
        assert run.started_at - 1 < times[0] / 1000 <= times[-1] / 1000 < run.ended_at + 1

    report = json.loads(stored(clients, stack, places.report_json("tracked")))
    metrics = of_mlflow(data["metrics"])
    for name in ("accuracy", "sensitivity", "f1", "roc_auc", "log_loss"):
        assert metrics[f"test_{name}"] == report["test_set"][name]
    assert (metrics["epochs_run"], metrics["final_cost"]) == (EPOCHS, run.cost)
    assert metrics["usd"] == report["cost"]["usd"] > 0

    tags = of_mlflow(data["tags"])
    assert {name: tags[name] for name in tags if name.startswith("snn.")} == {
        "snn.run_id": "tracked",
        "snn.stack": "snn-tracked",
        "snn.dataset_sha256": hashlib.sha256((folder / "faces.h5").read_bytes()).hexdigest(),
        "snn.dataset": f"s3://{stack.bucket}/{run.dataset}",
        "snn.report": f"s3://{stack.bucket}/{places.report_html('tracked')}",
        "snn.stopped_by": str(run.stopped_by),
        "snn.logged": "whole",
    }

    files = {
        "params.h5": places.params, "results.json": places.results, "report/report.json": places.report_json,
        "report/report.html": places.report_html, "report/model_card.md": places.model_card,
        "model/model.onnx": places.model_onnx,
    }  # fmt: skip
    for path, key in files.items():
        answer = server.http.get("/get-artifact", params={"run_id": mlflow_run_id, "path": path})
        assert answer.status_code == 200, path
        assert answer.content == stored(clients, stack, key("tracked")), path
    listed: Any = server.get("artifacts/list", run_id=mlflow_run_id)["files"]
    assert sorted(each["path"] for each in listed) == ["model", "params.h5", "report", "results.json"]

    versions: Any = server.get("model-versions/search", filter="name='faces'")["model_versions"]
    assert [(each["version"], each["run_id"], each["status"]) for each in versions] == [("1", mlflow_run_id, "READY")]


def test_mlflow_itself_loads_the_version_and_it_answers_as_the_model_does(
    folder: Path, server: Server, clients: Clients, stack: StackOutputs, tmp_path: Path
) -> None:
    log(folder, server, "--run-id", "tracked", "--register-as", "faces")
    data = load_dataset(folder / "faces.h5").test
    np.save(tmp_path / "photos.npy", data.stored)
    program = (
        "import mlflow, numpy, onnxruntime\n"
        "model = mlflow.onnx.load_model('models:/faces/1')\n"
        "session = onnxruntime.InferenceSession(model.SerializeToString())\n"
        "photos = numpy.load('photos.npy')\n"
        "numpy.save('answers.npy', session.run(['probabilities'], {'photos': photos})[0])\n"
        "served = mlflow.pyfunc.load_model('models:/faces/1').predict({'photos': photos})\n"
        "numpy.save('served.npy', served['probabilities'])\n"
    )
    environment = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": "/usr/bin:/bin"}
    command = [VENV / "bin/python", "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = model_in(clients, stack.bucket, "tracked").judge(data)[0]
    for file in ("answers.npy", "served.npy"):
        assert np.abs(np.load(tmp_path / file)[:, 1] - wanted).max() <= 1e-6
    assert np.ptp(wanted) > 0.5


def test_logged_twice_it_is_there_once(folder: Path, server: Server) -> None:
    first = log(folder, server, "--run-id", "tracked", "--register-as", "faces")
    before = everything(server)
    assert len(before[3]) == 8  # files
    again = log(folder, server, "--run-id", "tracked", "--register-as", "faces")
    without = log(folder, server, "--run-id", "tracked")
    assert everything(server) == before
    assert again == {**first, "new": False}
    assert without == {**again, "model": "", "version": None}

    named = log(folder, server, "--run-id", "tracked", "--register-as", "other")
    assert (named["mlflow_run_id"], named["version"], named["new"]) == (first["mlflow_run_id"], 1, False)
    elsewhere = log(folder, server, "--experiment", "second")
    assert (elsewhere["new"], elsewhere["experiment"]) == (True, "second")
    assert elsewhere["mlflow_run_id"] != first["mlflow_run_id"]


def test_what_was_cut_off_half_way_is_logged_anew(folder: Path, server: Server) -> None:
    """As by a kill: its tags are there, but not the one that is set last."""
    experiment: Any = server.post("experiments/create", name="cut off")
    tags = [{"key": "snn.run_id", "value": "tracked"}, {"key": "snn.stack", "value": "snn-tracked"}]
    half: Any = server.post("runs/create", experiment_id=experiment["experiment_id"], start_time=1, tags=tags)
    told = log(folder, server, "--run-id", "tracked", "--experiment", "cut off")
    assert told["new"]
    found: Any = server.get("runs/get", run_id=half["run"]["info"]["run_id"])["run"]
    assert found["info"]["lifecycle_stage"] == "deleted"
    active: Any = server.post("runs/search", experiment_ids=[experiment["experiment_id"]])["runs"]
    assert [each["info"]["run_id"] for each in active] == [told["mlflow_run_id"]]


def test_a_server_that_refuses_a_file_keeps_no_half_run(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the server closes the connection that it refused on
    kept = server.artifacts.with_name("kept")
    server.artifacts.rename(kept)
    server.artifacts.write_text("no folder")
    try:
        line = log(folder, server, "--run-id", "tracked", "--experiment", "refused", code=1)
    finally:
        server.artifacts.unlink()
        kept.rename(server.artifacts)
    assert line.startswith(f"error: MLflow at {server.url}: ")
    experiment: Any = server.get("experiments/get-by-name", experiment_name="refused")["experiment"]
    runs: Any = server.post("runs/search", experiment_ids=[experiment["experiment_id"]])
    assert runs.get("runs", []) == []
    assert log(folder, server, "--run-id", "tracked", "--experiment", "refused")["new"]


def test_what_cannot_be_logged_is_one_line(
    folder: Path, server: Server, clients: Clients, stack: StackOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = everything(server)
    snn(folder, "train", "--dataset", "faces.h5", "--epochs", "5", "--name", "unjudged", "--json")
    line = log(folder, server, code=1)
    key = places.report_json("unjudged")
    assert (
        line == f"error: s3://{stack.bucket}/{key}: no such object in S3 (write its report first: snn report unjudged)"
    )
    snn(folder, "train", "--dataset", "faces.h5", "--epochs", "1000000", "--name", "cut", "--detach", "--json")
    snn(folder, "cancel", "cut")
    assert log(folder, server, "--run-id", "cut", code=1) == (
        "error: run cut is CANCELLED: only a completed run has a model"
    )

    def refused(uri: str) -> str:
        done = snn(folder, "mlflow", "log", "--run-id", "tracked", "--tracking-uri", uri, code=1)
        assert done.stdout == ""
        return done.stderr.splitlines()[-1]

    line = refused("http://anna:secret@127.0.0.1:1")
    assert line.startswith("error: tracking-uri: holds a name or a password (set MLFLOW_TRACKING_USERNAME")
    assert "secret" not in line
    assert refused("sqlite:///x.db").startswith(
        "error: tracking-uri: 'sqlite:///x.db' is not the address of a tracking"
    )
    assert refused("http://127.0.0.1:1").startswith("error: MLflow at http://127.0.0.1:1: ")
    found = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlflow" else found(name))
        assert "needs the package mlflow" in refused(server.url)
    assert everything(server) == before


def test_a_token_goes_to_the_server_and_nowhere_else(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok-12345")
    caplog.set_level("DEBUG")
    done = snn(folder, "mlflow", "log", "--run-id", "tracked", "--tracking-uri", server.url, "--register-as", "faces")
    assert "was already in MLflow" in done.stdout
    assert "faces version 1" in done.stdout
    failed = snn(folder, "mlflow", "log", "--run-id", "tracked", "--tracking-uri", server.url + "/nowhere", code=1)
    assert "tok-12345" not in done.stdout + done.stderr + failed.stdout + failed.stderr + caplog.text
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
