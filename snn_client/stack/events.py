"""What CloudFormation reports about a stack: event by event, and what failed first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from snn_cloud.aws.clients import Clients
from snn_cloud.aws.passing import AWS_ERRORS

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef

NESTED = "AWS::CloudFormation::Stack"
BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS")


@dataclass(frozen=True)
class StackEvent:
    """How one resource stands: "Training/Bucket" in a nested stack, the stack's own name for itself."""

    resource: str
    kind: str
    status: str
    reason: str
    time: datetime

    @property
    def ended(self) -> bool:
        """Whether nothing is under way with it."""
        return not self.status.endswith("_IN_PROGRESS")

    @property
    def failed(self) -> bool:
        """Whether it could not be done."""
        return self.status.endswith("_FAILED")


def follow(clients: Clients, stack: str) -> Callable[[], list[StackEvent]]:
    """Return a function that returns what is new in a stack's latest operation, oldest first.

    Its first answer goes back to where the operation began. Nested stacks are followed from when they are heard of.
    """
    paths, last = {stack: ""}, dict[str, str]()
    began: datetime | None = None

    def news() -> list[StackEvent]:
        nonlocal began
        found, waiting = list[StackEvent](), list(paths)
        while waiting:
            one = waiting.pop()
            events = _since(clients, one, last.get(one, ""), began)
            if events:
                last[one] = events[0]["EventId"]
                began = began or events[-1]["Timestamp"]
            for event in events:
                name, inner = event["LogicalResourceId"], event.get("PhysicalResourceId", "")
                own = inner == event["StackId"]
                if event.get("ResourceType") == NESTED and inner and not own and inner not in paths:
                    paths[inner] = f"{paths[one]}{name}/"
                    waiting.append(inner)
                if not own or one == stack:  # the outer stack tells of a nested one as well
                    found.append(_plain(event, f"{paths[one]}{name}"))
        found.reverse()  # events of one moment came newest first as well
        return sorted(found, key=lambda event: event.time)

    return news


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
    except AWS_ERRORS:
        return ""  # the reason is a courtesy, and this one is hidden from us
    if not failures:
        return ""
    first = failures[-1]
    name, reason = first["LogicalResourceId"], first.get("ResourceStatusReason", "no reason given")
    inner = ""
    if first.get("ResourceType") == NESTED and first.get("PhysicalResourceId"):
        inner = first_failure(clients, first["PhysicalResourceId"], operations)
    return f"{name}/{inner}" if inner else f"{name}: {reason}"


def newest_event(clients: Clients, stack: str) -> str:
    """Return the id of a stack's newest event; "" if it has none."""
    return next((event["EventId"] for event in _events(clients, stack)), "")


def _since(clients: Clients, stack: str, last: str, began: datetime | None) -> list[StackEventTypeDef]:
    """Return a stack's events after `last` and not before `began`, newest first; None: of its latest operation."""
    found: list[StackEventTypeDef] = []
    try:
        for event in _events(clients, stack):
            if event["EventId"] == last or (began and event["Timestamp"] < began):
                break
            found.append(event)
            begins = event.get("ResourceStatus") in BEGINNINGS and event.get("PhysicalResourceId") == event["StackId"]
            if begins and began is None:
                break
    except AWS_ERRORS:
        pass  # events are a courtesy, and these are hidden from us, or CloudFormation is busy
    return found


def _plain(event: StackEventTypeDef, resource: str) -> StackEvent:
    kind, status = event.get("ResourceType", ""), event.get("ResourceStatus", "")
    return StackEvent(resource, kind, status, event.get("ResourceStatusReason", ""), event["Timestamp"])


def _events(clients: Clients, stack: str) -> Iterator[StackEventTypeDef]:
    for page in clients.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack):
        yield from page["StackEvents"]
