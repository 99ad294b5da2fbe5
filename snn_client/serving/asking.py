"""Asking the endpoint, as any HTTP client would: signed, with a key, or with a token."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from snn.errors import InvalidInput, one_line
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

SECONDS = 60.0
"""How long an answer is waited for: as long as PredictLambda may take."""

MODEL_HEADER = "X-Amzn-SageMaker-Target-Model"
PHOTO, JSON_TYPE, CSV_TYPE = "application/octet-stream", "application/json", "text/csv"

Secrets = tuple[str, str, str | None]
"""An access key, its secret, and the token of those that end."""


class Prediction(TypedDict):
    """The answer to one sample (`snn_cloud.serve.loaded.Prediction`)."""

    predicted: NotRequired[int]
    class_name: NotRequired[str]
    probability: NotRequired[float]
    probabilities: NotRequired[list[float]]
    value: NotRequired[float]
    unlike: NotRequired[bool]


class VersionLabel(TypedDict):
    """Which version answered; its number is 0 if the registry does not know it."""

    name: str
    version: int
    run_id: str


class Answer(TypedDict):
    """What the endpoint answers; `threshold` is None but of two classes."""

    predictions: list[Prediction]
    model: VersionLabel
    threshold: float | None
    classes: list[str]


class NotAnswered(CloudError):
    """The endpoint did not answer; the message has its status and its reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(one_line(f"the endpoint answered {status}: {reason}"))
        self.status = status


def callable_url(clients: Clients, outputs: StackOutputs) -> str:
    """Return the address at which the endpoint can be called from here, without a slash at its end.

    CloudFormation tells an address of AWS. Where AWS is an emulator nothing answers there: it takes such calls at an
    address of its own. Raises InvalidInput if the stack has no endpoint.
    """
    if not outputs.endpoint_url:
        hint = "deploy it with one: snn deploy --endpoint iam"
        raise InvalidInput(f"the stack {outputs.stack_name} has no endpoint", field="endpoint", hint=hint)
    emulator = clients.lambda_.meta.endpoint_url
    found = re.match(r"https?://([^./]+)\.(lambda-url|execute-api)\.", outputs.endpoint_url)
    if found is None or emulator.startswith("https://"):
        return outputs.endpoint_url.rstrip("/")
    name, kind = found.groups()
    return f"{emulator.rstrip('/')}/_aws/{kind}/{name}{'/$default' if kind == 'execute-api' else ''}"


def ask(
    clients: Clients, outputs: StackOutputs, body: bytes, kind: str = PHOTO, *, secrets: Secrets | None = None,
    key: str = "", token: str = "", target: str = "",
) -> Answer:  # fmt: skip
    """Return the endpoint's answer to a photo's bytes, or to rows as JSON or CSV text.

    What the endpoint asks for has to be given: `secrets` sign, `key` and `token` are sent along. `target` names another
    model, or a version: name, name/7, name/run_id. Raises NotAnswered.
    """
    url = f"{callable_url(clients, outputs)}/invocations"
    headers = {"Content-Type": kind, **({MODEL_HEADER: target} if target else {})}
    if key:
        headers["X-Api-Key"] = key
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if outputs.endpoint == "iam":
        if secrets is None:
            raise InvalidInput("the endpoint takes signed requests", field="credentials", hint="configure AWS's")
        headers = signed("POST", url, headers, body, secrets, outputs.region)
    try:
        answered = httpx.post(url, content=body, headers=headers, timeout=SECONDS)
    except httpx.HTTPError as problem:
        raise NotAnswered(0, str(problem) or type(problem).__name__) from None
    if answered.status_code != 200:
        raise NotAnswered(answered.status_code, _reason(answered))
    answer: Answer = answered.json()
    return answer


def signed(
    method: str, url: str, headers: dict[str, str], body: bytes, secrets: Secrets, region: str
) -> dict[str, str]:
    """Return headers with AWS's signature (version 4) of a request to a function URL."""
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    SigV4Auth(Credentials(*secrets), "lambda", region).add_auth(request)
    return dict(request.headers.items())


def _reason(answered: httpx.Response) -> str:
    try:
        said: Any = answered.json()
        return str(said.get("error") or said.get("message") or said.get("Message") or said)[:500]
    except (json.JSONDecodeError, AttributeError):
        return answered.text[:500] or answered.reason_phrase
