"""Ends a run whose trainer Lambda has given up on: nothing else would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snn.errors import one_line
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.settings import Settings
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.messages import Messages
from snn_cloud.ledger.record import Run, State


def trainer_gone(record: Mapping[str, Any], settings: Settings, clients: Clients) -> list[Run]:
    """End the run of a trainer that Lambda has given up on, and say so; return it, or nothing for a follower's event.

    `record` is what Lambda sends to a failure destination. A follower's leader notices by itself that it is gone; and
    a run that another trainer works on goes on. Takes as long as it takes to hear nothing of a trainer. Raises
    RunNotFound, so that an event of nobody's run ends in the dead letters.
    """
    event = record["requestPayload"]
    if not isinstance(event, dict) or "follower" in event:
        return []
    ledger, context, response = (
        Ledger(clients.dynamodb, settings.table),
        _mapping(record.get("requestContext")),
        _mapping(record.get("responsePayload")),
    )
    before = ledger.get(places.check_run_id(event.get("run_id", "")))
    said = response.get("errorMessage") or context.get("condition", "")
    tries = context.get("approximateInvokeCount", "some")
    reason = one_line(f"Lambda gave up on the trainer after {tries} tries: {said}")
    run = ledger.abandon(before.run_id, reason)
    if run.state is State.FAILED and not before.state.is_terminal:
        Messages(clients.sns, settings.topic_arn).last(f"Training failed: {run.reason}")
    return [run]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
