"""EventLambda: puts what changes in the ledger on EventBridge's default bus."""

import os
from typing import Any

from snn_cloud.announce.announcing import events_in, put
from snn_cloud.aws.clients import Clients

clients = Clients.from_environment()


def handler(event: Any, context: Any) -> None:
    """Parse, tell. An error makes the stream repeat the records."""
    found = events_in(event["Records"], os.environ["STACK"])
    put(found, clients)
    print(f"{len(found)} events of {len(event['Records'])} changes")
