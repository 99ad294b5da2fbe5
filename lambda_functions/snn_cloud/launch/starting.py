"""Starting a trainer."""

from __future__ import annotations

import json
from typing import Any

from snn_cloud.aws.clients import Clients


def start_trainer(clients: Clients, function: str, run_id: str, **more: Any) -> None:
    """Invoke TrainerLambda asynchronously: its outcome is in the ledger, not in the answer."""
    event = json.dumps({"run_id": run_id, **more})
    clients.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=event)
