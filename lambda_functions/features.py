"""FeatureLambda: turns photos into features by a pretrained network. It keeps nothing but that network."""

import math
import os
import time
from collections.abc import Mapping
from typing import Any

from snn.errors import InvalidInput
from snn_cloud.aws import init_phase
from snn_cloud.aws.clients import Clients
from snn_cloud.features.work import Kept, work

clients = Clients.from_environment()
kept = Kept()
MEMORY_MB = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
init_phase.done()


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Parse, compute, answer what it took. A task that cannot be done is an answer too: nobody should repeat it."""
    started = time.perf_counter()
    clients.requests.take()
    try:
        answer: Mapping[str, Any] = work(event, kept, os.environ["BUCKET"], clients)
    except InvalidInput as refusal:
        answer = {"refused": str(refusal)}
    milliseconds = math.ceil((time.perf_counter() - started) * 1000) + init_phase.take()
    print(f"features of {len(event.get('photos', []))} photos {milliseconds} ms")
    return {**answer, "milliseconds": milliseconds, "memory_mb": MEMORY_MB, "requests": clients.requests.take()}
