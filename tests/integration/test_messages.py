"""SNS messages in itsacat's form, read through an SQS queue that subscribed to the stack's topic."""

import itertools
import time

import boto3
import oracle
import pytest
from inbox import receive, subscribe

from snn.training import Training
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.aws.errors import RunCancelled, RunFailed
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.messages import Messages
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_data.checkpoint import dump_checkpoint


@pytest.fixture
def inbox(clients, stack):
    sqs = boto3.client("sqs")
    url, subscription = subscribe(stack.topic_arn, f"inbox-{time.monotonic_ns()}")

    def read(wanted):
        messages, limit = [], time.monotonic() + 15
        while len(messages) < wanted and time.monotonic() < limit:
            for subject, text, sent in receive(url):
                # Who gets no answer within 4 s asks once more, and one message is two. That none is told twice, the
                # number of publishes shows, of which a repetition is none.
                if (subject, text) != read.last:
                    read.last = subject, text
                    messages.append(read.last)
                    read.sent.append(sent)
        return messages

    read.sent, read.last = [], None  # when, in seconds, of all messages so far; the last of them
    yield read
    clients.sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def test_messages_at_epoch_0_at_every_100th_and_at_the_end_one_a_second(clients, stack, inbox):
    clients.requests.take()
    messages = Messages(clients.sns, stack.topic_arn)
    costs = [0.7012303687667679, *(1 / i for i in range(2, 260))]
    started = time.monotonic()
    messages.progress(costs[:1])
    messages.progress(costs[:250])  # too soon after the first
    time.sleep(1.0)
    messages.progress(costs[:250])
    messages.progress(costs[:251])
    messages.last("Training completed")
    assert time.monotonic() - started >= 2.0
    assert inbox(3) == [
        ("Training update!", "Cost after epoch 0 = 0.7012303687667679"),
        ("Training update!", f"Cost after epoch 200 = {costs[200]}"),
        ("Training update!", "Training completed"),
    ]
    assert clients.requests.take() == {"publishes": 3}


def test_a_successor_goes_on_where_its_predecessor_stopped(clients, stack, inbox):
    clients.requests.take()
    began = time.time()
    messages = Messages(clients.sns, stack.topic_arn, epoch=150)
    messages.progress([0.5] * 201)  # its predecessor may have said something a moment ago
    time.sleep(1.0)
    messages.progress([0.5] * 199)
    messages.progress([0.5] * 202)
    assert inbox(1) == [("Training update!", "Cost after epoch 200 = 0.5")]
    assert clients.requests.take() == {"publishes": 1}
    assert inbox.sent[0] >= began + 1.0


def test_a_topic_that_is_gone_stops_nobody(clients, stack, capsys):
    Messages(clients.sns, stack.topic_arn + "-gone").last("Training completed")
    assert "not sent: Training completed: " in capsys.readouterr().out


@pytest.fixture
def launch(clients, stack, data, request):
    """Launch a run of the small data set."""

    def launch(name, launch_options=(), **fields):
        run_id = runs.new_run_id(f"messages {name}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
        chosen = Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **fields))
        runs.launch(clients, stack, run_id, key, chosen, **dict(launch_options))
        return run_id

    return launch


def test_a_run_through_several_trainers_tells_the_ledger_s_costs_one_a_second(clients, stack, inbox, launch):
    run_id = launch("long", {"trainer_seconds": 4.0}, epochs=10_000_000, learning_rate=1e-4)
    messages, limit = inbox(2), time.monotonic() + 60
    while not Ledger(clients.dynamodb, stack.table).get(run_id).continuations:
        assert time.monotonic() < limit, messages
        messages += inbox(1)
    messages += inbox(2)  # of which its predecessor may have sent one
    runs.cancel(clients, stack, run_id)
    with pytest.raises(RunCancelled):
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    run, costs = Ledger(clients.dynamodb, stack.table).progress(run_id)
    assert run.continuations >= 1
    limit = time.monotonic() + 30
    while len(messages) < run.usage["trainer"].publishes:
        assert time.monotonic() < limit, messages
        messages += inbox(1)
    assert len(messages) == run.usage["trainer"].publishes
    updates = messages
    if run.cancel_requested:  # else it ended between two trainers, of which none was there to say so
        assert messages[-1] == ("Training update!", f"Training cancelled after {run.epoch} epochs")
        updates = messages[:-1]
    cost_of = {row.epoch: row.cost for row in costs}
    epochs = [int(text.removeprefix("Cost after epoch ").partition(" ")[0]) for _, text in updates]
    assert updates == [("Training update!", f"Cost after epoch {epoch} = {cost_of[epoch]}") for epoch in epochs]
    assert epochs[0] == 0
    assert [epoch % 100 for epoch in epochs] == [0] * len(epochs)
    assert sorted(set(epochs)) == epochs
    assert len(inbox.sent) == len(messages)
    assert len(updates) >= 3
    gaps = [later - earlier for earlier, later in itertools.pairwise(inbox.sent)]
    assert min(gaps) >= 0.95, gaps  # between publishing and arriving a moment may pass


def test_a_run_that_completes_says_its_last_cost(clients, stack, inbox, launch):
    run_id = launch("short", epochs=3)
    run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    _, costs = Ledger(clients.dynamodb, stack.table).progress(run_id)
    assert (run.epoch, len(costs)) == (3, 3)
    messages = inbox(1)
    if "completed" not in messages[-1][1]:  # if it took long, epoch 0 comes first
        messages += inbox(1)
    assert messages[-1] == ("Training update!", f"Training completed: cost after epoch 2 = {costs[2].cost}")


def test_a_trainer_that_fails_says_why(clients, stack, inbox, data):
    # Forced past LaunchLambda: recorded by hand, with a first weight that is no number.
    chosen = Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid")))
    run_id = runs.new_run_id("messages failing")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    training = Training(chosen.network(27).first_params(chosen.seed))
    training.params["W1"][0, 0] = float("nan")
    put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(run_id), Body=dump_checkpoint(training))
    ledger = Ledger(clients.dynamodb, stack.table)
    ledger.create(Run(run_id, parameters=chosen, dataset=key, checkpoint_version=put["VersionId"]))
    start_trainer(clients, stack.trainer_function, run_id)
    with pytest.raises(RunFailed, match="W1: holds values that are not numbers"):
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    assert inbox(1) == [("Training update!", f"Training failed: {ledger.get(run_id).reason}")]


def test_a_run_that_reaches_its_budget_says_so_last(clients, stack, inbox, launch):
    run_id = launch("budget", epochs=10_000_000, learning_rate=1e-4, max_seconds=0.5)
    with pytest.raises(RunFailed, match="max_seconds: "):
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    said = ("Training update!", f"Training failed: {Ledger(clients.dynamodb, stack.table).get(run_id).reason}")
    messages, limit = inbox(1), time.monotonic() + 15
    while messages[-1] != said:
        assert time.monotonic() < limit, messages
        messages += inbox(1)
    assert all(text.startswith("Cost after epoch ") for _, text in messages[:-1])


def test_an_upload_that_cannot_be_trained_is_told_of(clients, stack, inbox, data):
    key = "training_input/messages/datasets.h5"
    clients.s3.put_object(Bucket=stack.bucket, Key="training_input/messages/parameters.json", Body=b'{"epochs": 0}')
    version = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)["VersionId"]
    said = inbox(1)
    run = Ledger(clients.dynamodb, stack.table).get(runs.run_id_for_upload(stack.bucket, key, version))
    assert "epochs" in run.reason
    assert said == [("Training update!", f"Training failed: {run.reason}")]
