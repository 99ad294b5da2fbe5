"""Counts what is asked of AWS, as AWS bills it, where it is asked: in the clients' own events.

A request is counted once, whatever botocore had to retry: attempts that AWS throttled or failed (5xx) are not billed.
"""

from __future__ import annotations

import math
from collections import Counter
from threading import Lock
from typing import Any

# DynamoDB bills a refused conditional write like a done one, but does not tell its units: those of 1 KB are assumed.
_BILLED_ERRORS = (None, "ConditionalCheckFailedException")
_READS = ("GetItem", "BatchGetItem", "TransactGetItems", "Query", "Scan")


class Requests:
    """The requests of one environment's clients, under the names of `Usage`'s fields. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock, self._counts = Lock(), Counter[str]()

    def watch(self, client: Any) -> Any:
        """Return `client`, its requests counted from now on; those to S3, DynamoDB and SNS have a price."""
        service, events = client.meta.service_model.service_name, client.meta.events
        if service == "dynamodb":
            events.register("provide-client-params.dynamodb", _ask_for_units)
            events.register("after-call.dynamodb", self._dynamodb)
        elif service == "s3":
            events.register("after-call.s3", self._s3)
        elif service == "sns":
            events.register("after-call.sns.Publish", self._sns)
        return client

    def take(self) -> dict[str, int]:
        """Return the counts since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counter[str]()
        return dict(counts)

    def _add(self, kind: str, count: int = 1) -> None:
        with self._lock:
            self._counts[kind] += count

    def _dynamodb(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if model.output_shape is None or "ConsumedCapacity" not in model.output_shape.members:
            return  # what is no request to a table's items, as describing it, is free
        if parsed.get("Error", {}).get("Code") in _BILLED_ERRORS:
            # One object, or a list with one for each table that a batch or a transaction has to do with.
            consumed = parsed.get("ConsumedCapacity") or {}
            units = sum(
                table.get("CapacityUnits", 1) for table in (consumed if isinstance(consumed, list) else [consumed])
            )
            self._add("read_units" if model.name in _READS else "write_units", math.ceil(units))

    def _s3(self, http_response: Any, model: Any, **_: Any) -> None:
        method = model.http["method"]
        if http_response.status_code < 500 and method != "DELETE":  # deleting is free
            # S3's two price classes: PUT, COPY, POST and LIST; and GET, HEAD and all others.
            self._add("s3_puts" if method in ("PUT", "POST") or model.name.startswith("List") else "s3_gets")

    def _sns(self, http_response: Any, **_: Any) -> None:
        if http_response.status_code < 400:
            self._add("publishes")


def _ask_for_units(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
    """Have DynamoDB say what a request consumed, which costs nothing and is exact; sizes computed here would not be."""
    can_tell = "ReturnConsumedCapacity" in model.input_shape.members
    return {"ReturnConsumedCapacity": "TOTAL", **params} if can_tell else params
