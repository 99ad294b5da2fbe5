"""LaunchLambda: starts runs, for a caller who asks (a direct invocation) or for a data set uploaded to S3.

It also ends a run whose trainer was killed: Lambda tells it of a trainer's event that failed for good.
"""

import time
from typing import Any

from snn.errors import InvalidInput
from snn_cloud.aws import init_phase
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.saying import refusal
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.ending import trainer_gone
from snn_cloud.launch.launching import launch
from snn_cloud.launch.uploading import launch_upload
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import LAST_WRITE, Run, Usage

clients = Clients.from_environment()
init_phase.done()


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Parse, launch, answer {"run_id", "state"} or {"error"}."""
    started, settings = time.monotonic(), Settings.from_environment()
    clients.requests.take()  # what an earlier invocation asked after its last count is not this run's
    request = event if isinstance(event, dict) else {}
    try:
        if isinstance(request.get("Records"), list):
            runs = [launch_upload(record, settings, clients) for record in request["Records"]]
        elif "requestPayload" in request:
            runs = trainer_gone(request, settings, clients)
        else:
            runs = [launch(event, settings, clients)]
    except InvalidInput as error:
        return refusal(error)
    milliseconds = round((time.monotonic() - started) * 1000) + init_phase.take()
    for number, run in enumerate(runs):  # an event may have several, and is one invocation
        used = Usage(int(number == 0), milliseconds // len(runs), settings.memory_mb, **clients.requests.take())
        _account(run, used + LAST_WRITE, settings)
    return {"run_id": runs[0].run_id, "state": runs[0].state} if runs else {}


def _account(run: Run, usage: Usage, settings: Settings) -> None:
    Ledger(clients.dynamodb, settings.table).add_usage(run.run_id, {"launch": usage})
    print(f"{run.run_id}: {run.state} {run.reason}")
