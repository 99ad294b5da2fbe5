"""Waiting for CloudFormation while it cannot be asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from snn_client.stack import status
from snn_client.stack.status import PATIENCE_SECONDS, insist, wait_for_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed

ID = "arn:aws:cloudformation:eu-central-1:123456789012:stack/snn/1"


class Clock:
    """A clock that goes on by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    assert status.time.monotonic() > 0  # what is replaced
    monkeypatch.setattr(status, "time", clock)
    return clock


@pytest.fixture
def clients() -> Clients:
    make: Any = boto3.session.Session("x", "y", region_name="eu-central-1").client
    cloudformation = make("cloudformation")
    return Clients(lambda service: cloudformation)


@pytest.fixture
def answers(clients: Clients) -> Iterator[Any]:
    with Stubber(clients.cloudformation) as stub:
        yield stub


def stands(answers: Any, state: str) -> None:
    stack = {"StackId": ID, "StackName": "snn", "CreationTime": 0, "StackStatus": state}
    answers.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": "snn"})


def throttled(answers: Any) -> None:
    answers.add_client_error("describe_stacks", "Throttling", "Rate exceeded", 400)


def test_throttling_is_passed_over(clients: Clients, answers: Any, clock: Clock) -> None:
    stands(answers, "UPDATE_IN_PROGRESS")
    for _ in range(8):
        throttled(answers)
    stands(answers, "UPDATE_COMPLETE")
    said: list[str] = []
    assert wait_for_stack(clients, "snn", said.append).ok
    answers.assert_no_pending_responses()
    assert (said[0], said[-1]) == ("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    assert set(said[1:-1]) == {
        "cannot reach AWS, retrying: An error occurred (Throttling) when calling the DescribeStacks operation: "
        "Rate exceeded"
    }
    assert 60 < clock.now < PATIENCE_SECONDS


def test_throttling_for_ever_is_not(clients: Clients, answers: Any, clock: Clock) -> None:
    for _ in range(100):
        throttled(answers)
    with pytest.raises(ClientError, match="Rate exceeded"):
        wait_for_stack(clients, "snn", lambda _: None)
    assert PATIENCE_SECONDS <= clock.now < PATIENCE_SECONDS + 21


def test_the_deadline_holds_meanwhile(clients: Clients, answers: Any, clock: Clock) -> None:
    for _ in range(100):
        throttled(answers)
    with pytest.raises(ClientError, match="Rate exceeded"):
        wait_for_stack(clients, "snn", lambda _: None, deadline=40.0)
    assert 40 <= clock.now < 61
    clock.now = 0.0
    stands_still = Stubber(clients.cloudformation)
    answers.deactivate()
    with stands_still:
        for _ in range(100):
            stands(stands_still, "UPDATE_IN_PROGRESS")
        with pytest.raises(StackFailed, match="the stack snn is still UPDATE_IN_PROGRESS after"):
            wait_for_stack(clients, "snn", lambda _: None, deadline=40.0)


def test_what_does_not_pass_is_raised_at_once(clock: Clock) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeStacks")

    def look() -> None:
        raise denied

    with pytest.raises(ClientError):
        insist(look)
    assert clock.now == 0
