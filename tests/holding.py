"""What is held back until a test has seen what it is after, however fast the rest is."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from small import wait_until

from snn_client.stack.outputs import StackOutputs
from snn_client.stack.package import templates
from snn_cloud.aws.clients import Clients


@contextmanager
def held_trainers(clients: Clients, stack: StackOutputs) -> Iterator[None]:
    """Let no trainer of the stack, which limits none, begin before the block is left; Lambda keeps their events."""
    clients.lambda_.put_function_concurrency(FunctionName=stack.trainer_function, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        clients.lambda_.delete_function_concurrency(FunctionName=stack.trainer_function)


@contextmanager
def held_creation(clients: Clients, stack: str) -> Iterator[None]:
    """Let the stack, which is created meanwhile, be complete only after this: it waits for a word from outside."""
    waits = """
Resources:
  Handle: {Type: AWS::CloudFormation::WaitConditionHandle}
  Waits: {Type: AWS::CloudFormation::WaitCondition, Properties: {Handle: {Ref: Handle}, Timeout: 120, Count: 1}}
"""
    texts = templates()
    with pytest.MonkeyPatch.context() as patch:
        root = texts["root"].replace("\nResources:\n", waits)
        patch.setattr("snn_client.stack.artifacts.templates", lambda: {**texts, "root": root})
        yield
    made: dict[str, str] = {}

    def has_handle() -> bool:
        found = clients.cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        made.update({each["LogicalResourceId"]: each.get("PhysicalResourceId", "") for each in found})
        return made.get("Handle", "").startswith("http")

    wait_until(has_handle, f"{stack} has no handle")
    word = json.dumps({"Status": "SUCCESS", "Reason": "enough", "UniqueId": "1", "Data": ""}).encode()
    request = urllib.request.Request(made["Handle"], word, {"Content-Type": ""}, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()
