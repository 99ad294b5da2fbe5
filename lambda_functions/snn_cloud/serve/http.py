"""Requests and replies as function URLs and HTTP APIs hand them over (payload version 2.0)."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypedDict

from snn.errors import one_line

MAX_BODY = 4_500_000
"""Bytes: Lambda takes 6 MB, and a photo travels as base64."""

MAX_ANSWER = 5_500_000
"""Bytes of JSON, and of quotes that are escaped once more: Lambda gives 6 MB back, and else an error that says less."""

MAX_PHOTOS = 100
MAX_ROWS = 10_000
"""In one request."""

JSON_TYPE, CSV_TYPE = "application/json", "text/csv"
PHOTO_TYPES = ("application/octet-stream", "application/x-image")  # and image/…


class Reply(TypedDict):
    """What is answered, as Lambda's function URLs take it."""

    statusCode: int
    headers: dict[str, str]
    body: str


class Refused(Exception):
    """The request is not answered; the message says why in one line."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(one_line(message))
        self.status, self.headers = status, headers


@dataclass(frozen=True)
class Request:
    """A request: its headers by their names in lower case, its body decoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    request_id: str = ""

    @property
    def kind(self) -> str:
        """Return the content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Asked:
    """What is to be answered: photos, each the bytes of a file, or rows as JSON has them."""

    photos: tuple[bytes, ...] = field(default=(), repr=False)
    rows: tuple[Any, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.photos) + len(self.rows)


def read_request(event: Mapping[str, Any]) -> Request:
    """Return the request in an event. Raises Refused for a body that is too large or not what it says."""
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    http = context.get("http") if isinstance(context, Mapping) else None
    given = event.get("headers") or {} if http else None
    if not isinstance(context, Mapping) or not isinstance(http, Mapping) or not isinstance(given, Mapping):
        raise Refused(400, "the event is no HTTP request of a function URL or an HTTP API")
    headers = {str(name).lower(): str(value) for name, value in given.items()}
    text = event.get("body") or ""
    if not isinstance(text, str):
        raise Refused(400, "the body is not text")
    encoded = event.get("isBase64Encoded") is True
    if len(text) > (MAX_BODY + 2) // 3 * 4 + 4 if encoded else len(text) > MAX_BODY:
        raise too_large()
    try:
        body = base64.b64decode(text, validate=True) if encoded else text.encode()
    except (binascii.Error, UnicodeEncodeError):
        raise Refused(400, "the body cannot be decoded") from None
    if len(body) > MAX_BODY:
        raise too_large()
    path = str(event.get("rawPath") or http.get("path") or "/")
    stage = str(context.get("stage") or "$default")
    if stage != "$default" and f"{path}/".startswith(f"/{stage}/"):
        path = path.removeprefix(f"/{stage}")
    request_id = str(context.get("requestId", ""))
    return Request(str(http.get("method", "")).upper(), path.rstrip("/") or "/", headers, body, request_id)


def read_asked(request: Request) -> Asked:
    """Return what a body asks. Raises Refused, which says what would be taken."""
    if not request.body:
        raise Refused(400, 'the body is empty (send a photo, or JSON such as {"instances": […]})')
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):  # nothing is unpacked that could be a bomb
        raise Refused(415, f"Content-Encoding {coding[:40]!r} is not read (send the body as it is)")
    kind = request.kind
    if kind.startswith("image/") or kind in PHOTO_TYPES:
        return Asked(photos=(request.body,))
    if kind == JSON_TYPE:
        return _of_json(request.body)
    if kind == CSV_TYPE:
        return _of_csv(request.body)
    said = f"Content-Type {kind[:100]!r} is not read" if kind else "the header Content-Type is missing"
    raise Refused(415, f"{said} (use image/jpeg or another photo's, {JSON_TYPE} or {CSV_TYPE})")


def reply(status: int, content: Any, **headers: str) -> Reply:
    """Return a reply with JSON."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    shown = {"Content-Type": JSON_TYPE, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **given}
    return {"statusCode": status, "headers": shown, "body": json.dumps(content, separators=(",", ":"))}


def too_large() -> Refused:
    """Return the refusal of a body that is too large."""
    return Refused(413, f"the body is larger than {MAX_BODY / 1e6:g} MB (send fewer or smaller photos at a time)")


def _of_json(body: bytes) -> Asked:
    def no_number(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON (use null for a value that is missing)")

    try:
        said = json.loads(body.decode(), parse_constant=no_number, object_pairs_hook=_object)
    except (ValueError, RecursionError) as problem:
        why = "nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise Refused(400, f"the body is not JSON: {why}") from None
    instances = said.get("instances") if isinstance(said, dict) else None
    if not isinstance(instances, list) or not instances:
        raise Refused(400, 'the JSON has no "instances" (send {"instances": […]} with one or more)')
    if set(said) - {"instances"}:
        raise Refused(400, f'{sorted(set(said) - {"instances"})[0]!r} is not a field (send "instances" alone)')
    if all(isinstance(one, dict) and set(one) == {"b64"} for one in instances):
        return Asked(
            photos=tuple(_photo(one["b64"], place) for place, one in enumerate(_few(instances, MAX_PHOTOS), 1))
        )
    return Asked(rows=tuple(_few(instances, MAX_ROWS)))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Two values of one name, of which readers take now this, now that, are a mistake."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:100]!r} stands twice in one object")
    return found


def _of_csv(body: bytes) -> Asked:
    try:
        rows = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as problem:
        raise Refused(400, f"the body is not CSV in UTF-8: {problem}") from None
    if not rows:
        raise Refused(400, "the CSV text has no rows")
    return Asked(rows=tuple(_few(rows, MAX_ROWS + 1)))


def _photo(text: Any, place: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Refused(400, f"instance {place}: b64 is not base64") from None


def _few(instances: list[Any], most: int) -> list[Any]:
    if len(instances) > most:
        raise Refused(413, f"there are {len(instances):,} instances (send at most {most:,} at a time)")
    return instances
