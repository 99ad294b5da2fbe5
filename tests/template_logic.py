"""The templates as data, and what CloudFormation would make of their conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cfnlint.decode import decode_str

from snn_client.stack.package import templates

TEXTS = templates()


def parse(name: str) -> dict[str, Any]:
    template, problems = decode_str(TEXTS[name])
    assert not problems
    assert template is not None
    return dict(template)


TEMPLATES = {name: parse(name) for name in TEXTS}
BUCKET = "arn:${AWS::Partition}:s3:::${BucketName}"


def holds(condition: str, template: Mapping[str, Any], parameters: Mapping[str, str]) -> bool:
    """Evaluate a condition of a template, as CloudFormation would."""

    def value(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        ((function, argument),) = node.items()
        if function == "Ref":
            return parameters[argument]
        if function == "Condition":
            return value(template["Conditions"][argument])
        if function == "Fn::Equals":
            return str(value(argument[0])) == str(value(argument[1]))
        if function == "Fn::Not":
            return not value(argument[0])
        if function == "Fn::And":
            return all(value(item) for item in argument)
        if function == "Fn::Or":
            return any(value(item) for item in argument)
        raise AssertionError(f"{function} is not understood here")

    return bool(value(template["Conditions"][condition]))


def resources(name: str, **parameters: str) -> set[str]:
    """Return the types of the resources that a template makes with these parameters."""
    template = TEMPLATES[name]
    return {
        resource["Type"]
        for resource in template["Resources"].values()
        if "Condition" not in resource or holds(resource["Condition"], template, parameters)
    }


def statements(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, statement) for every policy statement below a node."""
    if isinstance(node, dict):
        if "Effect" in node:
            yield path, node
        for key, child in node.items():
            yield from statements(child, f"{path}/{key}" if path.count("/") < 1 else path)
    elif isinstance(node, list):
        for child in node:
            yield from statements(child, path)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resolved(value: Any) -> str:
    """Write a resource reference down as short text."""
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    return {"Fn::GetAtt": lambda: ".".join(argument), "Ref": lambda: argument, "Fn::Sub": lambda: argument}[function]()
