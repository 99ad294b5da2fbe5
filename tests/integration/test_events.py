"""EventBridge's events: what the ledger's changes are told as, by a real stream, EventLambda and rule."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import oracle
import pytest
from served import KINDS, put_run

from snn_client.models import versions
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.announce.announcing import events_in
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State, pack
from snn_cloud.registry.record import Status

PARAMETERS = Parameters.load(oracle.small_network((3, 1), ("relu", "sigmoid")))


@pytest.fixture(scope="module")
def telling(clients: Clients) -> StackOutputs:
    """A stack that tells of its events."""
    options = StackOptions.from_environment(stack_name="snn-telling", with_cache=False, with_events=True)
    return deploy_stack(clients, options)


@pytest.fixture
def heard(clients: Clients, telling: StackOutputs) -> Iterator[Any]:
    """What a rule for the source `snn` sends to a queue: a function that returns so many events."""
    queue = clients.sqs.create_queue(QueueName="heard")["QueueUrl"]
    arn = clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    clients.events.put_rule(Name="heard", EventPattern=json.dumps({"source": ["snn"]}))
    clients.events.put_targets(Rule="heard", Targets=[{"Id": "queue", "Arn": arn}])

    def listen(count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + 30
        while len(found) < count and time.monotonic() < deadline:
            answer = clients.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                found.append(json.loads(message["Body"]))
                clients.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    yield listen
    clients.events.remove_targets(Rule="heard", Ids=["queue"])
    clients.events.delete_rule(Name="heard")
    clients.sqs.delete_queue(QueueUrl=queue)


def told(event: dict[str, Any], *names: str) -> tuple[Any, ...]:
    assert (event["source"], event["detail"]["stack"]) == ("snn", "snn-telling")
    return (event["detail-type"], *(event["detail"][name] for name in names))


def test_a_run_a_version_and_a_promotion_are_told_once_each(clients, telling, data, heard):
    key = places.input_dataset("told", "0" * 64)
    clients.s3.put_object(Bucket=telling.bucket, Key=key, Body=data)
    runs.launch(clients, telling, "told", key, PARAMETERS)
    run = runs.watch(clients, telling, "told", lambda *_: None, every_seconds=0.1, limit_seconds=60)
    assert run.state is State.COMPLETED
    (ended,) = heard(1)
    assert told(ended, "run_id", "state", "epoch", "cost") == (
        "Run Completed", "told", "COMPLETED", run.epoch, pytest.approx(run.cost),
    )  # fmt: skip
    put_run(clients, telling, "second", KINDS["features of three classes"].file("second"))
    versions.register(clients, telling, "second", by="me")
    versions.registry_of(clients, telling).decide("default", "second", Status.APPROVED, "ada", "looks good")
    versions.promote(clients, telling, "told")
    versions.promote(clients, telling, "second")
    versions.roll_back(clients, telling)
    events = heard(7)

    def those(kind: str, *names: str) -> list[tuple[Any, ...]]:
        return [told(event, *names) for event in events if kind in event["detail-type"]]

    assert those("Run", "run_id") == [("Run Completed", "second")]  # as it was put there
    assert sorted(those("Version", "run_id", "version", "status")) == [
        ("Version Decided", "second", 1, "approved"),
        ("Version Registered", "second", 1, "candidate"),
        ("Version Registered", "told", 2, "candidate"),
    ]
    assert those("Promoted", "model", "run_id", "before") == [
        ("Model Promoted", "default", "told", ""),
        ("Model Promoted", "default", "second", "told"),
        ("Model Promoted", "default", "told", "second"),
    ]
    decided = next(event for event in events if event["detail-type"] == "Version Decided")
    assert (decided["detail"]["by"], decided["detail"]["reason"]) == ("ada", "looks good")


def record(new: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    images = {"NewImage": pack(new), **({"OldImage": pack(old)} if old else {})}
    return {"eventID": "e1", "dynamodb": {**images, "Keys": {}}}


def test_a_change_that_is_worth_nothing_is_not_told():
    run = {"run_id": "r", "item": "run", "state": "COMPLETED", "epoch": 3}
    assert events_in([record(run, run), record({**run, "state": "RUNNING"}, {**run, "state": "PENDING"})], "snn") == []
    assert events_in([{"eventID": "e", "dynamodb": {"OldImage": pack(run)}}], "snn") == []  # deleted
    assert events_in([record({"run_id": "r", "item": "costs#0"})], "snn") == []
    (failed,) = events_in([record({**run, "state": "FAILED", "reason": "no data"}, {**run, "state": "RUNNING"})], "s")
    assert (failed["kind"], failed["detail"]["reason"], failed["detail"]["id"]) == ("Run Failed", "no data", "e1")
