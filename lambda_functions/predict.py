"""PredictLambda: answers HTTP requests with the champion. An invocation without HTTP is a part of a batch, or the day's
check of what was asked.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from snn.errors import InvalidInput
from snn_cloud.aws import init_phase
from snn_cloud.aws.clients import Clients
from snn_cloud.serve.batch import Changed, Taking, work
from snn_cloud.serve.endpoint import Endpoint
from snn_cloud.serve.http import Refused
from snn_cloud.serve.watch import check_all

clients = cache(Clients.from_environment)
endpoint = cache(lambda: Endpoint.from_environment(clients()))
MEMORY_MB = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
init_phase.done()


def handler(event: Any, context: Any) -> Any:
    """Parse, answer, return. What comes by HTTP has a request context, which no caller can leave out."""
    if "requestContext" not in event and "batch" in event:
        return _answer_part(event["batch"])
    if "requestContext" not in event and event.get("check") == "drift":
        return {"drifted": check_all(clients(), endpoint().registry, os.environ)}
    return endpoint().answer(event)


def _answer_part(part: Any) -> Mapping[str, Any]:
    """Store the answers of a part; return what it took. One that cannot be answered is an answer too: nobody should
    repeat it.
    """
    took = Taking(clients().requests, MEMORY_MB, init_phase.take())
    try:
        answer: Mapping[str, Any] = work(part, endpoint().deployed, os.environ["BUCKET"], clients(), took)
    except (InvalidInput, Refused) as refusal:
        answer = {"refused": str(refusal), "changed": isinstance(refusal, Changed)}
    told = took()
    print(f"part {part['number']} of {part['batch_id']}: {len(part['names'])} inputs {told['milliseconds']} ms")
    return {**answer, **told}
