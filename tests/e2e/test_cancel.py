"""Whatever a user does to stop a training in Airflow stops it in Lambda, and soon."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
import pytest
from airflow_clicks import Clicks

from snn_cli.local.airflow_api import ENDED, AirflowError
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run, State, StoppedBy

# Seconds from the click to CANCELLED, about five on a quiet machine. These trainings have no end, so a stop that does
# not work is seen however long is waited: the limit only has to be out of a busy machine's reach.
LIMIT = 60.0
EPOCHS = 2_000  # ten seconds and more


def mark_the_task_failed(api: Clicks, dag: str, dag_run: str) -> None:
    api.set_task_state(dag, dag_run, "train", "failed")


def mark_the_task_success(api: Clicks, dag: str, dag_run: str) -> None:
    api.set_task_state(dag, dag_run, "train", "success")


def clear_the_task(api: Clicks, dag: str, dag_run: str) -> None:
    api.clear_tasks(dag, dag_run, "train")


def fail_the_run(api: Clicks, dag: str, dag_run: str) -> None:
    api.set_run_state(dag, dag_run, "failed")


def delete_the_run(api: Clicks, dag: str, dag_run: str) -> None:
    # Airflow deletes no run that is running.
    api.set_run_state(dag, dag_run, "failed")
    api.delete_run(dag, dag_run)


def delete_the_task(api: Clicks, dag: str, dag_run: str) -> None:
    api.delete_task(dag, dag_run, "train")


def pause_the_dag_and_clear_the_task(api: Clicks, dag: str, dag_run: str) -> None:
    api.pause(dag)
    api.clear_tasks(dag, dag_run, "train")


# The last one pauses the DAG for those before it, too.
DEFERRED = [
    mark_the_task_failed, mark_the_task_success, clear_the_task, fail_the_run, delete_the_run, delete_the_task,
    pause_the_dag_and_clear_the_task,
]  # fmt: skip
# In the seconds between launch and deferral.
LAUNCHED = [mark_the_task_failed, clear_the_task, delete_the_run]
# A task that waits in the worker holds one of four slots.
WAITING = [mark_the_task_failed, clear_the_task, fail_the_run, delete_the_run]


@dataclass(frozen=True)
class Stop:
    """How a run took it: seconds to CANCELLED, and the run as the ledger has it then and some seconds later."""

    seconds: float
    then: Run
    later: Run


def ended(ledger: Ledger, run_id: str, since: float) -> tuple[float, Run]:
    """Wait until the run has ended, not for ever; return the seconds `since` and the run."""
    while not (run := ledger.get(run_id)).state.is_terminal and time.monotonic() - since < LIMIT:
        time.sleep(0.05)
    return time.monotonic() - since, run


def stop_all(train: Callable[..., Any], dag: str, actions: list[Callable[..., None]]) -> dict[Any, Stop]:
    """Start a training for each action and, once they all are under way, stop one after the other."""
    trainings = {action: train(dag) for action in actions}
    runs = {action: training.under_way() for action, training in trainings.items()}
    # The first word to XCom in a triggerer's life keeps it busy for seconds, in which it hears of nothing.
    for training in trainings.values():
        training.machine.until(lambda training=training: training.xcom("progress"), 120)
    try:
        stopped = {action: stop(training, action, runs[action]) for action, training in trainings.items()}
        return look_again(trainings, stopped)
    finally:
        for action, training in trainings.items():
            end(training, runs[action])
        training.machine.api.pause(dag, False)


def stop(training: Any, action: Callable[..., None], run_id: str) -> tuple[float, Run]:
    """Stop the training; return how long its run took to end, and the run as it was then."""
    clicked = time.monotonic()
    action(training.machine.api, training.dag, training.dag_run)
    return ended(training.ledger, run_id, clicked)


def look_again(trainings: dict[Any, Any], stopped: dict[Any, tuple[float, Run]]) -> dict[Any, Stop]:
    """Look at the stopped runs again after 5 seconds."""
    time.sleep(5)
    next(iter(trainings.values())).machine.revive_dead()  # some were deleted
    return {
        action: Stop(*stopped[action], training.ledger.get(stopped[action][1].run_id))
        for action, training in trainings.items()
    }


def end(training: Any, run_id: str) -> None:
    """Stop a training however it stands, also what its task has started since it was cleared."""
    with suppress(AirflowError):  # some are deleted
        training.machine.api.set_run_state(training.dag, training.dag_run, "failed")
    for run in training.runs(run_id):
        training.ledger.request_cancel(run.run_id)


@pytest.fixture(scope="module")
def deferred(train: Callable[..., Any]) -> dict[Any, Stop]:
    return stop_all(train, "deferred_training", DEFERRED)


@pytest.fixture(scope="module")
def launched(train: Callable[..., Any], deferred: dict[Any, Stop]) -> dict[Any, Stop]:
    """Trainings stopped as soon as Airflow knows of their runs, which is before their tasks are deferred."""
    trainings, stopped = {}, {}
    try:
        for action in LAUNCHED:
            for _ in range(5):  # on a busy machine one may be deferred before it was seen
                training = trainings[action] = train("deferred_training")
                run_id = training.machine.until(lambda training=training: training.run_id, 120)
                if training.task == "running":
                    break
                end(training, run_id)
            else:
                pytest.fail("all were deferred at once")
            stopped[action] = stop(training, action, run_id)
        return look_again(trainings, stopped)
    finally:
        for action, (_, run) in stopped.items():
            end(trainings[action], run.run_id)


@pytest.fixture(scope="module")
def waiting(train: Callable[..., Any]) -> dict[Any, Stop]:
    return stop_all(train, "waiting_training", WAITING)


def check(stop: Stop) -> None:
    print(f"CANCELLED after {stop.seconds:.1f} s")  # noqa: T201
    assert (stop.then.state, stop.then.stopped_by) == (State.CANCELLED, StoppedBy.CANCEL)
    assert stop.seconds < LIMIT
    # Not one epoch, request or millisecond more.
    assert stop.later == stop.then


@pytest.mark.parametrize("action", DEFERRED, ids=lambda action: action.__name__)
def test_a_deferred_training_stops(deferred: dict[Any, Stop], action: Any) -> None:
    check(deferred[action])
    assert deferred[action].then.epoch >= 3


@pytest.mark.parametrize("action", LAUNCHED, ids=lambda action: action.__name__)
def test_a_training_that_was_just_launched_stops(launched: dict[Any, Stop], action: Any) -> None:
    check(launched[action])


@dataclass(frozen=True)
class Cleared:
    """What became of a training whose task was cleared: both runs, and how long the first took to stop."""

    training: Any
    seconds: float
    old: Run
    new: Run


@pytest.fixture(scope="module")
def cleared(train: Callable[..., Any]) -> dict[bool, Cleared]:
    """Clear the task in the middle of two trainings, one told to resume, and wait for the end of both."""
    trainings = {resume: train("deferred_training", epochs=EPOCHS, resume=resume) for resume in (False, True)}
    runs = {resume: training.under_way() for resume, training in trainings.items()}
    found, clicked = {}, {}
    for resume, training in trainings.items():  # both at once: the second goes on while the first is waited for
        training.machine.api.clear_tasks(training.dag, training.dag_run, "train")
        clicked[resume] = time.monotonic()
    stopped = {resume: ended(training.ledger, runs[resume], clicked[resume]) for resume, training in trainings.items()}
    for resume, training in trainings.items():
        state = partial(training.machine.api.run_state, training.dag, training.dag_run)
        training.machine.until(lambda state=state: state() in ENDED, 240)
        assert state() == "success"
        old, new = training.runs(runs[resume])
        assert old == stopped[resume][1]
        found[resume] = Cleared(training, stopped[resume][0], old, new)
    return found


@pytest.mark.parametrize("resume", [False, True])
def test_the_next_try_after_a_clear_is_one_new_run_or_a_resumed_one(cleared: dict[bool, Cleared], resume: bool) -> None:
    old, new, ledger = cleared[resume].old, cleared[resume].new, cleared[resume].training.ledger
    assert (old.state, 3 <= old.epoch < EPOCHS) == (State.CANCELLED, True)
    assert (new.run_id, new.state, new.epoch, new.fence) == (f"{old.run_id}-t2", State.COMPLETED, EPOCHS, 1)
    assert (new.resumed_from, new.usage["launch"].invocations) == (old.run_id if resume else "", 1)
    assert cleared[resume].training.run_id == new.run_id
    before, after = ({row.epoch: row.cost for row in ledger.progress(run.run_id)[1]} for run in (old, new))
    assert list(after) == list(range(EPOCHS))
    assert before == {epoch: after[epoch] for epoch in range(old.epoch)}


def test_a_resumed_training_ends_with_the_weights_of_one_that_never_stopped(
    cleared: dict[bool, Cleared], machine: Any, stack: StackOutputs
) -> None:
    def weights(run: Run) -> dict[str, Any]:
        body = machine.clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run.run_id))["Body"].read()
        with h5py.File(io.BytesIO(body)) as h5:
            return {name: h5[name][()] for name in h5}

    anew, resumed = weights(cleared[False].new), weights(cleared[True].new)
    assert set(anew) == set(resumed) == {"W1", "b1", "W2", "b2"}
    assert all(np.array_equal(anew[name], resumed[name]) for name in anew)
    costs = [cleared[resume].training.ledger.progress(cleared[resume].new.run_id)[1] for resume in (False, True)]
    assert costs[0] == costs[1]


@pytest.mark.parametrize("action", WAITING, ids=lambda action: action.__name__)
def test_a_training_that_waits_in_the_worker_stops(waiting: dict[Any, Stop], action: Any) -> None:
    check(waiting[action])
    assert waiting[action].then.epoch >= 3
