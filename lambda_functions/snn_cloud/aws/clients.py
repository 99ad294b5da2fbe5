"""AWS clients, made when first used; credentials and endpoint are up to the caller."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snn_cloud.aws.metering import Requests

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient


def _patience(service: str) -> dict[str, Any]:
    """Return how long a client waits (seconds), how often it tries, and how many connections it keeps.

    A synchronous Invoke takes as long as the function it calls, and one connection for each call at a time. The ledger
    answers in milliseconds or not at all: a trainer that waits longer looks dead. A message is a courtesy.
    """
    waits = {"lambda": 120, "dynamodb": 4, "sns": 4, "s3": 30}
    at_once = int(os.environ.get("NEURON_CONCURRENCY", "8")) if service == "lambda" else 0
    return {
        "connect_timeout": 4,
        "read_timeout": waits.get(service, 60),
        "max_pool_connections": max(16, at_once + 2),
        "tcp_keepalive": True,
        "retries": {"mode": "standard", "total_max_attempts": 2 if service == "sns" else 6},
    }


class Clients:
    """The clients of one account and region: `Clients(boto3.client)`, or from an Airflow hook or a named profile.

    `requests` counts what they ask of AWS.
    """

    def __init__(self, make: Callable[[str], Any]) -> None:
        self.requests = Requests()
        self._make: Callable[[str], Any] = lambda service: self.requests.watch(make(service))

    @classmethod
    def from_environment(cls) -> Clients:
        """Return clients for the credentials, region and endpoint that the environment names, as in a Lambda."""
        import boto3
        from botocore.config import Config

        make: Callable[..., Any] = boto3.client
        return cls(lambda service: make(service, config=Config(**_patience(service))))

    @cached_property
    def s3(self) -> S3Client:
        """Return the S3 client."""
        client: S3Client = self._make("s3")
        return client

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """Return the DynamoDB client."""
        client: DynamoDBClient = self._make("dynamodb")
        return client

    @cached_property
    def lambda_(self) -> LambdaClient:
        """Return the Lambda client."""
        client: LambdaClient = self._make("lambda")
        return client

    @cached_property
    def sns(self) -> SNSClient:
        """Return the SNS client."""
        client: SNSClient = self._make("sns")
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        """Return the SQS client."""
        client: SQSClient = self._make("sqs")
        return client

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """Return the CloudFormation client."""
        client: CloudFormationClient = self._make("cloudformation")
        return client

    @cached_property
    def sts(self) -> STSClient:
        """Return the STS client."""
        client: STSClient = self._make("sts")
        return client

    @cached_property
    def events(self) -> EventBridgeClient:
        """Return the EventBridge client."""
        client: EventBridgeClient = self._make("events")
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """Return the CloudWatch Logs client."""
        client: CloudWatchLogsClient = self._make("logs")
        return client
