"""TrainerLambda: advances one run, and continues in a fresh invocation before its time is up."""

from collections.abc import Callable
from typing import Any

from snn.errors import InvalidInput
from snn_cloud.aws import init_phase
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.places import check_run_id
from snn_cloud.aws.saying import refusal
from snn_cloud.aws.settings import Settings
from snn_cloud.train.following import Follower, follow
from snn_cloud.train.training import advance

clients = Clients.from_environment()
init_phase.done()


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Parse, train (or follow the trainer that holds the lease), answer with the run's state, or {"error"}."""
    try:
        run_id, follower = _parse(event)
    except InvalidInput as error:
        return refusal(error)
    settings = Settings.from_environment()
    clients.requests.take()  # what an earlier invocation asked after its last count is not this run's
    # First of all: should Lambda kill this invocation, its own lines name no run, and are found by what they follow.
    print(f"{run_id}: starts, {_seconds_left(context)():.0f} s and {settings.memory_mb:,} MB available")
    if follower:
        run = follow(run_id, follower, settings, clients)
    else:
        run = advance(run_id, context.aws_request_id, _seconds_left(context), settings, clients)
    print(f"{run_id}: {run.state} after {run.epoch} epochs {run.reason}")
    return {"run_id": run_id, "state": run.state, "epoch": run.epoch}


def _parse(event: Any) -> tuple[str, Follower | None]:
    if not isinstance(event, dict):
        hint = 'send {"run_id": "…"}'
        raise InvalidInput(f"is a {type(event).__name__}, not an event", source="TrainerLambda", hint=hint)
    return check_run_id(event.get("run_id", "")), Follower.load(event["follower"]) if "follower" in event else None


def _seconds_left(context: Any) -> Callable[[], float]:
    return lambda: context.get_remaining_time_in_millis() / 1000
