"""NeuronLambda: computes some neurons of one layer, forward or backward. Pure: it calls nobody and keeps no state."""

import math
import os
import time
from typing import Any

import redis

from snn.errors import InvalidInput
from snn_cloud.aws import init_phase
from snn_cloud.aws.errors import CacheLost
from snn_cloud.aws.saying import say_traceback
from snn_cloud.neurons.cache import Cache
from snn_cloud.neurons.task import work

cache = Cache.from_environment()
MEMORY_MB = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))
init_phase.done()


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Parse, compute, answer what it took.

    Two failures are answers too: a loss from the cache, which the trainer can fix, and a task refused, which it should
    not repeat.
    """
    started = time.perf_counter()
    if cache is None:
        raise RuntimeError("CACHE_HOST is not set: this stack has no cache")
    answer: dict[str, Any] = {}
    try:
        work(event, cache)
    except (CacheLost, redis.RedisError) as loss:
        answer = {"lost": str(loss)}
    except InvalidInput as refusal:
        answer = {"refused": str(refusal)}
    except Exception:
        say_traceback(f"{event['run_id']}: error")
        raise
    init_ms = init_phase.take()
    milliseconds = math.ceil((time.perf_counter() - started) * 1000) + init_ms
    if "refused" not in answer:
        where = f"layer {event['layer']} neurons {event['neurons']} {event['direction']}"
        print(f"{event['run_id']}: {where} {milliseconds} ms")
    return {
        **answer,
        "milliseconds": milliseconds,
        "init_ms": init_ms,  # of them, to start this environment: 0 in one that was warm
        "memory_mb": MEMORY_MB,
        "request_id": getattr(context, "aws_request_id", ""),
        "log_stream": getattr(context, "log_stream_name", ""),
    }
