"""Deploy the stack; `snn_client.stack.cleanup` deletes it.

`deploy_stack` does it in one call. Whoever must not wait (a deferrable operator) calls `start_deploy`, polls
`stack_status` until it is done, and ends with `finish_deploy`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from snn_client.stack import change_set
from snn_client.stack.events import first_failure
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import LIMIT_SECONDS, silent, stack_status, wait_for_stack
from snn_client.stack.submitting import submit
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


def deploy_stack(
    clients: Clients,
    options: StackOptions,
    on_progress: Callable[[str], None] = silent,
    limit_seconds: float = LIMIT_SECONDS,
) -> StackOutputs:
    """Create the stack, or bring it up to date, and wait. Raises StackFailed, CloudError or InvalidInput."""
    deadline = time.monotonic() + limit_seconds
    operation = start_deploy(clients, options, on_progress, limit_seconds)
    if operation:
        wait_for_stack(clients, operation, on_progress, deadline)
    return finish_deploy(clients, options.stack_name, operation)


def start_deploy(
    clients: Clients,
    options: StackOptions,
    on_progress: Callable[[str], None] = silent,
    limit_seconds: float = LIMIT_SECONDS,
) -> str:
    """Upload the artifacts and start to create or update the stack; return the id to poll `stack_status` with.

    The id is empty if the stack is as wanted already. Options that were not given stay as they are in an existing
    stack. What an earlier, failed creation left behind is removed first; a deployment under way is waited for, until
    `limit_seconds` have passed. Raises StackFailed if the stack is in a state that has to be fixed by hand.
    """
    return submit(clients, options, _create_or_update, on_progress, limit_seconds)


def finish_deploy(clients: Clients, stack_name: str, operation: str) -> StackOutputs:
    """Return the outputs after `start_deploy` returned `operation` and the stack is done.

    Raises StackFailed with the first failed resource and its reason.
    """
    if operation:
        status = stack_status(clients, operation)
        if not status.ok:
            reason = first_failure(clients, operation) or status.status
            raise StackFailed(f"the stack {stack_name} could not be deployed: {reason}")
    return StackOutputs.load(clients, stack_name)


def _create_or_update(
    clients: Clients, request: dict[str, Any], live: StackTypeDef | None, on_progress: Callable[[str], None]
) -> str:
    """Return the stack's id, or "" if it is as wanted."""
    name = request["StackName"]
    if live is None:
        on_progress(f"creating the stack {name}")
        if stack_status(clients, name).status == "REVIEW_IN_PROGRESS":
            # Somebody looks at what a change set would create, or has left it. That is not ours to delete; beside it
            # CreateStack is refused, a change set is not.
            changes = change_set.create(clients, request, live, on_progress)
            return change_set.apply(clients, changes) if changes else ""
        # A stack that cannot be created as a whole goes away by itself, even if nobody is watching any more.
        return clients.cloudformation.create_stack(**request, OnFailure="DELETE")["StackId"]
    on_progress(f"updating the stack {name}")
    try:
        return clients.cloudformation.update_stack(**request)["StackId"]
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
    on_progress(f"the stack {name} is up to date")
    return ""
