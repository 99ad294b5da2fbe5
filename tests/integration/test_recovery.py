"""What a trainer does when something breaks: `advance` runs here, against the emulator, with faults of the test's own.

Where a run has to go on, it does so in the stack's real TrainerLambda.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import h5py
import numpy as np
import oracle
import pytest
from botocore.exceptions import ClientError
from small import first_checkpoint, wait_until

from snn.optimizers import Adam
from snn.training import History
from snn.validation import Validation
from snn_client.runs import runs
from snn_client.runs.logs import RunLogs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.launching import launch
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_cloud.train import reporter, training
from snn_data.dataset import load_dataset

PARAMETERS = Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), epochs=6))
SGD = {
    "strategy": "sgd", "batch_size": 4, "optimizer": Adam(beta_2=0.99), "dropout": 0.2, "learning_rate": 0.01,
    "validation": 0.25,
}  # fmt: skip
"""A run whose trainers may stop within an epoch, and hand over more than weights."""
PLENTY = training.MARGIN_SECONDS + 600


@pytest.fixture
def settings(stack):
    return Settings(stack.bucket, stack.table, "", stack.trainer_function)


@pytest.fixture
def ledger(clients, stack):
    return Ledger(clients.dynamodb, stack.table)


@pytest.fixture
def recorded(clients, stack, ledger, data, request):
    """Record a run as LaunchLambda does, without starting its trainer."""

    def record(chosen=PARAMETERS, name="", **fields):
        run_id = runs.new_run_id(f"{request.node.name} {name}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
        put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(run_id), Body=first_checkpoint(chosen))
        version = put["VersionId"]
        run = Run(run_id, parameters=chosen, dataset=key, checkpoint_version=version, created_at=1.0, **fields)
        assert ledger.create(run)
        return run_id

    return record


class Failing:
    """An S3 client that answers 503 to puts, from the `after`-th on."""

    def __init__(self, s3, after):
        self._s3, self._left = s3, after

    def __getattr__(self, name):
        return getattr(self._s3, name)

    def put_object(self, **request):
        if self._left == 0:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "Please reduce your rate"}}, "PutObject")
        self._left -= 1
        return self._s3.put_object(**request)


def with_failing_puts(after):
    clients = Clients.from_environment()
    clients.s3 = Failing(clients.s3, after)
    return clients


def weights_of(clients, stack, run_id):
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run_id))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        return {name: h5[name][()] for name in h5}


def check_as_by_the_oracle(clients, stack, ledger, run_id, data, chosen=PARAMETERS):
    params, costs = oracle.train_on(chosen, load_dataset(io.BytesIO(data)))
    stored = weights_of(clients, stack, run_id)
    assert stored.keys() == params.keys()
    assert max(np.abs(stored[name] - array).max() for name, array in params.items()) < 1e-12
    assert [row.cost for row in ledger.progress(run_id)[1]] == pytest.approx(costs, abs=1e-12)


@pytest.mark.parametrize("more", [{}, SGD], ids=["full-batch", "sgd"])
def test_an_error_after_a_checkpoint_goes_on_by_an_event_of_its_own(
    clients, stack, settings, ledger, recorded, data, monkeypatch, more
):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    chosen = PARAMETERS.model_copy(update={**more, "keep_epochs": False})  # whose puts would be counted, too
    run_id, whole = recorded(chosen), recorded(chosen, name="whole")
    # The second checkpoint fails; were the error raised, Lambda would count this as one of three tries.
    released = training.advance(run_id, "here", lambda: PLENTY, settings, with_failing_puts(1))
    assert (released.state, released.owner, released.attempts, released.fence) == (State.RUNNING, "", 0, 1)
    done = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    assert (done.fence, done.epoch, done.step) == (2, 6, 0)
    assert training.advance(whole, "here", lambda: PLENTY, settings, clients).state is State.COMPLETED
    one, two = (weights_of(clients, stack, each) for each in (run_id, whole))
    assert all(one[name].tobytes() == two[name].tobytes() for name in two)
    assert ledger.progress(run_id)[1] == ledger.progress(whole)[1]
    if not more:
        check_as_by_the_oracle(clients, stack, ledger, run_id, data)


def test_an_error_before_any_checkpoint_is_left_to_lambdas_retries_and_the_third_ends_the_run(
    settings, ledger, recorded
):
    run_id = recorded()
    for attempt in (1, 2):
        with pytest.raises(ClientError, match="SlowDown"):
            training.advance(run_id, "here", lambda: PLENTY, settings, with_failing_puts(0))
        run = ledger.get(run_id)
        assert (run.state, run.owner, run.attempts) == (State.RUNNING, "", attempt)
    failed = training.advance(run_id, "here", lambda: PLENTY, settings, with_failing_puts(0))
    assert (failed.state, failed.attempts) == (State.FAILED, 3)
    assert failed.reason.startswith("ClientError: An error occurred (SlowDown)")


def test_a_run_whose_trainers_were_killed_again_and_again_fails(settings, clients, ledger, recorded):
    run_id = recorded()
    for number in range(3):
        assert ledger.acquire(run_id, f"killed {number}", patience=0.1)
    ledger.acquire(run_id, "killed 3", patience=0.1).release()
    failed = training.advance(run_id, "here", lambda: PLENTY, settings, clients)
    assert failed.state is State.FAILED
    assert failed.reason == "3 trainers were killed before a checkpoint (out of memory, or of time?)"


@pytest.mark.parametrize("more", [{}, SGD], ids=["full-batch", "sgd"])
def test_no_step_is_begun_that_cannot_end_in_time(settings, clients, recorded, monkeypatch, more):
    takes, clock = iter([0.6, *[0.4] * 5]), [time.monotonic()]

    def slow_to_read(*arguments):
        clock[0] += 1.0
        return load(*arguments)

    def slow(*arguments):
        for result in train(*arguments):
            clock[0] += next(takes)
            yield result

    load, train = training.load_job, training.train
    monkeypatch.setattr(training, "load_job", slow_to_read)
    monkeypatch.setattr(training, "train", slow)
    monkeypatch.setattr(training, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock[0]))
    monkeypatch.setattr(training, "start_trainer", lambda *_, **__: None)  # it shall stay where it stopped
    run_id = recorded(PARAMETERS.model_copy(update=more))
    run = training.advance(run_id, "here", lambda: training.MARGIN_SECONDS + 3.05, settings, clients)
    # The third ends at 2.4 s: 1.2 times the longest would end at 3.12, too late; once the longest, at 3.0, in time.
    assert (run.state, run.continuations) == (State.RUNNING, 1)
    assert (run.epoch, run.step, run.steps) == ((0, 3, 5) if more else (3, 0, 0))


def test_a_trainer_that_reads_its_data_for_long_gives_signs_of_life(settings, clients, ledger, recorded, monkeypatch):
    def slow(*arguments):
        wait_until(lambda: ledger.get(run_id).beat >= 1, "no sign of life")
        return load(*arguments)

    load, run_id = training.load_job, recorded()
    monkeypatch.setattr(training, "load_job", slow)
    assert ledger.get(run_id).beat == 0
    assert training.advance(run_id, "here", lambda: PLENTY, settings, clients).state is State.COMPLETED


@pytest.mark.parametrize("slow", [1, 3], ids=["once", "again and again"])
def test_what_a_slow_validation_finds_is_told_with_its_epoch(
    clients, stack, settings, ledger, recorded, monkeypatch, slow
):
    # A sign of life that is given while it goes on shall not tell of an epoch half.
    monkeypatch.setattr(reporter, "FLUSH_SECONDS", 0.02)
    judge, turns = Validation.__call__, itertools.count()

    def validate(self, params):
        if next(turns) % 6 >= 6 - slow:
            beat = ledger.get(run_id).beat
            wait_until(lambda: ledger.get(run_id).beat >= beat + 2, "no sign of life")
        return judge(self, params)

    monkeypatch.setattr(Validation, "__call__", validate)
    run_id = recorded(PARAMETERS.model_copy(update={"validation": 0.25}))
    done = training.advance(run_id, "here", lambda: PLENTY, settings, clients)
    assert (done.state, done.epoch) == (State.COMPLETED, 6)
    told = json.loads(clients.s3.get_object(Bucket=stack.bucket, Key=places.results(run_id))["Body"].read())
    _, rows = ledger.progress(run_id)
    assert [{"cost": row.cost, "validation_cost": row.validation_cost, "validation_accuracy": row.validation_metric}
            for row in rows] == [told[f"epoch{epoch}"] for epoch in range(6)]  # fmt: skip
    assert (done.validation_cost, done.validation_metric) == rows[-1][2:]
    assert done.best_epoch == min(rows, key=lambda row: row.validation_cost).epoch


def test_a_run_may_not_take_longer_than_a_week(settings, clients, recorded):
    run_id = recorded(started_at=time.time() - 8 * 86_400, trainer_seconds=0.001)
    failed = training.advance(run_id, "here", lambda: PLENTY, settings, clients)
    assert (failed.state, failed.epoch, failed.stopped_by) == (State.FAILED, 1, StoppedBy.BUDGET)
    assert re.fullmatch(
        r"max_seconds: 691,2\d\d\.\d of 604,800 s spent after 1 epochs \(resume the run\)", failed.reason
    )


def test_a_run_whose_trainer_s_event_was_lost_goes_on_when_it_is_launched_again(
    clients, stack, settings, ledger, recorded, data, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(training, "start_trainer", lambda *_, **__: None)
        run_id = recorded()
        lost = training.advance(run_id, "here", lambda: training.MARGIN_SECONDS, settings, clients)
    assert (lost.state, lost.owner, lost.epoch, lost.fence) == (State.RUNNING, "", 1, 1)
    assert runs.launch_again(clients, stack, lost).state in (State.RUNNING, State.COMPLETED)
    done = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    assert (done.state, done.fence, done.epoch, done.usage["trainer"].invocations) == (State.COMPLETED, 2, 6, 2)
    check_as_by_the_oracle(clients, stack, ledger, run_id, data)


def test_a_run_that_is_launched_again_while_a_trainer_works_does_not_notice(clients, stack, ledger, recorded):
    run_id = runs.new_run_id("launched thrice")
    endless = PARAMETERS.model_copy(update={"epochs": 10_000_000})
    first = runs.launch(clients, stack, run_id, ledger.get(recorded()).dataset, endless)
    wait_until(lambda: ledger.get(run_id).epoch, "no epoch")
    run = ledger.get(run_id)
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(lambda _: runs.launch_again(clients, stack, run), range(2)):
            assert (again.state, again.owner, again.fence) == (State.RUNNING, run.owner, 1)
    reading, said, limit = RunLogs(clients.logs, stack, run_id, run.created_at), [], time.monotonic() + 60
    while sum(line.text.startswith("RUNNING after") for line in said) < 2:  # two trainers came, and left
        assert time.monotonic() < limit, said
        said += reading.new()
        time.sleep(0.2)
    seen = ledger.get(run_id)
    attempts = 1 if seen.checkpoint_version == first.checkpoint_version else 0  # a checkpoint ends their count
    assert (seen.state, seen.owner, seen.fence, seen.attempts) == (State.RUNNING, run.owner, 1, attempts)
    stopped = runs.stop(clients, stack, run_id)
    assert (stopped.state, stopped.fence, stopped.usage["trainer"].invocations) == (State.CANCELLED, 1, 1)
    assert [row.epoch for row in ledger.progress(run_id)[1]] == list(range(stopped.epoch))


class Here:
    """LaunchLambda and TrainerLambda in this process, where the times of the lease can be shortened."""

    def __init__(self, settings):
        self._settings, self.clients = settings, Clients.from_environment()
        self.clients.lambda_ = self

    def invoke(self, FunctionName, Payload, InvocationType="RequestResponse"):
        event, clients = json.loads(Payload), self.clients
        if InvocationType == "Event":
            work = (event["run_id"], "here", lambda: PLENTY, self._settings, clients)
            threading.Thread(target=training.advance, args=work).start()
            return {}
        return {"Payload": io.BytesIO(json.dumps({"run_id": launch(event, self._settings, clients).run_id}).encode())}


def test_a_run_that_has_lost_its_trainer_can_be_stopped(stack, settings, ledger, recorded, monkeypatch):
    monkeypatch.setattr(runs, "GONE_SECONDS", 0.1)
    monkeypatch.setattr(Ledger.acquire, "__defaults__", (0.3,))  # the patience
    run_id = recorded()
    assert ledger.acquire(run_id, "killed, and its event lost")
    stopped = runs.stop(Here(settings).clients, stack, run_id)
    assert (stopped.state, stopped.fence, stopped.epoch) == (State.CANCELLED, 2, 1)


def test_results_of_many_epochs_are_written_and_not_built():
    costs = [1 / (number + 1) for number in range(1_000)] + [1e-300, 5e-324, 0.1 + 0.2]
    results = json.loads(training._results(0.0, History(costs), classes=2))
    assert list(results) == ["Start", *(f"epoch{number}" for number in range(len(costs))), "End"]
    assert [results[f"epoch{number}"] for number in range(len(costs))] == [{"cost": cost} for cost in costs]
    assert results["Start"] == "1970-01-01 00:00:00.000000"
