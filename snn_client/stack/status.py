"""A stack's status, and waiting for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError

from snn_client.stack.events import StackEvent, follow
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed
from snn_cloud.aws.passing import AWS_ERRORS, passes, reason

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

T = TypeVar("T")
PATIENCE_SECONDS = 300.0
"""So long a wait goes on although CloudFormation cannot be asked: it throttles an account as a whole."""
LIMIT_SECONDS = 7_200.0  # for CloudFormation; a cache takes up to half an hour, a VPC's interfaces as long to go


def silent(line: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class StackStatus:
    """A stack's status in CloudFormation's terms, or MISSING."""

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


def insist(look: Callable[[], T], on_trouble: Callable[[str], None] = silent, deadline: float = math.inf) -> T:
    """Return what a look finds, looking again while it fails in a way that passes.

    Raises the failure that is still there after PATIENCE_SECONDS, or at the deadline (`time.monotonic`).
    """
    until, pause = min(time.monotonic() + PATIENCE_SECONDS, deadline), 0.5
    while True:
        try:
            return look()
        except AWS_ERRORS as error:
            if not passes(error) or time.monotonic() >= until:
                raise
            on_trouble(f"cannot reach AWS, retrying: {reason(error)}")
        time.sleep(pause)
        pause = min(pause * 2, 20.0)


def wait_for_stack(
    clients: Clients,
    stack: str,
    on_progress: Callable[[str], None],
    deadline: float | None = None,
    on_event: Callable[[StackEvent], None] | None = None,
) -> StackStatus:
    """Wait until CloudFormation is done with a stack. Raises StackFailed at the deadline (`time.monotonic`).

    A look that fails in a way that passes does not end it: see `insist`.
    `on_event` is called for every resource that CloudFormation works on, nested stacks' too.
    """
    pause, last = 0.1, ""
    began = time.monotonic()
    deadline = began + LIMIT_SECONDS if deadline is None else deadline
    news = follow(clients, stack) if on_event else None
    while True:
        status = insist(lambda: stack_status(clients, stack), on_progress, deadline)
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
            raise StackFailed(f"the stack {stack} is still {status.status} after {waited:.0f} s, and continues")
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
