"""Bring a stack to where it can be deployed, upload what it consists of, and hand the request to CloudFormation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from snn_client.stack.events import first_failure
from snn_client.stack.options import StackOptions
from snn_client.stack.ownership import live_stack
from snn_client.stack.request import stack_request
from snn_client.stack.status import LIMIT_SECONDS, StackStatus, silent, wait_for_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

T = TypeVar("T")


Send = Callable[[Clients, dict[str, Any], "StackTypeDef | None", Callable[[str], None]], T]
"""Hands a request to CloudFormation, for the stack as it is there, or for a new one (None)."""


def submit(
    clients: Clients,
    options: StackOptions,
    send: Send[T],
    on_progress: Callable[[str], None] = silent,
    limit_seconds: float = LIMIT_SECONDS,
) -> T:
    """Bring the stack to where it can be deployed, upload the artifacts, `send` the request, and return the answer.

    All of it again if another deployment gets in between. Raises as `start_deploy` does.
    """
    name, deadline = options.stack_name, time.monotonic() + limit_seconds
    for _ in range(5):
        try:
            live = _settle(clients, name, on_progress, deadline)
            return send(clients, stack_request(clients, options, live, on_progress), live, on_progress)
        except ClientError as error:
            message = error.response["Error"].get("Message", str(error))
            if error.response["Error"].get("Code") != "AlreadyExistsException" and "_IN_PROGRESS state" not in message:
                raise StackFailed(f"the stack {name} could not be deployed: {message}") from error
    raise StackFailed(f"the stack {name} could not be deployed: other deployments keep getting in first")


def _settle(
    clients: Clients, stack_name: str, on_progress: Callable[[str], None], deadline: float
) -> StackTypeDef | None:
    """Bring a stack to where it can be updated, and return it as it is there, or be created (None).

    Raises InvalidInput for a stack that something else deployed, before anything is done to it.
    """
    live = live_stack(clients, stack_name)
    if live is not None and not StackStatus(live["StackStatus"]).done:
        on_progress(f"the stack {stack_name} is {live['StackStatus']}: waiting for that to end")
        wait_for_stack(clients, live["StackId"], on_progress, deadline)
        live = live_stack(clients, stack_name)
    if live is None or live["StackStatus"] == "REVIEW_IN_PROGRESS":
        return None
    if live["StackStatus"] in ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        # It was never up, so nothing of anybody's is in it; and CloudFormation can do nothing with it but delete it.
        on_progress(f"removing what an earlier attempt left of the stack {stack_name} ({live['StackStatus']})")
        clients.cloudformation.delete_stack(StackName=live["StackId"])
        wait_for_stack(clients, live["StackId"], on_progress, deadline)
        live = live_stack(clients, stack_name)
        if live is None:
            return None
    status = live["StackStatus"]
    if status in ("DELETE_FAILED", "UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED", "ROLLBACK_FAILED"):
        updating = status.startswith("UPDATE")
        reason = first_failure(clients, stack_name, ("UPDATE",) if updating else ("DELETE",)) or "no reason given"
        hint = "continue its rollback" if updating else "delete it"
        raise StackFailed(f"the stack {stack_name} is {status}: {reason} (fix it by hand in CloudFormation: {hint})")
    return live
