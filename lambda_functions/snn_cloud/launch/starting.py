"""How a trainer is started, by whoever has work for one."""

from __future__ import annotations

import json
from typing import Any

from snn_cloud.aws.clients import Clients


def start_trainer(clients: Clients, function: str, run_id: str, **more: Any) -> None:
    """Invoke TrainerLambda asynchronously: the ledger, not the call, tells what becomes of it."""
    event = json.dumps({"run_id": run_id, **more})
    clients.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=event)
