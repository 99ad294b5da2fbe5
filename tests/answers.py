"""AWS as botocore's service model has it: every answer holds all that it may hold.

A test says what matters to it, and the rest is made up: every optional member is there, page tokens are there once, of
a union there is one member. Nothing travels: botocore checks the request, and hands out the answer as if it had come.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
from aws_calls import caller, named, tokens
from botocore.model import OperationModel, Shape
from botocore.response import StreamingBody
from botocore.validate import ParamValidator

from snn_cloud.aws.clients import Clients

ABSENT: Any = object()
"""In the place of a member that a test wants to be left out."""
ACCOUNT, REGION = "123456789012", "eu-west-3"
WHEN = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Refused(NamedTuple):
    """An answer that is an error."""

    code: str
    status: int = 400
    message: str = "refused"


Answer = Mapping[str, Any] | Refused
Given = Answer | Sequence[Answer] | Callable[[dict[str, Any]], Answer]
"""What a test says of an operation's answers: of all of them, of one after the other, or by what was asked."""


@dataclass(frozen=True)
class Heard:
    """A call: which operation, from where in the product (None: by nobody of it), and with what."""

    operation: str
    where: tuple[str, int] | None
    asked: Mapping[str, Any]

    @property
    def goes_on(self) -> bool:
        """Whether it asks for a further page."""
        return any(name in self.asked for name in tokens(self.operation)[0])


class Answers:
    """Answers calls, by operation ("s3.GetObject"), and keeps what it has heard."""

    def __init__(self, given: Mapping[str, Given] | None = None) -> None:
        self.given, self.heard = dict(given or {}), list[Heard]()
        self._counts: dict[str, int] = {}
        self.clients = Clients(self._client)

    def asked(self, operation: str) -> list[Mapping[str, Any]]:
        """Return what was asked of an operation, call by call."""
        return [one.asked for one in self.heard if one.operation == operation]

    def _client(self, service: str) -> Any:
        client = _session().client(service)
        events, name = client.meta.events, client.meta.service_model.service_id.hyphenize()
        events.register_last(f"before-parameter-build.{name}", _keep)
        events.register_last(f"before-call.{name}", self._answer)
        return client

    def _answer(self, model: OperationModel, context: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        operation, asked = named(model), context["asked"]
        self.heard.append(Heard(operation, caller(), asked))
        given = self.given.get(operation, {})
        if isinstance(given, Sequence) and not isinstance(given, Refused):
            number = self._counts.get(operation, 0)
            self._counts[operation] = number + 1
            assert number < len(given), f"{operation} is asked more often than {len(given)} times: {asked}"
            given = given[number]
        if callable(given):
            given = given(dict(asked))
        if isinstance(given, Refused):
            said = {"Error": {"Code": given.code, "Message": given.message}}
            return _http(given.status), {**said, **_metadata(given.status)}
        return _http(200), {**full(model, given, asked), **_metadata(200)}


def full(model: OperationModel, given: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer that holds what is given and all else that it may hold; page tokens if none was asked with."""
    shape = model.output_shape
    if shape is None:
        assert not given, f"{model.name} answers nothing"
        return {}
    takes, gives, more = tokens(named(model))
    last = any(name in asked for name in takes)
    paging: dict[str, Any] = dict.fromkeys(gives, ABSENT) if last else {}
    if more:
        paging[more] = not last
    answer: dict[str, Any] = _full(shape, {**paging, **given}, ())
    report = ParamValidator().validate(answer, shape)
    assert not report.has_errors(), f"{model.name}: {report.generate_report()}"
    return answer


def body(content: bytes) -> dict[str, Any]:
    """Return what GetObject answers of an object with these bytes, asked for as a whole."""
    return {
        "Body": StreamingBody(io.BytesIO(content), len(content)), "ContentLength": len(content), "ContentRange": ABSENT,
        "Metadata": {}, "ETag": '"e1"', "VersionId": "v1",
    }  # fmt: skip


def _keep(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["asked"] = dict(params)


@cache
def _session() -> boto3.Session:
    return boto3.Session("key", "secret", region_name=REGION)


def _http(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={})


def _metadata(status: int) -> dict[str, Any]:
    told = {"HTTPStatusCode": status, "RequestId": "r1", "HostId": "h1", "HTTPHeaders": {}, "RetryAttempts": 0}
    return {"ResponseMetadata": told}


def _full(shape: Shape, given: Any, within: tuple[str, ...]) -> Any:
    """Return a value of a shape: what is given, and whatever else it may hold but for itself."""
    made_up, kind = given is None, shape.type_name
    if kind == "structure":
        return _structure(shape, given or {}, (*within, shape.name)) if shape.name not in within or given else {}
    if kind == "list":
        if made_up:
            return [] if shape.member.name in within else [_full(shape.member, None, within)]
        return [_full(shape.member, item, within) for item in given]
    if kind == "map":
        if made_up:
            given = {} if shape.value.name in within else {_scalar(shape.key): None}
        return {key: _full(shape.value, item, within) for key, item in given.items()}
    return _scalar(shape) if made_up else given


def _structure(shape: Any, given: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    unknown = set(given) - set(shape.members)
    assert not unknown, f"{shape.name} has no {', '.join(sorted(unknown))}"
    members = list(shape.members)
    # DynamoDB's values are a union, though the model does not call them one.
    if getattr(shape, "is_tagged_union", False) or shape.name == "AttributeValue":
        members = list(given) or members[:1]
    return {
        name: _full(shape.members[name], given.get(name), within) for name in members if given.get(name) is not ABSENT
    }


def _scalar(shape: Any) -> Any:
    least = int(shape.metadata.get("min", 0))
    if shape.type_name == "string":
        return shape.enum[0] if getattr(shape, "enum", None) else (shape.name or "text").ljust(least, "x")
    if shape.type_name == "blob":
        content = b"bytes".ljust(least, b".")
        streams = shape.serialization.get("streaming")
        return StreamingBody(io.BytesIO(content), len(content)) if streams else content
    return {"boolean": True, "timestamp": WHEN}.get(shape.type_name, max(1, least))
