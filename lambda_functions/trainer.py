"""TrainerLambda: advances one run, and continues in a fresh invocation before its time is up."""

from typing import Any

from snn_cloud.clients import Clients
from snn_cloud.places import check_run_id
from snn_cloud.settings import Settings
from snn_cloud.training import advance

clients = Clients.from_environment()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Parse, train, answer where the run stands."""
    run_id = check_run_id(event.get("run_id", ""))
    run = advance(
        run_id,
        context.aws_request_id,
        lambda: context.get_remaining_time_in_millis() / 1000,
        Settings.from_environment(),
        clients,
    )
    print(f"{run_id}: {run.state} after {run.epoch} epochs {run.reason}")
    return {"run_id": run_id, "state": run.state, "epoch": run.epoch}
