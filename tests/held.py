"""Holds what AWS clients are answered in the tests to botocore's service model, and keeps what the product asked for.

An emulator is written by people who read AWS's documentation, so its answers may be of other types than AWS's, or lack
what is always there. Every session that botocore makes after `install` reports that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aws_calls import caller, named
from botocore import handlers
from botocore.model import OperationModel
from botocore.validate import ParamValidator


class Deviation(NamedTuple):
    """Where an answer is not as the service model has it: "logs.DescribeLogGroups", "logGroups[].storedBytes", why."""

    operation: str
    member: str
    why: str


# What an emulator is known to answer otherwise than AWS, and why it may.
EMPTY = "an output or a stack without a description has an empty one; AWS leaves it out, and the product reads neither"
UNSET = "a throughput of 0, which is not known; AWS gives what a table is warm for, and the product does not read it"
RUNTIME = "the address of a runtime is empty; AWS always has one, and only tests ask for it"
DECREASES = "no decreases today are 0, as on AWS, although its model says 1 or more; the product reads none of it"
NUMBERS = "a template's number stays one; AWS makes it text, and the functions read text"
KNOWN: dict[str, dict[Deviation, str]] = {
    "ministack": {
        Deviation(f"cloudformation.{operation}", member, "invalid length"): EMPTY
        for operation, member in (
            ("DescribeChangeSet", "Description"),
            ("ListChangeSets", "Summaries[].Description"),
            ("DescribeStacks", "Stacks[].Description"),
            ("DescribeStacks", "Stacks[].Outputs[].Description"),
        )
    }
    | {
        Deviation(f"dynamodb.{operation}", f"{table}.WarmThroughput.{units}UnitsPerSecond", "invalid range"): UNSET
        for operation, table in (
            ("CreateTable", "TableDescription"),
            ("DescribeTable", "Table"),
            ("DeleteTable", "TableDescription"),
        )
        for units in ("Read", "Write")
    }
    | {
        Deviation(f"lambda.{operation}", f"{member}RuntimeVersionConfig.RuntimeVersionArn", "invalid length"): RUNTIME
        for operation, member in (("CreateFunction", ""), ("ListFunctions", "Functions[]."))
    },
    "moto": {
        Deviation("lambda.GetFunctionConfiguration", f"Environment.Variables.{name}", "invalid type"): NUMBERS
        for name in ("NEURON_CONCURRENCY", "TRAINER_CONCURRENCY")
    }
    | {
        Deviation(
            f"dynamodb.{operation}", f"{table}.ProvisionedThroughput.NumberOfDecreasesToday", "invalid range"
        ): DECREASES
        for operation, table in (
            ("CreateTable", "TableDescription"),
            ("DescribeTable", "Table"),
            ("DeleteTable", "TableDescription"),
        )
    }
    | {
        Deviation("cloudformation.ListStackResources", "StackResourceSummaries[].ResourceType", "invalid length"): (
            "of a kind that moto does not know; a cleanup lists it by its name"
        ),
    },
}


@dataclass
class Heard:
    """What an emulator has answered in this process."""

    deviations: dict[Deviation, str] = field(default_factory=dict)  # with the first value that showed it
    operations: set[str] = field(default_factory=set)  # whoever asked
    of_product: set[str] = field(default_factory=set)  # those that the product asked for


heard = {name: Heard() for name in KNOWN}
emulator = "ministack"
"""Whose answers they are, at the moment."""


def install() -> None:
    """Have every session that is made from now on report its answers here."""
    handlers.BUILTIN_HANDLERS += [("before-call", _remember), ("response-received", _hold)]


def deviations(answer: Mapping[str, Any], model: OperationModel) -> dict[Deviation, str]:
    """Return where an answer is not as the service model has it, with the value that shows it."""
    told = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    if model.output_shape is None:
        return {Deviation(named(model), name, "answers nothing"): repr(value) for name, value in told.items()}
    found = {}
    for why, name, more in ParamValidator().validate(told, model.output_shape)._errors:
        member, lacks = re.sub(r"\[\d+\]", "[]", name).lstrip("."), more.get("required_name", "")
        found[Deviation(named(model), member, f"{why} {lacks}".strip())] = repr(more.get("param"))[:200]
    return found


def unknown() -> dict[Deviation, str]:
    """Return deviations that nobody has listed yet, and forget them, so that each is told of once."""
    seen = heard[emulator].deviations
    new = {one: value for one, value in seen.items() if one not in KNOWN[emulator]}
    for one in new:
        del seen[one]
    return new


def _remember(model: OperationModel, context: dict[str, Any], **_: Any) -> None:
    context["held_model"] = model


def _hold(parsed_response: Mapping[str, Any] | None, context: dict[str, Any], **_: Any) -> None:
    """Look at an answer as it was parsed, before any handler of botocore makes something else of it."""
    model = context.get("held_model")
    if model is None or parsed_response is None:
        return
    if parsed_response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 300:
        return
    said = heard[emulator]
    said.operations.add(named(model))
    if caller():
        said.of_product.add(named(model))
    said.deviations.update(deviations(parsed_response, model))
