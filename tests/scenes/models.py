"""Champions, reports, and the table of a sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from answers import Answers, Refused, body
from judged import two_classes

from scenes.common import BUCKET, NO_KEY, OUTPUTS, RUN, model, objects
from snn_client.models.champion import Change, promote, reigns, roll_back
from snn_client.reports.report import build_report, evaluate_run, write_report
from snn_client.sweeps.table import write_table
from snn_cloud.aws import places
from snn_cloud.aws.errors import ChampionChanged
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.record import State

LEFT = {  # by the last change of the champion, for the next one to do
    "run-id": "r1", "results": f"{places.results('r1')}?versionId=v0", "former-run": "r0",
    "former-params": f"{places.PROMOTED_PARAMS}?versionId=v0", "former-results": "nowhere",
}  # fmt: skip


def _files(asked: dict[str, Any]) -> Any:
    held = {places.PROMOTED_PARAMS: "r1", places.PREVIOUS_PARAMS: "r0", places.params("r2"): "r2"}
    return {**body(model(held[asked["Key"]])), "Metadata": LEFT}


def scene_a_champion_takes_the_place_of_another() -> Answers:
    answers = Answers({"s3.GetObject": _files, "s3.HeadObject": {"VersionId": "v5"}})
    assert promote(answers.clients, BUCKET, "r2", over='"e1"') == Change("r2", "r1")
    (put,) = answers.asked("s3.PutObject")
    assert (put["IfMatch"], put["Metadata"]["former-results"]) == ('"e1"', f"{places.PROMOTED_RESULTS}?versionId=v5")
    assert [asked["Key"] for asked in answers.asked("s3.DeleteObject")] == [places.PREVIOUS_RESULTS]
    copied = [(asked["Key"], asked["CopySource"]) for asked in answers.asked("s3.CopyObject")]
    assert len(copied) == 5
    assert (places.PREVIOUS_RESULTS, f"{BUCKET}/{places.PROMOTED_RESULTS}?versionId=v5") in copied
    return answers


def scene_the_first_champion() -> Answers:
    def files(asked: dict[str, Any]) -> Any:
        return NO_KEY if asked["Key"] == places.PROMOTED_PARAMS else _files(asked)

    answers = Answers({"s3.GetObject": files, "s3.HeadObject": Refused("404", 404)})
    assert promote(answers.clients, BUCKET, "r2") == Change("r2", "")
    assert answers.asked("s3.PutObject")[0]["IfNoneMatch"] == "*"
    return answers


def scene_champions_and_when_they_reigned() -> Answers:
    key, day = places.PROMOTED_PARAMS, datetime(2026, 11, 1, tzinfo=UTC)
    versions = [
        {"Key": key, "VersionId": "v3", "LastModified": day + timedelta(hours=5), "IsLatest": True},
        {"Key": key, "VersionId": "v2", "LastModified": day + timedelta(hours=2), "IsLatest": False},
        {"Key": key, "VersionId": "v1", "LastModified": day, "IsLatest": False},
        {"Key": f"{key}.bak", "VersionId": "other", "LastModified": day, "IsLatest": True},
    ]
    gone = [{"Key": key, "VersionId": "d", "LastModified": day + timedelta(hours=1), "IsLatest": False}]
    runs = {"v3": {"run-id": "r3"}, "v2": {"run-id": "r2"}, "v1": {}}
    answers = Answers(
        {
            "s3.ListObjectVersions": {"Versions": versions, "DeleteMarkers": gone},
            "s3.HeadObject": lambda asked: {"Metadata": runs[asked["VersionId"]]},
        }
    )
    at = day.timestamp()
    found = [
        (one["run_id"], one["since"] - at, one["until"] and one["until"] - at)
        for one in reigns(answers.clients, BUCKET)
    ]
    assert found == [("r3", 18_000, None), ("r2", 7_200, 18_000), ("", 0, 3_600)]
    return answers


def scene_somebody_else_is_quicker() -> Answers:
    answers = Answers({"s3.GetObject": _files, "s3.PutObject": Refused("PreconditionFailed", 412)})
    with pytest.raises(ChampionChanged, match="it is now run r1"):
        roll_back(answers.clients, BUCKET)
    return answers


def scene_a_report() -> Answers:
    costs = json.dumps({"Start": "", "epoch0": {"cost": 1.0}, "epoch1": {"cost": 0.5}, "End": ""}).encode()
    answers = Answers({"s3.GetObject": objects(**{"results.json": costs})})
    run = replace(RUN, state=State.COMPLETED, epoch=2, cost=0.5, started_at=1.0, ended_at=9.0)
    judged = evaluate_run(answers.clients, BUCKET, "r1", run.dataset)
    assert sum(judged["confusion_matrix"].values()) == 6
    report = build_report(run, two_classes(), [], cost_of(run, OUTPUTS))
    written = write_report(answers.clients, BUCKET, run, report)
    assert written["artifacts"]["report_html"] == f"s3://{BUCKET}/{places.report_html('r1')}"
    stored = [asked["Key"] for asked in answers.asked("s3.PutObject")]
    named = places.model_onnx, places.report_html, places.report_json, places.model_card
    assert stored == [place("r1") for place in named]
    return answers


def scene_the_table_of_a_sweep() -> Answers:
    answers = Answers()
    table = write_table(answers.clients, BUCKET, {"sweep_id": "s1", "rows": [], "rows_left_out": 0}, "<svg/>")
    assert table["sweep_json"] == f"s3://{BUCKET}/{places.sweep_json('s1')}"
    assert json.load(answers.asked("s3.PutObject")[1]["Body"])["sweep_id"] == "s1"
    return answers
