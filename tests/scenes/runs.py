"""Staging, launching and watching runs; their logs; uploads that Airflow hears of."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from answers import ABSENT, Answers, Refused, body
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from scenes.common import BUCKET, KEY, NOT_THERE, OUTPUTS, PARAMETERS, RUN, Ledgers, data, objects
from snn.errors import InvalidInput
from snn_client.data.fetching import fetch
from snn_client.data.options import Logged
from snn_client.data.staging import read_source, stage, withdraw
from snn_client.microscope.epochs import Epochs
from snn_client.runs.lists import shortened, whole
from snn_client.runs.logs import RunLogs, lines_of_invocation
from snn_client.runs.runs import launch
from snn_client.runs.watching import Watch
from snn_cloud.aws import places
from snn_cloud.aws.errors import CloudError

SOURCE = f"s3://elsewhere/{KEY}"


def scene_a_run_is_staged() -> Answers:
    answers = Answers({"s3.GetObject": objects(), "s3.HeadObject": NOT_THERE})
    staged = stage(answers.clients, BUCKET, "r1", SOURCE, PARAMETERS)
    assert [asked["Key"] for asked in answers.asked("s3.PutObject")] == [staged.dataset_key, staged.parameters_key]
    assert read_source(answers.clients.s3, f"{SOURCE}?versionId=v1") == data()
    return answers


def scene_a_list_is_too_long_for_xcom() -> Answers:
    items = [{"uri": f"photo {number}"} for number in range(100)]
    answers = Answers({"s3.GetObject": lambda asked: body(json.dumps(items).encode())})
    short = shortened(answers.clients, BUCKET, partial(places.input_images, "r1"), items, 1_000)
    assert isinstance(short, dict)
    assert json.load(answers.asked("s3.PutObject")[0]["Body"]) == items
    assert whole(answers.clients, [short]) == items
    return answers


def scene_all_below_a_prefix_is_fetched() -> Answers:
    listed = {"Contents": [{"Key": "photos/cat/1.png", "Size": 3}]}
    answers = Answers({"s3.ListObjectsV2": listed, "s3.GetObject": lambda asked: body(b"png")})
    with tempfile.TemporaryDirectory() as folder:
        found = fetch(answers.clients.s3, "s3://elsewhere/photos/", Path(folder, "new"), Logged())
        assert (found / "cat" / "1.png").read_bytes() == b"png"
    assert {asked["Prefix"] for asked in answers.asked("s3.ListObjectsV2")} == {"photos/"}
    return answers


def _half_staged(version: Any, wanted: dict[str, str]) -> Answers:
    """Stage a run whose second upload fails; whatever arrived is taken back."""
    arrived: dict[str, str] = {}

    def put(asked: dict[str, Any]) -> Any:
        arrived[asked["Key"]] = asked["Metadata"]["sha256"]
        return {} if len(arrived) == 1 else Refused("InternalError", 500)

    def head(asked: dict[str, Any]) -> Any:
        if asked["Key"] not in arrived:
            return NOT_THERE
        return {"Metadata": {"sha256": arrived[asked["Key"]]}, "VersionId": version}

    answers = Answers({"s3.GetObject": objects(), "s3.HeadObject": head, "s3.PutObject": put})
    with pytest.raises(ClientError, match="InternalError"):
        stage(answers.clients, BUCKET, "r1", SOURCE, PARAMETERS)
    assert answers.asked("s3.DeleteObject") == [{"Bucket": BUCKET, "Key": key, **wanted} for key in arrived]
    assert len(arrived) == 2
    return answers


scene_an_upload_fails = partial(_half_staged, "v9", {"VersionId": "v9"})
scene_an_upload_to_a_bucket_without_versions_fails = partial(_half_staged, ABSENT, {})


def scene_a_run_is_withdrawn() -> Answers:
    answers = Answers(
        {
            "s3.ListObjectVersions": [
                {"Versions": [{"Key": "a", "VersionId": "1"}], "DeleteMarkers": [{"Key": "a", "VersionId": "2"}]},
                {"Versions": [{"Key": "b", "VersionId": "3"}], "DeleteMarkers": ABSENT},
            ]
        }
    )
    withdraw(answers.clients, BUCKET, "r1")
    gone = [(asked["Key"], asked["VersionId"]) for asked in answers.asked("s3.DeleteObject")]
    assert gone == [("a", "1"), ("a", "2"), ("b", "3")]
    return answers


def _answered(said: Any, **more: Any) -> dict[str, Any]:
    content = json.dumps(said).encode()
    return {"Payload": StreamingBody(io.BytesIO(content), len(content)), **more}


def scene_a_run_is_asked_for() -> Answers:
    launched = _answered({"run_id": "r1", "state": "PENDING"}, FunctionError=ABSENT)
    answers = Answers({**Ledgers(RUN).answers, "lambda.Invoke": launched})
    assert replace(launch(answers.clients, OUTPUTS, "r1", KEY, PARAMETERS), usage={}) == RUN
    return answers


def scene_the_function_that_launches_fails() -> Answers:
    answers = Answers({"lambda.Invoke": _answered({"errorMessage": "out of memory"})})
    with pytest.raises(CloudError, match=r"^snn-LaunchLambda failed: out of memory$"):
        launch(answers.clients, OUTPUTS, "r1", KEY, PARAMETERS)
    return answers


def scene_the_run_of_an_upload_is_watched() -> Answers:
    uploaded = "training_input/a/datasets.h5"
    run_id = places.run_id_for_upload(BUCKET, uploaded, "v3")
    answers = Answers({**Ledgers().answers, "s3.HeadObject": {"VersionId": "v3"}})
    watch = Watch(answers.clients, OUTPUTS, upload=uploaded)
    assert watch.look().run is None
    assert watch.run_id == run_id
    return answers


def scene_a_stack_has_no_cache_to_watch() -> Answers:
    environment = {"Variables": {"BUCKET": BUCKET}, "Error": ABSENT}
    answers = Answers({"lambda.GetFunctionConfiguration": {"Environment": environment}})
    with pytest.raises(InvalidInput, match="stack snn has no cache to watch"):
        Watch(answers.clients, OUTPUTS, run_id="r1", source="redis")._cache  # noqa: B018
    return answers


def scene_what_the_functions_print() -> Answers:
    def events(asked: dict[str, Any]) -> dict[str, Any]:
        which = asked["logGroupName"].rpartition("-")[2], "nextToken" in asked
        number = [("LaunchLambda", False), ("LaunchLambda", True), ("TrainerLambda", False), ("TrainerLambda", True)]
        at = number.index(which)
        text = f"r1: line {at}" if at < 3 else "r1: COMPLETED after 3 epochs"
        return {"events": [{"eventId": str(at), "timestamp": at, "logStreamName": "s", "message": text}]}

    answers = Answers({"logs.FilterLogEvents": events})
    logs = RunLogs(answers.clients.logs, OUTPUTS, "r1", 0.0)
    lines = [line.text for line in logs.new()]
    assert lines == ["line 0", "line 1", "line 2", "COMPLETED after 3 epochs"]
    assert logs.heard_last_word
    assert not logs.more
    return answers


def scene_the_lines_of_an_invocation() -> Answers:
    def events(asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("logStreamNames") == ["none"]:
            return {"events": []}
        page = ["START RequestId: i1 Version: $LATEST"], ["r1: 3 ms", "REPORT RequestId: i1"]
        said = page["nextToken" in asked] if "logStreamNames" in asked else page[0]
        return {"events": [{"eventId": text, "timestamp": 1, "logStreamName": "s", "message": text} for text in said]}

    answers = Answers({"logs.FilterLogEvents": events})
    lines = lines_of_invocation(answers.clients.logs, OUTPUTS.neuron_function, "i1", "none", 0.0)
    assert [line.text for line in lines] == ["START RequestId: i1 Version: $LATEST", "r1: 3 ms", "REPORT RequestId: i1"]
    return answers


def scene_kept_epochs_are_found() -> Answers:
    epochs = {"Contents": [{"Key": places.kept_epochs("r1", 0, 3, 1)}]}
    answers = Answers({"s3.ListObjectsV2": epochs, "s3.GetObject": objects()})
    found = Epochs(answers.clients, BUCKET, RUN)
    assert found.kept == [0, 1, 2, 3]
    assert len(found.data.dataset.train) == 24
    return answers


def scene_airflow_hears_of_an_upload() -> Answers:
    from snn_operators.new_data import NewData

    record = {
        "eventTime": "2026-11-29T12:00:00Z",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": "retraining_input/d.h5", "versionId": "v1"}},
    }
    message = {"Body": json.dumps({"Records": [record]}), "ReceiptHandle": "handle"}
    answers = Answers({"sqs.ReceiveMessage": {"Messages": [message]}})
    queue = "https://sqs.eu-west-3.amazonaws.com/123456789012/snn-new-data"
    producer: Any = NewData(stack="snn", aws={}, poll_interval=1.0)
    producer._hook = SimpleNamespace(clients=answers.clients, outputs=lambda _: SimpleNamespace(new_data_queue=queue))
    uploads, receipts = producer.look()
    assert [upload.address for upload in uploads] == [f"s3://{BUCKET}/retraining_input/d.h5?versionId=v1"]
    producer.remove(receipts)
    assert answers.asked("sqs.DeleteMessage") == [{"QueueUrl": queue, "ReceiptHandle": "handle"}]
    return answers
