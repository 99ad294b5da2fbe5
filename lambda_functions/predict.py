"""PredictLambda: answers HTTP requests with the champion."""

from functools import cache
from typing import Any

from snn_cloud.aws.clients import Clients
from snn_cloud.serve.endpoint import Endpoint

endpoint = cache(lambda: Endpoint.from_environment(Clients.from_environment()))


def handler(event: Any, context: Any) -> Any:
    """Parse, answer, return."""
    return endpoint().answer(event)
