"""Runs as their users see them: launch, watch, cancel. Operators and commands are two faces of these functions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from snn.errors import one_line
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, LaunchRejected, RunCancelled, RunFailed
from snn_cloud.aws.places import new_run_id, run_id_for_upload, run_of_try
from snn_cloud.ledger.ledger import EpochRow, Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, Task

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

__all__ = [
    "cancel", "check_cache", "launch", "launch_again", "new_run_id", "next_run_id", "outcome", "run_id_for_upload",
    "stop", "watch",
]  # fmt: skip

Rows = list[EpochRow]

VERSION = 2  # of the stack: its output of this name
TASK_VERSION = 3  # from which on LaunchLambda is told which task asks
STOP_SECONDS = 60.0  # for a run to end that has been told to; it takes about two
GONE_SECONDS = 5.0  # after which it may be that nobody hears


def check_cache(parameters: Parameters, outputs: StackOutputs, source: str = "") -> None:
    """Raise InvalidParameters when parameters need a cache, but the stack has none."""
    parameters.check_cache(outputs.has_cache, f"the stack {outputs.stack_name}", source)


def launch(
    clients: Clients,
    outputs: StackOutputs,
    run_id: str,
    dataset_key: str,
    parameters: Parameters,
    *,
    dataset_version: str = "",
    promote: bool = False,
    trainer_seconds: float = 0.0,
    resume_from: str = "",
    task: Task | None = None,
) -> Run:
    """Start a run, or find the one that the same request started before; return it. `task` is Airflow's that asks.

    If it has not ended, it gets another trainer, which leaves at once if the run already has one.
    `resume_from` names a failed, cancelled or paused run of the same data and parameters (how far to train and who
    computes may differ): the new run begins at its last checkpoint. Raises LaunchRejected with LaunchLambda's one-line
    reason, and CloudError for a stack of an older version, or when LaunchLambda itself failed, so that it may be tried
    again.
    """
    if outputs.version < VERSION:
        raise CloudError(
            f"the stack {outputs.stack_name} was deployed by an older version, whose trainers draw mini-batches only "
            "once a run: deploy it again (snn deploy)"
        )
    request = {
        "run_id": run_id,
        "dataset": dataset_key,
        "dataset_version": dataset_version,
        "parameters": json.loads(parameters.to_json()),
        "promote": promote,
        "trainer_seconds": trainer_seconds,
        "resume_from": resume_from,
        **({"started_by": task.to_text()} if task and outputs.version >= TASK_VERSION else {}),
    }
    response = clients.lambda_.invoke(FunctionName=outputs.launch_function, Payload=json.dumps(request).encode())
    answer: Any = json.loads(response["Payload"].read())
    if "FunctionError" in response:
        raise CloudError(one_line(f"{outputs.launch_function} failed: {answer.get('errorMessage', answer)}"))
    if "error" in answer:
        raise LaunchRejected(answer["error"])
    return Ledger(clients.dynamodb, outputs.table).get(run_id)


def launch_again(clients: Clients, outputs: StackOutputs, run: Run) -> Run:
    """Launch a run again with the request that the ledger has: a run that has lost its trainer continues.

    Raises as `launch` does.
    """
    if run.parameters is None:
        raise LaunchRejected(f"run {run.run_id} has no parameters")
    return launch(
        clients, outputs, run.run_id, run.dataset, run.parameters, dataset_version=run.dataset_version,
        promote=run.promote, trainer_seconds=run.trainer_seconds, resume_from=run.resumed_from,
    )  # fmt: skip


def watch(
    clients: Clients,
    outputs: StackOutputs,
    run_id: str,
    on_progress: Callable[[Run, Rows], None],
    *,
    every_seconds: float = 1.0,
    limit_seconds: float = float("inf"),
) -> Run:
    """Follow a run to its end, reporting new epochs as they come; return it as `outcome` does.

    Raises TimeoutError after `limit_seconds`; the run continues.
    """
    ledger, deadline, seen = Ledger(clients.dynamodb, outputs.table), time.monotonic() + limit_seconds, -1
    while True:
        run, rows = ledger.progress(run_id, after_epoch=seen)
        if rows:
            seen = rows[-1].epoch
        on_progress(run, rows)
        if run.state.is_terminal:
            return outcome(run)
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {run_id} is still {run.state} after {limit_seconds:g} s; it continues")
        time.sleep(every_seconds)


def outcome(run: Run) -> Run:
    """Return a COMPLETED run. Raises RunFailed with the reason, or RunCancelled."""
    if run.state is State.FAILED:
        raise RunFailed(f"run {run.run_id} failed after {run.epoch} epochs: {run.reason}")
    if run.state is State.CANCELLED:
        raise RunCancelled(f"run {run.run_id} was cancelled after {run.epoch} epochs")
    return run


def cancel(clients: Clients, outputs: StackOutputs, run_id: str) -> Run:
    """Ask a run to stop; its trainer stores a checkpoint and sets CANCELLED within seconds. Raises RunNotFound."""
    return Ledger(clients.dynamodb, outputs.table).request_cancel(run_id)


def next_run_id(ledger: Ledger, run: Run) -> str:
    """Return the name for a run that resumes this one: `-t2` behind the name of the first run, `-t3` …"""
    first = run
    while first.resumed_from and (older := ledger.find(first.resumed_from)):
        first = older
    return next(name for number in count(2) if ledger.find(name := run_of_try(first.run_id, number)) is None)


def stop(clients: Clients, outputs: StackOutputs, run_id: str) -> Run:
    """Ask a run to stop, wait until it has ended and return it: CANCELLED, or as it ended before it noticed.

    If it has lost its trainer, another one ends it, which takes half a minute. Raises RunNotFound, CloudError
    when it does not stop, and as `launch` does.
    """
    ledger, began, called = Ledger(clients.dynamodb, outputs.table), time.monotonic(), False
    run = ledger.request_cancel(run_id)
    while not run.state.is_terminal:
        waited = time.monotonic() - began
        if waited > STOP_SECONDS:
            raise CloudError(f"run {run_id} was asked to stop but did not within {STOP_SECONDS:g} s")
        if waited > GONE_SECONDS and not called:
            launch_again(clients, outputs, run)
            called = True
        time.sleep(0.5)
        run = ledger.get(run_id)
    return run
