"""Operators, sensor and triggers against a real stack on the emulator, one at a time and without a scheduler."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import numpy as np
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    DagRunStateResult,
    ErrorResponse,
    GetDagRunState,
    GetTaskStates,
    TaskStatesResult,
)
from holding import held_creation
from other_airflow import TaskDeferred
from PIL import Image

from snn_client.runs import runs
from snn_client.stack.cleanup import clean_up
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import wait_for_stack
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import RunCancelled
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_data.dataset import save_dataset
from snn_operators.compat import AirflowFailException, AirflowSensorTimeout
from snn_operators.deploy import SnnDeployOperator
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.sensor import SnnRunSensor
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator
from snn_operators.trigger import RunTrigger, StackTrigger

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
PARAMETERS = {
    "epochs": 20,
    "layers": 2,
    "activations": {"layer1": "relu", "layer2": "sigmoid"},
    "neurons": {"layer1": 4, "layer2": 1},
    "learning_rate": 0.05,
}
ENDLESS = {**PARAMETERS, "epochs": 10_000_000, "learning_rate": 1e-9}


class TaskInstance:
    """What the operators use of Airflow's: a place for XComs, and which try this is, of which task."""

    dag_id, run_id, task_id, map_index = "dag", "manual", "train", -1

    def __init__(self, try_number: int = 1, max_tries: int = 0) -> None:
        self.xcoms: dict[str, Any] = {}
        self.try_number, self.max_tries = try_number, max_tries

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class Deleted(TaskInstance):
    """What is left of a task whose DAG run has been deleted: Airflow's supervisor refuses its every word."""

    def xcom_push(self, key: str, value: Any) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 404}))


@dataclass
class Supervisor:
    """What Airflow's supervisor answers a task that asks for its own state and its DAG run's."""

    task: str | None = "running"
    dag_run: str = "running"

    def send(self, msg: Any) -> Any:
        if isinstance(msg, GetDagRunState):
            return DagRunStateResult(state=self.dag_run)
        assert isinstance(msg, GetTaskStates)
        assert (msg.dag_id, msg.task_ids, msg.run_ids) == ("dag", ["train"], ["manual"])
        return TaskStatesResult(task_states={"manual": {"train": self.task}} if self.task else {})


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    answers = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", answers, raising=False)
    return answers


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": TaskInstance()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "datasets.h5"
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (24, 6, 6, 3), dtype=np.uint8), random.integers(0, 2, 24)
    save_dataset(path, pixels[:16], labels[:16], pixels[16:], labels[16:], ("no", "yes"))
    return path


@pytest.fixture
def stage(stack: StackOutputs, data: Path, request: pytest.FixtureRequest) -> Any:
    """Stage the data for a run named after the test; returns what the task returns."""

    def stage(parameters: Any = PARAMETERS, **options: Any) -> dict[str, Any]:
        task = SnnStageOperator(
            task_id="stage",
            stack=stack.to_dict(),
            run_id=f"{request.node.name} {time.time_ns()}",
            **{"dataset": str(data), "parameters": parameters, **options, **AWS},
        )
        return task.execute({})

    return stage


def kill_once_it_trains(task: SnnTrainOperator, ledger: Ledger) -> None:
    """Kill a task, as Airflow does from a signal handler, when its run has done some epochs."""

    def kill() -> None:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            run = ledger.find(task._watch.run_id) if task._watch else None
            if run and run.epoch:
                return task.on_kill()
            time.sleep(0.1)
        return None

    threading.Thread(target=kill, daemon=True).start()


def training(stack: StackOutputs, staged: dict[str, Any], **options: Any) -> SnnTrainOperator:
    return SnnTrainOperator(
        task_id="train",
        stack=stack.to_dict(),
        **{name: staged[name] for name in ("run_id", "dataset_key", "parameters")},
        **{"poll_interval": 0.2, "log_interval": 0.5, **options, **AWS},
    )


@pytest.mark.parametrize(("labels", "classes", "layer", "said"), [
    (np.arange(24) % 3, ("a", "b", "c"), {"activations": {"layer1": "softmax"}, "neurons": {"layer1": 3}},
     (r"on the test set: accuracy 0\.\d{3}, macro F1 0\.\d{3}", r"red\.png: [abc] \(0\.\d{3}\)")),
    (np.arange(24) / 24, (), {"activations": {"layer1": "identity"}, "neurons": {"layer1": 1}},
     (r"on the test set: R² -?\d+\.\d{3}, mean absolute error \d", r"red\.png: -?\d+\.\d+")),
])  # fmt: skip
def test_many_classes_and_numbers_are_evaluated_and_predicted_too(
    stack: StackOutputs, stage: Any, tmp_path: Path, context: Any, capsys: Any,
    labels: Any, classes: tuple[str, ...], layer: dict[str, Any], said: tuple[str, str],
) -> None:  # fmt: skip
    """To log a figure that only two classes have was a KeyError."""
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 6, 6, 3), dtype=np.uint8)
    save_dataset(tmp_path / "d.h5", pixels[:16], labels[:16], pixels[16:], labels[16:], classes)
    parameters = {"epochs": 3, "layers": 1, "learning_rate": 0.001, **layer}
    staged = stage(parameters, dataset=str(tmp_path / "d.h5"), images=[str(tmp_path / "red.png")])
    run_id = training(stack, staged).execute(context)["run_id"]
    given: Any = {"stack": stack.to_dict(), "run_id": run_id, **AWS}
    test_set = SnnEvaluateOperator(task_id="evaluate", **given).execute({})
    assert test_set["samples"] == 8
    (answer,) = SnnPredictOperator(task_id="predict", images=staged["images"], **given).execute({})
    assert answer.keys() == ({"uri", "predicted", "class_name", "probability"} if classes else {"uri", "value"})
    log = capsys.readouterr().out
    assert [pattern for pattern in said if not re.search(pattern, log)] == []


def fired(trigger: Any) -> list[dict[str, Any]]:
    """Return the payloads of all events of a trigger, made anew from what it goes to the database as."""

    async def collect() -> list[Any]:
        return [event.payload async for event in type(trigger)(**trigger.serialize()[1]).run()]

    return asyncio.run(collect())


def in_bucket(clients: Clients, stack: StackOutputs) -> set[tuple[str, str]]:
    pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=stack.bucket)
    return {(item["Key"], item["VersionId"]) for page in pages for item in page.get("Versions", [])}


def told(task: Any, stack: StackOutputs) -> tuple[list[str], list[str]]:
    """Return what a task tells OpenLineage that it read and made, all in the stack's bucket."""
    lineage = task.get_openlineage_facets_on_complete(None)
    assert {each.namespace for each in (*lineage.inputs, *lineage.outputs)} == {f"s3://{stack.bucket}"}
    return [each.name for each in lineage.inputs], [each.name for each in lineage.outputs]


def test_from_data_to_report_waiting_in_the_worker(
    clients: Clients, stack: StackOutputs, stage: Any, tmp_path: Path, context: Any, capsys: Any
) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    outputs = SnnDeployOperator(task_id="deploy", stack=stack.stack_name, deploy="False", **AWS).execute({})
    assert outputs == stack.to_dict()
    staged = stage(images=[str(tmp_path / "red.png")])
    trained = training(stack, staged).execute(context)
    log = capsys.readouterr().out
    said = re.findall(r"epoch \d+ of .*?, cost [0-9.]+", log)
    assert re.search(r"estimate: ≤ 0\.000\d+ USD for 20 epochs, batch granularity: 1 TrainerLambda, ≈ \d", log)
    assert trained == {
        "run_id": staged["run_id"],
        "state": "COMPLETED",
        "epochs_run": 20,
        "epochs_configured": 20,
        "final_cost": trained["final_cost"],
        "stopped_by": "epochs",
        "seconds": trained["seconds"],
        "granularity": "batch",
        "strategy": "full-batch",
        "validation_cost": None,
        "validation_metric": None,
        "best_epoch": None,
        "dataset_key": staged["dataset_key"],
        "invocations": {"launch": 1, "trainer": 1, "neuron": 0},
    }
    assert context["ti"].xcoms["run_id"] == staged["run_id"]
    assert (context["ti"].xcoms["progress"]["epoch"], context["ti"].xcoms["progress"]["state"]) == (20, "COMPLETED")
    assert said[0].startswith("epoch 1 of 20, cost ")
    assert said[-1] == f"epoch 20 of 20, cost {trained['final_cost']:.6f}"

    given: Any = {"stack": outputs, "run_id": trained["run_id"], **AWS}
    evaluate = SnnEvaluateOperator(task_id="evaluate", **given)
    test_set = evaluate.execute({})
    assert sum(test_set["confusion_matrix"].values()) == 8
    predict = SnnPredictOperator(task_id="predict", images=staged["images"], **given)
    predicted = predict.execute({})
    assert [(item["uri"], item["class_name"] in ("no", "yes")) for item in predicted] == [
        (str(tmp_path / "red.png"), True)
    ]
    task = SnnReportOperator(
        task_id="report", test_set=test_set, new_images=predicted, images=staged["images"], **given
    )
    report = task.execute({})
    assert report["training"]["final_cost"] == trained["final_cost"]
    key = places.report_json(trained["run_id"])
    assert json.loads(clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()) == report
    link = task.operator_extra_links[0].get_link(task, ti_key=None)  # type: ignore[arg-type]
    assert link.endswith(f"/{stack.bucket}/runs/{trained['run_id']}/report/report.html")

    run = f"runs/{trained['run_id']}"
    model, data, photos = f"{run}/params.h5", trained["dataset_key"], f"{run}/input/images"
    assert told(evaluate, stack) == ([model, data], [])
    assert told(predict, stack) == ([model, photos], [])
    made = [f"{run}/report/report.html", f"{run}/report/report.json"]
    assert told(task, stack) == ([model, f"{run}/results.json", data, photos], made)
    for key in (*made, model, data):
        assert clients.s3.head_object(Bucket=stack.bucket, Key=key)["ContentLength"] > 0


def test_a_task_run_again_goes_on_with_its_run(clients: Clients, stack: StackOutputs, stage: Any, context: Any) -> None:
    staged = stage()
    first = training(stack, staged).execute(context)
    # Deferrable, but over already: no trip to the triggerer.
    again = training(stack, staged, deferrable=True).execute(context)
    assert again == {**first, "invocations": {"launch": 2, "trainer": 1, "neuron": 0}}


@pytest.mark.parametrize("resume", [False, True])
def test_a_cleared_task_trains_anew_or_resumes(
    clients: Clients, stack: StackOutputs, stage: Any, context: Any, resume: bool, capsys: Any
) -> None:
    staged = stage(ENDLESS)
    task = training(stack, staged, resume=str(resume), timeout=120)
    ledger = Ledger(clients.dynamodb, stack.table)
    kill_once_it_trains(task, ledger)
    with pytest.raises(AirflowFailException, match=r"was cancelled after \d+ epochs"):
        task.execute(context)
    stopped = ledger.get(staged["run_id"])
    assert 0 < stopped.epoch < ENDLESS["epochs"]
    epochs = stopped.epoch + 1_000  # it may be resumed to go less far than it was to
    again = training(stack, {**staged, "parameters": {**ENDLESS, "epochs": epochs}}, resume=str(resume))
    # What Airflow makes of a task that has been cleared once and has no retries of its own.
    trained = again.execute({"ti": TaskInstance(try_number=2, max_tries=1)})
    assert trained["run_id"] == f"{staged['run_id']}-t2"
    assert (trained["epochs_run"], trained["state"]) == (epochs, "COMPLETED")
    run = ledger.get(trained["run_id"])
    assert run.resumed_from == (stopped.run_id if resume else "")
    assert ledger.get(stopped.run_id) == stopped
    said = capsys.readouterr().out
    wanted = "resuming run .* of try 1 .CANCELLED. from its checkpoint" if resume else "CANCELLED: starting a new run"
    assert re.search(wanted, said)


@pytest.mark.usefixtures("supervisor")
def test_deferred_then_killed(clients: Clients, stack: StackOutputs, stage: Any, context: Any) -> None:
    staged = stage(ENDLESS)
    task = training(stack, staged, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    trigger = deferred.value.trigger
    assert isinstance(trigger, RunTrigger)
    assert (trigger.run_id, trigger.cancel_on_kill, deferred.value.method_name) == (
        staged["run_id"],
        True,
        "execute_complete",
    )
    asyncio.run(trigger.on_kill())
    assert fired(trigger) == [{"run_id": staged["run_id"], "status": "ended"}]
    assert Ledger(clients.dynamodb, stack.table).get(staged["run_id"]).state is State.CANCELLED
    with pytest.raises(AirflowFailException, match=r"run .* was cancelled after \d+ epochs"):
        task.execute_complete(context, {"run_id": staged["run_id"], "status": "ended"})


@pytest.mark.parametrize(
    ("task_state", "dag_run", "stopped"),
    [
        ("failed", "running", True),
        (None, "running", True),
        ("deferred", "failed", True),
        ("deferred", "running", False),
    ],
)
def test_where_airflow_only_cancels_a_trigger_it_stops_the_run_of_a_killed_task_and_no_other(
    clients: Clients,
    stack: StackOutputs,
    stage: Any,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    task_state: str | None,
    dag_run: str,
    stopped: bool,
) -> None:
    # Before 3.3 a trigger hears of a kill as of a triggerer that ends: its coroutine is cancelled.
    monkeypatch.setattr("snn_operators.trigger.CALLS_ON_KILL", False)
    staged, ledger = stage(ENDLESS), Ledger(clients.dynamodb, stack.table)
    runs.launch(clients, stack, staged["run_id"], staged["dataset_key"], Parameters.load(ENDLESS))
    supervisor.task, supervisor.dag_run = task_state, dag_run
    cancelled_after = cancel(RunTrigger(aws=AWS, stack=stack.to_dict(), run_id=staged["run_id"], cancel_on_kill=True))
    assert cancelled_after < 5
    run = ledger.get(staged["run_id"])  # one whose trainer has not begun is cancelled at once
    assert (run.cancel_requested or run.state is State.CANCELLED) is stopped
    runs.cancel(clients, stack, staged["run_id"])


@pytest.mark.parametrize("silent", [False, True])
def test_a_triggerer_that_ends_and_answers_no_more_stops_no_run(
    clients: Clients,
    stack: StackOutputs,
    stage: Any,
    monkeypatch: pytest.MonkeyPatch,
    supervisor: Supervisor,
    capsys: pytest.CaptureFixture[str],
    silent: bool,
) -> None:
    def send(msg: Any) -> Any:
        if silent:
            time.sleep(1.0)
            return TaskStatesResult(task_states={})  # too late
        raise EOFError("the supervisor is gone")

    monkeypatch.setattr("snn_operators.trigger.CALLS_ON_KILL", False)
    monkeypatch.setattr("snn_operators.trigger.KILLED_WITHIN", 0.2)
    monkeypatch.setattr(supervisor, "send", send)
    staged = stage(ENDLESS)
    runs.launch(clients, stack, staged["run_id"], staged["dataset_key"], Parameters.load(ENDLESS))
    cancel(RunTrigger(aws=AWS, stack=stack.to_dict(), run_id=staged["run_id"], cancel_on_kill=True))
    run = Ledger(clients.dynamodb, stack.table).get(staged["run_id"])
    assert (run.state.is_terminal, run.cancel_requested) == (False, False)
    why = "TimeoutError" if silent else "the supervisor is gone"
    assert f"cannot tell whether the task was killed: {why}" in capsys.readouterr().out
    runs.cancel(clients, stack, staged["run_id"])


def cancel(trigger: RunTrigger) -> float:
    """Run a trigger for half a second and cancel it as Airflow does; return how many seconds it took to end."""
    trigger.task_instance = TaskInstance()

    async def cancelled() -> float:
        waiting = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return time.monotonic() - began

    return asyncio.run(cancelled())


def test_killed_while_launching(clients: Clients, stack: StackOutputs, stage: Any, context: Any) -> None:
    staged = stage(ENDLESS)
    task = training(stack, staged, timeout=120)
    killed: list[threading.Thread] = []

    def kill(**_: Any) -> None:
        killed.append(threading.Thread(target=task.on_kill))
        killed[0].start()
        time.sleep(0.5)  # the kill finds no run yet

    task.hook.clients.lambda_.meta.events.register("before-call.lambda.Invoke", kill)
    with pytest.raises(AirflowFailException, match=r"was cancelled after \d+ epochs"):
        task.execute(context)
    assert len(killed) == 1
    assert Ledger(clients.dynamodb, stack.table).get(staged["run_id"]).state is State.CANCELLED


def test_killed_while_waiting_in_the_worker(clients: Clients, stack: StackOutputs, stage: Any, context: Any) -> None:
    task = training(stack, stage(ENDLESS), timeout=120)
    kill_once_it_trains(task, Ledger(clients.dynamodb, stack.table))
    with pytest.raises(AirflowFailException, match=r"was cancelled after \d+ epochs"):
        task.execute(context)
    assert context["ti"].xcoms["progress"]["state"] == "CANCELLED"


@pytest.mark.parametrize(
    ("task_state", "dag_run"), [("failed", "running"), (None, "running"), ("running", "failed"), ("running", "success")]
)
def test_a_task_that_was_stopped_or_deleted_since_its_launch_is_not_deferred(
    clients: Clients,
    stack: StackOutputs,
    stage: Any,
    context: Any,
    supervisor: Supervisor,
    task_state: Any,
    dag_run: str,
) -> None:
    supervisor.task, supervisor.dag_run = task_state, dag_run
    staged = stage(ENDLESS)
    with pytest.raises(AirflowFailException, match=r"was cancelled after \d+ epochs"):
        training(stack, staged, deferrable=True, timeout=120).execute(context)
    assert Ledger(clients.dynamodb, stack.table).get(staged["run_id"]).state is State.CANCELLED


def test_a_task_whose_words_are_refused_stays_with_its_run(
    clients: Clients, stack: StackOutputs, stage: Any, capsys: Any
) -> None:
    context = {"ti": Deleted()}
    trained = training(stack, stage()).execute(context)
    assert (trained["state"], trained["epochs_run"]) == ("COMPLETED", 20)
    said = capsys.readouterr().out
    assert "no run_id in XCom: " in said
    # So it is still there when its heartbeat is refused too.
    task = training(stack, stage(ENDLESS), timeout=120)
    kill_once_it_trains(task, Ledger(clients.dynamodb, stack.table))
    with pytest.raises(AirflowFailException, match=r"was cancelled after \d+ epochs"):
        task.execute(context)
    assert capsys.readouterr().out.count("no progress in XCom: ") >= 2


@pytest.mark.usefixtures("supervisor")
def test_the_deadline_ends_the_run_and_the_task(
    clients: Clients, stack: StackOutputs, stage: Any, context: Any
) -> None:
    staged = stage(ENDLESS)
    task = training(stack, staged, deferrable=True, timeout=0.5)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    event = fired(deferred.value.trigger)
    assert event == [{"run_id": staged["run_id"], "status": "timeout"}]
    with pytest.raises(AirflowFailException, match=r"did not end within 0\.5 s; it was asked to stop"):
        task.execute_complete(context, event[0])
    with pytest.raises(RunCancelled):
        runs.watch(clients, stack, staged["run_id"], lambda run, costs: None, limit_seconds=30)


def test_a_failed_run_fails_the_task_with_its_reason(
    clients: Clients, stack: StackOutputs, stage: Any, context: Any
) -> None:
    staged = stage()
    asked: Any = {"parameters": Parameters.load(staged["parameters"]), "dataset": staged["dataset_key"]}
    Ledger(clients.dynamodb, stack.table).create(
        Run(staged["run_id"], State.FAILED, **asked, reason="MemoryError: too wide", epoch=3)
    )
    with pytest.raises(AirflowFailException, match="failed after 3 epochs: MemoryError: too wide"):
        training(stack, staged).execute(context)


def test_an_unknown_stack_is_one_line(emulator: Any) -> None:
    with pytest.raises(Exception, match="the stack nobody is not deployed") as caught:
        SnnEvaluateOperator(task_id="evaluate", stack="nobody", run_id="r", **AWS).execute({})
    assert caught.value.__cause__ is None


def test_a_finished_deployment_fires_at_once(clients: Clients, stack: StackOutputs) -> None:
    operation = clients.cloudformation.describe_stacks(StackName=stack.stack_name)["Stacks"][0]["StackId"]
    ended = {"operation": operation, "carried": {}, "status": "ended"}
    assert fired(StackTrigger(aws=AWS, operation=operation)) == [ended]
    task = SnnDeployOperator(task_id="deploy", stack=stack.stack_name, **AWS)
    assert task.execute_complete({}, ended) == stack.to_dict()


def test_a_deployment_waited_for_in_the_worker_has_a_limit(clients: Clients, emulator: Any) -> None:
    try:
        task = SnnDeployOperator(task_id="deploy", stack="snn-late", timeout=0, options={"with_cache": False}, **AWS)
        late = pytest.raises(AirflowException, match=r"snn-late.* is still CREATE_IN_PROGRESS after \d+ s")
        with held_creation(clients, "snn-late"), late as raised:
            task.execute({})
        assert not isinstance(raised.value, AirflowFailException)  # a retry goes on waiting
    finally:
        wait_for_stack(clients, "snn-late", lambda line: None)
        clean_up(clients, "snn-late")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"parameters": {**PARAMETERS, "learning_rate": -1}}, "parameters.json: learning_rate: "),
        ({"overrides": {"epoch": 3}}, "parameters.json: epoch: is not a parameter"),
        ({"parameters": "/nowhere/parameters.json"}, "/nowhere/parameters.json: no such file"),
        ({"dataset": "/nowhere/datasets.h5"}, "/nowhere/datasets.h5: no such file"),
        ({"images": [__file__]}, "test_operators.py: not a picture"),
        ({"overrides": {"granularity": "neuron"}, "has_cache": False}, "neuron needs a cache, but the stack"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    clients: Clients, stack: StackOutputs, data: Path, options: dict[str, Any], line: str
) -> None:
    before = in_bucket(clients, stack)
    outputs = {**stack.to_dict(), "has_cache": options.pop("has_cache", True)}
    given: Any = {"dataset": str(data), "parameters": PARAMETERS, "run_id": line, **options, **AWS}
    with pytest.raises(AirflowFailException) as caught:
        SnnStageOperator(task_id="stage", stack=outputs, **given).execute({})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert in_bucket(clients, stack) == before
    assert Ledger(clients.dynamodb, stack.table).find(places.new_run_id(line)) is None


def upload(clients: Clients, stack: StackOutputs, data: Path, folder: str, parameters: dict[str, Any]) -> str:
    key = f"training_input/{folder}/datasets.h5"
    clients.s3.put_object(
        Bucket=stack.bucket, Key=f"training_input/{folder}/parameters.json", Body=json.dumps(parameters)
    )
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data.read_bytes())
    return key


@pytest.mark.parametrize("watch", ["ledger", "redis"])
def test_the_sensor_waits_for_the_run_of_an_upload(
    clients: Clients, stack: StackOutputs, data: Path, watch: str
) -> None:
    folder, parameters = f"sensor-{watch}", {**PARAMETERS, "granularity": "layer", "epochs": 40}
    given: Any = {
        "stack": stack.to_dict(),
        "upload": f"training_input/{folder}/datasets.h5",
        "watch": watch,
        "uploaded_after": None,
        "poke_interval": 0.2,
        **AWS,
    }
    early = SnnRunSensor(task_id="sense", deferrable=True, **given)
    with pytest.raises(TaskDeferred) as deferred:
        early.execute({})
    upload(clients, stack, data, folder, parameters)
    seen = SnnRunSensor(task_id="sense", **given).execute({})
    assert (seen["state"], seen["epochs_run"], seen["granularity"]) == ("COMPLETED", 40, "layer")
    assert seen["run_id"].startswith(f"upload-sensor-{watch}-datasets-")
    event = fired(deferred.value.trigger)
    assert event == [{"run_id": seen["run_id"], "status": "ended"}]
    assert early.execute_complete({}, event[0]) == seen
    # Over before the sensor begins: nothing to defer for.
    assert SnnRunSensor(task_id="sense", deferrable=True, **given).execute({}) == seen


def test_the_sensor_says_why_an_uploaded_run_failed(clients: Clients, stack: StackOutputs, data: Path) -> None:
    key = upload(clients, stack, data, "sensor-bad", {**PARAMETERS, "layers": 3})
    with pytest.raises(AirflowFailException, match=r"run upload-sensor-bad-.* failed after 0 epochs: .*layer"):
        SnnRunSensor(
            task_id="sense", stack=stack.to_dict(), upload=key, uploaded_after=None, poke_interval=0.2, **AWS
        ).execute({})


def test_the_sensor_waits_for_an_upload_of_its_own_time(
    clients: Clients, stack: StackOutputs, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Last week's upload, and its run, are there already; the one to wait for comes meanwhile."""
    folder, parameters = "sensor-week", {**PARAMETERS, "epochs": 3}
    key = upload(clients, stack, data, folder, parameters)
    given: Any = {"stack": stack.to_dict(), "upload": f"s3://{stack.bucket}/{key}", "poke_interval": 0.2, **AWS}
    old = SnnRunSensor(task_id="sense", uploaded_after="2026-01-01", **given).execute({})
    since = clients.s3.head_object(Bucket=stack.bucket, Key=key)["LastModified"] + timedelta(seconds=1)
    early = SnnRunSensor(task_id="sense", uploaded_after=since, deferrable=True, **given)
    with pytest.raises(TaskDeferred) as deferred:
        early.execute({})
    sensor = SnnRunSensor(task_id="sense", uploaded_after=since.isoformat(), **given)
    sensor.read_fields()
    assert [sensor.poke({}).is_done for _ in range(3)] == [False] * 3
    assert capsys.readouterr().out.count(f"waiting for an upload after {since}") == 1
    while datetime.now(UTC) < since + timedelta(seconds=1):
        time.sleep(0.1)
    upload(clients, stack, data, folder, {**parameters, "epochs": 4})
    new = SnnRunSensor(task_id="sense", uploaded_after=since, **given).execute({})
    assert (old["epochs_run"], new["epochs_run"]) == (3, 4)
    assert fired(deferred.value.trigger) == [{"run_id": new["run_id"], "status": "ended"}]


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_sensor_does_not_wait_for_what_never_comes(stack: StackOutputs, deferrable: bool) -> None:
    given: Any = {"stack": stack.to_dict(), "uploaded_after": None, "deferrable": deferrable, **AWS}
    with pytest.raises(AirflowFailException) as caught:
        SnnRunSensor(task_id="sense", upload="training_input/cats/datasets.H5", **given).execute({})
    assert str(caught.value) == (
        "upload: an upload to 'training_input/cats/datasets.H5' starts no run "
        f"(name a .h5 under s3://{stack.bucket}/training_input/, by its address or its key)"
    )


def test_the_sensor_s_timeout_leaves_the_run_alone(clients: Clients, stack: StackOutputs, stage: Any) -> None:
    staged = stage(ENDLESS)
    parameters = Parameters.load(ENDLESS)
    runs.launch(clients, stack, staged["run_id"], staged["dataset_key"], parameters)
    sensor = SnnRunSensor(
        task_id="sense",
        stack=stack.to_dict(),
        run_id=staged["run_id"],
        uploaded_after=None,
        deferrable=True,
        timeout=0.3,
        poke_interval=0.1,
        **AWS,
    )
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    event = fired(deferred.value.trigger)
    with pytest.raises(AirflowSensorTimeout, match=r"not ended within 0\.3 s"):
        sensor.execute_complete({}, event[0])
    asyncio.run(deferred.value.trigger.on_kill())  # type: ignore[attr-defined]
    run = Ledger(clients.dynamodb, stack.table).get(staged["run_id"])
    assert (run.state.is_terminal, run.cancel_requested) == (False, False)
    runs.cancel(clients, stack, staged["run_id"])
