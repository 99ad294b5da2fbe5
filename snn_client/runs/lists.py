"""Lists that are too long for XCom: the first items travel, all of them lie in S3 as JSON."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from snn.errors import InvalidInput
from snn_client.data.staging import read_source
from snn_cloud.aws.clients import Clients

LIMIT = 48_000
"""Maximum size of what a task returns, as JSON text, in bytes: some XCom stores take no more."""


class Shortened(TypedDict):
    """A long list: as many of its first items as fit, how many it has, and the address of the whole list."""

    head: list[Any]
    count: int
    whole: str


def shortened(
    clients: Clients, bucket: str, key_of: Callable[[str], str], items: Sequence[Any], limit: int = LIMIT
) -> list[Any] | Shortened:
    """Return the list itself if it has at most `limit` bytes; else put it into S3 and return its first items.

    `key_of` returns the key for a list with a given SHA-256: what another task reads is never overwritten.
    """
    if size(items) <= limit:
        return list(items)
    content = json.dumps(items).encode()
    key = key_of(hashlib.sha256(content).hexdigest())
    clients.s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType="application/json")

    def cut(length: int) -> Shortened:
        return {"head": list(items[:length]), "count": len(items), "whole": f"s3://{bucket}/{key}"}

    return cut(longest(len(items), lambda length: size(cut(length)) <= limit))


def whole(clients: Clients, given: Sequence[Any]) -> list[Any]:
    """Return all items of a list, given the list or, as its only item, what `shortened` returned for it.

    Raises InvalidInput when the whole list cannot be read.
    """
    if len(given) != 1 or not isinstance(given[0], Mapping) or "whole" not in given[0]:
        return list(given)
    return read_list(clients, str(given[0]["whole"]))


def read_list(clients: Clients, source: str) -> list[Any]:
    """Return a list that lies as JSON at a path or an address in S3. Raises InvalidInput when there is none."""
    try:
        items = json.loads(read_source(clients.s3, source))
    except ValueError as error:
        raise InvalidInput(f"is not JSON: {error}", source=source) from None
    if not isinstance(items, list):
        raise InvalidInput("is not a list", source=source)
    return items


def size(value: Any) -> int:
    """Return how many bytes a value has as JSON text, indented as in `report.json`."""
    return len(json.dumps(value, indent=2, allow_nan=False).encode())


def longest(length: int, fits: Callable[[int], bool]) -> int:
    """Return the greatest length, at most this one, that fits; 0 if none does."""
    return max(bisect_left(range(length + 1), True, key=lambda tried: not fits(tried)) - 1, 0)
