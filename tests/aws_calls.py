"""Where the product calls AWS: as its source says, and, of a call that is under way, as the stack says."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.model import OperationModel
from documentation import ROOT

from snn_cloud.aws.clients import Clients

PRODUCT = ("lambda_functions", "snn_client", "snn_cli", "plugins", "dags")
SERVICES = tuple(
    sorted(name.rstrip("_") for name in vars(Clients) if not name.startswith("_") and name != "from_environment")
)


@dataclass(frozen=True)
class Place:
    """A call in the source: the operation as AWS calls it, the file, the function, and the lines where it may stand.

    For a paginator, a waiter or a method that gets another name those are the whole function's.
    """

    operation: str  # "s3.GetObject"
    file: str
    function: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.file}:{self.first} {self.function}: {self.operation}"


@cache
def session() -> Any:
    """A session of botocore, which keeps the service models that it has read."""
    return botocore.session.get_session()


@cache
def operations() -> dict[str, dict[str, str]]:
    """Return, by the name that a client's method has, the operations of the services that the product uses."""
    found: dict[str, dict[str, str]] = {}
    for service in SERVICES:
        for name in session().get_service_model(service).operation_names:
            found.setdefault(xform_name(name), {})[service] = f"{service}.{name}"
    return found


def named(model: OperationModel) -> str:
    """Return an operation's name as the product's places have it: "lambda.Invoke"."""
    return f"{model.service_model.service_name}.{model.name}"


# What looks like a call to AWS, and is none: (file, what stands before the dot, method).
NO_CALLS = {
    ("snn_client/reports/page.py", "environment", "get_template"),
    ("snn_cli/main.py", "super()", "invoke"),
}


@cache
def places() -> tuple[Place, ...]:
    """Return every place of the product that calls AWS."""
    files = [file for folder in PRODUCT for file in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(place for file in files for place in in_source(file.read_text(), file.relative_to(ROOT).as_posix()))


def in_source(text: str, name: str) -> Iterator[Place]:
    """Yield the places in the text of a file of this name."""
    tree = ast.parse(text, name)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node, function in _nodes(tree, tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            where = node if node.func.attr in operations() else function
            for operation in _operations(node.func, node):
                if (name, ast.unparse(node.func.value), node.func.attr) not in NO_CALLS:
                    yield _place(operation, name, function, where)
        elif isinstance(node, ast.Attribute) and id(node) not in called and node.attr in operations():
            yield _place(_of(node), name, function, function)


def _nodes(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Yield what stands below a node, and the function that it stands in."""
    for child in ast.iter_child_nodes(node):
        yield child, function
        inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
        yield from _nodes(child, child if inner else function)


def _operations(method: ast.Attribute, call: ast.Call) -> list[str]:
    if method.attr in operations():
        return [_of(method)]
    if method.attr not in ("get_paginator", "get_waiter"):
        return []
    (argument,) = call.args
    assert isinstance(argument, ast.Constant)
    if method.attr == "get_paginator":
        return [_of(ast.Attribute(method.value, argument.value))]
    service = _service(method.value)
    config = session().get_waiter_model(service)
    waits = {xform_name(waiter): config.get_waiter(waiter).operation for waiter in config.waiter_names}
    return [f"{service}.{waits[argument.value]}"]


def _of(method: ast.Attribute) -> str:
    """Return the operation of a method; what the client is called tells apart those that several services have."""
    found = operations()[method.attr]
    return next(iter(found.values())) if len(found) == 1 else found[_service(method.value)]


def _service(client: ast.expr) -> str:
    name = client.attr if isinstance(client, ast.Attribute) else ast.unparse(client)
    return name.strip("_")


def _place(operation: str, file: str, function: ast.AST, where: ast.AST) -> Place:
    whole = (1, sys.maxsize)  # of a module
    first, last = (where.lineno, where.end_lineno or where.lineno) if isinstance(where, ast.stmt | ast.expr) else whole
    return Place(operation, file, getattr(function, "name", "module"), first, last)


def caller() -> tuple[str, int] | None:
    """Return the file and line of the product that calls AWS just now, in this thread; None if somebody else does."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if any(file.startswith(f"{ROOT}/{folder}/") for folder in PRODUCT):
            return file.removeprefix(f"{ROOT}/"), frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def places_at(operation: str, where: tuple[str, int]) -> set[Place]:
    """Return the places of an operation at a line: where several fit, those with the fewest lines."""
    file, line = where
    fit = [one for one in places() if (one.operation, one.file) == (operation, file) and one.first <= line <= one.last]
    fewest = min((one.last - one.first for one in fit), default=0)
    return {one for one in fit if one.last - one.first == fewest}


@cache
def tokens(operation: str) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return an operation's page tokens: what the request takes, what an answer gives, and what says there is more.

    ((), (), "") for one whose answers have no pages.
    """
    service, name = operation.split(".")
    model = session().get_service_model(service).operation_model(name)
    if model.output_shape is None or model.input_shape is None:
        return (), (), ""
    config = session().get_paginator_model(service)._paginator_config.get(name)
    if config:
        given, taken = (_listed(config[key]) for key in ("output_token", "input_token"))
        return taken, tuple(text.split(" ")[0] for text in given), config.get("more_results", "")
    both = [
        token
        for token in ("NextToken", "nextToken", "Marker", "NextMarker")
        if token in model.output_shape.members and token in model.input_shape.members
    ]
    return tuple(both), tuple(both), ""


def _listed(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
