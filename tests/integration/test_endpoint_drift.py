"""What the endpoint is asked, compared with what its champion was trained on: counted, stored, checked and told."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
from inbox import receive, subscribe
from PIL import Image
from training import saved
from typer.testing import CliRunner

from snn_cli.main import app
from snn_client.models import versions
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.registry import seen
from snn_cloud.serve import watch
from snn_cloud.serve.endpoint import Endpoint
from snn_cloud.serve.watch import STORE_SECONDS, Watch
from snn_data.drift.reference import Reference

SIZE = (24, 24)


@pytest.fixture(scope="module")
def serving(clients: Clients) -> StackOutputs:
    return deploy_stack(clients, StackOptions.from_environment(stack_name="snn-drifting", with_cache=False))


def photos(random: np.random.Generator, count: int, bright: float = 0.0) -> Any:
    """Photos of noise on a grey that varies, all of them brighter by so much of 255."""
    grey = random.uniform(60, 160, (count, 1, 1, 1)) + 255 * bright
    return np.clip(grey + random.normal(0, 25, (count, *SIZE, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def champion(clients: Clients, serving: StackOutputs) -> str:
    """A run that was trained on 600 photos, promoted."""
    random = np.random.default_rng(0)
    data = saved(photos(random, 600), np.arange(600) % 2, photos(random, 20), np.arange(20) % 2, classes=("no", "yes"))
    key = places.input_dataset("drifting", "0" * 64)
    clients.s3.put_object(Bucket=serving.bucket, Key=key, Body=data)
    runs.launch(clients, serving, "drifting", key, Parameters.load(oracle.small_network((3, 1), ("relu", "sigmoid"))))
    runs.watch(clients, serving, "drifting", lambda *_: None, every_seconds=0.1, limit_seconds=60)
    versions.promote(clients, serving, "drifting")
    return "drifting"


@pytest.fixture
def environment(clients: Clients, serving: StackOutputs, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Endpoint]:
    """An environment of PredictLambda in this process, which counts every request and writes at once."""
    told = clients.lambda_.get_function_configuration(FunctionName=serving.predict_function)["Environment"]["Variables"]
    assert (watch.SECONDS_BETWEEN, watch.STORE_SECONDS) == (0.1, 30.0)
    monkeypatch.setattr(watch, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(watch, "STORE_SECONDS", 0.0)
    return lambda: Endpoint.from_environment(clients, told)


@pytest.fixture
def forgotten(clients: Clients, serving: StackOutputs, champion: str) -> None:
    """Nothing was asked yet."""
    items = clients.dynamodb.query(
        TableName=serving.table, KeyConditionExpression="run_id = :key",
        ExpressionAttributeValues={":key": {"S": "model#default"}},
    )["Items"]  # fmt: skip
    for item in items:
        if item["item"]["S"].startswith(("seen#", "drift#")):
            clients.dynamodb.delete_item(TableName=serving.table, Key={name: item[name] for name in ("run_id", "item")})


def ask(endpoint: Endpoint, pictures: Any) -> None:
    def png(pixels: Any) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    for start in range(0, len(pictures), 50):
        body = json.dumps({"instances": [{"b64": png(one)} for one in pictures[start : start + 50]]})
        event = {
            "requestContext": {"http": {"method": "POST"}}, "rawPath": "/invocations", "body": body,
            "headers": {"content-type": "application/json"},
        }  # fmt: skip
        assert endpoint.answer(event)["statusCode"] == 200


@pytest.mark.usefixtures("forgotten")
def test_what_is_asked_is_counted_by_each_environment_and_compared(clients, serving, champion, environment):
    random = np.random.default_rng(1)

    def check() -> seen.Check:
        return seen.check(clients, serving.bucket, serving.table, "default", champion)

    assert check()["why"] == "it was asked of 0 samples, which are too few: 100 do"
    ask(environment(), photos(random, 150))
    ask(environment(), photos(random, 250))
    alike = check()
    assert (alike["samples"], alike["why"]) == (400, "")
    assert alike["report"]["drifted"] is False
    assert alike["report"]["reference"] == 600
    ask(environment(), photos(random, 300, bright=0.3))
    drifted = check()
    assert drifted["samples"] == 700
    assert drifted["report"]["findings"][0]["name"] == "brightness"
    assert drifted["report"]["findings"][0]["p_value"] < 1e-6


@pytest.mark.usefixtures("forgotten")
def test_the_daily_check_tells_once_and_so_does_the_command(clients, serving, champion, environment):
    ask(environment(), photos(np.random.default_rng(2), 200, bright=0.3))
    rule = clients.events.list_targets_by_rule(Rule="snn-drifting-drift")["Targets"][0]
    assert rule["Arn"].endswith(":function:snn-drifting-PredictLambda")

    def check() -> Any:
        payload = rule["Input"].encode()
        answer = clients.lambda_.invoke(FunctionName=serving.predict_function, Payload=payload)
        assert "FunctionError" not in answer
        return json.loads(answer["Payload"].read())

    queue, _ = subscribe(serving.topic_arn, "drift-heard")
    assert check() == {"drifted": 1}
    ((subject, text, _),) = receive(queue)
    assert subject == "Training update!"
    assert text.startswith("What the model default is asked has drifted: brightness")
    assert check() == {"drifted": 1}  # which everybody knows by now
    assert receive(queue) == []
    said = CliRunner().invoke(app, ["models", "drift", "--stack", "snn-drifting", "--json"])
    assert said.exit_code == 1, said.output
    assert json.loads(said.stdout)["report"]["findings"][0]["name"] == "brightness"


def test_an_environment_counts_a_sample_and_writes_now_and_then(clients, serving, champion):
    reference = seen.read_reference(clients, serving.bucket, champion)
    assert isinstance(reference, Reference)
    now = [1_000_000.0]
    counting = Watch(reference, lambda: now[0])
    pictures = photos(np.random.default_rng(3), 4)
    counting.photos(pictures)
    counting.photos(pictures)  # a moment later
    assert counting.is_due
    counting.store(clients, serving.table, "apart", champion)
    now[0] += 1.0
    counting.photos(pictures)
    assert not counting.is_due
    now[0] += STORE_SECONDS
    assert counting.is_due
    counting.store(clients, serving.table, "apart", champion)
    (item,) = clients.dynamodb.query(
        TableName=serving.table, KeyConditionExpression="run_id = :key",
        ExpressionAttributeValues={":key": {"S": "model#apart"}},
    )["Items"]  # fmt: skip
    assert item["item"]["S"].startswith(f"seen#{champion}#1970-01-12#")
    assert json.loads(item["counts"]["S"])["samples"] == 8
    assert 39 * 86_400 < float(item["expires_at"]["N"]) - time.time() <= 40 * 86_400
