"""What nobody should send to the endpoint: 2,000 requests of every kind of wrong, each refused or answered rightly."""

from __future__ import annotations

import base64
import json
import random as chance
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from odd_photos import encoded
from PIL import Image
from served import KINDS, endpoint_here, event_of, picture_of, put_run

from snn.errors import InvalidInput
from snn_client.models import versions
from snn_client.serving.asking import CSV_TYPE, JSON_TYPE, MODEL_HEADER, callable_url, signed
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.serve.endpoint import Endpoint
from snn_photos.reading import load_image

ATTACKED = {
    "default": "photos of two classes",
    "table": "a table of two classes",
    "numbers": "features of three classes",
}
ROOT = Path(__file__).parents[2]
SECRETS = ("test", "test", None)
HUGE = "9" * 4_000


class Case(NamedTuple):
    """A request: to which model, its body, its content type, other headers, and what it is a case of."""

    of: str
    model: str
    body: bytes | str
    kind: str = JSON_TYPE
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


@pytest.fixture(scope="module")
def attacked(clients: Clients) -> StackOutputs:
    """A stack with a champion of each kind."""
    stack = deploy_stack(clients, StackOptions.from_environment(stack_name="snn-attacked", with_cache=False))
    for name, kind in ATTACKED.items():
        put_run(clients, stack, f"attacked-{name}", KINDS[kind].file(f"attacked-{name}"))
        versions.promote(clients, stack, f"attacked-{name}", name)
    return stack


def photo_files() -> list[bytes]:
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (19, 23, 3), np.uint8))
    return [encoded(drawn, kind) for kind in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP")]


def broken_photos(dice: chance.Random, count: int) -> list[Case]:
    """Files of seven formats, cut off or with bytes changed; half of them as they are, half inside of JSON."""
    files, cases = photo_files(), list[Case]()
    for _ in range(count):
        content = bytearray(dice.choice(files))
        if dice.random() < 0.4:
            del content[dice.randrange(len(content)) :]
        for _ in range(dice.choice([0, 1, 3, 40]) if content else 0):
            content[dice.randrange(len(content))] = dice.randrange(256)
        if dice.random() < 0.5:
            kind = dice.choice(["image/png", "image/jpeg", "application/x-image", "application/octet-stream"])
            cases.append(Case("photos", "default", bytes(content), kind))
        else:
            inside = [{"b64": base64.b64encode(bytes(each)).decode()} for each in (content, files[0])]
            cases.append(Case("photos in JSON", "default", json.dumps({"instances": inside})))
    return cases


def value(dice: chance.Random, depth: int = 0) -> str:
    """The text of any JSON value, and of what is none."""
    plain: list[Callable[[], str]] = [
        lambda: dice.choice(["null", "true", "false", "0", "-0.0", "1e308", "-1e999", "1e-400", HUGE, "1" * 5_000]),
        lambda: dice.choice(["NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10", "'a'", "undefined"]),
        lambda: json.dumps(dice.choice(["", " ", "1.7", "red", "NaN", "1_000", "\u0661", "é" * 300, "<b>", "1\n2"])),
        lambda: dice.choice([r'"\ud800"', r'"\udfff\u0000"', r'"\uZZZZ"', '"\t"', r'"\x41"', '"']),
        lambda: json.dumps(dice.choice(["http://127.0.0.1:9/x.png", "file:///etc/passwd", "s3://other/key"])),
    ]
    if depth > 3 or dice.random() < 0.55:
        return dice.choice(plain)()
    inside = [value(dice, depth + 1) for _ in range(dice.randrange(5))]
    if dice.random() < 0.5:
        return f"[{','.join(inside)}]"
    names = ['"height"', '"weight"', '"colour"', '"b64"', '"instances"', r'"\ud800"', '""']
    return "{" + ",".join(f"{dice.choice(names)}:{one}" for one in inside) + "}"


def odd_json(dice: chance.Random, count: int) -> list[Case]:
    cases = list[Case]()
    for _ in range(count):
        drawn, model = dice.random(), dice.choice(list(ATTACKED))
        row = {
            "table": f'{{"height":{value(dice)},"weight":{value(dice)},"colour":{value(dice)}}}',
            "numbers": f"[{','.join(value(dice, 4) if dice.random() < 0.1 else '0.5' for _ in range(9))}]",
            "default": f'{{"b64":{value(dice)}}}',
        }[model]
        text = (
            value(dice) if drawn < 0.2
            else f'{{"instances":{value(dice)}}}' if drawn < 0.4
            else f'{{"instances":[{row},{value(dice)}]}}' if drawn < 0.5
            else f'{{"instances":[["height","weight","colour",{value(dice)}],[1,2,3,{value(dice)}]]}}' if drawn < 0.6
            else f'{{"instances":[{row}]}}'
        )  # fmt: skip
        cases.append(Case("JSON", model, text))
    for depth in (10, 300, *range(860, 1_010, 5), 100_000):
        nested = "[" * depth + "]" * depth
        cases.append(Case("nested JSON", "table", f'{{"instances":[[{nested},1,"red"]]}}'))
        cases.append(Case("nested JSON", "table", '{"instances":' + '{"a":' * depth + "1" + "}" * depth + "}"))
    return cases


def odd_csv(dice: chance.Random, count: int) -> list[Case]:
    cells = [
        "1.7",
        "",
        "red",
        "height",
        "weight",
        "colour",
        '"',
        '"a""b"',
        "NaN",
        "1e400",
        "\0",
        "\r",
        "\ufeff",
        "é",
        ";",
    ]
    cases = list[Case]()
    for _ in range(count):
        lines = [",".join(dice.choice(cells) for _ in range(dice.randrange(1, 6))) for _ in range(dice.randrange(6))]
        header = dice.choice(["height,weight,colour\n", "height,height,weight,colour\n", ""])
        content: bytes | str = header + dice.choice(["\n", "\r\n", "\r"]).join(lines)
        if dice.random() < 0.1:
            content = str(content).encode(dice.choice(["utf-16", "utf-8-sig", "utf-7"]))
        cases.append(Case("CSV", dice.choice(["table", "numbers"]), content, CSV_TYPE))
    return cases


def odd_headers(dice: chance.Random, count: int) -> list[Case]:
    kinds = ["", "text/html", "image/", "image/svg+xml", "application/json; charset=utf-16", "text/csv;;", "a" * 9_000,
             "application/jsonlines", "multipart/form-data; boundary=x", "\ud800", "APPLICATION/JSON"]  # fmt: skip
    targets = ["nobody", "default/99", "default/0", "table/attacked-table", "../runs", "default/..", "/", "a/b/c",
               "Ä" * 50, "x" * 9_000, "default/", "", "\ud800"]  # fmt: skip
    cases = list[Case]()
    for _ in range(count):
        headers = {MODEL_HEADER.lower(): dice.choice(targets)} if dice.random() < 0.5 else {}
        for name in dice.sample(
            ["content-encoding", "content-length", "expect", "x-api-key", "authorization", "x-y"], 2
        ):
            headers[name] = dice.choice(["gzip", "identity", "", "-1", "0", "\ud800", "Bearer", "é", "z" * 10_000])
        body = dice.choice([photo_files()[0], '{"instances":[[1.7,70,"red"]]}', b"", "", b"\x1f\x8b\x08" + b"\0" * 99])
        cases.append(Case("headers", dice.choice(list(ATTACKED)), body, dice.choice(kinds), headers))
    return cases


def cases(count: int, seed: int) -> list[Case]:
    """So many cases, of all kinds, in one order for one seed."""
    dice = chance.Random(seed)
    parts = broken_photos(dice, count // 4), odd_json(dice, count // 2 - 66), odd_csv(dice, count // 8)
    found = [case for part in parts for case in part]
    found += odd_headers(dice, count - len(found))
    dice.shuffle(found)
    return found


def check_right(case: Case, said: Any) -> None:
    """An answer has a number or probabilities that sum to one for each sample; a photo's is the model's own."""
    name = said["model"]["name"]
    model = KINDS[ATTACKED[name]].model("here")
    assert len(said["predictions"]) > 0
    for one in said["predictions"]:
        assert sum(one["probabilities"]) == pytest.approx(1, abs=1e-9)
        assert one["class_name"] == model.classes[one["predicted"]]
    if case.of == "photos":
        assert isinstance(case.body, bytes)
        try:
            inputs = load_image(BytesIO(case.body), model.shape)
        except InvalidInput as problem:
            raise AssertionError("a photo that cannot be read was answered") from problem
        assert said["predictions"][0]["probability"] == pytest.approx(model.answers(inputs)[0, 0], abs=1e-12)


@pytest.mark.parametrize(("count", "seed"), [(500, 1), pytest.param(1_500, 2, marks=pytest.mark.slow)])
def test_two_thousand_bad_requests_are_refused_or_answered_rightly(
    clients: Clients, attacked: StackOutputs, count: int, seed: int
) -> None:
    endpoint = endpoint_here(clients, attacked)
    statuses, kinds = Counter[int](), Counter[str]()
    for case in cases(count, seed):
        event = event_of(case.body, case.kind, **{"x-amzn-sagemaker-target-model": case.model, **case.headers})
        answered = endpoint.answer(json.loads(json.dumps(event)))
        status, said = answered["statusCode"], json.loads(answered["body"])
        statuses[status] += 1
        kinds[case.of] += 1
        assert status == 200 or 400 <= status < 500, (status, said, case)
        if status == 200:
            check_right(case, said)
        else:
            assert said.keys() == {"error"}
            assert said["error"] == said["error"].strip() != ""
            assert said["error"].isprintable()
    assert kinds.total() == count
    assert statuses[200] > count // 15
    assert {400, 404, 415, 422} <= set(statuses)
    assert min(statuses[status] for status in (400, 422)) > count // 10
    assert endpoint.answer(event_of(photo_files()[0]))["statusCode"] == 200


@pytest.mark.parametrize(
    "event",
    [
        {}, {"requestContext": {}}, {"requestContext": None}, {"requestContext": {"http": "POST"}}, [], "x", None,
        {"Records": [{"s3": {}}]}, {"requestContext": {"http": {"method": "POST", "path": "/ping"}}, "headers": ["x"]},
        {**event_of(b"x"), "body": {"a": 1}}, {**event_of(b"x"), "body": "*"}, {**event_of("x"), "body": "\ud800"},
        {**event_of(b"x"), "body": "AAA"}, {**event_of(b"x"), "body": None}, {**event_of(b"x"), "headers": None},
        {**event_of(b"x"), "isBase64Encoded": "yes"}, {**event_of(b"x"), "rawPath": None, "headers": {"a": None}},
    ],
)  # fmt: skip
def test_an_event_that_is_no_request_is_refused(clients: Clients, attacked: StackOutputs, event: Any) -> None:
    answered = endpoint_here(clients, attacked, key="").answer(event)
    assert answered["statusCode"] in (400, 405, 415, 422), answered


def test_hundreds_of_bad_requests_by_http(clients: Clients, attacked: StackOutputs) -> None:
    url, statuses = f"{callable_url(clients, attacked)}/invocations", Counter[int]()
    with httpx.Client(timeout=60) as http:
        for case in cases(200, seed=3):
            headers = {MODEL_HEADER.lower(): case.model, **case.headers}
            headers = {name: text for name, text in headers.items() if text.isascii() and text.isprintable()}
            headers = {name: text for name, text in headers.items() if name not in ("content-length", "expect")}
            if case.kind.isascii():
                headers["content-type"] = case.kind
            body = case.body if isinstance(case.body, bytes) else case.body.encode("utf-8", "surrogatepass")
            headers.pop("authorization", None)
            made = signed("POST", url, headers, body, SECRETS, attacked.region)
            answered = http.post(url, content=body, headers=made)
            statuses[answered.status_code] += 1
            assert answered.status_code == 200 or 400 <= answered.status_code < 500, (answered.text, case)
            if answered.status_code == 200:
                check_right(case, answered.json())
    assert statuses.total() == 200
    assert statuses[200] > 10


# ---- what is large ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_bombs_are_refused_in_bounded_memory(clients: Clients, attacked: StackOutputs) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "bombs.py", attacked.stack_name],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    told = {name: status for name, (status, _) in found["told"].items()}
    # Nine megapixels are no bomb but a photo of a camera: they are decoded.
    assert told.pop("PNG, 9 megapixels of nothing") == 200
    assert all(400 <= status < 500 for status in told.values()), told
    assert found["after"] < found["before"] + 400
    assert found["child"] < found["before"] + 1_000  # all in all below the 1,769 MB that PredictLambda has


def test_a_body_of_more_than_4_5_mb_is_413(clients: Clients, attacked: StackOutputs) -> None:
    endpoint = endpoint_here(clients, attacked)
    for body in (bytes(4_500_001), "x" * 4_500_001, "é" * 2_300_000):
        answered = endpoint.answer(event_of(body))
        assert answered["statusCode"] == 413
        assert json.loads(answered["body"])["error"] == (
            "the body is larger than 4.5 MB (send fewer or smaller photos at a time)"
        )
    url = f"{callable_url(clients, attacked)}/invocations"
    photo = picture_of(np.random.default_rng(0)) + bytes(4_500_000)
    headers = signed("POST", url, {"Content-Type": "image/png"}, photo, SECRETS, attacked.region)
    assert httpx.post(url, content=photo, headers=headers, timeout=60).status_code == 413
    assert endpoint.answer(event_of(photo[:4_400_000]))["statusCode"] == 200  # what stands behind a PNG does no harm


def test_no_address_is_fetched_that_somebody_names(clients: Clients, attacked: StackOutputs) -> None:
    """A server that counts who comes, and its address wherever there may be one."""
    came = list[Any]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    came.append(server.accept()[1])
                except TimeoutError:
                    continue

        listening = threading.Thread(target=listen)
        listening.start()
        endpoint = endpoint_here(clients, attacked)
        for url in (f"http://127.0.0.1:{server.getsockname()[1]}/x.png", "file:///etc/passwd", "s3://other/key"):
            for body in (
                {"instances": [{"b64": url}]}, {"instances": [url]}, {"instances": [{"url": url}]}, {"url": url},
                {"instances": [{"uri": url, "b64": url}]}, {"instances": [{"image": {"url": url}}]},
            ):  # fmt: skip
                for model in ATTACKED:
                    status = refused(endpoint, json.dumps(body), model)
                    assert status in (400, 422), (status, body)
            svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>'
            assert endpoint.answer(event_of(svg, "image/svg+xml"))["statusCode"] == 422
        over.set()
        listening.join()
    assert came == []


def refused(endpoint: Endpoint, body: str, model: str) -> int:
    named = {"x_amzn_sagemaker_target_model": model}
    return endpoint.answer(event_of(body, JSON_TYPE, **named))["statusCode"]


def test_what_was_asked_is_in_no_log(
    clients: Clients, attacked: StackOutputs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of what is refused, of what a candidate refuses, and of a value that Python cannot print."""
    endpoint = endpoint_here(clients, attacked)
    secret = "my-secret-\ud800-diagnosis"
    versions.registry_of(clients, attacked).begin_trial("table", 1, "canary")  # the champion itself: no candidate
    put_run(clients, attacked, "attacked-photos", KINDS["photos with numbers"].file("attacked-photos"))
    versions.register(clients, attacked, "attacked-photos", "table")
    versions.registry_of(clients, attacked).begin_trial("table", 2, "canary", rule={"max_errors": 1_000})
    for row in ([secret, 1, "red"], [1.7, 70, secret], {"height": secret}, [1.7, 70, "red"]):
        for kind in (JSON_TYPE, CSV_TYPE, secret):
            named = {"x_amzn_sagemaker_target_model": "table", "user_agent": secret, "x_api_key": secret}
            assert endpoint.answer(event_of(json.dumps({"instances": [row]}), kind, **named))["statusCode"] < 500
    printed = capsys.readouterr().out
    assert printed.count('"_aws"') == 12
    assert not re.search("secret|diagnosis", printed)
    assert "the candidate 2 of table refuses a request with 422" in printed
