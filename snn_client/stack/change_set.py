"""Show what a deployment would change, and then apply or discard it.

`propose` returns the change set, or None if the stack is as wanted; `apply` starts it and returns what
`snn_client.stack.status.wait_for_stack` and `finish_deploy` take; `discard` takes it away.

Several people may look at one stack at a time, also at one that is not there yet. Each has a change set of their own,
and touches no other; who says yes first is done as told, and CloudFormation refuses the others.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from snn_client.stack.events import newest_event
from snn_client.stack.options import StackOptions
from snn_client.stack.status import LIMIT_SECONDS, describe_stack, insist
from snn_client.stack.submitting import submit
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import DescribeChangeSetOutputTypeDef, StackTypeDef

T = TypeVar("T")
NOTHING_CHANGES = ("didn't contain changes", "No updates are to be performed")
SECONDS = 600.0  # for a change set to be made, begun or deleted; with nested stacks AWS takes a minute


@dataclass(frozen=True)
class Change:
    """What would be done to one resource; "Training/Bucket" is one of a nested stack."""

    action: str  # Add, Modify, Remove, Import or Dynamic
    resource: str
    kind: str
    replacement: str  # True, False or Conditional; empty unless it is modified

    def to_dict(self) -> dict[str, str]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class ChangeSet:
    """Changes that wait to be applied or discarded. `whole` tells whether those inside of nested stacks are known."""

    arn: str
    stack_name: str
    stack_id: str
    changes: tuple[Change, ...]
    whole: bool


def propose(
    clients: Clients,
    options: StackOptions,
    on_progress: Callable[[str], None],
    limit_seconds: float = LIMIT_SECONDS,
) -> ChangeSet | None:
    """Upload the artifacts and let CloudFormation find what would change; None if nothing would.

    Whatever happens, an interrupt included, no change set stays but the one that is returned.
    Raises as `snn_client.stack.deploy.start_deploy` does.
    """
    return submit(clients, options, create, on_progress, limit_seconds)


def apply(clients: Clients, changes: ChangeSet) -> str:
    """Start to make the changes; return the id of the stack to wait for.

    Raises StackFailed if they cannot be made any more; the change set is gone then.
    """
    before = newest_event(clients, changes.stack_id)
    try:
        clients.cloudformation.execute_change_set(StackName=changes.stack_id, ChangeSetName=changes.arn)
    except ClientError as error:
        discard(clients, changes)
        message = error.response["Error"].get("Message", str(error))
        raise StackFailed(
            f"the stack {changes.stack_name} could not be deployed: {message}; did someone else deploy it in the "
            "meantime?"
        ) from error
    # Until it has begun the stack looks as if it had ended.
    _until(lambda: newest_event(clients, changes.stack_id) != before)
    return changes.stack_id


def discard(clients: Clients, changes: ChangeSet) -> None:
    """Delete a change set, and the empty stack that was made for it if no other change set waits on that."""
    _discard(clients, changes.stack_name, changes.arn)


def create(
    clients: Clients, request: dict[str, Any], live: StackTypeDef | None, on_progress: Callable[[str], None]
) -> ChangeSet | None:
    """Make the change set of a request, for a stack as it is there, or a new one; None if nothing would change."""
    stack, reason = request["StackName"], ""
    on_progress(f"checking what would change in the stack {stack}")
    if live is None:
        request = {**request, "ChangeSetType": "CREATE", "OnStackFailure": "DELETE"}
    # CloudFormation cannot always look into nested stacks, as some of what one tells the next is only known when it is
    # there. Without them it can always say what it would do, if less of it.
    for whole in (True, False):
        name = f"snn-{uuid.uuid4()}"
        try:
            made = clients.cloudformation.create_change_set(**request, ChangeSetName=name, IncludeNestedStacks=whole)
            described = _made(clients, made["Id"])
            if described["Status"] != "FAILED":
                return ChangeSet(made["Id"], stack, made["StackId"], tuple(_changes(clients, described)), whole)
        except BaseException:
            _discard(clients, stack, name)
            raise
        _discard(clients, stack, name)
        reason = described.get("StatusReason", "no reason given")
        if any(words in reason for words in NOTHING_CHANGES):
            on_progress(f"the stack {stack} is up to date")
            return None
    raise StackFailed(f"the stack {stack} could not be deployed: {reason}")


def _made(clients: Clients, arn: str) -> DescribeChangeSetOutputTypeDef:
    """Return the first page of a change set as soon as it is there, or has failed."""

    def look() -> DescribeChangeSetOutputTypeDef | None:
        page = clients.cloudformation.describe_change_set(ChangeSetName=arn)
        return page if page["Status"] in ("CREATE_COMPLETE", "FAILED") else None

    return _until(look)


def _changes(clients: Clients, page: DescribeChangeSetOutputTypeDef, path: str = "") -> Iterator[Change]:
    """Yield a change set's changes, those of a nested stack after that stack's own."""
    describe = clients.cloudformation.describe_change_set
    while True:
        for item in page.get("Changes", []):
            change = item.get("ResourceChange", {})
            resource = f"{path}{change.get('LogicalResourceId', '')}"
            yield Change(
                change.get("Action", ""), resource, change.get("ResourceType", ""), change.get("Replacement", "")
            )
            if nested := change.get("ChangeSetId"):
                yield from _changes(clients, describe(ChangeSetName=nested), f"{resource}/")
        if not page.get("NextToken"):
            return
        page = describe(ChangeSetName=page["ChangeSetId"], NextToken=page["NextToken"])


def _discard(clients: Clients, stack: str, change_set: str) -> None:
    """Delete a change set (by its name, or its ARN) if it is there, and its stack if that waits for one only."""

    def deleted() -> bool:
        try:
            clients.cloudformation.delete_change_set(StackName=stack, ChangeSetName=change_set)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in ("InvalidChangeSetStatus", "ChangeSetNotFound", "ValidationError"):
                raise
            return code != "InvalidChangeSetStatus"  # one that is still being made cannot be deleted yet
        return True

    _until(deleted)
    found = describe_stack(clients, stack)
    if found is None:
        return
    _until(lambda: change_set not in _waiting(clients, stack))
    if found["StackStatus"] == "REVIEW_IN_PROGRESS" and not _waiting(clients, stack):
        clients.cloudformation.delete_stack(StackName=found["StackId"])
        _until(lambda: (describe_stack(clients, found["StackId"]) or found)["StackStatus"] == "DELETE_COMPLETE")


def _waiting(clients: Clients, stack: str) -> set[str]:
    """Return the names and ARNs of a stack's change sets."""
    pages = clients.cloudformation.get_paginator("list_change_sets").paginate(StackName=stack)
    found = [item for page in pages for item in page["Summaries"]]
    return {item[key] for item in found for key in ("ChangeSetName", "ChangeSetId")}


def _until(look: Callable[[], T | None]) -> T:
    """Return what a look finds as soon as it finds anything. Raises StackFailed if that takes too long."""
    deadline, pause = time.monotonic() + SECONDS, 0.1
    while not (found := insist(look)):
        if time.monotonic() > deadline:
            raise StackFailed(f"CloudFormation did not answer for {SECONDS:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 3.0)
    return found
