"""TrainerLambda: advances one run, and continues in a fresh invocation before its time is up."""

from collections.abc import Callable
from typing import Any

from snn_cloud import init_phase
from snn_cloud.clients import Clients
from snn_cloud.following import follow
from snn_cloud.places import check_run_id
from snn_cloud.settings import Settings
from snn_cloud.training import advance

clients = Clients.from_environment()
init_phase.done()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Parse, train (or follow the trainer that holds the lease), answer where the run stands."""
    run_id, settings = check_run_id(event.get("run_id", "")), Settings.from_environment()
    clients.requests.take()  # what an earlier invocation asked after its last count is not this run's
    # First of all: should Lambda kill this invocation, its own lines name no run, and are found by what they follow.
    print(f"{run_id}: begins, {_seconds_left(context)():.0f} s and {settings.memory_mb:,} MB to itself")
    if "follower" in event:
        run = follow(run_id, event["follower"], settings, clients)
    else:
        run = advance(run_id, context.aws_request_id, _seconds_left(context), settings, clients)
    print(f"{run_id}: {run.state} after {run.epoch} epochs {run.reason}")
    return {"run_id": run_id, "state": run.state, "epoch": run.epoch}


def _seconds_left(context: Any) -> Callable[[], float]:
    return lambda: context.get_remaining_time_in_millis() / 1000
