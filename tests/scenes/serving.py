"""What the endpoint reads of its champion, what it counts, and what EventLambda tells."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from answers import ABSENT, Answers, body
from served import KINDS
from training import saved

from scenes.common import BUCKET, NO_KEY
from snn_client.models.reference import write_reference
from snn_cloud.announce.announcing import PROMOTED, events_in, put
from snn_cloud.aws import places
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.record import pack
from snn_cloud.registry import seen
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.watch import check_all
from snn_data.dataset import load_dataset
from snn_data.drift.reference import Reference
from snn_data.drift.summary import Summary

TABLE, KIND, RUN_ID = "snn-runs", KINDS["features of three classes"], "r1"
ENV = {"TABLE": TABLE, "BUCKET": BUCKET, "TOPIC_ARN": "arn:aws:sns:eu-west-3:123456789012:snn-training"}


def _data() -> bytes:
    random = np.random.default_rng(0)
    return saved(random.normal(size=(300, 9)), np.arange(300) % 3, random.normal(size=(9, 9)), np.arange(9) % 3,
                 classes=KIND.classes)  # fmt: skip


def _reference() -> Reference:
    return Reference.of(load_dataset(io.BytesIO(_data())))


def scene_a_champion_is_read_with_what_it_was_trained_on() -> Answers:
    files = {places.PROMOTED_PARAMS: KIND.file(RUN_ID), places.drift_reference(RUN_ID): _reference().to_json().encode()}

    def get(asked: dict[str, Any]) -> Any:
        return {**body(files[asked["Key"]]), "Metadata": {"run-id": RUN_ID, "number": "3"}}

    answers = Answers({"s3.GetObject": get})
    loaded = Deployed(answers.clients, BUCKET, Registry(answers.clients.dynamodb, TABLE)).champion("default")
    assert loaded.label == {"name": "default", "version": 3, "run_id": RUN_ID}
    assert loaded.watch is not None
    loaded.watch.rows(np.zeros((4, 9)))
    loaded.watch.store(answers.clients, TABLE, "default", RUN_ID)
    (stored,) = answers.asked("dynamodb.UpdateItem")
    assert stored["Key"]["item"]["S"].startswith(f"seen#{RUN_ID}#")
    assert json.loads(stored["ExpressionAttributeValues"][":counts"]["S"])["samples"] == 4
    return answers


def scene_what_was_asked_has_drifted() -> Answers:
    reference = _reference()
    summary = Summary(reference)
    summary.add_rows(np.random.default_rng(1).normal(1.0, 1.0, (200, 9)))
    counts = {"counts": json.dumps(summary.increments()), "digest": reference.digest}
    others = {"counts": json.dumps({"samples": 9}), "digest": "another"}

    def item(asked: dict[str, Any]) -> Any:
        return {"Item": pack({"run": RUN_ID})} if asked["Key"]["item"]["S"] == "champion" else {"Item": ABSENT}

    def query(asked: dict[str, Any]) -> Any:
        if asked["ExpressionAttributeValues"][":key"]["S"] == "#models":
            return {"Items": [pack({"run_id": "#models", "item": "default"})], "LastEvaluatedKey": ABSENT}
        if "ExclusiveStartKey" in asked:
            return {"Items": [pack(others)], "LastEvaluatedKey": ABSENT}
        return {"Items": [pack(counts)], "LastEvaluatedKey": pack({"run_id": "model#default", "item": "seen#"})}

    answers = Answers({
        "dynamodb.GetItem": item, "dynamodb.Query": query, "s3.GetObject": body(reference.to_json().encode()),
    })  # fmt: skip
    clients = answers.clients
    assert check_all(clients, Registry(clients.dynamodb, TABLE), ENV) == 1
    (told,) = answers.asked("sns.Publish")
    assert told["Message"].startswith("What the model default is asked has drifted: ")
    (noted,) = answers.asked("dynamodb.UpdateItem")
    assert noted["Key"] == pack({"run_id": "model#default", "item": f"drift#{RUN_ID}"})
    assert noted["ExpressionAttributeValues"][":samples"] == {"N": "200"}
    return answers


def scene_too_little_was_asked() -> Answers:
    answers = Answers({
        "dynamodb.Query": {"Items": [], "LastEvaluatedKey": ABSENT},
        "s3.GetObject": body(_reference().to_json().encode()),
    })  # fmt: skip
    found = seen.check(answers.clients, BUCKET, TABLE, "default", RUN_ID)
    assert (found["samples"], found["report"]) == (0, None)
    return answers


def scene_a_reference_is_written_once() -> Answers:
    answers = Answers({"s3.HeadObject": NO_KEY, "s3.GetObject": body(_data())})
    version: Any = {"run_id": RUN_ID, "dataset": "runs/r1/input/datasets.h5"}
    assert write_reference(answers.clients, BUCKET, version)
    (written,) = answers.asked("s3.PutObject")
    assert written["Key"] == places.drift_reference(RUN_ID)
    assert Reference.from_json(written["Body"].read()).digest == _reference().digest
    assert write_reference(Answers().clients, BUCKET, version)
    return answers


def scene_changes_are_told() -> Answers:
    change = {"NewImage": pack({"run_id": "model#default", "item": "champion", "run": RUN_ID})}
    events = events_in([{"eventID": "e1", "dynamodb": change}] * 12, "snn")
    answers = Answers({"events.PutEvents": {"FailedEntryCount": 0}})
    put(events, answers.clients)
    asked = answers.asked("events.PutEvents")
    assert [len(one["Entries"]) for one in asked] == [10, 2]
    assert {entry["DetailType"] for one in asked for entry in one["Entries"]} == {PROMOTED}
    failing = Answers({"events.PutEvents": {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Internal"}]}})
    with pytest.raises(CloudError, match=r"^an event was not taken: Internal"):
        put(events, failing.clients)
    return answers
