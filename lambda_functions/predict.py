"""PredictLambda: answers HTTP requests with the champion. A request without HTTP is a part of a batch."""

import os
from typing import Any

from snn_cloud.aws.clients import Clients
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.endpoint import Endpoint
from snn_cloud.serve.meter import Meter

clients = Clients.from_environment()
registry = Registry(clients.dynamodb, os.environ["TABLE"])
endpoint = Endpoint(
    Deployed(clients, os.environ["BUCKET"], registry),
    registry,
    Meter(
        registry,
        os.environ["STACK"],
        os.environ["ARCHITECTURE"],
        int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")),
        float(os.environ["DAILY_USD"]),
    ),
    os.environ["KEY_SHA256"],
)


def handler(event: Any, context: Any) -> Any:
    """Parse, answer, return."""
    return endpoint.answer(event)
