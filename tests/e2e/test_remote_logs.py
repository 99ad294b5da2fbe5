"""Lambda's lines in the log of a deferred training, in a real Airflow; and the traceback of one that fails there."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from snn.model import dump_checkpoint
from snn.network import initial_weights
from snn.training import Training
from snn_cli.datasets import build_faces
from snn_cli.local.airflow_api import ENDED
from snn_cloud import places
from snn_cloud.launching import start_trainer
from snn_cloud.ledger import Ledger
from snn_cloud.stack import StackOutputs

DAG = "snn_training"
STACK = "snn-e2e-logs"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture
def api(machine: Any) -> Any:
    machine.api.wait_for_dag(DAG)
    return machine.api


def until(true: Any, limit: float = 120.0) -> Any:
    """Return what `true` gives as soon as it is something."""
    deadline = time.monotonic() + limit
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


def train_state(api: Any, run_id: str) -> str:
    return str({task["task_id"]: task["state"] for task in api.task_instances(DAG, run_id)}["train"])


def buttons(api: Any, run_id: str) -> dict[str, str | None]:
    """Return the links on the train task's page, as the UI asks for them."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/train/links"
    answer: httpx.Response = api._http.get(path)
    links: dict[str, str | None] = answer.raise_for_status().json()["extra_links"]
    return links


def epochs(lines: Sequence[str]) -> list[int]:
    """Return where in a log the lines of epochs stand."""
    return [number for number, line in enumerate(lines) if re.match(r"epoch [\d,]+ of [\d,]+, cost ", line)]


def test_the_log_of_a_deferred_training_has_the_lines_of_its_functions(api: Any, faces: Path) -> None:
    form = {"dataset": str(faces), "epochs": 100, "granularity": "layer", "stack_name": STACK}
    run_id = api.trigger(DAG, form)
    until(lambda: api.run_state(DAG, run_id) in ENDED)
    assert api.run_state(DAG, run_id) == "success"
    lines = api.log_lines(DAG, run_id, "train")
    said = Counter(line.partition(", ")[0] for line in lines if re.match(r"\[\w+Lambda\] ", line))
    assert said == {
        "[LaunchLambda] PENDING": 1,
        "[TrainerLambda] begins": 1,
        "[TrainerLambda] epoch 0 of 100": 1,
        "[TrainerLambda] COMPLETED after 100 epochs": 1,
    }
    deferred = next(number for number, line in enumerate(lines) if line.startswith("Pausing task as DEFERRED"))
    last_word = lines.index("[TrainerLambda] COMPLETED after 100 epochs")
    assert deferred < lines.index("[LaunchLambda] PENDING") < last_word
    assert deferred < epochs(lines)[0] <= epochs(lines)[-1] < last_word


def test_a_training_that_fails_in_lambda_shows_the_traceback(api: Any, machine: Any, faces: Path) -> None:
    # Endless by any measure of this test.
    form = {"dataset": str(faces), "epochs": 5_000_000, "learning_rate": 1e-9, "stack_name": STACK}
    run_id = api.trigger(DAG, form)
    until(lambda: train_state(api, run_id) == "deferred")
    # The buttons are there while it goes on; the emulator has pages for the bucket only.
    folder = until(lambda: buttons(api, run_id)["Bucket prefix"])
    name = api.xcom(DAG, run_id, "train", "run_id")
    assert f"prefix=runs/{name}/" in folder
    assert f"<Key>runs/{name}/checkpoint.h5</Key>" in httpx.get(folder).text
    assert buttons(api, run_id) == {"Bucket prefix": folder, "Lambda logs": None, "Stack": None}
    # The functions' lines come among those of the epochs, not only at the end.
    until(lambda: "[LaunchLambda] PENDING" in (lines := api.log_lines(DAG, run_id, "train")) and epochs(lines))
    so_far = api.log_lines(DAG, run_id, "train")
    until(lambda: epochs(api.log_lines(DAG, run_id, "train"))[-1] >= len(so_far))
    outputs = StackOutputs.from_dict(api.xcom(DAG, run_id, "deploy"))
    # A checkpoint with a layer of a bad shape, past all validation, for the next trainer; the present one loses its
    # lease.
    ledger, clients = Ledger(machine.clients.dynamodb, outputs.table), machine.clients
    lease = until(lambda: ledger.acquire(name, "the test", patience=0.05))
    broken = dump_checkpoint(Training(initial_weights(lease.run.parameters, lease.run.features + 1)))
    put = clients.s3.put_object(Bucket=outputs.bucket, Key=places.checkpoint(name), Body=broken)
    lease.checkpointed(put["VersionId"])
    lease.release()
    start_trainer(clients, outputs.trainer_function, name)

    until(lambda: api.run_state(DAG, run_id) in ENDED)
    assert train_state(api, run_id) == "failed"
    assert buttons(api, run_id)["Bucket prefix"] == folder
    run = ledger.get(name)
    assert re.match(r"ValueError: matmul: .*\(size 1875 is different from 1876\)", run.reason)
    first, heading, *lines = api.failure(DAG, run_id).splitlines()
    assert first == f"task train failed: run {name} failed after {run.epoch} epochs: {run.reason}"
    assert heading == "The last lines of its Lambda functions:"
    start = lines.index("  [TrainerLambda] Traceback (most recent call last):")
    assert re.search(r'File ".*/snn_cloud/training\.py", line \d+, in advance', lines[start + 1])
    end = lines.index(f"  [TrainerLambda] {run.reason}")
    assert start < end
    assert any(re.search(r'File ".*/snn/\w+\.py", line \d+, in \w+', line) for line in lines[start:end])
    # In the log it is one block, before the exception.
    log = api.log_lines(DAG, run_id, "train")
    block = "\n".join([first.removeprefix("task train failed: "), heading, *lines])
    assert [line for line in log if "Traceback" in line] == [block]
