"""Batches of predictions: what is asked of S3 and of PredictLambda, and what PredictLambda itself does."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from answers import ABSENT, Answers, Refused, body
from botocore.response import StreamingBody
from served import KINDS, picture_of

from scenes.common import BUCKET, NO_KEY, OUTPUTS, TABLE
from snn_client.serving.batch import batch_predict
from snn_client.serving.batch_photos import MAX_INLINE
from snn_cloud.aws import places
from snn_cloud.ledger.record import pack
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.batch import Taking, work
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.http import Refused as Refusal
from snn_photos.reading import load_image

KIND = KINDS["photos of two classes"]
STACK = replace(OUTPUTS, predict_function="snn-PredictLambda")
VERSION = pack({
    "run_id": "model#default", "item": "version#r1", "model": "default", "number": 3, "run": "r1", "dataset": "d.h5",
    "status": "candidate", "sha256": hashlib.sha256(KIND.file("r1")).hexdigest(),
    "parameters": "{}", "metrics": "{}", "backbone": "", "by": "",
    "created": "1.0", "decided": "null", "promoted_at": "0.0",
})  # fmt: skip


def _payload(said: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(said).encode()
    return {"Payload": StreamingBody(io.BytesIO(text), len(text)), "FunctionError": ABSENT}


def scene_a_batch_of_photos_goes_on_and_is_done() -> Answers:
    """The first part lies there, as another try has left it, the second is asked for; photos lie in another bucket."""
    listed = [
        [{"Key": f"in/{number:02}.png", "Size": 9, "ETag": f'"{number}"'} for number in range(50)],
        [{"Key": "in/", "Size": 0, "ETag": '"0"'}, {"Key": "in/99.png", "Size": MAX_INLINE + 1, "ETag": '"99"'}],
    ]
    store: dict[str, tuple[bytes, dict[str, str]]] = {places.params("r1"): (KIND.file("r1"), {})}

    def keys(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["Bucket"] == "theirs":
            return {"Contents": listed["ContinuationToken" in asked], "CommonPrefixes": ABSENT}
        found = sorted(key for key in store if key.startswith(asked["Prefix"]))
        page = found[1:] if "ContinuationToken" in asked else found[:1]
        return {"Contents": [{"Key": key} for key in page], "CommonPrefixes": ABSENT}

    def get(asked: dict[str, Any]) -> Any:
        if asked["Bucket"] == "theirs":
            return body(b"\0" * (MAX_INLINE + 1) if asked["Key"].endswith("99.png") else b"small")
        return body(store[asked["Key"]][0]) if asked["Key"] in store else NO_KEY

    def put(asked: dict[str, Any]) -> dict[str, Any]:
        content = asked["Body"] if isinstance(asked["Body"], bytes) else asked["Body"].read()
        store[asked["Key"]] = content, asked.get("Metadata", {})
        return {}

    def invoked(asked: dict[str, Any]) -> dict[str, Any]:
        part = json.loads(asked["Payload"])["batch"]
        lines = [{"input": name, "prediction": {"predicted": 1, "class_name": "cat", "probability": 0.9,
                  "probabilities": [0.1, 0.9]}} for name in part["names"]]  # fmt: skip
        lines[-1] = {"input": part["names"][-1], "error": "not a picture"}
        took = {"milliseconds": 9, "memory_mb": 1769, "requests": {"s3_puts": 1}}
        put({
            "Key": places.batch_part(part["batch_id"], part["number"]),
            "Body": "".join(json.dumps(line) + "\n" for line in lines).encode(),
            "Metadata": {"digest": part["digest"], "inputs": str(len(lines)), "bad": "1", "took": json.dumps(took)},
        })  # fmt: skip
        return _payload({"inputs": len(lines), "bad": 1, **took})

    answers = Answers({
        "dynamodb.GetItem": {"Item": VERSION}, "s3.GetObject": get, "s3.PutObject": put, "lambda.Invoke": invoked,
        "s3.ListObjectsV2": keys, "s3.HeadObject": lambda asked: {"Metadata": store[asked["Key"]][1]},
    })  # fmt: skip
    done = batch_predict(answers.clients, STACK, "s3://theirs/in/", version="r1", batch_id="b1")
    assert (done["inputs"], done["answered"], done["bad"], done["computed"]) == (51, 49, 2, 2)
    events = [json.loads(asked["Payload"])["batch"] for asked in answers.asked("lambda.Invoke")]
    assert sorted(set().union(*(photo for photo in event["photos"])) == {"content"} for event in events) == [
        False,
        True,
    ]
    del store[places.batch_part("b1", 2)], store[places.batch_manifest("b1")]
    again = batch_predict(answers.clients, STACK, "s3://theirs/in/", version="r1", batch_id="b1")
    assert (again["answered"], again["bad"], again["computed"]) == (49, 2, 1)
    assert len(answers.asked("lambda.Invoke")) == 3
    assert again["cost"]["invocations"]["predict"] == 2
    assert set(store) > {places.batch_plan("b1"), places.batch_result("b1", "errors.jsonl")}
    return answers


def scene_predict_lambda_answers_a_part() -> Answers:
    """One photo in the event, one in the bucket, one that is replaced meanwhile in another part."""
    random = np.random.default_rng(0)
    inline, stored = picture_of(random), picture_of(random)
    files = {places.params("r1"): KIND.file("r1"), "batch_input/1.png": stored}

    def get(asked: dict[str, Any]) -> Any:
        if asked.get("IfMatch") == '"old"':
            return Refused("PreconditionFailed", 412)
        return body(files[asked["Key"]])

    answers = Answers({"dynamodb.GetItem": {"Item": VERSION}, "s3.GetObject": get})
    clients = answers.clients
    deployed = Deployed(clients, BUCKET, Registry(clients.dynamodb, TABLE))
    part: Any = {
        "batch_id": "b1", "number": 7, "digest": "d", "model": "default", "run_id": "r1", "names": ["a", "b", "c"],
        "photos": [{"content": base64.b64encode(inline).decode()}, {"key": "batch_input/1.png", "etag": '"e1"'},
                   {"problem": "is larger than 50 MB"}],
    }  # fmt: skip
    assert work(part, deployed, BUCKET, clients, Taking(clients.requests, 1769, 5)) == {"inputs": 3, "bad": 1}
    (put,) = answers.asked("s3.PutObject")
    assert put["Key"] == "predictions/b1/parts/000007.jsonl"
    lines = [json.loads(line) for line in put["Body"].read().splitlines()]
    model = KIND.model("r1")
    for line, name, photo in zip(lines[:2], "ab", (inline, stored)):
        truth = float(model.answers(load_image(BytesIO(photo), KIND.shape))[0, 0])
        assert (line["input"], round(line["prediction"]["probability"], 9)) == (name, round(truth, 9))
    assert lines[2] == {"input": "c", "error": "is larger than 50 MB"}
    beside = put["Metadata"]
    assert (beside["digest"], beside["inputs"], beside["bad"]) == ("d", "3", "1")
    took = json.loads(beside["took"])
    assert (took["memory_mb"], took["requests"]) == (1769, {"s3_puts": 1, "s3_gets": 2, "read_units": 1})
    part["photos"][1]["etag"] = '"old"'
    with pytest.raises(Refusal, match=r"^s3://snn-data/batch_input/1.png was replaced or deleted since it was listed$"):
        work(part, deployed, BUCKET, clients, Taking(clients.requests, 1769, 5))
    return answers
