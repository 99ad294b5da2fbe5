"""AWS clients, made when first used; with which credentials and endpoint is the caller's affair."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snn_cloud.metering import Requests

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sts import STSClient


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

        # One connection a thread; and a synchronous Invoke may take as long as the function it calls.
        config = Config(
            max_pool_connections=64,
            read_timeout=120,
            tcp_keepalive=True,
            retries={"mode": "standard", "total_max_attempts": 6},
        )
        make: Callable[..., Any] = boto3.client
        return cls(lambda service: make(service, config=config))

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
    def logs(self) -> CloudWatchLogsClient:
        """Return the CloudWatch Logs client."""
        client: CloudWatchLogsClient = self._make("logs")
        return client
