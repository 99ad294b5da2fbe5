"""Canaries and shadows: what share they get, that nobody suffers from a bad one, and that all is counted."""

from __future__ import annotations

import json
import random as chance
import time
from collections import Counter
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from served import KINDS, TABLE, asked_here, endpoint_here, event_of, put_run

from snn.errors import InvalidInput
from snn.network import Network
from snn_client.models import versions
from snn_client.serving.asking import JSON_TYPE, NotAnswered, ask
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.registry.record import Trial
from snn_cloud.registry.registry import Registry
from snn_cloud.serve import deployed
from snn_cloud.serve.endpoint import Endpoint
from snn_data.model import save_model

KIND = KINDS["a table of two classes"]
MODELS = {number: KIND.model("here", number) for number in (1, 2)}


@pytest.fixture(scope="module")
def trying(clients: Clients) -> StackOutputs:
    """A stack with an endpoint."""
    return deploy_stack(clients, StackOptions.from_environment(stack_name="snn-trying", with_cache=False))


@pytest.fixture
def registry(clients: Clients, trying: StackOutputs) -> Registry:
    return Registry(clients.dynamodb, trying.table)


@pytest.fixture(autouse=True)
def _same_dice() -> None:
    chance.seed(11)


def name_of(request: pytest.FixtureRequest) -> str:
    return "".join(each if each.isalnum() else "-" for each in request.node.name.lower())[-50:].strip("-")


@pytest.fixture
def model(clients: Clients, trying: StackOutputs, request: pytest.FixtureRequest) -> str:
    """A model of the test's own with a champion, version 1, and a candidate, version 2."""
    name = name_of(request)
    for number in (1, 2):
        put_run(clients, trying, f"{name}-{number}", KIND.file(f"{name}-{number}", number))
        versions.register(clients, trying, f"{name}-{number}", name)
    versions.promote(clients, trying, 1, name)
    return name


def rows(count: int, seed: int = 0) -> list[Any]:
    random = np.random.default_rng(seed)
    colours = ["red", "blue", "green"]
    return [[random.normal(1.7, 0.3), random.normal(70, 30), colours[place % 3]] for place in range(count)]


def of_one(row: Any) -> str:
    return json.dumps({"instances": [row]})


def class_of(number: int, row: Any) -> int:
    return int(MODELS[number].answers(TABLE.encode_rows([row], "here").T)[0, 0] > 0.5)


def check(said: Any, row: Any) -> int:
    """Return which version answered; its answer is that model's."""
    number: int = said["model"]["version"]
    expected = MODELS[number].answers(TABLE.encode_rows([row], "here").T)[0, 0]
    assert said["predictions"][0]["probability"] == pytest.approx(expected, abs=1e-9)
    return number


def flushed(*environments: Endpoint) -> None:
    for each in environments:
        each.meter.done(0, urgent=True)


def trial_of(registry: Registry, model: str) -> Trial:
    found = registry.trial(model)
    assert found is not None
    return found


def test_a_canary_gets_its_share_and_all_is_counted(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str
) -> None:
    environments = [endpoint_here(clients, trying) for _ in range(4)]
    asked_here(environments[0], of_one(rows(1)[0]), JSON_TYPE, model)  # before the trial: not counted in it
    flushed(*environments)
    registry.begin_trial(model, 2, "canary", 0.1, {"max_slower": 1_000})
    environments = [endpoint_here(clients, trying) for _ in range(4)]
    by, count = Counter[int](), 3_000
    for place, row in enumerate(rows(count)):
        status, said = asked_here(environments[place % 4], of_one(row), JSON_TYPE, model)
        assert status == 200
        by[check(said, row)] += 1
    low, high = binom.interval(0.9999, count, 0.1)
    assert low <= by[2] <= high, by
    assert by.total() == count
    flushed(*environments)
    served = registry.served(model)
    assert {run: (one["requests"], one["samples"], one["errors"]) for run, one in served.items()} == {
        f"{model}-{number}": (by[number], by[number], 0) for number in (1, 2)
    }
    assert trial_of(registry, model)["ended"] == ""


def test_a_canary_by_http(clients: Clients, trying: StackOutputs, registry: Registry, model: str) -> None:
    registry.begin_trial(model, 2, "canary", 0.5, {"max_slower": 1_000})
    by = Counter[int]()
    for row in rows(60, 1):
        said = ask(clients, trying, of_one(row).encode(), JSON_TYPE, secrets=("test", "test", None), target=model)
        by[check(said, row)] += 1
    assert binom.cdf(min(by[1], by[2]), 60, 0.5) > 1e-4, by


def slow_file(run_id: str) -> bytes:
    """The same kind of model, of ten million weights."""
    network = Network.of(TABLE.features, (3_000, 3_000, 1), ("relu", "relu", "sigmoid"))
    out = BytesIO()
    attributes = {"run_id": run_id, "classes": json.dumps(list(KIND.classes)), "columns": TABLE.to_json(),
                  "features": TABLE.features}  # fmt: skip
    save_model(out, network.first_params(0, "float64"), ("relu", "relu", "sigmoid"), attributes)
    return out.getvalue()


def damaged(run_id: str) -> bytes:
    content = bytearray(KIND.file(run_id, 2))
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    return bytes(content)


def not_finite(run_id: str) -> bytes:
    model = KIND.model(run_id, 2)
    out = BytesIO()
    attributes = {**model.attributes, "features": model.features}
    save_model(out, {**model.params, "W1": model.params["W1"] * np.inf}, model.activations, attributes)
    return out.getvalue()


BAD = {
    "cut off": lambda run_id: KIND.file(run_id)[:900],
    "damaged": damaged,
    "no model": lambda run_id: b"no model",
    "not finite": not_finite,
    "of photos": KINDS["photos of two classes"].file,
    "of features": KINDS["features of three classes"].file,
}


@pytest.mark.parametrize("kind", ["canary", "shadow"])
@pytest.mark.parametrize("what", BAD)
def test_a_candidate_that_fails_is_withdrawn_and_nobody_hears_of_it(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str, what: str, kind: str
) -> None:
    put_run(clients, trying, f"{model}-bad", BAD[what](f"{model}-bad"))
    versions.register(clients, trying, f"{model}-bad", model)
    registry.begin_trial(model, 3, kind, 0.5)
    environments = [endpoint_here(clients, trying) for _ in range(3)]
    count = 0
    for count, row in enumerate(rows(200), 1):
        status, said = asked_here(environments[count % 3], of_one(row), JSON_TYPE, model)
        assert (status, check(said, row)) == (200, 1)
        if trial_of(registry, model)["ended"]:
            break
    trial = trial_of(registry, model)
    assert (trial["ended"], trial["reason"]) == ("withdrawn", "it failed 4 of 4 times"), (trial, count)
    assert registry.served(model)[f"{model}-bad"]["errors"] == 4


def test_a_candidate_whose_file_was_replaced_is_withdrawn(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str
) -> None:
    """Its answers would be those of another model than was judged."""
    clients.s3.put_object(Bucket=trying.bucket, Key=places.params(f"{model}-2"), Body=KIND.file("other", 5))
    registry.begin_trial(model, 2, "canary", 1.0)
    endpoint = endpoint_here(clients, trying)
    for row in rows(10):
        assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1
    assert trial_of(registry, model)["ended"] == "withdrawn"
    assert asked_here(endpoint, of_one(rows(1)[0]), JSON_TYPE, f"{model}/2")[1]["error"] == (
        f"version 2 of {model} cannot be loaded: params.h5: is not the file that was registered"
    )


def test_a_slow_candidate_is_withdrawn(clients: Clients, trying: StackOutputs, registry: Registry, model: str) -> None:
    put_run(clients, trying, f"{model}-slow", slow_file(f"{model}-slow"))
    versions.register(clients, trying, f"{model}-slow", model)
    registry.begin_trial(model, 3, "canary", 0.5, {"min_requests": 30})
    endpoint, answered = endpoint_here(clients, trying), Counter[int]()
    for row in rows(400):
        status, said = asked_here(endpoint, of_one(row), JSON_TYPE, model)
        assert status == 200
        answered[said["model"]["version"]] += 1
        if trial_of(registry, model)["ended"]:
            break
    trial = trial_of(registry, model)
    assert trial["ended"] == "withdrawn"
    assert trial["reason"].startswith("it takes ")
    assert answered[3] >= 30


def test_a_trial_that_begins_anew_has_forgotten_the_errors_of_the_last_one(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str
) -> None:
    good = clients.s3.get_object(Bucket=trying.bucket, Key=places.params(f"{model}-2"))["Body"].read()
    clients.s3.put_object(Bucket=trying.bucket, Key=places.params(f"{model}-2"), Body=b"gone")
    registry.begin_trial(model, 2, "canary", 1.0)
    endpoint = endpoint_here(clients, trying)
    for row in rows(6):
        assert asked_here(endpoint, of_one(row), JSON_TYPE, model)[0] == 200
    assert trial_of(registry, model)["ended"] == "withdrawn"
    clients.s3.put_object(Bucket=trying.bucket, Key=places.params(f"{model}-2"), Body=good)
    registry.begin_trial(model, 2, "canary", 0.2, {"max_slower": 1_000})
    endpoint.deployed.forget_trial(model)
    by = Counter(check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) for row in rows(200))
    assert by[2] > 15
    assert trial_of(registry, model)["ended"] == ""


def test_a_shadow_changes_no_answer_and_its_disagreement_is_counted_right(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str
) -> None:
    registry.begin_trial(model, 2, "shadow", 1.0, {"max_disagreement": 1.0, "max_slower": 1_000})
    endpoint, asked = endpoint_here(clients, trying), rows(300)
    for row in asked[:100]:
        assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1
    status, said = asked_here(endpoint, json.dumps({"instances": asked[100:]}), JSON_TYPE, model)
    assert (status, said["model"]["version"]) == (200, 1)
    assert [one["predicted"] for one in said["predictions"]] == [class_of(1, row) for row in asked[100:]]
    flushed(endpoint)
    disagreed = sum(class_of(1, row) != class_of(2, row) for row in asked)
    assert 30 < disagreed < 300
    served = registry.served(model)
    assert served[f"{model}-2"] | {"milliseconds": 0} == {
        "requests": 101, "samples": 300, "errors": 0, "milliseconds": 0, "compared": 300, "disagreed": disagreed,
    }  # fmt: skip
    assert (served[f"{model}-1"]["requests"], served[f"{model}-1"]["samples"]) == (101, 300)
    share = disagreed / 300
    registry.begin_trial(
        model, 2, "shadow", 1.0, {"max_disagreement": share / 2, "max_slower": 1e3, "min_requests": 50}
    )
    endpoint.deployed.forget_trial(model)
    for row in asked:
        assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1
    trial = trial_of(registry, model)
    assert trial["ended"] == "withdrawn"
    assert trial["reason"].startswith("it says otherwise than the champion to ")


def test_a_request_that_is_wrong_is_no_candidate_s_fault(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str
) -> None:
    registry.begin_trial(model, 2, "canary", 1.0)
    endpoint = endpoint_here(clients, trying)
    for _ in range(10):
        assert asked_here(endpoint, of_one([1, 2]), JSON_TYPE, model)[0] == 422
    flushed(endpoint)
    assert trial_of(registry, model)["ended"] == ""
    assert registry.served(model) == {}


def test_conclude_promotes_what_was_asked_often_enough(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="has no trial"):
        versions.conclude(clients, trying, model)
    registry.begin_trial(model, 2, "canary", 0.5, {"min_requests": 20, "max_slower": 1_000})
    endpoint = endpoint_here(clients, trying)
    with pytest.raises(CloudError, match=r"version 2 of .* was asked 0 times, not yet 20"):
        versions.conclude(clients, trying, model)
    for row in rows(80):
        check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row)
    flushed(endpoint)
    ended = versions.conclude(clients, trying, model, by="us")
    assert (ended["ended"], ended["reason"]) == ("promoted", "it became champion")
    assert versions.standing(clients, trying, model)["champion"] == f"{model}-2"
    monkeypatch.setattr(deployed, "FRESH_SECONDS", 0.0)
    assert {check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) for row in rows(20)} == {2}
    assert versions.conclude(clients, trying, model)["ended"] == "promoted"  # twice changes nothing


def test_a_version_on_trial_that_is_promoted_and_rolled_back(
    clients: Clients, trying: StackOutputs, registry: Registry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed, "FRESH_SECONDS", 0.0)
    registry.begin_trial(model, 2, "canary", 0.5, {"max_slower": 1_000})
    endpoint = endpoint_here(clients, trying)

    def who() -> set[int]:
        return {check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) for row in rows(25)}

    assert who() == {1, 2}
    versions.promote(clients, trying, 2, model)
    assert who() == {2}
    assert trial_of(registry, model)["ended"] == "promoted"
    versions.roll_back(clients, trying, model)
    assert who() == {1}


def test_targets(clients: Clients, trying: StackOutputs, model: str) -> None:
    endpoint, row = endpoint_here(clients, trying), rows(1)[0]
    for target, number in ((model, 1), (f"{model}/1", 1), (f"{model}/2", 2), (f"{model}/{model}-2", 2)):
        assert check(asked_here(endpoint, of_one(row), JSON_TYPE, target)[1], row) == number
    header = endpoint.answer(event_of(of_one(row), JSON_TYPE, x_amzn_sagemaker_target_model=f"{model}/2"))["headers"]
    assert header["X-Snn-Version"] == f"{model}/2"
    assert asked_here(endpoint, of_one(row), JSON_TYPE, f"{model}/3")[0] == 404
    assert asked_here(endpoint, of_one(row), JSON_TYPE, "nobody")[0] == 404
    assert asked_here(endpoint, of_one(row), JSON_TYPE, "No Name")[0] == 400
    said = ask(clients, trying, of_one(row).encode(), JSON_TYPE, secrets=("test", "test", None), target=f"{model}/2")
    assert check(said, row) == 2
    with pytest.raises(NotAnswered, match="404: "):
        ask(clients, trying, of_one(row).encode(), JSON_TYPE, secrets=("test", "test", None), target=f"{model}/3")


def test_a_champion_that_is_damaged_is_not_taken(
    clients: Clients, trying: StackOutputs, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed, "FRESH_SECONDS", 0.0)
    endpoint, row = endpoint_here(clients, trying), rows(1)[0]
    assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1
    for content in (b"x", damaged("x"), not_finite("x")):
        clients.s3.put_object(Bucket=trying.bucket, Key=places.champion(model).params, Body=content)
        assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1
        assert asked_here(endpoint_here(clients, trying), of_one(row), JSON_TYPE, model)[0] == 503  # has no other
    clients.s3.delete_object(Bucket=trying.bucket, Key=places.champion(model).params)
    assert asked_here(endpoint, of_one(row), JSON_TYPE, model)[0] == 404


def test_a_process_that_was_frozen_asks_anew(
    clients: Clients, trying: StackOutputs, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Lambda freezes it, its steady clock may stand still; the time of day does not."""
    monkeypatch.setattr(deployed, "FRESH_SECONDS", 3_600.0)
    endpoint, row = endpoint_here(clients, trying), rows(1)[0]
    assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1
    versions.promote(clients, trying, 2, model)
    assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 1  # not long ago
    now = time.time()
    monkeypatch.setattr("snn_cloud.serve.moment.time.time", lambda: now + 4_000)
    assert check(asked_here(endpoint, of_one(row), JSON_TYPE, model)[1], row) == 2
