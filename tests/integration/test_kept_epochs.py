"""Kept epochs of real runs: stored on the way, exact, counted, taken away with the run; and what their neurons did."""

from __future__ import annotations

import io
import time
from itertools import pairwise
from typing import Any

import numpy as np
import oracle
import pytest
from small import wait_until
from training import Lesson

from snn.errors import InvalidInput
from snn.network import Params
from snn_client.microscope.epochs import Epochs
from snn_client.microscope.invocations import summary_of, waves_of
from snn_client.runs import runs
from snn_client.runs.logs import lines_of_invocation
from snn_cloud.aws import places
from snn_cloud.aws.errors import RunCancelled
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_data.dataset import load_dataset
from snn_data.kept import kept_between
from snn_data.model import load_model


def parameters(**fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **fields))


@pytest.fixture
def train(clients, stack, data, request):
    """Launch a run under a name of its own and watch it to its end."""

    def train(chosen: Parameters, name: str = "", key: str = "", **options: Any) -> Run:
        run_id = runs.new_run_id(f"{request.node.name} {name}")
        if not key:
            key = places.input_dataset(run_id, "0" * 64)
            clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
        runs.launch(clients, stack, run_id, key, chosen, **options)
        try:
            return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=120)
        except RunCancelled:
            return Ledger(clients.dynamodb, stack.table).get(run_id)

    return train


@pytest.fixture
def epochs(clients, stack):
    return lambda run: Epochs(clients, stack.bucket, run)


def alone(chosen: Parameters, data: bytes, epoch: int) -> Params:
    """The network after so many epochs of a training in this process."""
    lesson = Lesson(chosen, load_dataset(io.BytesIO(data)))
    for _ in lesson.steps() if epoch else ():
        if lesson.training.epoch == epoch and not lesson.training.step:
            break
    return chosen.in_own_units(lesson.job.first.network(lesson.training.params))


def check_same(one: Params, other: Params) -> None:
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name


def stored_model(clients, stack, run: Run) -> Params:
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run.run_id))["Body"]
    return load_model(io.BytesIO(body.read())).params


def kept_keys(clients, stack, run: Run) -> list[str]:
    listed = clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=places.kept_epochs_of(run.run_id))
    return [item["Key"] for item in listed.get("Contents", [])]


@pytest.mark.parametrize("fields", [
    pytest.param({"first_layer": "span"}, id="span"),
    pytest.param({"batch_size": 7, "strategy": "sgd", "optimizer": "adam", "dropout": 0.2, "learning_rate": 0.01,
                  "first_layer": "direct"}, id="adam"),
])  # fmt: skip
def test_epochs_are_kept_over_many_trainers(clients, stack, train, epochs, data, fields):
    chosen = parameters(epochs=30, **fields)
    run = train(chosen, trainer_seconds=0.001)
    assert run.continuations > 20
    seen = epochs(run)
    assert seen.kept == kept_between(0, 30)
    for epoch in (0, 1, 11, 12, 20, 29, 30):
        found = seen.look(epoch)
        assert found.recomputed == (epoch in (12, 20, 29))
        check_same(found.params, alone(chosen, data, epoch))
    assert seen.invocations(13) is None
    # Each is in a file of its own: every trainer has a checkpoint at its end, and stores it before.
    keys = kept_keys(clients, stack, run)
    assert len(keys) in range(len(seen.kept) - 1, len(seen.kept) + 1)
    without = train(chosen.model_copy(update={"keep_epochs": False}), name="without", trainer_seconds=0.001)
    assert kept_keys(clients, stack, without) == []
    with pytest.raises(InvalidInput, match=r"has no kept epochs \(set keep_epochs"):
        epochs(without)
    more = run.requests["s3_puts"] - without.requests["s3_puts"]
    assert more - (run.continuations - without.continuations) == len(keys)
    check_same(seen.look(30).params, stored_model(clients, stack, run))


def test_a_short_run_stores_them_at_its_end_in_one_object(clients, stack, train, epochs):
    run = train(parameters(epochs=12))
    assert [key.rpartition("/")[2] for key in kept_keys(clients, stack, run)] == ["00000000-00000012-1.h5"]
    assert epochs(run).kept == [*range(13)]
    assert run.usage["trainer"].s3_puts == 3  # and the model, and the costs


def test_a_cancelled_run_and_the_one_that_goes_on_from_it(clients, stack, train, epochs, data):
    chosen = parameters(epochs=10_000_000, first_layer="span", learning_rate=0.001)
    run_id = runs.new_run_id("kept cancelled")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    runs.launch(clients, stack, run_id, key, chosen)
    ledger = Ledger(clients.dynamodb, stack.table)
    wait_until(lambda: ledger.get(run_id).epoch > 100, "no epochs")
    runs.cancel(clients, stack, run_id)
    wait_until(lambda: ledger.get(run_id).state.is_terminal, "not cancelled")
    older = ledger.get(run_id)
    assert older.state is State.CANCELLED
    first = epochs(older)
    assert (first.kept[0], first.kept[-1], first.last) == (0, older.epoch, older.epoch)
    check_same(first.look(older.epoch).params, alone(chosen, data, older.epoch))
    further = chosen.model_copy(update={"epochs": older.epoch + 40})
    run = train(further, key=key, resume_from=run_id)
    seen = epochs(run)
    own = {epoch for epoch in kept_between(0, 10**7) if older.epoch < epoch < run.epoch}
    assert seen.kept == sorted({*first.kept, *own, run.epoch})
    for epoch in (0, 12, older.epoch, older.epoch + 1, run.epoch):
        check_same(seen.look(epoch).params, alone(further, data, epoch))
    # They lie where all of a run does, so whoever takes that away takes them along.
    assert all(key.startswith(places.run_prefix(run.run_id)) for key in kept_keys(clients, stack, run))


def test_a_paused_run_keeps_where_it_paused(train, epochs):
    run = train(parameters(epochs=30, pause_after=12))
    assert run.stopped_by is StoppedBy.PAUSE
    assert epochs(run).kept == [*range(12), 12]


def test_the_best_epoch_is_the_model(clients, stack, train, epochs):
    run = train(parameters(epochs=300, batch_size=6, strategy="sgd", optimizer="adam", learning_rate=0.05,
                           validation=0.25, patience=4))  # fmt: skip
    assert run.stopped_by is StoppedBy.PATIENCE
    check_same(epochs(run).look(run.best_epoch + 1).params, stored_model(clients, stack, run))


@pytest.mark.parametrize("granularity", ["neuron", "layer"])
def test_what_neurons_did_in_a_kept_epoch(clients, stack, train, epochs, data, granularity):
    chosen = parameters(epochs=4, granularity=granularity, batch_size=7, strategy="average")
    began = time.time()
    run = train(chosen)
    seen = epochs(run)
    assert not seen.exact
    assert seen.kept == [0, 1, 2, 3, 4]
    found = seen.look(4)
    for name, array in alone(chosen, data, 4).items():
        assert np.abs(found.params[name] - array).max() < 1e-12
    assert seen.invocations(0) is None
    tasks = []
    for layer, size in ((1, 5), (2, 4), (3, 1)):
        each = [(n, n) for n in range(size)] if granularity == "neuron" else [(0, size - 1)]
        tasks += [(layer, *neurons) for neurons in each]
    counted = ended = 0.0
    for epoch in (1, 2, 3, 4):
        recorded = seen.invocations(epoch)
        ones = recorded.invocations
        assert sorted((one.batch, one.direction, one.layer, one.first, one.last) for one in ones) == sorted(
            (batch, direction, *task) for batch in range(4) for direction in ("forward", "backward") for task in tasks
        )
        how = {(one.step, one.round, one.attempt, one.outcome, one.memory_mb) for one in ones}
        assert how == {(0, 1, 1, "done", 512)}
        assert len({one.request_id for one in ones}) == len(ones)
        assert max(began, ended) <= recorded.started_at < recorded.ended_at <= run.ended_at
        ended = recorded.ended_at
        assert all(0 <= one.sent < one.answered <= recorded.seconds for one in ones)
        # The function's own time is within what the trainer waited, but for what it took to start it.
        assert all(one.milliseconds - one.init_ms <= 1000 * (one.answered - one.sent) + 1 for one in ones)
        waves = {(wave.batch, wave.layer, wave.direction): wave for wave in waves_of(recorded)}
        for batch in range(4):  # of one mini-batch, one wave after the other
            order = [waves[batch, layer, "forward"] for layer in (1, 2, 3)]
            order += [waves[batch, layer, "backward"] for layer in (3, 2, 1)]
            assert all(one.answered <= other.sent for one, other in pairwise(order))
        summary = summary_of(recorded, run.usage["trainer"].memory_mb)
        assert (summary.invocations, summary.failed, summary.repeated, summary.left_out) == (len(ones), 0, 0, 0)
        assert [wave.layer for wave in summary.path] == [1, 2, 3, 3, 2, 1]
        assert 0 < summary.waiting_seconds < summary.seconds
        assert 0 < summary.neuron_usd < summary.trainer_usd * 10
        counted += summary.neuron_ms
    assert counted == run.usage["neuron"].milliseconds
    one = ones[-1]

    def lines() -> list[str]:
        where = stack.neuron_function, one.request_id, one.log_stream, recorded.started_at + one.sent
        return [line.text for line in lines_of_invocation(clients.logs, *where)]

    wait_until(lines, "no lines")
    start, own, *_, report = lines()
    assert start.startswith(f"START RequestId: {one.request_id}")
    what = f"layer {one.layer} neurons [{one.first}, {one.last + 1}] {one.direction}"
    assert own == f"{run.run_id}: {what} {one.milliseconds} ms"
    assert report.startswith(f"REPORT RequestId: {one.request_id}")


def test_a_cold_function_is_told_from_a_warm_one(clients, stack, train, epochs):
    name = stack.neuron_function
    timeout = clients.lambda_.get_function_configuration(FunctionName=name)["Timeout"]
    clients.lambda_.update_function_configuration(FunctionName=name, Timeout=timeout)
    clients.lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    run = train(parameters(epochs=3, granularity="layer"))
    first, last = (summary_of(epochs(run).invocations(epoch), 1769) for epoch in (1, 3))
    assert first.cold >= 1
    assert first.init_ms > 50
    assert last.cold == 0
    assert run.usage["neuron"].milliseconds >= first.init_ms
