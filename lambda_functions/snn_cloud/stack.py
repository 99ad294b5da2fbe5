"""Deploy and watch the stack; `snn_cloud.cleanup` takes it away.

`deploy_stack` does it in one call. Who must not wait (a deferrable operator) calls `start_deploy`, polls `stack_status`
until it is done, and ends with `finish_deploy`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self, TypeVar

from botocore.exceptions import ClientError

from snn_cloud.clients import Clients
from snn_cloud.errors import StackFailed
from snn_cloud.stack_events import StackEvent, first_failure, follow
from snn_cloud.stack_options import StackOptions
from snn_cloud.stack_request import stack_request

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

__all__ = [
    "StackOptions",
    "StackOutputs",
    "StackStatus",
    "deploy_stack",
    "describe_stack",
    "finish_deploy",
    "first_failure",
    "stack_status",
    "start_deploy",
    "submit",
    "wait_for_stack",
]
T = TypeVar("T")
LIMIT_SECONDS = 7_200.0  # for CloudFormation; a cache takes up to half an hour, a VPC's interfaces as long to go


def _silent(line: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class StackOutputs:
    """A deployed stack: the names that everything else needs."""

    stack_name: str
    bucket: str
    table: str
    launch_function: str
    trainer_function: str
    neuron_function: str
    topic_arn: str
    has_cache: bool
    architecture: str
    region: str
    artifact_bucket: str
    cache_node_type: str = "cache.t4g.micro"
    new_data_queue: str = ""  # a stack that an earlier version deployed has none
    notebook: str = ""  # the SageMaker notebook instance, if there is one
    version: int = 1  # a stack that an earlier version deployed has none

    @classmethod
    def load(cls, clients: Clients, stack_name: str) -> Self:
        """Return the outputs of a deployed stack. Raises StackFailed if there is none, or none of ours."""
        stack = describe_stack(clients, stack_name)
        outputs = {item["OutputKey"]: item["OutputValue"] for item in (stack.get("Outputs", []) if stack else [])}
        if stack is None or "Bucket" not in outputs:
            status = stack["StackStatus"] if stack else "missing"
            raise StackFailed(f"the stack {stack_name} is not deployed ({status})")
        if "LaunchFunction" not in outputs:
            raise StackFailed(f"the stack {stack_name} is a stack of something else")
        return cls.from_dict(
            {
                "stack_name": stack["StackName"],
                **{re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): value for key, value in outputs.items()},
            }
        )

    @classmethod
    def of(cls, clients: Clients, stack: str | Mapping[str, Any] | Self) -> Self:
        """Return the outputs of a stack: asked for by its name, or those that are given already, also as a mapping.

        Raises StackFailed when no stack of that name is deployed.
        """
        if isinstance(stack, str):
            return cls.load(clients, stack)
        return cls.from_dict(stack) if isinstance(stack, Mapping) else stack

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` gave. Other keys are ignored."""
        known = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        version = int(known.get("version", 1))
        return cls(**{**known, "has_cache": str(known["has_cache"]).lower() == "true", "version": version})


@dataclass(frozen=True)
class StackStatus:
    """How a stack stands: CloudFormation's word for it, or MISSING."""

    status: str

    @property
    def done(self) -> bool:
        """Whether nothing is under way."""
        return not self.status.endswith("_IN_PROGRESS") or self.status == "REVIEW_IN_PROGRESS"

    @property
    def ok(self) -> bool:
        """Whether the last operation did what it was asked."""
        return self.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


def stack_status(clients: Clients, stack: str) -> StackStatus:
    """Return how a stack (its name, or its id: what `start_deploy` returned) stands."""
    found = describe_stack(clients, stack)
    return StackStatus(found["StackStatus"] if found else "MISSING")


def deploy_stack(
    clients: Clients,
    options: StackOptions,
    on_progress: Callable[[str], None] = _silent,
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
    on_progress: Callable[[str], None] = _silent,
    limit_seconds: float = LIMIT_SECONDS,
) -> str:
    """Upload the artifacts and start to create or update the stack; return the id to poll `stack_status` with.

    The id is empty if the stack is as wanted already. Options that nobody gave stay as they are in a stack that is
    there. What an earlier, failed creation left behind is removed first; a deployment under way is waited for, until
    `limit_seconds` have passed. Raises StackFailed if the stack is in a state that only a person can mend.
    """
    return submit(clients, options, _create_or_update, on_progress, limit_seconds)


Send = Callable[[Clients, dict[str, Any], "StackTypeDef | None", Callable[[str], None]], T]
"""Hands a request to CloudFormation, for the stack as it is there, or for a new one (None)."""


def submit(
    clients: Clients,
    options: StackOptions,
    send: Send[T],
    on_progress: Callable[[str], None] = _silent,
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
            from snn_cloud import change_set

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


def _settle(
    clients: Clients, stack_name: str, on_progress: Callable[[str], None], deadline: float
) -> StackTypeDef | None:
    """Bring a stack to where it can be updated, and return it as it is there, or be created (None)."""
    status = stack_status(clients, stack_name)
    if not status.done:
        on_progress(f"the stack {stack_name} is {status.status}: waiting for that to end")
        status = wait_for_stack(clients, stack_name, on_progress, deadline)
    if status.status in ("MISSING", "DELETE_COMPLETE", "REVIEW_IN_PROGRESS"):
        return None
    if status.status in ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        # It was never up, so nothing of anybody's is in it; and CloudFormation can do nothing with it but delete it.
        on_progress(f"removing what an earlier attempt left of the stack {stack_name} ({status.status})")
        clients.cloudformation.delete_stack(StackName=stack_name)
        status = wait_for_stack(clients, stack_name, on_progress, deadline)
        if status.status in ("MISSING", "DELETE_COMPLETE"):
            return None
    if status.status in ("DELETE_FAILED", "UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED", "ROLLBACK_FAILED"):
        updating = status.status.startswith("UPDATE")
        reason = first_failure(clients, stack_name, ("UPDATE",) if updating else ("DELETE",)) or "no reason given"
        mend = "continue its rollback" if updating else "delete it"
        raise StackFailed(
            f"the stack {stack_name} is {status.status}: {reason} (only a person can mend it in CloudFormation: {mend})"
        )
    return describe_stack(clients, stack_name)


def wait_for_stack(
    clients: Clients,
    stack: str,
    on_progress: Callable[[str], None],
    deadline: float | None = None,
    on_event: Callable[[StackEvent], None] | None = None,
) -> StackStatus:
    """Wait until CloudFormation is done with a stack. Raises StackFailed at the deadline (`time.monotonic`).

    `on_event` hears of every resource as CloudFormation goes on with it, nested stacks' too.
    """
    pause, last = 0.1, ""
    began = time.monotonic()
    deadline = began + LIMIT_SECONDS if deadline is None else deadline
    news = follow(clients, stack) if on_event else None
    while True:
        status = stack_status(clients, stack)
        if status.status != last:
            on_progress(status.status)
            last = status.status
        if on_event and news:
            for event in news():
                on_event(event)
        if status.done:
            return status
        if time.monotonic() >= deadline:
            waited = time.monotonic() - began
            raise StackFailed(f"the stack {stack} is still {status.status} after {waited:.0f} s; that goes on")
        time.sleep(pause)
        pause = min(pause * 1.5, 5.0)  # seconds; AWS takes minutes


def describe_stack(clients: Clients, stack: str) -> StackTypeDef | None:
    """Return what CloudFormation says of a stack, by its name or its id; None if there is none of this name."""
    try:
        return clients.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
