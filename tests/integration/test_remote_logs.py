"""Lambda's lines of a run, read from the emulator's CloudWatch Logs: while it goes on, and when it has failed."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import time
import urllib.request
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import oracle
import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from small import first_checkpoint, wait_until

from snn_client.runs import remote_logs, runs
from snn_client.runs.logs import PATIENCE_SECONDS, RunLogs, last_lines
from snn_client.runs.watching import Watch
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_data.dataset import load_dataset
from snn_operators.sensor import SnnRunSensor
from snn_operators.train import SnnTrainOperator

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator


class TaskInstance:
    """What the operators use of Airflow's: a place for XComs, and which try this is."""

    try_number, max_tries = 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


@pytest.fixture
def staged(clients: Clients, stack: StackOutputs, data: bytes, request: pytest.FixtureRequest) -> Any:
    """Put the data set where the stage task puts it; returns (run_id, key)."""

    def stage(name: str = "") -> tuple[str, str]:
        run_id = runs.new_run_id(f"{request.node.name} {name}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
        return run_id, key

    return stage


@pytest.fixture
def bad_shape(clients: Clients, stack: StackOutputs, data: bytes, staged: Any) -> Any:
    """Record a run as LaunchLambda does, past all validation: its first layer reads one pixel more than photos have."""

    def record(parameters: Parameters) -> tuple[str, str]:
        run_id, key = staged()
        features = load_dataset(io.BytesIO(data)).features
        broken = first_checkpoint(parameters, features + 1)
        put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(run_id), Body=broken)
        run = Run(
            run_id,
            parameters=parameters,
            dataset=key,
            checkpoint_version=put["VersionId"],
            created_at=time.time(),
        )
        assert Ledger(clients.dynamodb, stack.table).create(run)
        return run_id, key

    return record


def small(**fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **fields))


def training(stack: StackOutputs, run_id: str, key: str, parameters: Parameters, **options: Any) -> SnnTrainOperator:
    return SnnTrainOperator(
        task_id="train",
        stack=stack.to_dict(),
        run_id=run_id,
        dataset_key=key,
        parameters=parameters.to_json(),
        **{"poll_interval": 0.2, "log_interval": 0.5, **options, **AWS},
    )


def printed(clients: Clients, stack: StackOutputs, run_id: str) -> list[str]:
    """Return all that LaunchLambda and TrainerLambda printed of a run, found by reading everything."""
    lines = []
    for function in (stack.launch_function, stack.trainer_function):
        group = f"/aws/lambda/{function}"
        for page in clients.logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
            for stream in page["logStreams"]:
                events = clients.logs.get_log_events(
                    logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
                )["events"]
                lines += [f"[{function.rpartition('-')[2]}] {event['message']}" for event in events]
    return [line.replace(f"{run_id}: ", "", 1).rstrip() for line in lines if f"] {run_id}: " in line]


def test_lines_of_two_runs_at_once_are_whole_and_not_mixed(clients: Clients, stack: StackOutputs, staged: Any) -> None:
    chosen = small(epochs=12)
    names = [staged(name)[0] for name in ("one", "two")]
    following = {run_id: RunLogs(clients.logs, stack, run_id, time.time()) for run_id in names}
    heard: dict[str, list[str]] = {run_id: [] for run_id in names}

    def look(run_id: str) -> None:
        lines = following[run_id].new()
        assert lines == sorted(lines, key=lambda line: line.at)
        heard[run_id] += [str(line) for line in lines]

    for run_id in names:
        # 0.001 s: one epoch an invocation, however quick it is.
        runs.launch(clients, stack, run_id, places.input_dataset(run_id, "0" * 64), chosen, trainer_seconds=0.001)
        look(run_id)
        assert "[LaunchLambda] PENDING" in heard[run_id]  # the first, unless a trainer was quicker than its last line
    deadline, looks = time.monotonic() + 90, 0
    while looks <= 10 or not all(logs.heard_last_word for logs in following.values()):
        assert time.monotonic() < deadline, heard
        for run_id in names:
            look(run_id)
        looks += 1
        time.sleep(0.1)
    for run_id in names:

        def all_heard(run_id: str = run_id) -> bool:
            look(run_id)
            begun = [line for line in heard[run_id] if line.startswith("[TrainerLambda] starts")]
            return len(begun) == 12 and sorted(heard[run_id]) == sorted(printed(clients, stack, run_id))

        wait_until(all_heard, "lines are missing")  # a predecessor, which prints its last line late, may be overtaken
        assert Ledger(clients.dynamodb, stack.table).get(run_id).usage["trainer"].invocations == 12
        assert len([line for line in heard[run_id] if "COMPLETED after 12 epochs" in line]) == 1


def test_the_task_log_has_the_lines_of_the_functions(
    clients: Clients,
    stack: StackOutputs,
    staged: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_logs, "LAST_WORD_SECONDS", 60.0)  # a trainer may get no processor for long
    run_id, key = staged()
    context: Any = {"ti": TaskInstance()}
    task = training(stack, run_id, key, small(epochs=60, granularity="layer"))
    task.execute(context)
    said = r"((?:\[\w+Lambda\] |epoch \d+ of 60, cost ).*?) +\[airflow\.task"
    lines = re.findall(said, capsys.readouterr().out)
    lambdas = [line for line in lines if line.startswith("[")]
    assert sorted(lambdas) == sorted(printed(clients, stack, run_id))
    assert lines[-1] == "[TrainerLambda] COMPLETED after 60 epochs"
    # The folder of the run can be looked at from the start: in XCom while the task is at work, and again at its end.
    link = context["ti"].xcoms["_link_BucketPrefixLink"]
    assert [each.get_link(task, ti_key=None) for each in task.operator_extra_links] == ["", "", link]  # type: ignore[arg-type]
    asked = AWSRequest("GET", link)  # as somebody who may look
    S3SigV4QueryAuth(Credentials("test", "test"), "s3", stack.region).add_auth(asked)
    with urllib.request.urlopen(str(asked.url), timeout=10) as answer:
        keys = re.findall(r"<Key>(.*?)</Key>", answer.read().decode())
    assert {places.params(run_id), places.results(run_id), places.checkpoint(run_id)} <= set(keys)
    assert all(each.startswith(places.run_prefix(run_id)) for each in keys)


def test_lines_of_the_functions_come_among_those_of_epochs(clients: Clients, stack: StackOutputs, staged: Any) -> None:
    run_id, key = staged()
    runs.launch(clients, stack, run_id, key, small(epochs=10_000_000))
    watch, lines, deadline = Watch(clients, stack, run_id=run_id, log_interval=0.5), [], time.monotonic() + 90
    try:
        while not ("[LaunchLambda] PENDING" in lines and lines[-1].startswith("epoch ")):
            assert time.monotonic() < deadline, lines
            time.sleep(0.2)
            lines += watch.look().lines
    finally:
        watch.cancel()


def test_a_failed_run_brings_its_traceback_into_the_exception_and_the_log(
    clients: Clients, stack: StackOutputs, bad_shape: Any, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = small()
    run_id, key = bad_shape(chosen)
    with pytest.raises(AirflowFailException) as caught:
        training(stack, run_id, key, chosen).execute({"ti": TaskInstance()})
    reason, heading, *lines = str(caught.value).splitlines()
    run = Ledger(clients.dynamodb, stack.table).get(run_id)
    assert run.state is State.FAILED
    assert reason == f"run {run_id} failed after 0 epochs: {run.reason}"
    assert run.reason.startswith("ValueError: ")
    assert heading == "The last lines of its Lambda functions:"
    assert lines[-1].startswith("  [TrainerLambda] REPORT RequestId: ")
    assert lines[-2] == f"  [TrainerLambda] FAILED after 0 epochs {run.reason}"
    first = lines.index("  [TrainerLambda] Traceback (most recent call last):")
    trace = lines[first:-2]
    # Whole: from the function that called to the one that raised, and the exception itself last.
    assert re.fullmatch(r'  \[TrainerLambda\]   File ".*/snn_cloud/train/training\.py", line \d+, in advance', trace[1])
    assert any(re.search(r'File ".*/snn/here\.py", line \d+, in forward', line) for line in trace)
    assert re.fullmatch(r'.* File ".*/snn/span\.py", line \d+, in sums', trace[-3])
    assert trace[-2].endswith('Z = np.matmul(W, self._X, out=self._work("Z", (len(W), batch.size), W.dtype))')
    assert trace[-1] == f"  [TrainerLambda] {run.reason}"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [str(caught.value)]


def test_a_neuron_that_failed_brings_its_own_traceback(
    clients: Clients, stack: StackOutputs, bad_shape: Any
) -> None:  # fmt: skip
    chosen = small(granularity="neuron")
    run_id, key = bad_shape(chosen)
    with pytest.raises(AirflowFailException) as caught:
        training(stack, run_id, key, chosen).execute({"ti": TaskInstance()})
    neuron = [line for line in str(caught.value).splitlines() if "[NeuronLambda] " in line]
    assert neuron[0] == "  [NeuronLambda] Traceback (most recent call last):"
    assert any(re.search(r'File ".*/snn_cloud/neurons/task\.py", line \d+, in work', line) for line in neuron)
    assert neuron[-1].startswith("  [NeuronLambda] ValueError: ")
    run = Ledger(clients.dynamodb, stack.table).get(run_id)
    assert run.reason.startswith("layer 1, neurons (")
    assert neuron[-1].removeprefix("  [NeuronLambda] ValueError: ") in run.reason
    assert len([line for line in neuron if "Traceback" in line]) == 1


def test_the_sensor_tells_the_traceback_too(stack: StackOutputs, clients: Clients, bad_shape: Any) -> None:
    chosen = small()
    run_id, key = bad_shape(chosen)
    runs.launch(clients, stack, run_id, key, chosen)
    with pytest.raises(AirflowFailException, match=r"\[TrainerLambda\] Traceback \(most recent call last\):"):
        SnnRunSensor(
            task_id="sense", stack=stack.to_dict(), run_id=run_id, uploaded_after=None, poke_interval=0.2, **AWS
        ).execute({})


def test_a_run_that_failed_long_ago_is_not_waited_for(clients: Clients, stack: StackOutputs, staged: Any) -> None:
    run_id, _ = staged()
    long_ago = Run(run_id, State.FAILED, created_at=1.0, started_at=2.0, ended_at=3.0, reason="forgotten")
    began = time.monotonic()
    assert last_lines(clients.logs, stack, long_ago) == []
    assert time.monotonic() - began < PATIENCE_SECONDS
