"""Which failures to look at a run say nothing about the run."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ParamValidationError
from botocore.parsers import ResponseParserError

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
