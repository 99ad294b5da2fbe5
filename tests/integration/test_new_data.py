"""From an upload to the event that starts a DAG, by the bucket's real notifications and the stack's real queue."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import boto3
import numpy as np
import pytest

from snn_client.data.staging import read_source
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.places import run_id_for_upload
from snn_cloud.ledger.ledger import Ledger
from snn_data.dataset import save_dataset
from snn_operators.new_data import NewData, NewDataTrigger

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator


@pytest.fixture
def queue(clients: Clients, stack: StackOutputs) -> str:
    """The stack's queue, emptied; S3's test message of the deployment was in it."""
    clients.sqs.purge_queue(QueueUrl=stack.new_data_queue)
    return stack.new_data_queue


def reader(stack: str = "snn-test") -> NewData:
    return NewData(stack=stack, aws=AWS, poll_interval=0.1)


def look(data: NewData) -> tuple[list[Any], list[str]]:
    """Look until there is something: S3 tells within moments."""
    deadline = time.monotonic() + 20
    while not (found := data.look())[0]:
        assert time.monotonic() < deadline
    return found


def waiting(clients: Clients, queue: str) -> tuple[int, int]:
    """Return how many messages can be received, and how many are out and neither deleted nor back yet."""
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return int(counts[names[0]]), int(counts[names[1]])


def test_an_upload_is_told_of_in_the_version_that_was_uploaded(
    clients: Clients, stack: StackOutputs, queue: str
) -> None:
    key = "retraining_input/my cats/café+1.h5"
    clients.s3.put_object(Bucket=stack.bucket, Key="retraining_input/notes.txt", Body=b"not a data set")
    version = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=b"one")["VersionId"]
    data = reader()
    (upload,), receipts = look(data)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=b"two")
    assert (upload.bucket, upload.key, upload.version) == (stack.bucket, key, version)
    assert read_source(clients.s3, upload.address) == b"one"
    data.remove(receipts)
    (second,), receipts = look(data)
    assert read_source(clients.s3, second.address) == b"two"
    data.remove(receipts)
    assert waiting(clients, queue) == (0, 0)


def test_a_message_leaves_the_queue_only_when_its_event_is_stored(
    clients: Clients, stack: StackOutputs, queue: str
) -> None:
    shared_stream = pytest.importorskip("airflow.triggers.shared_stream", reason="Airflow has it since 3.3")
    AdvanceItem, AdvanceOutcome = shared_stream.AdvanceItem, shared_stream.AdvanceOutcome
    clients.s3.put_object(Bucket=stack.bucket, Key="retraining_input/d.h5", Body=b"one")

    async def read(outcome: Any) -> list[dict[str, str]]:
        """Do what the triggerer does: take one event and say what became of it."""
        producer = NewDataTrigger.create_shared_stream_producer(
            NewDataTrigger(stack="snn-test", aws=AWS, poll_interval=0.1).serialize()[1]
        )
        async for uploads, receipts in producer.open_stream():
            await producer.advance([AdvanceItem(receipts, outcome)])
            return uploads
        raise AssertionError

    lost = asyncio.run(asyncio.wait_for(read(AdvanceOutcome(acked=0, failed=1)), 20))
    assert waiting(clients, queue) == (0, 1)
    held = int(
        clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"][
            "VisibilityTimeout"
        ]
    )
    assert held == 120
    clients.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    try:
        clients.s3.put_object(Bucket=stack.bucket, Key="retraining_input/e.h5", Body=b"two")
        other = asyncio.run(asyncio.wait_for(read(AdvanceOutcome(acked=0, failed=1)), 20))
        again = asyncio.run(asyncio.wait_for(read(AdvanceOutcome(acked=1, failed=0)), 20))
    finally:
        clients.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "120"})
    assert [one["key"] for one in lost] == ["retraining_input/d.h5"]
    assert [one["key"] for one in other] == ["retraining_input/e.h5"]
    assert again == other
    assert waiting(clients, queue) == (0, 1)


def test_where_airflow_has_no_shared_streams_a_message_leaves_some_seconds_after_its_event(
    clients: Clients, stack: StackOutputs, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snn_operators.new_data.STORED_WITHIN", 0.5)
    names = ["retraining_input/f.h5", "retraining_input/g.h5"]

    async def read() -> list[Any]:
        events = NewDataTrigger(stack="snn-test", aws=AWS, poll_interval=0.1).run()
        told = []
        for name in names:
            clients.s3.put_object(Bucket=stack.bucket, Key=name, Body=b"x")
            event = await asyncio.wait_for(anext(events), 20)
            told += [(upload["key"], *waiting(clients, queue)) for upload in event.payload["uploads"]]
        return told

    # The first message is out of the queue when the second event is fired; the second is not.
    assert asyncio.run(read()) == [(name, 0, 1) for name in names]


def test_several_messages_are_one_event_the_newest_upload_first(
    clients: Clients, stack: StackOutputs, queue: str
) -> None:
    for number in range(3):
        clients.s3.put_object(Bucket=stack.bucket, Key=f"retraining_input/{number}.h5", Body=b"x")
        time.sleep(1.1)  # S3's clock may count in seconds
    deadline = time.monotonic() + 20
    while waiting(clients, queue) != (3, 0):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    uploads, receipts = reader().look()
    assert [upload.key for upload in uploads] == [f"retraining_input/{number}.h5" for number in (2, 1, 0)]
    assert len(receipts) == 3


def test_the_test_message_goes_and_what_is_not_s3_s_stays_for_the_dead_letters(
    clients: Clients, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    for body in ('{"Service": "Amazon S3", "Event": "s3:TestEvent"}', "meow"):
        clients.sqs.send_message(QueueUrl=queue, MessageBody=body)
    with caplog.at_level(logging.INFO, "snn_operators.new_data"):
        assert reader().look() == ([], [])
    assert waiting(clients, queue) == (0, 1)
    assert [record.getMessage() for record in caplog.records if "no notification" in record.getMessage()] == [
        f"{queue}: message: is no notification of S3: JSONDecodeError('Expecting value: line 1 column 1 (char 0)')"
    ]
    attributes = clients.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"]) == {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:snn-test-new-data-dead-letters",
        "maxReceiveCount": 10,
    }


def test_a_stack_that_is_not_there_is_said_once(caplog: pytest.LogCaptureFixture, emulator: Any) -> None:
    data = reader("nobody")
    with caplog.at_level(logging.INFO, "snn_operators.new_data"):
        for _ in range(20):
            assert data.look() == ([], [])
    assert [record.getMessage() for record in caplog.records if record.name == "snn_operators.new_data"] == [
        "cannot watch for new data, retrying: the stack nobody is not deployed (missing)"
    ]


def test_a_queue_that_goes_and_comes_is_found_again(stack: StackOutputs, caplog: pytest.LogCaptureFixture) -> None:
    sqs = boto3.client("sqs")
    data = reader()
    with caplog.at_level(logging.INFO, "snn_operators.new_data"):
        data.look()
        data._queue = sqs.create_queue(QueueName="gone")["QueueUrl"]
        sqs.delete_queue(QueueUrl=data._queue)
        data.look()
        data.look()
    lines = [record.getMessage() for record in caplog.records if record.name == "snn_operators.new_data"]
    assert [line.partition(":")[0] for line in lines] == [
        "watching for new data",
        "cannot watch for new data, retrying",
        "watching for new data",
    ]
    assert "NonExistentQueue" in lines[1]


def test_a_stack_of_an_earlier_version_says_how_to_fix_it(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    outputs = {
        name: {"Value": name}
        for name in ("Bucket", "Table", "LaunchFunction", "TrainerFunction", "NeuronFunction", "TopicArn", "HasCache")
    }
    more = {name: {"Value": name} for name in ("Architecture", "Region", "ArtifactBucket")}
    bucket = {"Type": "String", "Default": "old-artifacts-000000000000-us-east-1"}  # as all of ours have it
    template = {
        "Parameters": {"ArtifactBucket": bucket},
        "Resources": {"T": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {**outputs, **more},
    }
    clients.cloudformation.create_stack(StackName="old", TemplateBody=json.dumps(template))
    clients.cloudformation.get_waiter("stack_create_complete").wait(
        StackName="old", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    try:
        with caplog.at_level(logging.INFO, "snn_operators.new_data"):
            assert reader("old").look() == ([], [])
    finally:
        clients.cloudformation.delete_stack(StackName="old")
    assert (
        "stack old: was deployed by an earlier version, which does not announce new data (deploy it again"
        in caplog.text
    )


def test_uploads_to_train_at_once_still_start_lambda_and_tell_nobody_else(
    clients: Clients, stack: StackOutputs, queue: str, tmp_path: Any
) -> None:
    pixels, labels = np.zeros((4, 2, 2, 3), np.uint8), np.array([0, 1, 0, 1])
    save_dataset(tmp_path / "d.h5", pixels, labels, pixels, labels, ("no", "yes"))
    parameters = {
        "epochs": 2, "layers": 1, "neurons": {"layer1": 1}, "activations": {"layer1": "sigmoid"}, "learning_rate": 0.1,
    }  # fmt: skip
    key = "training_input/beside/d.h5"
    clients.s3.put_object(
        Bucket=stack.bucket, Key="training_input/beside/parameters.json", Body=json.dumps(parameters).encode()
    )
    answer = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=(tmp_path / "d.h5").read_bytes())
    ledger, run_id = Ledger(clients.dynamodb, stack.table), run_id_for_upload(stack.bucket, key, answer["VersionId"])
    deadline = time.monotonic() + 60
    while (run := ledger.find(run_id)) is None or not run.state.is_terminal:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (run.state.value, run.epoch) == ("COMPLETED", 2)
    assert waiting(clients, queue) == (0, 0)
