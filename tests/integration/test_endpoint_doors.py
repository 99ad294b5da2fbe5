"""Who may ask the endpoint: a key, a token, nobody; what a day may cost; and what is left in its log."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from served import KINDS, asked_here, endpoint_here, event_of, picture_of, put_run

from snn.errors import InvalidInput
from snn_client.models import versions
from snn_client.serving.asking import NotAnswered, ask, callable_url
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.registry.registry import Registry
from snn_cloud.serve import deployed

KEY = "a-key-that-nobody-guesses"
AUDIENCE = "snn-tests"
PHOTO = picture_of(np.random.default_rng(0))
NOON = 1_893_499_200.0  # 1 January 2030, 12:00 UTC

# As AWS publishes it: "Embedded metric format specification", "Schema".
EMF = {
    "type": "object", "required": ["_aws"],
    "properties": {"_aws": {
        "type": "object", "required": ["Timestamp", "CloudWatchMetrics"],
        "properties": {"Timestamp": {"type": "integer"}, "CloudWatchMetrics": {
            "type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["Namespace", "Dimensions", "Metrics"],
                "properties": {
                    "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "Dimensions": {"type": "array", "minItems": 1, "items": {
                        "type": "array", "minItems": 1, "maxItems": 30,
                        "items": {"type": "string", "minLength": 1, "maxLength": 250}}},
                    "Metrics": {"type": "array", "minItems": 1, "maxItems": 100, "items": {
                        "type": "object", "required": ["Name"], "properties": {
                            "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Unit": {"enum": ["Count", "Milliseconds"]}}}},
                }}}}}},
}  # fmt: skip


def deployed_with(clients: Clients, name: str, **options: Any) -> StackOutputs:
    stack = deploy_stack(clients, StackOptions.from_environment(stack_name=name, with_cache=False, **options))
    put_run(clients, stack, f"{name}-1", KINDS["photos of two classes"].file(f"{name}-1"))
    versions.promote(clients, stack, f"{name}-1")
    return stack


@pytest.fixture(scope="module")
def keyed(clients: Clients) -> StackOutputs:
    """An endpoint that asks for a key, and may cost a hundredth of a cent a day."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    return deployed_with(
        clients, "snn-keyed", endpoint="key", endpoint_key_sha256=digest, endpoint_daily_usd=0.0001,
        endpoint_concurrency=3,
    )  # fmt: skip


class Issuer:
    """Who issues tokens: a server with its public key, as OpenID Connect has it."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        numbers = self.private.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": _number(numbers.n), "e": _number(numbers.e)}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told: Any = {"keys": [key]}
                if self.path.endswith("openid-configuration"):
                    told = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                body = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "us", "iat": now - 60, "exp": now + 600, **claims}
        parts = ".".join(_text(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, said))
        signature = (key or self.private).sign(parts.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{parts}.{_text(signature)}"


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8, "big"))


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.server.shutdown()


def lines_of(clients: Clients, stack: StackOutputs) -> list[str]:
    """All that the endpoint has written into its log."""
    pages = clients.logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{stack.predict_function}"
    )
    return [line for page in pages for event in page["events"] for line in event["message"].splitlines()]


def test_a_key_opens_and_nothing_else_does(clients: Clients, keyed: StackOutputs) -> None:
    url = callable_url(clients, keyed)
    said = ask(clients, keyed, PHOTO, key=KEY)
    assert said["model"]["run_id"] == "snn-keyed-1"
    bearer = httpx.get(f"{url}/ping", headers={"Authorization": f"Bearer {KEY}"})
    assert (bearer.status_code, bearer.json()["model"]["version"]) == (200, 1)
    for headers in (
        {}, {"X-Api-Key": ""}, {"X-Api-Key": KEY[:-1]}, {"X-Api-Key": KEY.upper()}, {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"}, {"X-Api-Key": "é" * 5_000}, {"X-Api-Key": f"{KEY}, {KEY}"},
    ):  # fmt: skip
        coded = {name: text.encode() for name, text in headers.items()}
        for method, path in (("GET", "/ping"), ("POST", "/invocations")):
            answered = httpx.request(method, f"{url}{path}", headers=coded)
            assert answered.status_code == 401, (headers, answered.text)
            assert answered.json() == {"error": "the key is missing or wrong (send it as X-Api-Key)"}
    with pytest.raises(NotAnswered, match="401: the key is missing or wrong"):
        ask(clients, keyed, PHOTO, key="wrong")
    assert httpx.get(f"{url}/nothing", headers={"X-Api-Key": KEY}).status_code == 404
    assert httpx.get(f"{url}/invocations", headers={"X-Api-Key": KEY}).status_code == 405


def test_the_log_is_metrics_and_holds_nothing_of_what_was_asked(clients: Clients, keyed: StackOutputs) -> None:
    """It is read back from the log group, and held to the format that CloudWatch reads."""
    url, mark = callable_url(clients, keyed), "a-patient-by-name"
    for kind, body in (("application/json", f'{{"instances": ["{mark}"]}}'), ("text/csv", mark), (mark, mark)):
        headers = {"X-Api-Key": KEY, "Content-Type": kind, "User-Agent": mark, "X-Amzn-SageMaker-Target-Model": mark}
        answered = httpx.post(f"{url}/invocations", content=body, headers=headers)
        assert answered.status_code in (400, 404, 415, 422), answered.text
    ask(clients, keyed, PHOTO, key=KEY)
    deadline = time.monotonic() + 20
    while len(lines := [line for line in lines_of(clients, keyed) if line.startswith("{")]) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    everything = "\n".join(lines_of(clients, keyed))
    assert KEY not in everything
    assert mark not in everything
    for line in lines:
        said = json.loads(line)
        jsonschema.validate(said, EMF)
        for directive in said["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                assert all(isinstance(said[name], str) and 0 < len(said[name]) <= 1_024 for name in names)
            for metric in directive["Metrics"]:
                assert isinstance(said[metric["Name"]], (int, float))
        assert abs(said["_aws"]["Timestamp"] / 1000 - time.time()) < 600
        assert set(said) == {
            "_aws", "Stack", "Model", "Version", "Requests", "Samples", "Errors", "Refused", "Latency", "status",
            "request_id",
        }  # fmt: skip
    answered_by = [json.loads(line) for line in lines if json.loads(line)["status"] == 200]
    assert {(one["Stack"], one["Model"], one["Version"]) for one in answered_by if one["Samples"]} == {
        ("snn-keyed", "default", "1")
    }


def test_a_day_s_money_is_spent_and_the_next_day_has_its_own(clients: Clients, keyed: StackOutputs) -> None:
    """In this process, by a clock of ours; then over HTTP, until the hundredth of a cent is gone."""
    day = [NOON]
    endpoint = endpoint_here(clients, keyed, daily_usd=5e-6, clock=lambda: day[0])
    statuses = [endpoint.answer(event_of(PHOTO))["statusCode"] for _ in range(40)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert statuses == sorted(statuses)
    refused = endpoint.answer(event_of(PHOTO))
    assert refused["headers"]["Retry-After"] == str(12 * 3_600)
    assert json.loads(refused["body"]) == {"error": "today's money for this endpoint is spent"}
    # A new environment knows it at its first request, too.
    other = endpoint_here(clients, keyed, daily_usd=5e-6, clock=lambda: day[0])
    assert other.answer(event_of(PHOTO))["statusCode"] == 429
    assert other.answer(event_of(method="GET", path="/ping"))["statusCode"] == 200
    day[0] += 12 * 3_600
    assert endpoint.answer(event_of(PHOTO))["statusCode"] == 200
    assert endpoint_here(clients, keyed, clock=lambda: NOON).answer(event_of(PHOTO))["statusCode"] == 200  # no limit


def test_refused_requests_cost_too(clients: Clients, keyed: StackOutputs) -> None:
    registry, day = Registry(clients.dynamodb, keyed.table), "2029-12-12"
    endpoint = endpoint_here(clients, keyed, key=KEY, daily_usd=1.0, clock=lambda: NOON - 20 * 86_400)
    for _ in range(100):
        assert endpoint.answer(event_of(PHOTO, x_api_key="wrong"))["statusCode"] == 401
    endpoint.meter.done(0, urgent=True)
    assert registry.spend(day, 0) >= 100 * 200  # a request alone is 200 billionths of a USD


def test_the_day_s_limit_by_http(clients: Clients, keyed: StackOutputs) -> None:
    answered = None
    for _ in range(600):
        try:
            ask(clients, keyed, PHOTO, key=KEY)
        except NotAnswered as refused:
            answered = refused
            break
    assert answered is not None
    assert answered.status == 429
    spent = Registry(clients.dynamodb, keyed.table).spend(time.strftime("%Y-%m-%d", time.gmtime()), 0)
    assert 100_000 <= spent < 150_000


def test_what_is_reserved_is_in_the_function_s_template(clients: Clients, keyed: StackOutputs) -> None:
    """The emulator takes no notice of it; a throttled request is 429 by Lambda itself."""
    stacks = clients.cloudformation.describe_stacks()["Stacks"]
    (name,) = [one["StackName"] for one in stacks if one["StackName"].startswith("snn-keyed-Predict")]
    (stack,) = clients.cloudformation.describe_stacks(StackName=name)["Stacks"]
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    assert (given["Concurrency"], given["DailyUsd"], given["Endpoint"]) == ("3", "0.0001", "key")


def test_a_token_opens_and_nothing_else_does(clients: Clients, issuer: Issuer) -> None:
    stack = deployed_with(
        clients, "snn-tokens", endpoint="jwt", endpoint_jwt_issuer=issuer.url, endpoint_jwt_audience=AUDIENCE
    )
    url = callable_url(clients, stack)
    assert ask(clients, stack, PHOTO, token=issuer.token())["model"]["run_id"] == "snn-tokens-1"
    ping = httpx.get(f"{url}/ping", headers={"Authorization": f"Bearer {issuer.token()}"})
    assert (ping.status_code, ping.json()["model"]["version"]) == (200, 1)
    other = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    now, unsigned = int(time.time()), b'{"alg":"none","kid":"1"}'
    for token in (
        "", "x", "a.b.c", issuer.token(key=other), issuer.token(exp=now - 5), issuer.token(nbf=now + 600),
        issuer.token(aud="somebody-else"), issuer.token(iss="https://example.com"), issuer.token()[:-8] + "AAAAAAAA",
        f"{_text(unsigned)}.{issuer.token().split('.')[1]}.",
    ):  # fmt: skip
        with pytest.raises(NotAnswered) as refused:
            ask(clients, stack, PHOTO, token=token)
        assert refused.value.status in (401, 403), token
    assert httpx.get(f"{url}/other", headers={"Authorization": f"Bearer {issuer.token()}"}).status_code == 404
    secret = issuer.token().split(".")[1]
    assert not any(secret[:40] in line for line in lines_of(clients, stack))


def test_a_stack_without_an_endpoint_has_no_function_and_no_address(clients: Clients) -> None:
    stack = deploy_stack(
        clients, StackOptions.from_environment(stack_name="snn-closed", with_cache=False, endpoint="none")
    )
    assert (stack.predict_function, stack.endpoint_url, stack.endpoint) == ("", "", "none")
    names = [one["FunctionName"] for one in clients.lambda_.list_functions()["Functions"]]
    assert [name for name in names if name.startswith("snn-closed-Predict")] == []
    with pytest.raises(ClientError):
        clients.lambda_.get_function_url_config(FunctionName="snn-closed-PredictLambda")
    with pytest.raises(InvalidInput, match=r"the stack snn-closed has no endpoint \(deploy it with one"):
        ask(clients, stack, PHOTO)


def test_an_http_api_hands_over_its_stage_and_its_headers_in_any_case(clients: Clients, keyed: StackOutputs) -> None:
    endpoint = endpoint_here(clients, keyed, key=KEY)
    event = event_of(PHOTO, path="/prod/invocations")
    event["requestContext"]["stage"] = "prod"
    event["headers"] = {"Content-Type": "IMAGE/PNG; x=y", "X-API-KEY": KEY}
    assert endpoint.answer(event)["statusCode"] == 200
    event["rawPath"] = "/production/invocations"
    assert endpoint.answer(event)["statusCode"] == 404
    event["rawPath"] = "/invocations/"  # a custom domain takes the stage away
    assert endpoint.answer(event)["statusCode"] == 200


# ---- what AWS answers, and the emulator does not ---------------------------------------------------------------------


def test_a_champion_that_is_missing_is_denied_to_who_may_not_list(clients: Clients, keyed: StackOutputs) -> None:
    """S3 says AccessDenied, not NoSuchKey, to a role without s3:ListBucket, and PredictLambda's has it not."""
    mine = Clients.from_environment()
    endpoint = endpoint_here(mine, keyed)
    with Stubber(mine.s3) as stub:
        stub.add_client_error("get_object", "AccessDenied", "Access Denied", 403)
        status, said = asked_here(endpoint, PHOTO)
    assert (status, said["error"]) == (503, "the model default has no champion yet (snn models promote)")


def test_while_s3_and_dynamodb_do_not_answer_the_champion_goes_on(
    clients: Clients, keyed: StackOutputs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deployed, "FRESH_SECONDS", 0.0)
    mine = Clients.from_environment()
    endpoint = endpoint_here(mine, keyed, daily_usd=1.0)
    status, before = asked_here(endpoint, PHOTO)
    assert status == 200
    tried = Counter[str]()

    def unavailable(event_name: str, **_: Any) -> None:
        tried[event_name.split(".")[1]] += 1
        raise EndpointConnectionError(endpoint_url="https://nobody")

    mine.s3.meta.events.register("before-send.s3", unavailable)
    mine.dynamodb.meta.events.register("before-send.dynamodb", unavailable)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # botocore's pauses between its tries
    for _ in range(25):
        assert asked_here(endpoint, PHOTO) == (200, before)
    # As often as botocore tries: the champion, the trial and the counters; then nobody waits for them again.
    assert tried == {"s3": 6, "dynamodb": 12}
    cold = endpoint_here(mine, keyed, daily_usd=1.0).answer(event_of(PHOTO))
    assert (cold["statusCode"], cold["headers"]["Retry-After"]) == (503, "1")
    assert "EndpointConnectionError: Could not connect to the endpoint URL" in capsys.readouterr().out
    mine.s3.meta.events.unregister("before-send.s3", unavailable)
    mine.dynamodb.meta.events.unregister("before-send.dynamodb", unavailable)
    registry = Registry(clients.dynamodb, keyed.table)
    counted = registry.served("default")["snn-keyed-1"]["requests"]
    monkeypatch.setattr("snn_cloud.serve.meter.PAUSE_SECONDS", 0.0)
    endpoint.meter.done(0, urgent=True)
    assert registry.served("default")["snn-keyed-1"]["requests"] >= counted + 25  # nothing of it is lost
