"""A queue that hears what a topic says, and a role for functions that tests make."""

from __future__ import annotations

import json

import boto3


def subscribe(topic_arn: str, name: str) -> tuple[str, str]:
    """Make a queue that listens to a topic; return its URL and the subscription. Its policy lets the topic send."""
    queues = boto3.client("sqs")
    url = queues.create_queue(QueueName=name)["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sends = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [sends]})
    queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    listening = boto3.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
    return url, listening["SubscriptionArn"]


def receive(queue: str) -> list[tuple[str, str, float]]:
    """Take out of a queue what lies in it, waiting a second for a first: subject, text, and when it was sent (s)."""
    queues = boto3.client("sqs")
    answer = queues.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["SentTimestamp"]
    )
    taken = []
    for message in answer.get("Messages", []):
        body = json.loads(message["Body"])
        taken.append((body["Subject"], body["Message"], int(message["Attributes"]["SentTimestamp"]) / 1000))
        queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return taken


def role(name: str) -> str:
    """Make a role that a function may have and that may do nothing, unless it is there; return its ARN."""
    iam = boto3.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    try:
        made = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )
    except iam.exceptions.EntityAlreadyExistsException:
        made = iam.get_role(RoleName=name)
    return str(made["Role"]["Arn"])
