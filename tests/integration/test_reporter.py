"""A trainer in a long epoch: what fails for a while is told later, what is lost ends the epoch at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import LeaseLost
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run, Usage
from snn_cloud.train import reporter
from snn_cloud.train.reporter import Meter, Reporter


class Outage:
    """While it is on, DynamoDB answers every write with an error."""

    def __init__(self, clients: Clients, code: str, status: int) -> None:
        self.on, self.refused, self._answer = False, 0, (code, status)
        clients.dynamodb.meta.events.register_first("before-call.dynamodb.UpdateItem", self._refuse)

    def _refuse(self, **_: Any) -> None:
        if self.on:
            self.refused += 1
            code, status = self._answer
            answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, "UpdateItem")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (reporter.FLUSH_SECONDS, reporter.FAILED_SECONDS) == (1.0, 3.0)
    monkeypatch.setattr(reporter, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(reporter, "FAILED_SECONDS", 0.05)


@pytest.fixture
def begin(stack: StackOutputs, request: pytest.FixtureRequest) -> Callable[..., Any]:
    def make(code: str = "ThrottlingException", status: int = 400) -> Any:
        clients = Clients.from_environment()
        ledger = Ledger(clients.dynamodb, stack.table)
        run_id = f"reporter-{abs(hash(request.node.name)) % 10**8}"
        assert ledger.create(Run(run_id, dataset="none", created_at=time.time()))
        lease = ledger.acquire(run_id, "here")
        assert lease is not None
        messages: Any = SimpleNamespace(progress=lambda costs: None)
        meter = Meter(time.monotonic(), 1769, clients.requests)
        told = Reporter(lease, messages, meter, None, lambda run: "", lambda run: 0.25)
        return told, ledger, run_id, Outage(clients, code, status), lease

    return make


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_long_epoch_outlives_failures_that_pass(begin: Callable[..., Any]) -> None:
    told, ledger, run_id, outage, lease = begin()
    with told:  # and no tick: the epoch is long
        until(lambda: ledger.get(run_id).beat > lease.run.beat - 1 and ledger.get(run_id).beat > 2)
        outage.on = True
        until(lambda: outage.refused >= 5)
        before = ledger.get(run_id)
        assert not told.stop()
        outage.on = False
        until(lambda: ledger.get(run_id).beat > before.beat + 1)
        Ledger(Clients.from_environment().dynamodb, ledger.table).request_cancel(run_id)
        until(told.stop)
    assert told.cancel_requested
    # What was used while nothing could be told is counted: a trainer's milliseconds are those of the clock.
    used = ledger.get(run_id).usage["trainer"]
    assert used.milliseconds > before.usage["trainer"].milliseconds + 5 * 50 * 0.5


def long_epoch(told: Reporter, happens: Callable[[], object]) -> None:
    """Let something happen in an epoch that is stopped as soon as the reporter says so."""
    with told:
        happens()
        until(told.stop)
        told.tick(time.monotonic())


def test_a_lost_lease_stops_the_epoch_at_once(begin: Callable[..., Any]) -> None:
    told, ledger, run_id, _, _ = begin()

    def taken() -> None:
        until(lambda: ledger.get(run_id).beat > 2)
        assert ledger.acquire(run_id, "another", patience=0.0) is not None

    with pytest.raises(LeaseLost, match="has another trainer"):
        long_epoch(told, taken)
    assert not told.cancel_requested


def test_what_does_not_pass_stops_it_too(begin: Callable[..., Any]) -> None:
    told, _, _, outage, _ = begin("AccessDeniedException", 400)
    with pytest.raises(ClientError, match="AccessDenied"):
        long_epoch(told, lambda: setattr(outage, "on", True))


def test_what_could_not_be_told_is_told_later() -> None:
    requests: Any = SimpleNamespace(take=lambda: {"write_units": 3})
    meter = Meter(time.monotonic(), 1769, requests)
    once = meter.take()
    meter.give_back(once)
    twice = meter.take()
    assert twice["trainer"].write_units == 6
    assert twice["trainer"].milliseconds >= once["trainer"].milliseconds
    assert replace(meter.take()["trainer"], milliseconds=0) == Usage(0, 0, 1769, write_units=3)
