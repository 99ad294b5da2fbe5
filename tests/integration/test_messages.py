"""SNS messages in itsacat's form, read through an SQS queue that subscribed to the stack's topic."""

import json
import time

import boto3
import pytest

from snn_cloud.messages import Messages


@pytest.fixture
def inbox(clients, stack):
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=f"inbox-{time.monotonic_ns()}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = clients.sns.subscribe(TopicArn=stack.topic_arn, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]

    def read(wanted):
        messages, limit = [], time.monotonic() + 15
        while len(messages) < wanted and time.monotonic() < limit:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                body = json.loads(message["Body"])
                messages.append((body["Subject"], body["Message"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    yield read
    clients.sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def test_messages_at_epoch_0_at_every_100th_and_at_the_end_one_a_second(clients, stack, inbox):
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


def test_a_successor_goes_on_where_its_predecessor_stopped(clients, stack, inbox):
    messages = Messages(clients.sns, stack.topic_arn, epoch=150)
    messages.progress([0.5] * 199)
    messages.progress([0.5] * 201)
    assert inbox(1) == [("Training update!", "Cost after epoch 200 = 0.5")]


def test_a_topic_that_is_gone_stops_nobody(clients, stack, capsys):
    Messages(clients.sns, stack.topic_arn + "-gone").last("Training completed")
    assert "not sent: Training completed: " in capsys.readouterr().out
