"""PredictLambda: answers HTTP requests with the champion. A request without HTTP is a part of a batch."""

import os
from collections.abc import Mapping
from typing import Any

from snn.errors import InvalidInput
from snn_cloud.aws import init_phase
from snn_cloud.aws.clients import Clients
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.batch import Taking, work
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.endpoint import Endpoint
from snn_cloud.serve.http import Refused
from snn_cloud.serve.meter import Meter

clients = Clients.from_environment()
registry = Registry(clients.dynamodb, os.environ["TABLE"])
MEMORY_MB = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
endpoint = Endpoint(
    Deployed(clients, os.environ["BUCKET"], registry),
    registry,
    Meter(registry, os.environ["STACK"], os.environ["ARCHITECTURE"], MEMORY_MB, float(os.environ["DAILY_USD"])),
    os.environ["KEY_SHA256"],
)
init_phase.done()


def handler(event: Any, context: Any) -> Any:
    """Parse, answer, return. What comes by HTTP has a request context, which no caller can leave out."""
    if "requestContext" not in event and "batch" in event:
        return _answer_part(event["batch"])
    return endpoint.answer(event)


def _answer_part(part: Any) -> Mapping[str, Any]:
    """Store the answers of a part; return what it took. One that cannot be answered is an answer too: nobody should
    repeat it.
    """
    took = Taking(clients.requests, MEMORY_MB, init_phase.take())
    try:
        answer: Mapping[str, Any] = work(part, endpoint.deployed, os.environ["BUCKET"], clients, took)
    except (InvalidInput, Refused) as refusal:
        answer = {"refused": str(refusal)}
    told = took()
    print(f"part {part['number']} of {part['batch_id']}: {len(part['names'])} inputs {told['milliseconds']} ms")
    return {**answer, **told}
