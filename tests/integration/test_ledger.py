"""The ledger and its lease on the emulator's DynamoDB, where conditional writes are real."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from snn.training import History
from snn_cloud.aws.errors import LeaseLost, RunNotFound
from snn_cloud.aws.places import new_run_id
from snn_cloud.ledger import ledger as ledger_module
from snn_cloud.ledger.ledger import LEASE_SECONDS, EpochRow, Ledger
from snn_cloud.ledger.record import Run, State, Usage


@pytest.fixture
def ledger(clients, stack):
    return Ledger(clients.dynamodb, stack.table)


@pytest.fixture
def run_id(ledger, request):
    run_id = new_run_id(request.node.name)
    assert ledger.create(Run(run_id, dataset="runs/x/d.h5", created_at=1.5, trainer_seconds=0.25))
    return run_id


def rows(costs):
    return [EpochRow(epoch, cost) for epoch, cost in enumerate(costs)]


def test_a_run_reads_back_as_it_was_written(ledger, run_id):
    run = ledger.get(run_id)
    assert (run.dataset, run.created_at, run.trainer_seconds, run.state) == ("runs/x/d.h5", 1.5, 0.25, State.PENDING)
    assert not ledger.create(Run(run_id, dataset="other"))
    assert ledger.get(run_id) == run
    with pytest.raises(RunNotFound, match="has no run 'nobody'"):
        ledger.get("nobody")
    with pytest.raises(RunNotFound):
        ledger.request_cancel("nobody")
    assert ledger.find("nobody") is None


def test_of_eight_trainers_at_once_one_gets_the_lease(ledger, run_id):
    left, limit = [], time.monotonic() + 90

    def contend(i):
        lease = ledger.acquire(run_id, f"owner{i}", patience=60.0)
        if lease is None:
            left.append(i)
        while lease and len(left) < 7 and time.monotonic() < limit:
            lease.flush(History(), {})
            time.sleep(0.1)
        return lease

    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(contend, range(8)))
    (winner,) = [lease for lease in leases if lease]
    assert (winner.run.fence, winner.run.state) == (1, State.RUNNING)


def test_a_beating_owner_keeps_its_run_and_a_silent_one_loses_it(ledger, run_id):
    first = ledger.acquire(run_id, "first")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(ledger.acquire, run_id, "second", 60.0)
        while not second.done():
            first.flush(History([0.5]), {})
            time.sleep(0.05)
    assert second.result() is None

    started = time.monotonic()
    third = ledger.acquire(run_id, "third", patience=1.0)
    assert time.monotonic() - started >= 1.0
    assert third.run.fence == 2
    assert third.run.owner.startswith("third/")
    before = ledger.get(run_id)
    for write in (
        lambda: first.flush(History([0.5, 0.4]), {}),
        lambda: first.checkpointed("stale"),
        lambda: first.release(),
        lambda: first.finish(State.COMPLETED),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert ledger.get(run_id) == before


def test_a_released_run_is_taken_over_at_once(ledger, run_id):
    ledger.acquire(run_id, "first").release(continuations=1)
    started = time.monotonic()
    assert ledger.acquire(run_id, "second").run.continuations == 1
    assert time.monotonic() - started < LEASE_SECONDS


def test_a_finished_run_takes_no_trainer_and_no_cancel(ledger, run_id):
    lease = ledger.acquire(run_id, "first")
    done = lease.finish(State.FAILED, reason="it broke")
    assert ledger.acquire(run_id, "second") is None
    assert ledger.request_cancel(run_id) == done
    assert (done.reason, done.state, done.owner) == ("it broke", State.FAILED, "")
    with pytest.raises(LeaseLost):
        lease.flush(History(), {})


def test_a_run_cancelled_before_its_trainer_never_gets_one(ledger, run_id):
    assert ledger.request_cancel(run_id).state is State.CANCELLED
    assert ledger.acquire(run_id, "late") is None


def test_costs_read_back_exactly_from_any_epoch_on(ledger, run_id, monkeypatch):
    monkeypatch.setattr(ledger_module, "CHUNK_EPOCHS", 3)
    lease = ledger.acquire(run_id, "first")
    costs = [1 / (i + 3) for i in range(10)]
    for end in (1, 2, 9, 10):
        lease.flush(History(costs[:end]), {"trainer": Usage(0, 10, 512), "neuron": Usage(4, 7, 256)})
    for after in (-1, 0, 4, 8):
        run, seen = ledger.progress(run_id, after_epoch=after)
        assert seen == rows(costs)[after + 1 :]
    assert (run.epoch, run.cost) == (10, costs[-1])
    assert ledger.progress(run_id, after_epoch=9)[1] == []
    assert run.usage["trainer"] == Usage(1, 40, 512)
    assert run.usage["neuron"] == Usage(16, 28, 256)
    assert run.usage["launch"] == Usage()


def test_what_validation_found_reads_back_exactly_beside_the_costs(ledger, run_id, monkeypatch):
    monkeypatch.setattr(ledger_module, "CHUNK_EPOCHS", 3)
    lease = ledger.acquire(run_id, "first")
    curves = [[1 / (i + k) for i in range(8)] for k in (3, 5, 7)]
    wanted = [EpochRow(epoch, *figures) for epoch, figures in enumerate(zip(*curves))]
    for end, best in ((1, 0), (5, 3), (5, 3), (8, 4)):
        lease.flush(History(*(curve[:end] for curve in curves)), {}, best_epoch=best)
        run, seen = ledger.progress(run_id)
        assert seen == wanted[:end]
        assert (run.epoch, run.best_epoch) == (end, best)
        assert (run.cost, run.validation_cost, run.validation_metric) == wanted[end - 1][1:]
    assert ledger.progress(run_id, after_epoch=6)[1] == wanted[7:]


def test_the_steps_of_an_epoch_are_written_as_they_change(ledger, run_id, clients):
    lease = ledger.acquire(run_id, "first")
    for history, step, wanted in (
        (History(), (0, 0), (0, 0, 0)),
        (History(), (3, 40), (0, 3, 40)),
        (History(), (39, 40), (0, 39, 40)),
        (History([0.5]), (0, 40), (1, 0, 40)),
        (History([0.5]), (7, 40), (1, 7, 40)),
    ):
        run = lease.flush(history, {}, step)
        assert (run.epoch, run.step, run.steps) == wanted
        assert ledger.get(run_id) == run


def test_a_successor_that_starts_further_back_writes_the_same_epochs_once(ledger, run_id):
    first = ledger.acquire(run_id, "first")
    first.flush(History([0.9, 0.8, 0.7]), {})
    first.release()
    second = ledger.acquire(run_id, "second")
    second.flush(History([0.9]), {})
    assert (ledger.get(run_id).epoch, ledger.get(run_id).cost) == (3, 0.7)  # who watches sees no step back
    second.flush(History([0.9, 0.8, 0.7, 0.6]), {})
    assert ledger.progress(run_id)[1] == rows([0.9, 0.8, 0.7, 0.6])


class Repeating:
    """A DynamoDB client whose answers to updates are lost once: botocore then sends the same update again."""

    def __init__(self, dynamodb):
        self._dynamodb = dynamodb

    def __getattr__(self, name):
        return getattr(self._dynamodb, name)

    def update_item(self, **request):
        self._dynamodb.update_item(**request)
        return self._dynamodb.update_item(**request)


def test_what_a_superseded_trainer_still_writes_takes_no_costs_away(ledger, run_id):
    costs = [1 / (epoch + 1) for epoch in range(20)]
    first = ledger.acquire(run_id, "first")
    first.flush(History(costs[:3]), {})
    second = ledger.acquire(run_id, "second", patience=0.1)
    second.flush(History(costs), {})
    with pytest.raises(LeaseLost):
        first.flush(History(costs[:5]), {})  # it hung, and goes on as if it still had the run
    assert ledger.progress(run_id)[1] == rows(costs)


def test_a_write_whose_answer_was_lost_counts_once(clients, stack, run_id):
    ledger = Ledger(Repeating(clients.dynamodb), stack.table)
    lease = ledger.acquire(run_id, "first")
    assert (lease.run.fence, lease.run.attempts, lease.run.usage["trainer"].invocations) == (1, 1, 1)
    run = lease.flush(History([0.5]), {"trainer": Usage(0, 10, 512)})
    assert (run.epoch, run.beat, run.usage["trainer"].milliseconds) == (1, 1, 10)
    assert lease.checkpointed("v1").checkpoint_version == "v1"
    done = lease.finish(State.COMPLETED, usage={"trainer": Usage(0, 7, 512)})
    assert (done.state, done.beat, done.usage["trainer"].milliseconds) == (State.COMPLETED, 3, 17)
    assert ledger.get(run_id) == done
    for count in (1, 2):
        ledger.add_usage(run_id, {"launch": Usage(1, 5, 512)})
        assert ledger.get(run_id).usage["launch"] == Usage(count, 5 * count, 512)


def test_a_run_that_lambda_gave_up_is_failed_unless_someone_works_on_it(ledger, run_id):
    lease = ledger.acquire(run_id, "killed")
    lease.flush(History([0.5]), {})
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        abandoning = pool.submit(ledger.abandon, run_id, "killed", 60.0)
        while not abandoning.done():
            lease.flush(History([0.5]), {})
            time.sleep(0.05)
    assert abandoning.result().state is State.RUNNING
    lost = ledger.abandon(run_id, "killed", patience=1.0)
    assert time.monotonic() - started >= 1.0
    assert (lost.state, lost.reason, lost.epoch, lost.owner) == (State.FAILED, "killed", 1, "")
    assert ledger.abandon(run_id, "again", patience=1.0) == lost


def test_a_run_that_lambda_gave_up_while_it_was_to_be_cancelled_is_cancelled(ledger, run_id):
    ledger.acquire(run_id, "killed")
    ledger.request_cancel(run_id)
    assert ledger.abandon(run_id, "killed", patience=0.2).state is State.CANCELLED


def test_a_run_waiting_for_its_next_trainer_may_still_get_it(ledger, run_id, monkeypatch):
    def look(run_id):
        run = get(run_id)
        looked.set()
        return run

    ledger.acquire(run_id, "first").release()
    get, looked = ledger.get, threading.Event()
    monkeypatch.setattr(ledger, "get", look)
    with ThreadPoolExecutor(1) as pool:
        abandoning = pool.submit(ledger.abandon, run_id, "killed", 60.0)
        assert looked.wait(60)
        assert ledger.acquire(run_id, "second").run.fence == 2
    assert abandoning.result().state is State.RUNNING


def test_a_run_between_two_trainers_is_cancelled_at_once(ledger, run_id):
    ledger.acquire(run_id, "first").release(continuations=1)
    assert ledger.request_cancel(run_id).state is State.CANCELLED
    assert ledger.acquire(run_id, "second") is None


def test_looking_at_a_run_of_many_small_chunks_reads_the_new_ones(ledger, run_id):
    lease = ledger.acquire(run_id, "first")
    costs = [1 / (i + 3) for i in range(40)]
    for end in range(1, 41):
        lease.flush(History(costs[:end]), {})
    read = []
    events = ledger._dynamodb.meta.events
    events.register("after-call.dynamodb.Query", lambda parsed, **_: read.extend(parsed["Items"]), unique_id="count")
    try:
        assert ledger.progress(run_id, after_epoch=37)[1] == rows(costs)[38:]
        assert len(read) == 3
    finally:
        events.unregister("after-call.dynamodb.Query", unique_id="count")
