"""Starts moto, with what its nested stacks and its DynamoDB lack; runs in its own environment, imports nothing of ours.

Each patch asserts what it patches: should moto do it by itself one day, the patch must go.
"""

from __future__ import annotations

import inspect
import threading
from types import SimpleNamespace
from typing import Any

from moto.cloudformation import models, responses
from moto.dynamodb import models as tables
from moto.dynamodb import responses as dynamodb
from moto.server import main


def _attribute(stack: Any, name: str) -> Any:
    """Return what !GetAtt gives of a nested stack: one of its outputs."""
    kind, _, output = name.partition(".")
    assert kind == "Outputs", name
    return next(item["OutputValue"] for item in stack.outputs if item["OutputKey"] == output)


_tag = models.yaml_tag_constructor


def _tag_of_two(loader: Any, tag: Any, node: Any) -> Any:
    """Read !GetAtt as a resource and an attribute: that of a nested stack has a dot in its name."""
    made = _tag(loader, tag, node)
    if tag == "!GetAtt" and isinstance(node.value, str):
        made["Fn::GetAtt"] = node.value.split(".", 1)
    return made


assert _tag(None, "!GetAtt", SimpleNamespace(value="A.Outputs.B")) == {"Fn::GetAtt": ["A", "Outputs", "B"]}
assert responses.yaml_tag_constructor is _tag
models.yaml_tag_constructor = responses.yaml_tag_constructor = _tag_of_two
assert not hasattr(models.Stack, "get_cfn_attribute")
models.Stack.get_cfn_attribute = _attribute
assert "return self.name" in inspect.getsource(models.Stack.physical_resource_id.fget)  # AWS: its ARN
models.Stack.physical_resource_id = property(lambda stack: stack.stack_id)

# DynamoDB tests a condition and writes in one step. moto answers every request in a thread of its own and does both one
# after the other, so that two trainers may both get a free lease.
assert "Lock" not in inspect.getsource(dynamodb) + inspect.getsource(tables)
_one_at_a_time, _call = threading.RLock(), dynamodb.DynamoHandler.call_action


def _in_one_step(handler: Any) -> Any:
    """Answer one request to DynamoDB after the other."""
    with _one_at_a_time:
        return _call(handler)


dynamodb.DynamoHandler.call_action = _in_one_step

if __name__ == "__main__":
    main()
