"""Deploy and watch the stack; `snn_cloud.cleanup` takes it away.

`deploy_stack` does it in one call. Who must not wait (a deferrable operator) calls `start_deploy`, polls `stack_status`
until it is done, and ends with `finish_deploy`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_cloud.artifacts import upload_artifacts
from snn_cloud.clients import Clients
from snn_cloud.errors import StackFailed
from snn_cloud.stack_options import StackOptions, template_value

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef, StackTypeDef

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
    "wait_for_stack",
]
NESTED = "AWS::CloudFormation::Stack"
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

    @classmethod
    def load(cls, clients: Clients, stack_name: str) -> Self:
        """Return the outputs of a deployed stack. Raises StackFailed if there is none."""
        stack = describe_stack(clients, stack_name)
        outputs = {item["OutputKey"]: item["OutputValue"] for item in (stack.get("Outputs", []) if stack else [])}
        if stack is None or "Bucket" not in outputs:
            status = stack["StackStatus"] if stack else "missing"
            raise StackFailed(f"the stack {stack_name} is not deployed ({status})")
        return cls.from_dict(
            {
                "stack_name": stack["StackName"],
                **{re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): value for key, value in outputs.items()},
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` gave. Other keys are ignored."""
        known = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        return cls(**{**known, "has_cache": str(known["has_cache"]).lower() == "true"})


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
    deadline = time.monotonic() + limit_seconds
    for _ in range(5):
        operation = _submit(clients, options, on_progress, deadline)
        if operation is not None:
            return operation
    raise StackFailed(f"the stack {options.stack_name} could not be deployed: other deployments keep getting in first")


def _request(
    clients: Clients, options: StackOptions, live: StackTypeDef | None, on_progress: Callable[[str], None]
) -> dict[str, Any]:
    """Return what to ask of CloudFormation, after uploading what that names."""
    if live is not None:
        options = options.keeping(
            {item["ParameterKey"]: item.get("ParameterValue", "") for item in live.get("Parameters", [])},
            {tag["Key"]: tag["Value"] for tag in live.get("Tags", [])},
        )
    # An endpoint without TLS is not AWS; what runs there has no TLS of its own to offer either.
    secure = clients.cloudformation.meta.endpoint_url.startswith("https:")
    if secure and options.runtime == "python3.11" and not options.layer_arn:
        raise InvalidInput(
            "python3.11 cannot load the dependencies on AWS",
            field="runtime",
            source="stack options",
            mend="python3.12 or later: its Amazon Linux 2 has glibc 2.26, numpy and h5py need 2.28",
        )
    artifacts = upload_artifacts(
        clients,
        options.stack_name,
        runtime=options.runtime,
        architecture=options.architecture,
        build_layer=not options.layer_arn,
        secure_transport=secure,
        on_progress=on_progress,
    )
    values = {**artifacts.parameters, **options.parameters, "SecureTransport": template_value(secure)}
    return {
        "StackName": options.stack_name,
        "TemplateBody": artifacts.root_template,
        "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        "Tags": [{"Key": key, "Value": value} for key, value in options.tags.items()],
    }


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


def first_failure(clients: Clients, stack: str, operations: Sequence[str] = ("CREATE", "UPDATE")) -> str:
    """Return what failed first in a stack's latest operation: "Training/Bucket: reason", or "" if nothing did.

    `operations` are the kinds meant: with ("DELETE",) the latest deletion.
    """
    failures: list[StackEventTypeDef] = []
    try:
        for event in _events(clients, stack):  # newest first
            kind, _, state = event.get("ResourceStatus", "").partition("_")
            if kind not in operations:
                continue
            if event.get("PhysicalResourceId") != event["StackId"]:
                if state == "FAILED" and "cancelled" not in event.get("ResourceStatusReason", ""):
                    failures.append(event)
            elif state == "IN_PROGRESS":
                break
    except ClientError:
        return ""  # the reason is a courtesy, and this one is hidden from us
    if not failures:
        return ""
    first = failures[-1]
    name, reason = first["LogicalResourceId"], first.get("ResourceStatusReason", "no reason given")
    inner = ""
    if first.get("ResourceType") == NESTED and first.get("PhysicalResourceId"):
        inner = first_failure(clients, first["PhysicalResourceId"], operations)
    return f"{name}/{inner}" if inner else f"{name}: {reason}"


def _submit(clients: Clients, options: StackOptions, on_progress: Callable[[str], None], deadline: float) -> str | None:
    """Create or update; return the stack's id, "" if it is as wanted, None if another deployment was quicker."""
    name = options.stack_name
    try:
        live = _settle(clients, name, on_progress, deadline)
        request = _request(clients, options, live, on_progress)
        if live is not None:
            on_progress(f"updating the stack {name}")
            return clients.cloudformation.update_stack(**request)["StackId"]
        on_progress(f"creating the stack {name}")
        # A stack that cannot be created as a whole goes away by itself, even if nobody is watching any more.
        return clients.cloudformation.create_stack(**request, OnFailure="DELETE")["StackId"]
    except ClientError as error:
        message = error.response["Error"].get("Message", str(error))
        if "No updates are to be performed" in message:
            on_progress(f"the stack {name} is up to date")
            return ""
        if error.response["Error"].get("Code") == "AlreadyExistsException" or "_IN_PROGRESS state" in message:
            return None
        raise StackFailed(f"the stack {name} could not be deployed: {message}") from error


def _settle(
    clients: Clients, stack_name: str, on_progress: Callable[[str], None], deadline: float
) -> StackTypeDef | None:
    """Bring a stack to where it can be updated, and return it as it is there, or be created (None)."""
    status = stack_status(clients, stack_name)
    if not status.done:
        on_progress(f"the stack {stack_name} is {status.status}: waiting for that to end")
        status = wait_for_stack(clients, stack_name, on_progress, deadline)
    if status.status in ("MISSING", "DELETE_COMPLETE"):
        return None
    if status.status in ("REVIEW_IN_PROGRESS", "CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
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
    clients: Clients, stack: str, on_progress: Callable[[str], None], deadline: float | None = None
) -> StackStatus:
    """Wait until CloudFormation is done with a stack. Raises StackFailed at the deadline (`time.monotonic`)."""
    pause, last = 0.1, ""
    began = time.monotonic()
    deadline = began + LIMIT_SECONDS if deadline is None else deadline
    while True:
        status = stack_status(clients, stack)
        if status.status != last:
            on_progress(status.status)
            last = status.status
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


def _events(clients: Clients, stack: str) -> Iterator[StackEventTypeDef]:
    for page in clients.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack):
        yield from page["StackEvents"]
