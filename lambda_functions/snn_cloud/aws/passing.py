"""Which failures pass: looking again may succeed, and they say nothing about the run."""

from __future__ import annotations

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError


def passes(error: Exception) -> bool:
    """Return whether a failure says nothing about the run, and looking again may succeed."""
    if isinstance(error, ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = answer["Error"]["Code"]
        return status >= 500 or status == 429 or "Throttl" in code or "Exceeded" in code
    return isinstance(error, (ConnectionError, HTTPClientError)) or _of_the_cache(error)


def _of_the_cache(error: Exception) -> bool:
    """Return whether a cache cannot be reached, still loads, is failing over or is out of connections."""
    import redis  # here, as no DAG needs it while it is parsed

    # Connection errors both, to redis-py; but a wrong password stays wrong.
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError)):
        return False
    return isinstance(error, (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError))
