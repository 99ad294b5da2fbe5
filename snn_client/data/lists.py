"""Lists that XCom may not take: the head of one travels, all of it lies in S3 as JSON."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from snn.errors import InvalidInput
from snn_client.data.sources import read_source
from snn_cloud.aws.clients import Clients

LIMIT = 48_000
"""Bytes of what a task returns, as JSON text, at most: some XCom stores take no more."""


class Shortened(TypedDict):
    """A long list: as much of it as fits, how many items there are, and the address of all of them."""

    head: list[Any]
    count: int
    whole: str


def shortened(
    clients: Clients, bucket: str, key: str, items: Sequence[Any], limit: int = LIMIT
) -> list[Any] | Shortened:
    """Return the list itself if it has at most `limit` bytes; else put it into S3 and return its head."""
    if size(items) <= limit:
        return list(items)
    clients.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(items).encode(), ContentType="application/json")

    def cut(length: int) -> Shortened:
        return {"head": list(items[:length]), "count": len(items), "whole": f"s3://{bucket}/{key}"}

    return cut(longest(len(items), lambda length: size(cut(length)) <= limit))


def whole(clients: Clients, given: Sequence[Any]) -> list[Any]:
    """Return all of a list, given it or, as its only item, what `shortened` made of it.

    Raises InvalidInput when the list is not where it should be, or is none.
    """
    if len(given) != 1 or not isinstance(given[0], Mapping) or "whole" not in given[0]:
        return list(given)
    source = str(given[0]["whole"])
    try:
        items = json.loads(read_source(clients, source))
    except ValueError as error:
        raise InvalidInput(f"is not JSON: {error}", source=source) from None
    if not isinstance(items, list):
        raise InvalidInput("is no list", source=source)
    return items


def size(value: Any) -> int:
    """Return how many bytes a value has as JSON text, indented as in `report.json`."""
    return len(json.dumps(value, indent=2, allow_nan=False).encode())


def longest(length: int, fits: Callable[[int], bool]) -> int:
    """Return the greatest length, at most this one, that fits; 0 if none does."""
    return max(bisect_left(range(length + 1), True, key=lambda tried: not fits(tried)) - 1, 0)
