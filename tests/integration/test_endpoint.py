"""The endpoint on the emulator: who may ask, what is answered, and which version answers."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.testing import assert_allclose
from served import KINDS, picture_of, put_run

from snn_client.models import versions
from snn_client.serving.asking import CSV_TYPE, JSON_TYPE, Answer, NotAnswered, ask, callable_url, signed
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_photos.reading import load_image

SECRETS = ("test", "test", None)


@pytest.fixture(scope="module")
def serving(clients: Clients) -> StackOutputs:
    """A stack with an endpoint."""
    return deploy_stack(clients, StackOptions.from_environment(stack_name="snn-serving", with_cache=False))


def asked(clients: Clients, stack: StackOutputs, body: bytes, kind: str = "image/png", target: str = "") -> Answer:
    return ask(clients, stack, body, kind, secrets=SECRETS, target=target)


def model_named(clients: Clients, stack: StackOutputs, kind: str, seed: int = 0) -> tuple[str, Any]:
    """A champion of this kind under a name of its own: that name, and the model as it is here."""
    name = kind.replace(",", "").replace(" ", "-")
    run_id = f"run-{name}-{seed}"
    put_run(clients, stack, run_id, KINDS[kind].file(run_id, seed))
    versions.promote(clients, stack, run_id, name)
    return name, KINDS[kind].model(run_id, seed)


def test_a_photo_is_answered_by_the_champion_and_only_if_signed(clients, serving):
    url = callable_url(clients, serving)
    assert url.startswith("http://127.0.0.1:")
    photo = picture_of(np.random.default_rng(1))
    with pytest.raises(NotAnswered, match="503: the model default has no champion yet") as none:
        asked(clients, serving, photo)
    assert none.value.status == 503
    kind = KINDS["photos of two classes"]
    put_run(clients, serving, "first", kind.file("first"))
    change = versions.promote(clients, serving, "first")
    assert change.champion == "first"
    import time

    time.sleep(2.1)
    said = asked(clients, serving, photo)
    from io import BytesIO

    expected = kind.model("first").answers(load_image(BytesIO(photo), kind.shape))[0, 0]
    assert said["model"] == {"name": "default", "version": 1, "run_id": "first"}
    assert said["threshold"] == 0.4
    assert said["classes"] == ["non-cat", "cat"]
    assert said["predictions"][0]["probability"] == pytest.approx(expected, abs=1e-12)
    unsigned = httpx.post(f"{url}/invocations", content=photo, headers={"Content-Type": "image/png"})
    assert unsigned.status_code == 403
    ping = httpx.get(f"{url}/ping", headers=signed("GET", f"{url}/ping", {}, b"", SECRETS, serving.region))
    assert (ping.status_code, ping.json()["model"]["run_id"]) == (200, "first")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "photos" in kind])
def test_photos_are_answered_as_the_model_answers_them_here(clients, serving, kind):
    from io import BytesIO

    name, model = model_named(clients, serving, kind)
    random = np.random.default_rng(5)
    photos = [picture_of(random, (9 + place, 14)) for place in range(40)]
    body = json.dumps({"instances": [{"b64": base64.b64encode(photo).decode()} for photo in photos]})
    said = asked(clients, serving, body.encode(), JSON_TYPE, name)
    alone = asked(clients, serving, photos[7], target=name)
    assert alone["predictions"][0] == said["predictions"][7]
    outputs = [model.answers(load_image(BytesIO(photo), model.shape))[:, 0] for photo in photos]
    compare(said, np.array(outputs), model)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "photos" not in kind])
def test_rows_are_answered_as_the_model_answers_them_here(clients, serving, kind):
    name, model = model_named(clients, serving, kind)
    random = np.random.default_rng(6)
    columns = KINDS[kind].columns
    if columns is None:
        rows: list[Any] = random.standard_normal((1000, model.features)).tolist()
        inputs = np.array(rows).T
    else:
        rows = [
            {"height": random.normal(1.7, 0.1), "weight": None if place % 7 == 0 else float(random.normal(70, 12)),
             "colour": random.choice(["red", "blue", "green", ""])}
            for place in range(1000)
        ]  # fmt: skip
        inputs = columns.encode_rows(rows, "here").T
    said = asked(clients, serving, json.dumps({"instances": rows}).encode(), JSON_TYPE, name)
    compare(said, model.answers(inputs).T, model)
    if columns is not None:
        text = "weight,colour,height\n" + "".join(
            f"{'' if row['weight'] is None else row['weight']},{row['colour']},{row['height']}\n" for row in rows[:50]
        )
        csv = asked(clients, serving, text.encode(), CSV_TYPE, name)
        assert csv["predictions"] == said["predictions"][:50]


def compare(said: Answer, outputs: Any, model: Any) -> None:
    digits = 1e-5 if model.params["W1"].dtype == np.float32 else 1e-12
    if not model.of_classes:
        assert_allclose([one["value"] for one in said["predictions"]], outputs[:, 0], rtol=digits, atol=digits)
        return
    both = np.column_stack([1 - outputs[:, 0], outputs[:, 0]]) if outputs.shape[1] == 1 else outputs
    assert_allclose([one["probabilities"] for one in said["predictions"]], both, rtol=0, atol=digits)
    classes = (outputs[:, 0] > model.threshold).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    assert [one["predicted"] for one in said["predictions"]] == classes.tolist()
    assert [one["class_name"] for one in said["predictions"]] == [model.classes[number] for number in classes]
