"""Failures of calls to AWS: which of them pass, so that looking again may succeed, and what to say of one."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
from botocore.parsers import ResponseParserError

from snn.errors import one_line

AWS_ERRORS = (BotoCoreError, ClientError, ResponseParserError)
"""All that a call to AWS may raise."""


def reason(error: Exception) -> str:
    """Return in one line why a call failed."""
    if isinstance(error, ResponseParserError):  # its own words are a parser's, and then the whole page
        said = one_line(" ".join(str(error).partition("\n")[2].split()) or str(error), 200)
        return f"what answered is not AWS, perhaps a proxy or a login page between (check network and proxy): {said}"
    return one_line(str(error))


def passes(error: Exception) -> bool:
    """Return whether a failure says nothing about the run, and looking again may succeed."""
    if isinstance(error, ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = answer["Error"]["Code"]
        return status >= 500 or status == 429 or "Throttl" in code or "Exceeded" in code
    return isinstance(error, (ConnectionError, HTTPClientError, ResponseParserError)) or _of_the_cache(error)


def _of_the_cache(error: Exception) -> bool:
    """Return whether a cache cannot be reached, still loads, is failing over or is out of connections."""
    import redis  # here, as no DAG needs it while it is parsed

    # Connection errors both, to redis-py; but a wrong password stays wrong.
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError)):
        return False
    return isinstance(error, (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError))
