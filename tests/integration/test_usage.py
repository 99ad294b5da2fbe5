"""What a run asks of AWS, counted by itself, against what the emulator has of it."""

from __future__ import annotations

import json
import time

import boto3
import oracle
import pytest
from inbox import receive, subscribe
from small import wait_until_counted

from snn.training import History
from snn_client.runs import runs
from snn_client.runs.estimate import Machine
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, Usage


@pytest.fixture
def heard(clients, stack):
    """Return how many messages of a run there are, from now on to its last.

    Only its own: another's last may come late. And each text once: who gets no answer within 4 s asks SNS once more,
    which counts as one publish and may make two messages.
    """
    queue, subscription = subscribe(stack.topic_arn, f"usage-{time.monotonic_ns()}")

    def read(run):
        costs = Ledger(clients.dynamodb, stack.table).progress(run.run_id)[1]
        last = "Training completed: cost after epoch {} = {}".format(*costs[-1][:2])
        own = {last, *(f"Cost after epoch {epoch} = {cost}" for epoch, cost, *_ in costs)}
        messages, limit = set(), time.monotonic() + 60
        while last not in messages:
            assert time.monotonic() < limit, messages
            messages |= own & {text for _, text, _ in receive(queue)}
        return len(messages)

    yield read
    boto3.client("sns").unsubscribe(SubscriptionArn=subscription)
    boto3.client("sqs").delete_queue(QueueUrl=queue)


def train(clients, stack, data, name, **fields):
    run_id = runs.new_run_id(name)
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    network = oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **fields)
    runs.launch(clients, stack, run_id, key, Parameters.load(network))
    return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)


def test_units_are_dynamodbs_own(emulator, stack):
    clients = Clients.from_environment()
    ledger = Ledger(clients.dynamodb, stack.table)
    run_id = runs.new_run_id("units")
    assert ledger.create(Run(run_id, created_at=1.5))
    assert not ledger.create(Run(run_id, created_at=1.5))
    ledger.get(run_id)
    assert clients.requests.take() == {"write_units": 2 + 1, "read_units": 1}  # and the index
    ledger.put_history(run_id, History([0.5] * 1_000))  # 8,000 bytes and the names of the fields
    assert clients.requests.take() == {"write_units": 8}
    ledger.add_usage(run_id, {"trainer": Usage(1, 2, 3, 4, 5, 6, 7, 8)})
    ledger.add_usage(run_id, {"trainer": Usage(1, 2, 3, 4, 5, 6, 7, 8)})
    assert ledger.get(run_id).usage["trainer"] == Usage(2, 4, 3, 8, 10, 12, 14, 16)


def test_a_run_counts_what_its_functions_ask(clients, stack, data, heard):
    run = train(clients, stack, data, "asks", epochs=3)
    launch, trainer = run.usage["launch"], run.usage["trainer"]
    assert (run.features, run.samples) == (27, 24)
    assert (launch.s3_puts, launch.s3_gets) == (1, 1)  # the first weights; the data set
    assert (launch.write_units, launch.publishes) == (2 + 2, 0)  # the run's item, once more in the index; this count
    assert (trainer.s3_puts, trainer.s3_gets) == (3, 2)  # kept epochs, model and costs; data set and checkpoint
    assert (trainer.read_units, trainer.publishes) == (1, heard(run))
    # The lease, the costs, the flush with them, and the end (counted ahead, as 2): an item of about 1 KB takes 1 or 2.
    # A trainer that was slow has flushed more often: the run's beat counts a flush and the end.
    more = run.beat - 2
    assert trainer.write_units in range(1 + 1 + 1 + 2 + more, 2 + 1 + 2 + 2 + 3 * more + 1)
    usd = cost_of(run, Machine())["usd"]
    # At least its S3 writes ($0.005 a thousand): how long the functions took is the machine's affair.
    assert 3 * 0.005 / 1000 < usd < 0.0005
    assert trainer.milliseconds >= 1000 * run.seconds * 0.5


def test_the_counts_of_continued_trainers_are_added(clients, stack, data, heard):
    whole = train(clients, stack, data, "whole", epochs=4)
    assert whole.usage["trainer"].publishes == heard(whole)
    run_id = runs.new_run_id("cut")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    other = whole.parameters.model_copy(update={"seed": 2})  # other costs, by which its messages are told apart
    runs.launch(clients, stack, run_id, key, other, trainer_seconds=0.001)
    cut = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    assert cut.usage["trainer"].invocations == 4
    # each reads data set and checkpoint, and stores kept epochs; the first three a checkpoint, the last model and costs
    assert (cut.usage["trainer"].s3_gets, cut.usage["trainer"].s3_puts) == (4 * 2, 4 + 3 + 2)
    assert cut.usage["trainer"].publishes == heard(cut)


def test_an_event_with_several_uploads_is_one_invocation(clients, stack):
    key = "training_input/several/nothing.h5"
    beside = json.dumps(oracle.small_network((1,), ("sigmoid",)))
    clients.s3.put_object(Bucket=stack.bucket, Key="training_input/several/parameters.json", Body=beside)
    uploads = [
        {"s3": {"bucket": {"name": stack.bucket}, "object": {"key": key, "versionId": version}}} for version in "abc"
    ]
    answer = clients.lambda_.invoke(FunctionName=stack.launch_function, Payload=json.dumps({"Records": uploads}))
    assert json.loads(answer["Payload"].read())["state"] == "FAILED"  # there is no such data set
    found = [
        Ledger(clients.dynamodb, stack.table).get(places.run_id_for_upload(stack.bucket, key, version)).usage["launch"]
        for version in "abc"
    ]
    assert [usage.invocations for usage in found] == [1, 0, 0]
    assert sum(usage.write_units for usage in found) >= 3 * 2
    assert found[1].milliseconds == found[2].milliseconds > 0


def test_workers_count_theirs_too(clients, stack, data):
    run = train(clients, stack, data, "two", epochs=3, batch_size=7, strategy="average", workers=2)
    run = wait_until_counted(Ledger(clients.dynamodb, stack.table), run.run_id, 2)
    assert (run.usage["trainer"].invocations, run.usage["trainer"].s3_gets) == (2, 4)
