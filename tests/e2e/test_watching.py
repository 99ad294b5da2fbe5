"""What a training of about a minute costs Airflow while it runs, and what it tells."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any

import pytest

from snn_cloud.ledger.record import Run, State

SECONDS = 70.0


@dataclass(frozen=True)
class Sample:
    """One look from outside: the state of the task, the pool's slots, and how many processes run tasks."""

    task: str | None
    slots: dict[str, int]
    task_processes: int


@dataclass(frozen=True)
class Watched:
    """A training as it was seen several times a second, what it left, and the ledger's account of it."""

    samples: list[Sample]
    progress: list[dict[str, Any]]  # each value of the XCom once
    log: list[str]
    run: Run
    costs: dict[int, float]


@pytest.fixture(scope="module")
def watched(train: Callable[..., Any]) -> Watched:
    """Look at a training from its DAG run's start until it has been deferred for SECONDS; then end it in Lambda."""
    training = train("snn_training", deploy=False, granularity="layer", learning_rate=0.005)
    samples, progress, deadline = list[Sample](), list[dict[str, Any]](), time.monotonic() + 120
    while time.monotonic() < deadline:
        machine = training.machine
        before, slots, processes = training.task, machine.api.pool_slots(), machine.task_processes()
        if before == training.task:
            samples.append(Sample(before, slots, processes))
        if before == "deferred" and "deferred" not in {sample.task for sample in samples[:-1]}:
            deadline = time.monotonic() + SECONDS
        told = training.xcom("progress")
        # The same epoch again, if the trainer was slow, costs a little more.
        if told and told["epoch"] not in {each["epoch"] for each in progress}:
            progress.append(told)
        time.sleep(0.2)
    run_id = training.run_id
    training.ledger.request_cancel(run_id)
    training.machine.until(lambda: training.task == "failed", 120)
    run, costs = training.ledger.progress(run_id)
    return Watched(samples, progress, training.log(), run, {row.epoch: row.cost for row in costs})


def test_a_deferred_training_holds_no_worker_slot_and_no_process(watched: Watched) -> None:
    # The first samples see the tasks before it at work: what is counted can be other than 0.
    assert max(sample.task_processes for sample in watched.samples) >= 1
    assert max(sample.slots["running"] for sample in watched.samples) >= 1
    deferred = [sample for sample in watched.samples if sample.task == "deferred"]
    assert len(deferred) >= SECONDS / 2
    # The process that deferred the task takes a moment to end.
    alone = list(dropwhile(lambda sample: sample.task_processes, deferred))
    assert {sample.task_processes for sample in alone} == {0}
    assert len(alone) > 0.9 * len(deferred)
    for name, used in {"running": 0, "queued": 0, "scheduled": 0, "occupied": 0, "deferred": 1}.items():
        assert {sample.slots[name] for sample in deferred} == {used}


def test_its_progress_moves_in_xcom(watched: Watched) -> None:
    assert len(watched.progress) >= 10
    epochs = [told["epoch"] for told in watched.progress]
    assert epochs == sorted(set(epochs))
    for told in watched.progress:
        assert (told["run_id"], told["state"], told["epochs"]) == (watched.run.run_id, "RUNNING", 10_000_000)
        assert told["cost"] == (watched.costs[told["epoch"] - 1] if told["epoch"] else None)
    # Two epochs tell a speed: where the first are slow, the first records have none.
    speeds = [told["epochs_per_second"] for told in watched.progress]
    known = list(dropwhile(lambda speed: speed is None, speeds))
    assert len(known) >= len(speeds) - 2
    assert all(speed is not None and speed > 0 for speed in known)


def test_its_log_has_the_first_epoch_the_last_and_one_every_few_seconds(watched: Watched) -> None:
    pattern = re.compile(r"epoch (\d+) of 10000000, cost (\d\.\d{6})")
    told = {int(found[1]): found[2] for line in watched.log if (found := pattern.match(line))}
    epochs = list(told)
    assert epochs == sorted(epochs)
    assert (epochs[0], epochs[-1]) == (1, watched.run.epoch)
    assert SECONDS / 10 <= len(epochs) <= SECONDS / 5 + 4
    assert told == {epoch: f"{watched.costs[epoch - 1]:.6f}" for epoch in epochs}
    assert watched.run.state is State.CANCELLED
    assert any(f"was cancelled after {watched.run.epoch} epochs" in line for line in watched.log)
