"""Airflow's parts end and come back in the middle of a training, which neither notices nor starts twice."""

from __future__ import annotations

import io
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from snn_cli.local.airflow_api import ENDED
from snn_client.data.staging import stage
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy

pytestmark = pytest.mark.slow

# SIGTERM is a restart as an operator makes one, SIGKILL a crash.
RESTARTS = [
    ("triggerer", signal.SIGTERM),
    ("triggerer", signal.SIGKILL),
    ("scheduler", signal.SIGKILL),
    ("api-server", signal.SIGKILL),
    ("execution-api", signal.SIGKILL),
]
SECONDS = 60.0  # a training outlasts them all, if it takes so long


class Survivor(NamedTuple):
    """A training that lived through all restarts, and an undisturbed one that ran beside it."""

    training: Any
    run: Run
    undisturbed: Run


@pytest.fixture(scope="module")
def launch(machine: Any, stack: StackOutputs, faces: Path, parameters: Path) -> Callable[[int], str]:
    """Start the same training without Airflow, and return its run's id."""

    def launch(epochs: int) -> str:
        run_id, wanted = f"undisturbed-{time.time_ns()}", Parameters.load(parameters.read_text(), epochs=epochs)
        staged = stage(machine.clients, stack.bucket, run_id, faces, wanted)
        return runs.launch(machine.clients, stack, run_id, staged.dataset_key, wanted).run_id

    return launch


@pytest.fixture(scope="module")
def epochs(machine: Any, ledger: Any, launch: Callable[[int], str]) -> int:
    """How many epochs two trainings at a time do in SECONDS, on this machine as it is now."""
    both = [launch(10_000_000) for _ in range(2)]
    for run_id in both:
        machine.until(lambda run_id=run_id: ledger.get(run_id).epoch > 0, 60)
    before = [ledger.get(run_id) for run_id in both]
    time.sleep(5)
    after = [ledger.request_cancel(run_id) for run_id in both]
    done = sum(run.epoch for run in after) - sum(run.epoch for run in before)
    return round(done / 2 / 5 * SECONDS)


def live_through_restarts(training: Any) -> bool:
    """Restart every part in turn while it trains; return False if it was over before the last one was back."""
    machine, run_id = training.machine, training.under_way()
    for part, number in RESTARTS:
        pids, began = machine.pids(), time.monotonic()
        machine.kill(part, number)
        # Asked now, as a triggerer told to end goes on telling until it has ended.
        told = training.xcom("progress") if part == "triggerer" else None
        machine.revive()
        changed = {name for name, pid in machine.pids().items() if pid != pids[name]}
        assert changed == {part}
        if part == "triggerer":  # the new one has taken over when progress goes on
            machine.until(lambda told=told: training.xcom("progress") != told or training.task != "deferred", 90)
        print(f"{part} is back after {time.monotonic() - began:.1f} s")  # noqa: T201
        run = training.ledger.get(run_id)
        if run.state is State.COMPLETED:
            return False
        assert (run.state, run.cancel_requested, run.fence) == (State.RUNNING, False, 1)
    return True


@pytest.fixture(scope="module")
def survivor(train: Callable[..., Any], launch: Callable[[int], str], epochs: int) -> Survivor:
    while True:
        undisturbed, training = launch(epochs), train("snn_training", deploy=False, epochs=epochs)
        if live_through_restarts(training):
            break
        epochs *= 2  # the machine is faster than it was
    machine, ledger = training.machine, training.ledger
    machine.until(lambda: machine.api.run_state(training.dag, training.dag_run) in ENDED, 240)
    machine.until(lambda: ledger.get(undisturbed).state.is_terminal, 240)
    return Survivor(training, ledger.get(training.run_id), ledger.get(undisturbed))


def test_the_dag_run_succeeds_and_no_task_was_tried_twice(survivor: Survivor) -> None:
    tasks = survivor.training.machine.api.task_instances(survivor.training.dag, survivor.training.dag_run)
    names = ("deploy", "stage", "train", "evaluate", "predict", "report")
    assert {task["task_id"]: (task["state"], task["try_number"]) for task in tasks} == dict.fromkeys(
        names, ("success", 1)
    )
    assert survivor.training.xcom("progress")["state"] == "COMPLETED"


def test_there_is_one_run_and_one_trainer_did_all_of_it(survivor: Survivor) -> None:
    run = survivor.run
    assert survivor.training.runs(run.run_id) == [run]
    assert (run.state, run.epoch, run.stopped_by) == (State.COMPLETED, run.parameters.epochs, StoppedBy.EPOCHS)
    assert (run.fence, run.continuations, run.usage["trainer"].invocations) == (1, 0, 1)


def test_the_triggers_that_watched_it_left_their_lines(survivor: Survivor) -> None:
    log = survivor.training.log()
    # Three watched it; of one that is killed Airflow may have no line.
    assert 2 <= sum(line.startswith("trigger ") and line.endswith(" starting") for line in log) <= 3
    epochs = [int(found[1]) for line in log if (found := re.match(r"epoch (\d+) of ", line))]
    assert epochs[-1] == survivor.run.epoch


def test_the_weights_are_those_of_an_undisturbed_training_bit_for_bit(
    survivor: Survivor, machine: Any, stack: StackOutputs
) -> None:
    assert survivor.undisturbed.state is State.COMPLETED

    def weights(run: Run) -> dict[str, np.ndarray[Any, Any]]:
        body = machine.clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run.run_id))["Body"].read()
        with h5py.File(io.BytesIO(body)) as h5:
            return {name: h5[name][()] for name in h5}

    survived, undisturbed = weights(survivor.run), weights(survivor.undisturbed)
    assert list(survived) == list(undisturbed) == ["W1", "W2", "b1", "b2"]
    for name in survived:
        assert survived[name].tobytes() == undisturbed[name].tobytes(), name
        assert survived[name].std() > 0 or name == "b2"
