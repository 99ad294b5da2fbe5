"""What a change of the ledger is worth telling: a run that ended, a version, a new champion, data that drifted.

DynamoDB's stream hands over a change at least once, so an event may come twice: `id` in its detail is the same then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.record import State, unpack

SOURCE = "snn"
AT_ONCE = 10  # events that PutEvents takes in one request

RUN_ENDED = {
    State.COMPLETED: "Run Completed",
    State.FAILED: "Run Failed",
    State.CANCELLED: "Run Cancelled",
}
REGISTERED, DECIDED, PROMOTED, DRIFTED = "Version Registered", "Version Decided", "Model Promoted", "Data Drifted"


class Event(TypedDict):
    """An event: what it is called, and its detail."""

    kind: str
    detail: dict[str, Any]


def events_in(records: Iterable[Mapping[str, Any]], stack: str) -> list[Event]:
    """Return the events in records of the ledger's stream, in their order; most records are worth none."""
    found = list[Event]()
    for record in records:
        change = record["dynamodb"]
        new, old = unpack(change.get("NewImage") or {}), unpack(change.get("OldImage") or {})
        event = _event(str(new.get("item", "")), new, old)
        if event is not None:
            event["detail"] = {"id": str(record["eventID"]), "stack": stack, **event["detail"]}
            found.append(event)
    return found


def put(events: list[Event], clients: Clients) -> None:
    """Put events on the account's default bus. Raises CloudError if one was not taken: the stream repeats them all."""
    for first in range(0, len(events), AT_ONCE):
        entries: Any = [
            {"Source": SOURCE, "DetailType": event["kind"], "Detail": json.dumps(event["detail"])}
            for event in events[first : first + AT_ONCE]
        ]
        answer = clients.events.put_events(Entries=entries)
        if answer["FailedEntryCount"]:
            why = next(entry for entry in answer["Entries"] if "ErrorCode" in entry)
            raise CloudError(f"an event was not taken: {why['ErrorCode']} {why.get('ErrorMessage', '')}")


def _event(item: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Event | None:
    if item == "run":
        state = State(new["state"])
        if state not in RUN_ENDED or new["state"] == old.get("state"):
            return None
        named = ("run_id", "state", "reason", "epoch", "cost", "validation_cost", "validation_metric", "stopped_by")
        return {"kind": RUN_ENDED[state], "detail": {name: _plain(new[name]) for name in named if name in new}}
    if item.startswith("version#") and new["status"] != old.get("status"):
        detail = {"model": new["model"], "version": int(new["number"]), "run_id": new["run"], "status": new["status"]}
        if decided := json.loads(new.get("decided") or "null"):
            detail |= {"by": decided["by"], "reason": decided["reason"]}
        return {"kind": DECIDED if old else REGISTERED, "detail": detail}
    if item == "champion" and new["run"] != old.get("run"):
        detail = {
            "model": str(new["run_id"]).removeprefix("model#"),
            "run_id": new["run"],
            "before": old.get("run", ""),
        }
        return {"kind": PROMOTED, "detail": detail}
    if item.startswith("drift#") and new.get("drifted") and not old.get("drifted"):
        detail = {"model": _model(new), "run_id": new["run"], "finding": new["finding"]}
        return {"kind": DRIFTED, "detail": detail}
    return None


def _model(item: Mapping[str, Any]) -> str:
    return str(item["run_id"]).removeprefix("model#")


def _plain(value: Any) -> Any:
    """Return a value of the ledger as JSON has it: numbers are texts there that Python reads, or decimals."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return int(value) if value is not None and not isinstance(value, bool) else value
