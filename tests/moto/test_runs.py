"""Runs on moto: launched, trained and judged by the functions' own handlers, listed, watched and heard of."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import oracle
import pytest

from snn.training import History
from snn_client.data.staging import stage, withdraw
from snn_client.models.champion import find_champion, promote
from snn_client.reports.report import evaluate_run, make_report
from snn_client.runs import runs
from snn_client.runs.listing import newest_runs
from snn_client.runs.logs import RunLogs
from snn_client.runs.watching import Watch
from snn_client.stack.outputs import StackOutputs
from snn_client.sweeps.table import write_table
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import ObjectFile
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State

CHOSEN = Parameters.load(oracle.small_network((4, 1), ("relu", "sigmoid"), epochs=3))
Call = Callable[..., Any]


class Context:
    """What Lambda tells a function of its invocation."""

    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@pytest.fixture
def dataset(data: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "datasets.h5"
    path.write_bytes(data)
    return path


def test_a_run_from_its_data_to_its_report(
    clients: Clients, stack: StackOutputs, function: Call, emulator: Any, dataset: Path
) -> None:
    staged = stage(clients, stack.bucket, "first", dataset, CHOSEN)
    request = {"run_id": "first", "dataset": staged.dataset_key, "parameters": json.loads(CHOSEN.to_json())}
    answer = function(stack.launch_function, request)
    assert answer == {"run_id": "first", "state": "PENDING"}
    emulator.function_answers(answer)
    run = runs.launch(clients, stack, "first", staged.dataset_key, CHOSEN)
    assert (run.state, run.samples) == (State.PENDING, staged.size.samples)

    assert function(stack.trainer_function, {"run_id": "first"}, Context())["state"] == "COMPLETED"
    watch = Watch(clients, stack, run_id="first", functions=False)
    look = watch.look()
    assert look.run is not None
    assert (look.run.state, look.run.epoch, [row.epoch for row in look.rows]) == (State.COMPLETED, 3, [0, 1, 2])
    used = look.run.usage
    assert used["launch"].write_units > 0
    assert used["trainer"].s3_puts >= 2
    assert used["trainer"].publishes >= 1

    report = make_report(clients, stack, look.run, evaluate_run(clients, stack.bucket, "first", run.dataset))
    page = clients.s3.get_object(Bucket=stack.bucket, Key=places.report_html("first"))["Body"].read()
    assert report["training"]["epochs_run"] == 3
    assert page.startswith(b"<!doctype html>")
    assert promote(clients, stack.bucket, "first").champion == "first"
    champion = find_champion(clients, stack.bucket)
    assert champion is not None
    assert champion.run_id == "first"


def test_the_run_of_an_upload_is_found_by_its_version(
    clients: Clients, stack: StackOutputs, function: Call, data: bytes
) -> None:
    folder = f"{places.UPLOAD_PREFIX}moto/"
    clients.s3.put_object(Bucket=stack.bucket, Key=f"{folder}parameters.json", Body=CHOSEN.to_json().encode())
    watch = Watch(clients, stack, upload=f"{folder}datasets.h5", functions=False)
    assert watch.look().run is None
    version = clients.s3.put_object(Bucket=stack.bucket, Key=f"{folder}datasets.h5", Body=data)["VersionId"]
    told = {"bucket": {"name": stack.bucket}, "object": {"key": f"{folder}datasets.h5", "versionId": version}}
    run_id = function(stack.launch_function, {"Records": [{"s3": told}]})["run_id"]
    assert function(stack.trainer_function, {"run_id": run_id}, Context())["state"] == "COMPLETED"
    look = watch.look()
    assert look.run is not None
    assert (look.run.run_id, look.run.promote) == (run_id, True)


def test_an_object_is_read_in_parts(clients: Clients, stack: StackOutputs) -> None:
    content = bytes(range(256)) * 20_000
    version = clients.s3.put_object(Bucket=stack.bucket, Key="runs/part/x", Body=content)["VersionId"]
    for named in ("", version):
        file = io.BufferedReader(ObjectFile(clients, stack.bucket, "runs/part/x", named))
        file.seek(4_500_000)
        assert file.read(300) == content[4_500_000:4_500_300]


def test_sixty_runs_are_listed_the_newest_first_and_counted_as_reads(clients: Clients, stack: StackOutputs) -> None:
    ledger, began = Ledger(clients.dynamodb, stack.table), time.time() + 1_000
    for number in range(60):
        assert ledger.create(Run(f"listed-{number:02d}", parameters=CHOSEN, created_at=began + number))
    clients.requests.take()
    listed = [run.run_id for run, _ in zip(newest_runs(clients.dynamodb, stack.table), range(60))]
    assert listed == [f"listed-{number:02d}" for number in reversed(range(60))]
    counts = clients.requests.take()
    assert set(counts) == {"read_units"}
    assert counts["read_units"] >= 60


def test_epochs_fill_several_chunks(clients: Clients, stack: StackOutputs) -> None:
    ledger = Ledger(clients.dynamodb, stack.table)
    assert ledger.create(Run("chunks", parameters=CHOSEN, created_at=1.0))
    costs = [1 / (epoch + 1) for epoch in range(9_000)]
    ledger.put_history("chunks", History(costs))
    for after in (-1, 3_999, 4_000, 8_998):
        _, rows = ledger.progress("chunks", after)
        assert [row.cost for row in rows] == costs[after + 1 :]


def test_what_the_functions_print_is_followed(clients: Clients, stack: StackOutputs) -> None:
    group = f"/aws/lambda/{stack.trainer_function}"
    clients.logs.create_log_stream(logGroupName=group, logStreamName="one")
    now = int(time.time() * 1000)
    said = ["heard: begins, 900 s", "another: begins", "heard: COMPLETED after 3 epochs"]
    events: Any = [{"timestamp": now + at, "message": text} for at, text in enumerate(said)]
    clients.logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)
    logs = RunLogs(clients.logs, stack, "heard", time.time() - 60)
    assert [line.text for line in logs.new()] == ["begins, 900 s", "COMPLETED after 3 epochs"]
    assert logs.heard_last_word


def test_a_table_of_a_sweep_and_what_was_staged_for_nothing(
    clients: Clients, stack: StackOutputs, dataset: Path
) -> None:
    write_table(clients, stack.bucket, {"sweep_id": "sweep", "rows": [], "rows_left_out": 0}, "<svg/>")
    assert clients.s3.head_object(Bucket=stack.bucket, Key=places.sweep_json("sweep"))["ContentLength"] > 0
    stage(clients, stack.bucket, "withdrawn", dataset, CHOSEN)
    stage(clients, stack.bucket, "withdrawn", dataset, CHOSEN.model_copy(update={"seed": 9}))
    withdraw(clients, stack.bucket, "withdrawn")
    left = clients.s3.list_object_versions(Bucket=stack.bucket, Prefix=places.run_prefix("withdrawn"))
    assert "Versions" not in left
    assert "DeleteMarkers" not in left


def test_airflow_hears_of_uploads_and_takes_the_messages_out(clients: Clients, stack: StackOutputs) -> None:
    from snn_operators.new_data import NewData

    clients.sqs.purge_queue(QueueUrl=stack.new_data_queue)
    item = {"key": "retraining_input/my+cats.h5", "versionId": "v1"}
    told = {"eventTime": "2026-11-29T12:00:00Z", "s3": {"bucket": {"name": stack.bucket}, "object": item}}
    clients.sqs.send_message(QueueUrl=stack.new_data_queue, MessageBody=json.dumps({"Records": [told]}))
    producer: Any = NewData(stack=stack.stack_name, aws={}, poll_interval=0.1)
    producer._hook = SimpleNamespace(clients=clients, outputs=lambda name: StackOutputs.load(clients, name))
    uploads, receipts = producer.look()
    assert [upload.key for upload in uploads] == ["retraining_input/my cats.h5"]
    producer.remove(receipts)
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = clients.sqs.get_queue_attributes(QueueUrl=stack.new_data_queue, AttributeNames=names)["Attributes"]
    assert set(counts.values()) == {"0"}


def test_a_run_is_cancelled(clients: Clients, stack: StackOutputs) -> None:
    ledger = Ledger(clients.dynamodb, stack.table)
    assert ledger.create(replace(Run("cancelled"), parameters=CHOSEN, created_at=1.0))
    assert runs.stop(clients, stack, "cancelled").state is State.CANCELLED
