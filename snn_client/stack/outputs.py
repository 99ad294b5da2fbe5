"""A deployed stack's outputs: the names that everything else needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

from snn_client.stack.ownership import is_ours
from snn_client.stack.status import describe_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed


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
    feature_function: str = ""  # FeatureLambda, if there is one
    predict_function: str = ""  # PredictLambda, if there is one
    endpoint: str = "none"  # how the champion is asked
    endpoint_url: str = ""  # where, as CloudFormation tells it: see `snn_client.models.asking`
    require_approval: bool = False
    notebook: str = ""  # the SageMaker notebook instance, if there is one
    version: int = 1  # a stack that an earlier version deployed has none

    @classmethod
    def load(cls, clients: Clients, stack_name: str) -> Self:
        """Return the outputs of a deployed stack. Raises StackFailed if there is none, or none of ours."""
        stack = describe_stack(clients, stack_name)
        if stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS":
            status = stack["StackStatus"] if stack else "missing"
            raise StackFailed(f"the stack {stack_name} is not deployed ({status})")
        if not is_ours(stack):
            raise StackFailed(f"the stack {stack_name} was not deployed by snn (name one that was)")
        outputs = {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}
        if not {"Bucket", "LaunchFunction"} <= outputs.keys():
            raise StackFailed(f"the stack {stack_name} is not deployed ({stack['StackStatus']})")
        return cls.from_dict(
            {
                "stack_name": stack["StackName"],
                **{re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower(): value for key, value in outputs.items()},
            }
        )

    @classmethod
    def of(cls, clients: Clients, stack: str | Mapping[str, Any] | Self) -> Self:
        """Return the outputs of a stack: asked for by its name, or those that are given already, also as a mapping.

        A mapping that has only some of them names its stack by `stack_name`.

        Raises StackFailed when no stack of that name is deployed.
        """
        if isinstance(stack, str):
            return cls.load(clients, stack)
        if isinstance(stack, Mapping):
            needed = {item.name for item in fields(cls) if item.default is MISSING}
            return cls.from_dict(stack) if needed <= stack.keys() else cls.load(clients, stack["stack_name"])
        return stack

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for XCom."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` gave. Other keys are ignored."""
        known = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        version = int(known.get("version", 1))
        flags = {name: str(known.get(name, "")).lower() == "true" for name in ("has_cache", "require_approval")}
        return cls(**{**known, **flags, "version": version})
