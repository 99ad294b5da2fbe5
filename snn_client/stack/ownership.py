"""Whose a stack is. Everything that writes to a stack, or deletes one, asks here first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snn.errors import InvalidInput
from snn_client.stack.artifacts import STACK_TAG, bucket_name, tags_of_bucket
from snn_client.stack.status import describe_stack
from snn_cloud.aws.clients import Clients

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


def is_ours(stack: StackTypeDef) -> bool:
    """Return whether a stack was deployed from here, by this version or an older one.

    All have a parameter ArtifactBucket, whose value is made of the stack's own name, account and region. A stack that
    waits for its first change set has no parameters yet, so of that this says False.
    """
    parameters = {item.get("ParameterKey"): item.get("ParameterValue") for item in stack.get("Parameters", [])}
    return parameters.get("ArtifactBucket") == _artifact_bucket(stack)


def check_ours(clients: Clients, stack: StackTypeDef, source: str, field: str, hint: str) -> None:
    """Raise InvalidInput for a stack that something else deployed."""
    if is_ours(stack):
        return
    if stack["StackStatus"] == "REVIEW_IN_PROGRESS":  # nothing is in it; our artifact bucket is made before it
        tags = tags_of_bucket(clients, _artifact_bucket(stack), _account_and_region(stack)[0])
        if tags.get(STACK_TAG) == stack["StackName"]:
            return
    raise InvalidInput(f"{stack['StackName']} was not deployed by snn", field=field, source=source, hint=hint)


def live_stack(clients: Clients, stack_name: str) -> StackTypeDef | None:
    """Return the stack to deploy to as it stands; None if there is none. Raises InvalidInput if it is not ours."""
    live = describe_stack(clients, stack_name)
    if live is None or live["StackStatus"] == "DELETE_COMPLETE":
        return None
    check_ours(clients, live, "stack options", "stack_name", "choose another name")
    return live


def _artifact_bucket(stack: StackTypeDef) -> str:
    return bucket_name(stack["StackName"], *_account_and_region(stack))


def _account_and_region(stack: StackTypeDef) -> tuple[str, str]:
    _, _, _, region, account, _ = stack["StackId"].split(":", 5)
    return account, region
