"""Synchronous invocations of a function that many call at once: who is throttled waits for its turn."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from snn_cloud.aws.errors import Stopped

# For a turn, where others use up the limit. Longer than that is no queue: others hold what is waited for.
PATIENCE_SECONDS = 120.0


def invoke(lambda_: Any, function: str, payload: bytes, stop: Callable[[], bool], what: str) -> dict[str, Any]:
    """Invoke a function and return its answer as soon as Lambda allows one more; `what` says whose turn it is.

    An answer with `errorMessage` tells of a failure: the function's, or of an answer that was cut off on its way.
    Raises Lambda's refusal after PATIENCE_SECONDS, and Stopped if `stop` says so meanwhile.
    """
    response = _when_allowed(lambda_, function, payload, stop, what)
    try:
        said: Any = json.loads(response["Payload"].read())
    except BotoCoreError as error:  # botocore, having begun to read, does not retry
        said = str(error)
    return said if isinstance(said, dict) else {"errorMessage": said}


def _when_allowed(lambda_: Any, function: str, payload: bytes, stop: Callable[[], bool], what: str) -> Any:
    """Invoke as soon as Lambda allows: botocore asks six times and then gives up, which is soon in a crowd."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return lambda_.invoke(FunctionName=function, Payload=payload)
        except ClientError as error:
            if error.response["Error"]["Code"] != "TooManyRequestsException" or time.monotonic() > deadline:
                raise
        if stop():
            raise Stopped(what)
        time.sleep(random.uniform(0.5, 1.5))  # noqa: S311 # nosec B311
