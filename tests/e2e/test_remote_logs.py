"""Lambda's lines in the log of a deferred training, in a real Airflow; and the traceback of one that fails there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from holding import held_trainers
from small import first_checkpoint

from snn_cli.local.airflow_api import ENDED
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.launch.starting import start_trainer

DAG = "snn_training"


def buttons(api: Any, run_id: str) -> dict[str, str | None]:
    """Return the links on the train task's page, as the UI asks for them."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances/train/links"
    answer: httpx.Response = api._http.get(path)
    links: dict[str, str | None] = answer.raise_for_status().json()["extra_links"]
    return links


def epochs(lines: Sequence[str]) -> list[int]:
    """Return where in a log the lines of epochs stand."""
    return [number for number, line in enumerate(lines) if re.match(r"epoch [\d,]+ of [\d,]+, cost ", line)]


def test_the_log_of_a_deferred_training_has_the_lines_of_its_functions(
    machine: Any, train: Callable[..., Any], stack: StackOutputs
) -> None:
    with held_trainers(machine.clients, stack):
        training = train(DAG, epochs=40, granularity="layer", deploy=False)
        machine.until(lambda: training.task == "deferred", 240)
    machine.until(lambda: machine.api.run_state(DAG, training.dag_run) in ENDED, 240)
    assert machine.api.run_state(DAG, training.dag_run) == "success"
    lines = training.log()
    said = Counter(line.partition(", ")[0] for line in lines if re.match(r"\[\w+Lambda\] ", line))
    assert said == {
        "[LaunchLambda] PENDING": 1,
        "[TrainerLambda] starts": 1,
        "[TrainerLambda] first layer direct: layer granularity computes every neuron directly": 1,
        "[TrainerLambda] epoch 0 of 40": 1,
        "[TrainerLambda] COMPLETED after 40 epochs": 1,
    }
    deferred = next(number for number, line in enumerate(lines) if line.startswith("Pausing task as DEFERRED"))
    last_word = lines.index("[TrainerLambda] COMPLETED after 40 epochs")
    assert deferred < lines.index("[LaunchLambda] PENDING") < last_word
    assert deferred < epochs(lines)[0] <= epochs(lines)[-1] < last_word


def test_a_training_that_fails_in_lambda_shows_the_traceback(
    machine: Any, train: Callable[..., Any], stack: StackOutputs
) -> None:
    api, training = machine.api, train(DAG, deploy=False)
    run_id = training.dag_run
    machine.until(lambda: training.task == "deferred", 240)
    # The buttons are there while it goes on; the emulator has pages for the bucket only.
    folder = machine.until(lambda: buttons(api, run_id)["Bucket prefix"], 240)
    name = training.run_id
    assert f"prefix=runs/{name}/" in folder
    assert f"<Key>runs/{name}/checkpoint.h5</Key>" in httpx.get(folder).text
    assert buttons(api, run_id) == {"Bucket prefix": folder, "Lambda logs": None, "Stack": None}
    # The functions' lines come among those of the epochs, not only at the end.
    machine.until(lambda: "[LaunchLambda] PENDING" in (lines := training.log()) and epochs(lines), 240)
    so_far = training.log()
    machine.until(lambda: epochs(training.log())[-1] >= len(so_far), 240)
    # A checkpoint with a layer of a bad shape, past all validation, for the next trainer; the present one loses its
    # lease.
    ledger, clients = training.ledger, machine.clients
    lease = machine.until(lambda: ledger.acquire(name, "the test", patience=0.05), 240)
    broken = first_checkpoint(lease.run.parameters, lease.run.features + 1)
    put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(name), Body=broken)
    lease.checkpointed(put["VersionId"])
    lease.release()
    start_trainer(clients, stack.trainer_function, name)

    machine.until(lambda: api.run_state(DAG, run_id) in ENDED, 240)
    assert training.task == "failed"
    assert buttons(api, run_id)["Bucket prefix"] == folder
    run = ledger.get(name)
    sizes = re.match(r"ValueError: matmul: .*\(size (\d+) is different from (\d+)\)", run.reason)
    assert sizes is not None  # of the last block of the Gram matrix, which is one feature too wide
    assert int(sizes[2]) - int(sizes[1]) == 1
    first, heading, *lines = api.failure(DAG, run_id).splitlines()
    assert first == f"task train failed: run {name} failed after {run.epoch} epochs: {run.reason}"
    assert heading == "The last lines of its Lambda functions:"
    start = lines.index("  [TrainerLambda] Traceback (most recent call last):")
    assert re.search(r'File ".*/snn_cloud/train/training\.py", line \d+, in advance', lines[start + 1])
    end = lines.index(f"  [TrainerLambda] {run.reason}")
    assert start < end
    assert any(re.search(r'File ".*/snn/\w+\.py", line \d+, in \w+', line) for line in lines[start:end])
    # In the log it is one block, before the exception.
    log = training.log()
    block = "\n".join([first.removeprefix("task train failed: "), heading, *lines])
    assert [line for line in log if "Traceback" in line] == [block]
