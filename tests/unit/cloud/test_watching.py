"""Which failures to look at a run say nothing about the run; which uploads are not the one to wait for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import redis
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ParamValidationError
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber

from snn.errors import InvalidInput
from snn_client.runs.watching import Watch
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.passing import passes


def client_error(code: str, status: int) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Query")


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (client_error("InternalServerError", 500), True),
        (client_error("ThrottlingException", 400), True),
        (client_error("ProvisionedThroughputExceededException", 400), True),
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ConnectTimeoutError(endpoint_url="http://x"), True),
        (client_error("TooManyRequestsException", 429), True),
        (ResponseParserError("Unable to parse response"), True),  # a proxy's page
        (redis.ConnectionError("refused"), True),
        (redis.TimeoutError("slow"), True),
        (redis.BusyLoadingError("LOADING"), True),
        (redis.exceptions.MaxConnectionsError("Too many connections"), True),
        (redis.ReadOnlyError("failing over"), True),
        (redis.AuthenticationError("WRONGPASS"), False),
        (redis.ResponseError("unknown command"), False),
        (client_error("AccessDeniedException", 400), False),
        (client_error("ResourceNotFoundException", 400), False),
        (ParamValidationError(report=""), False),
        (ValueError("x"), False),
    ],
)
def test_what_passes_and_what_does_not(error: Exception, passing: bool) -> None:
    assert passes(error) is passing


STACK = {
    "stack_name": "snn", "bucket": "bucket", "table": "t", "launch_function": "l", "trainer_function": "t",
    "neuron_function": "n", "topic_arn": "a", "has_cache": False, "architecture": "arm64", "region": "eu-west-1",
    "artifact_bucket": "artifacts",
}  # fmt: skip


def test_an_older_upload_is_passed_over_and_told_of_once() -> None:
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    after = datetime(2026, 11, 29, tzinfo=UTC).timestamp()
    watch = Watch(Clients(lambda _: client), STACK, upload="s3://bucket/training_input/d.h5", uploaded_after=after)
    with Stubber(client) as answers:
        for version, day in (("1", 21), ("1", 21), ("2", 22)):
            answers.add_response(
                "head_object",
                {"VersionId": version, "ETag": '"e"', "LastModified": datetime(2026, 11, day, 3, tzinfo=UTC)},
                {"Bucket": "bucket", "Key": "training_input/d.h5"},
            )
        looks = [watch.look() for _ in range(3)]
        answers.assert_no_pending_responses()
    assert [(look.run, watch.run_id) for look in looks] == [(None, "")] * 3
    waiting = "waiting for an upload after 2026-11-29 00:00:00+00:00"
    assert [list(look.lines) for look in looks] == [
        [f"s3://bucket/training_input/d.h5 was uploaded 2026-11-21 03:00:00+00:00, {waiting}"],
        [],
        [f"s3://bucket/training_input/d.h5 was uploaded 2026-11-22 03:00:00+00:00, {waiting}"],
    ]


def test_an_address_where_nothing_starts_a_run_ends_the_watch() -> None:
    with pytest.raises(InvalidInput, match=r"upload: an upload to 'datasets\.H5' starts no run"):
        Watch(Clients(lambda _: None), STACK, upload="datasets.H5").look()
