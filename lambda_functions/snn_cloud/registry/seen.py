"""What a champion was asked, by the bins of what it was trained on; and whether that has drifted.

    model#<name> / seen#<run_id>#<day>#<environment>   counts of one environment of PredictLambda, for one day (UTC)
    model#<name> / drift#<run_id>                      the last check

An environment writes its own counts, whole, so that repeating a write changes nothing, and no two add to one item. The
items expire. The reference lies beside the run's report, written when the version was promoted.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from snn.errors import InvalidInput
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import read_object
from snn_cloud.ledger.record import pack, unpack
from snn_cloud.registry.record import check_model
from snn_data.drift.reference import MOST_BYTES, Reference
from snn_data.drift.report import ALPHA, DriftReport, compare
from snn_data.drift.summary import Summary

KEPT_DAYS = 40
DAYS = 7
"""Of what was asked, for a check."""

MIN_SAMPLES = 100
"""Below that a check says that there are too few, and nothing of drift."""


class Check(TypedDict):
    """A check of what a champion was asked in the last `days`. `report` is None where `why` says what is missing."""

    model: str
    run_id: str
    at: float
    days: int
    samples: int
    why: str
    report: DriftReport | None


def read_reference(clients: Clients, bucket: str, run_id: str) -> Reference:
    """Return what a run's version was trained on. Raises InvalidInput if that was not written."""
    key = places.drift_reference(run_id)
    return Reference.from_json(read_object(clients, bucket, key, most=2 * MOST_BYTES), key)


def store(clients: Clients, table: str, model: str, run_id: str, day: str, who: str, summary: Summary) -> None:
    """Write all that an environment, `who`, has counted on a day (2026-12-01)."""
    told = {
        ":counts": json.dumps(summary.increments()), ":digest": summary.reference.digest,
        ":expires": int(time.time()) + KEPT_DAYS * 86_400,
    }  # fmt: skip
    clients.dynamodb.update_item(
        TableName=table, Key=_key(model, f"seen#{run_id}#{day}#{who}"),
        UpdateExpression="SET #counts = :counts, #digest = :digest, #expires = :expires",
        ExpressionAttributeNames={"#counts": "counts", "#digest": "digest", "#expires": "expires_at"},
        ExpressionAttributeValues=pack(told),
    )  # fmt: skip


def check(
    clients: Clients, bucket: str, table: str, model: str, run_id: str, days: int = DAYS, alpha: float = ALPHA
) -> Check:
    """Compare what a champion was asked in the last days with what it was trained on, and note the verdict."""
    found: Check = {
        "model": check_model(model), "run_id": run_id, "at": time.time(), "days": days, "samples": 0, "why": "",
        "report": None,
    }  # fmt: skip
    try:
        reference = read_reference(clients, bucket, run_id)
    except InvalidInput as problem:
        return {**found, "why": f"what it was trained on is not known: {problem}"}
    summary = _summary(clients, table, reference, model, run_id, days)
    found["samples"] = summary.samples
    if summary.samples < MIN_SAMPLES:
        return {**found, "why": f"it was asked of {summary.samples} samples, which are too few: {MIN_SAMPLES} do"}
    found["report"] = compare(reference, summary, alpha)
    _note(clients, table, found)
    return found


def _summary(clients: Clients, table: str, reference: Reference, model: str, run_id: str, days: int) -> Summary:
    """Return what all environments counted by this reference."""
    first = (datetime.now(UTC) - timedelta(days=days - 1)).strftime("%Y-%m-%d")
    values = {":key": f"model#{model}", ":first": f"seen#{run_id}#{first}", ":end": f"seen#{run_id}#~"}
    pages = clients.dynamodb.get_paginator("query").paginate(
        TableName=table,
        ConsistentRead=True,
        KeyConditionExpression="run_id = :key AND #item BETWEEN :first AND :end",
        ExpressionAttributeNames={"#item": "item"},
        ExpressionAttributeValues=pack(values),
    )
    counts = Counter[str]()
    for item in (unpack(item) for page in pages for item in page["Items"]):
        if item["digest"] == reference.digest:
            counts.update(json.loads(item["counts"]))
    return Summary.of_counts(reference, counts)


def _note(clients: Clients, table: str, found: Check) -> None:
    report = found["report"]
    assert report is not None  # noqa: S101 # nosec B101
    told: dict[str, Any] = {
        ":run": found["run_id"], ":at": repr(found["at"]), ":drifted": report["drifted"],
        ":finding": report["findings"][0]["text"] if report["findings"] else "", ":samples": found["samples"],
    }  # fmt: skip
    clients.dynamodb.update_item(
        TableName=table, Key=_key(found["model"], f"drift#{found['run_id']}"),
        UpdateExpression="SET #run = :run, #at = :at, #drifted = :drifted, #finding = :finding, #samples = :samples",
        ExpressionAttributeNames={f"#{name}": name for name in ("run", "at", "drifted", "finding", "samples")},
        ExpressionAttributeValues=pack(told),
    )  # fmt: skip


def _key(model: str, item: str) -> dict[str, Any]:
    return pack({"run_id": f"model#{model}", "item": item})
