"""Synchronous invocations of a function that many call at once: who is throttled waits for its turn."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from snn_cloud.aws.errors import Stopped

# For a turn, where others use up the limit. Longer than that is no queue: others hold what is waited for.
PATIENCE_SECONDS = 120.0

PAUSES = 0.2, 1.0  # seconds before an invocation that failed is repeated, and once more

Heard = Callable[[dict[str, Any], int], None]
"""Is told each answer, and for how many milliseconds it was waited."""


def insist(
    lambda_: Any, function: str, payload: bytes, over: Event, what: str, heard: Heard,
    before: Callable[[], None] = lambda: None, pauses: Sequence[float] = PAUSES,
) -> dict[str, Any]:  # fmt: skip
    """Invoke a function that tells its `milliseconds` until it does, at most once more than there are pauses.

    Return the last answer. `before` is called before each invocation, and may raise. Raises what `invoke` does, and
    Stopped once `over` is set: nobody waits for the answer any more.
    """
    answer: dict[str, Any] = {}
    for pause in (*pauses, None):
        before()
        if over.is_set():
            raise Stopped(what)
        started = time.perf_counter()
        try:
            answer = invoke(lambda_, function, payload, over.is_set, what)
        except HTTPClientError as problem:  # nothing was heard for a minute, or the line went dead
            answer = {"errorMessage": f"gives no answer: {problem}"}
        heard(answer, round((time.perf_counter() - started) * 1000))
        if "milliseconds" in answer or pause is None:
            break
        over.wait(pause)
    return answer


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
