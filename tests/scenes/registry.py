"""The registry: versions, what is decided on them, trials, and how people hear that one waits."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from answers import Answers, Refused

from scenes.common import OUTPUTS, RUN, TABLE, Ledgers, objects
from snn_client.models import versions
from snn_client.models.approval import announce
from snn_cloud.ledger.record import State
from snn_cloud.registry.record import Status
from snn_cloud.registry.registry import AlreadyDecided, Registry

HELD: Any = Refused("ConditionalCheckFailedException")


def _kept(ledgers: Ledgers) -> dict[str, Any]:
    """Answer for a table with two pages of a model's items."""

    def query(asked: dict[str, Any]) -> dict[str, Any]:
        values = asked["ExpressionAttributeValues"]
        prefix = f"{values[':key']['S']}/{values.get(':begins', {'S': ''})['S']}"
        found = [item for name, item in sorted(ledgers.items.items()) if name.startswith(prefix)]
        return {"Items": found[1:] if "ExclusiveStartKey" in asked else found[:1]}

    return {**ledgers.answers, "dynamodb.Query": query}


def scene_versions_from_their_registration_to_a_trial() -> Answers:
    runs = [replace(RUN, run_id=name, state=State.COMPLETED) for name in ("r1", "r2")]
    model = objects()({"Key": "runs/r1/params.h5"})["Body"].read()
    answers = Answers({**_kept(Ledgers(*runs)), "s3.GetObject": objects(**{"params.h5": model})})
    clients, began = answers.clients, time.time()
    for number, run in enumerate(runs, start=1):
        found = versions.register(clients, OUTPUTS, run.run_id, "cats", "ann", {"accuracy": 0.9})
        assert (found["number"], found["status"], found["metrics"]) == (
            number,
            "candidate",
            {"accuracy": {"value": 0.9}},
        )
    registry = Registry(clients.dynamodb, TABLE)
    assert [one["run_id"] for one in registry.versions("cats")] == ["r2", "r1"]
    assert registry.models() == ["cats"]
    assert registry.ask("cats", "r1")
    assert registry.held("cats", "r1")["asked_at"] >= began
    assert registry.decide("cats", 1, Status.APPROVED, "ann", "well")["status"] == "approved"
    registry.promoted("cats", "r1", 7.0)
    assert registry.held("cats", "r1")["promoted_at"] == 7.0
    assert registry.count("cats", "r2", {"requests": 2, "errors": 1})["errors"] == 1
    assert registry.served("cats")["r2"]["requests"] == 2
    trial = registry.begin_trial("cats", 2, "shadow")
    assert [asked["Key"]["item"] for asked in answers.asked("dynamodb.DeleteItem")] == [{"S": "served#r2"}]
    assert registry.end_trial("cats", trial["id"], "stopped", "enough")
    assert registry.trial("cats") == {**trial, "ended": "stopped", "reason": "enough"}
    assert registry.spend("2026-12-01", 5) == 5
    return answers


def scene_somebody_has_decided_before() -> Answers:
    ledgers = Ledgers()
    answers = Answers(_kept(ledgers))
    registry = Registry(answers.clients.dynamodb, TABLE)
    facts: Any = {"dataset": "d.h5", "sha256": "0" * 64, "parameters": {}, "metrics": {}}
    registry.register("cats", "r1", **facts)
    registry.decide("cats", "r1", Status.REJECTED, "ann")
    answers.given["dynamodb.UpdateItem"] = answers.given["dynamodb.PutItem"] = HELD
    with pytest.raises(AlreadyDecided, match=r"^version 1 of cats is rejected by ann$"):
        registry.decide("cats", "r1", Status.APPROVED, "bob")
    assert not registry.ask("cats", "r1")
    assert registry.register("cats", "r1", **facts)["status"] == "rejected"
    return answers


def scene_people_hear_that_a_version_waits() -> Answers:
    answers = Answers(Ledgers().answers)
    registry = Registry(answers.clients.dynamodb, TABLE)
    version = registry.register("default", "r1", dataset="d.h5", sha256="0" * 64, parameters={}, metrics={})
    announce(answers.clients, OUTPUTS, version, "it is better")
    (told,) = answers.asked("sns.Publish")
    assert told == {
        "TopicArn": OUTPUTS.topic_arn,
        "Subject": "Training update!",
        "Message": "Version 1 of default (run r1) waits for approval (snn models approve 1): it is better",
    }
    return answers
