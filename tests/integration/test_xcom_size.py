"""What the tasks return stays under 48 KB for the biggest input that each allows, and nothing of it is lost."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import re
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import numpy as np
import pytest
from PIL import Image

import snn_operators
from snn_client.runs.lists import LIMIT, whole
from snn_client.stack.cleanup_plan import MAX_LISTED
from snn_client.stack.outputs import StackOutputs
from snn_client.sweeps.sweep import MAX_RUNS, listed, read_plan
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import MAX_JSON, Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_data.dataset import MAX_NAME, save_dataset
from snn_operators.champion import SnnChooseOperator, SnnCompareOperator, SnnPromoteOperator, SnnRollbackOperator
from snn_operators.cleanup import SnnCleanupOperator
from snn_operators.deploy import SnnDeployOperator
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.sensor import SnnRunSensor
from snn_operators.stage import SnnStageOperator
from snn_operators.sweep import SnnSweepPlanOperator, SnnSweepRungOperator, SnnSweepTableOperator
from snn_operators.train import SnnTrainOperator

CLASSES, PHOTOS, PENDING = 940, 400, 400
NAMES = tuple(f"{number:04d} {'x' * (MAX_NAME - 5)}" for number in range(CLASSES))
WEIGHTS = [random.Random(number).uniform(1, 9) for number in range(CLASSES)]  # 17 digits each, in text
# Nearly all that parameters may say.
PARAMETERS: dict[str, Any] = {
    "epochs": 1,
    "layers": 30,
    "activations": {f"layer{number}": "relu" if number < 30 else "softmax" for number in range(1, 31)},
    "neurons": {f"layer{number}": 4 if number < 30 else CLASSES for number in range(1, 31)},
    "learning_rate": 0.000123456789012345,
    "class_weights": WEIGHTS,
}


class TaskInstance:
    """A place for XComs, which takes none that is too large."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "dag", "manual", "task", -1, 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value
        self.sizes[f"{self.task_id} {key}"] = len(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str = "return_value", *, map_indexes: Any) -> list[Any]:
        return [self.xcoms[f"{task_ids} {key}"]] * len(map_indexes)

    def run(self, task: Any) -> Any:
        self.task_id = task.task_id
        returned = task.execute({"ti": self})
        self.xcom_push("return_value", returned)
        return returned


@pytest.fixture(scope="module")
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture(scope="module")
def given(stack: StackOutputs) -> dict[str, Any]:
    return {"stack": stack.to_dict(), "aws_conn_id": None}


def save(path: Path, names: tuple[str, ...]) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (3 * CLASSES, 2, 2, 3), dtype=np.uint8)
    labels = np.arange(3 * CLASSES) % CLASSES
    part = 2 * CLASSES
    save_dataset(path, pixels[:part], labels[:part], pixels[part:], labels[part:], names)
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("data") / "datasets.h5", NAMES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos") / ("p" * 200) / ("q" * 200)
    folder.mkdir(parents=True)
    picture = BytesIO()
    Image.new("RGB", (2, 2), "red").save(picture, "PNG")
    paths = [folder / f"{number}.png" for number in range(PHOTOS)]
    for path in paths:
        path.write_bytes(picture.getvalue())
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def staged(ti: TaskInstance, given: dict[str, Any], data: str, photos: list[str]) -> dict[str, Any]:
    return ti.run(SnnStageOperator(  # type: ignore[no-any-return]
        task_id="stage", dataset=data, parameters=PARAMETERS, images=photos, run_id="biggest", **given))  # fmt: skip


@pytest.fixture(scope="module")
def trained(ti: TaskInstance, given: dict[str, Any], staged: dict[str, Any]) -> str:
    """Train without being told the parameters: they lie in the run's folder."""
    run_id = staged["run_id"]
    ti.run(SnnTrainOperator(
        task_id="train", run_id=run_id, dataset_key=staged["dataset_key"], poll_interval=0.2, **given))  # fmt: skip
    return str(run_id)


def test_stage_and_train(
    clients: Clients, stack: StackOutputs, staged: dict[str, Any], photos: list[str], trained: str
) -> None:
    wanted = Parameters.load(PARAMETERS)
    assert 0.95 * MAX_JSON < len(json.dumps(staged["parameters"])) <= MAX_JSON
    assert Parameters.load(staged["parameters"]) == wanted
    assert Ledger(clients.dynamodb, stack.table).get(trained).parameters == wanted
    images = staged["images"]
    assert images["count"] == PHOTOS
    assert 20 < len(images["head"]) < PHOTOS
    assert [image["name"] for image in whole(clients, [images])] == photos
    assert images["head"] == whole(clients, [images])[: len(images["head"])]


def test_evaluate_predict_and_report(
    ti: TaskInstance,
    clients: Clients,
    stack: StackOutputs,
    given: dict[str, Any],
    staged: dict[str, Any],
    trained: str,
    photos: list[str],
) -> None:
    test_set = ti.run(SnnEvaluateOperator(task_id="evaluate", run_id=trained, **given))
    assert len(test_set["per_class"]) + test_set["classes_left_out"] == CLASSES
    wrong = len(test_set["mislabelled"]) + test_set["mislabelled_left_out"]
    assert wrong == pytest.approx(CLASSES * test_set["error"])
    answers = ti.run(SnnPredictOperator(task_id="predict", run_id=trained, images=staged["images"], **given))
    assert [answer["uri"] for answer in whole(clients, [answers])] == photos
    assert answers["count"] == PHOTOS
    assert re.fullmatch(rf"s3://{stack.bucket}/runs/{trained}/report/new_images-[0-9a-f]{{12}}\.json", answers["whole"])
    report = ti.run(
        SnnReportOperator(
            task_id="report", run_id=trained, test_set=test_set, new_images=answers, images=staged["images"], **given
        )
    )
    assert len(report["new_images"]) + report["new_images_left_out"] == PHOTOS
    few = ti.run(SnnPredictOperator(task_id="predict_few", run_id=trained, images=photos[:2], **given))
    assert [answer["uri"] for answer in few] == photos[:2]


def test_sense_choose_compare_promote_and_roll_back(
    ti: TaskInstance, given: dict[str, Any], data: str, staged: dict[str, Any], trained: str
) -> None:
    sensed = ti.run(SnnRunSensor(task_id="sense", run_id=trained, uploaded_after=None, **given))
    assert sensed["run_id"] == trained
    ti.run(SnnPromoteOperator(task_id="promote", run_id=trained, **given))
    other = ti.run(
        SnnTrainOperator(
            task_id="train_other", run_id="biggest-other", dataset_key=staged["dataset_key"],
            parameters=staged["parameters"], poll_interval=0.2, **given,
        )
    )  # fmt: skip
    compared = ti.run(SnnCompareOperator(task_id="compare", run_id=other["run_id"], **given))
    assert [compared[name]["run_id"] for name in ("champion", "challenger")] == [trained, other["run_id"]]
    chosen = ti.run(SnnChooseOperator(task_id="choose", dataset=data, **given))
    assert Parameters.load(chosen["parameters"]) == Parameters.load(PARAMETERS)  # of the champion


def test_a_champion_of_a_thousand_other_classes(
    ti: TaskInstance, given: dict[str, Any], tmp_path: Path, trained: str
) -> None:
    ti.run(SnnPromoteOperator(task_id="promote", run_id=trained, **given))
    others = tuple(f"other {name}"[:MAX_NAME] for name in NAMES)
    staged = ti.run(SnnStageOperator(
        task_id="stage_others", dataset=save(tmp_path / "others.h5", others), parameters=PARAMETERS, run_id="others",
        **given))  # fmt: skip
    ti.run(SnnTrainOperator(
        task_id="train_others", run_id=staged["run_id"], dataset_key=staged["dataset_key"], poll_interval=0.2,
        **given))  # fmt: skip
    decision = ti.run(SnnCompareOperator(task_id="compare_others", run_id=staged["run_id"], **given))["decision"]
    assert decision["promote"] is False
    assert f"the classes {NAMES[0][:40]}" in decision["reason"]
    assert f"but the test set has {others[0][:40]}" in decision["reason"]
    assert len(decision["reason"]) <= 1_000


def test_plan_and_table(
    ti: TaskInstance, clients: Clients, stack: StackOutputs, given: dict[str, Any], data: str, trained: str
) -> None:
    combinations = [{"seed": seed, "class_weights": WEIGHTS} for seed in range(MAX_RUNS)]
    planning = SnnSweepPlanOperator(
        task_id="plan", dataset=data, parameters=PARAMETERS, combinations=combinations, validation=0.5,
        sweep_id="the longest name of a sweep that there is " * 3, **given,
    )  # fmt: skip
    mapped = ti.run(planning)
    sweep = ti.xcoms["sweep"]
    plan = read_plan(clients, stack.bucket, sweep["sweep_id"])
    assert [one["overrides"]["seed"] for one in plan] == list(range(MAX_RUNS))
    assert mapped == listed(plan)
    key = places.input_parameters(mapped[-1]["run_id"])
    stored = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    assert Parameters.load(stored).seed == MAX_RUNS - 1

    ti.xcoms |= {"train run_id": trained, "evaluate return_value": {"accuracy": 0.5}}
    table = ti.run(SnnSweepTableOperator(task_id="table", sweep=sweep, train="train", evaluate="evaluate", **given))
    assert len(table["rows"]) + table["rows_left_out"] == MAX_RUNS
    assert ti.xcoms["winner"]["parameters"] == plan[0]["parameters"]

    halved = SnnSweepPlanOperator(
        task_id="plan_halved", dataset=data, parameters={**PARAMETERS, "epochs": 9}, combinations=combinations,
        validation=0.5, halving=True, sweep_id="another long name of a sweep that there is " * 3, **given,
    )  # fmt: skip
    ti.run(halved)
    paused = Run(
        f"{'paused' * 8}", State.COMPLETED, Parameters.load(PARAMETERS), created_at=1.0, stopped_by=StoppedBy.PAUSE
    )
    assert Ledger(clients.dynamodb, stack.table).create(paused)
    ti.xcoms |= {"train run_id": paused.run_id}
    chosen = ti.run(
        SnnSweepRungOperator(
            task_id="choose_rung", sweep=ti.xcoms["sweep"], rung=2, train="train", evaluate="evaluate", **given
        )
    )
    rung = read_plan(clients, stack.bucket, ti.xcoms["sweep"]["sweep_id"], 2)
    assert (len(chosen), chosen) == (3 * MAX_RUNS // 8, listed(rung))
    assert {one["parameters"]["pause_after"] for one in rung} == {3}
    stored = clients.s3.get_object(Bucket=stack.bucket, Key=places.input_parameters(chosen[-1]["run_id"]))
    assert Parameters.load(stored["Body"].read()).pause_after == 3


@pytest.fixture
def pending(clients: Clients, stack: StackOutputs) -> Iterator[None]:
    """Hundreds of runs that wait for their trainers."""
    ledger = Ledger(clients.dynamodb, stack.table)
    names = [f"{'pending' * 8}-{number}" for number in range(PENDING)]
    for name in names:
        assert ledger.create(Run(name, State.PENDING, Parameters.load(PARAMETERS), created_at=1.0))
    yield
    for name in names:
        items = clients.dynamodb.query(
            TableName=stack.table, KeyConditionExpression="run_id = :r", ExpressionAttributeValues={":r": {"S": name}}
        )["Items"]
        for item in items:
            clients.dynamodb.delete_item(TableName=stack.table, Key={name: item[name] for name in ("run_id", "item")})


def test_deploy_and_list_what_a_cleanup_would_take(
    ti: TaskInstance, given: dict[str, Any], clients: Clients, stack: StackOutputs, pending: None
) -> None:
    name = {**given, "stack": given["stack"]["stack_name"]}
    assert ti.run(SnnDeployOperator(task_id="deploy", deploy=False, **name)) == given["stack"]
    listed = ti.run(SnnCleanupOperator(task_id="clean_up", **name))
    # All there are, not what the table's index has: tests make runs that were never launched.
    pages = clients.dynamodb.get_paginator("scan").paginate(TableName=stack.table, ConsistentRead=True)
    states = [item["state"]["S"] for page in pages for item in page["Items"] if item["item"]["S"] == "run"]
    pending_runs = sum(not State(state).is_terminal for state in states)
    assert (len(listed["runs"]), listed["runs_left_out"]) == (MAX_LISTED, pending_runs - MAX_LISTED)
    assert pending_runs >= PENDING  # others' are in the session's stack too


def test_every_task_was_asked_for_its_biggest_and_none_is_over_48_kb(ti: TaskInstance) -> None:
    """This is the last test: it judges what the tasks of all above have pushed."""
    modules = [
        importlib.import_module(f"snn_operators.{each.name}") for each in pkgutil.iter_modules(snn_operators.__path__)
    ]
    known = {
        name for module in modules for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and name.endswith(("Operator", "Sensor"))
    } - {"SnnOperator"}  # fmt: skip
    seen = {
        "SnnDeployOperator": "deploy", "SnnStageOperator": "stage", "SnnTrainOperator": "train",
        "SnnEvaluateOperator": "evaluate", "SnnPredictOperator": "predict", "SnnReportOperator": "report",
        "SnnRunSensor": "sense", "SnnCompareOperator": "compare", "SnnPromoteOperator": "promote",
        "SnnChooseOperator": "choose", "SnnSweepPlanOperator": "plan", "SnnSweepTableOperator": "table",
        "SnnSweepRungOperator": "choose_rung", "SnnCleanupOperator": "clean_up",
    }  # fmt: skip
    small = {
        SnnRollbackOperator.__name__,  # the same two names as SnnPromoteOperator
        "SnnApprovalOperator",  # a status, a name and a line
        "SnnRegisterOperator",  # a version: parameters, which are bounded, and the figures of a test set
        "SnnBatchPredictOperator",  # tests/integration/test_batch.py
        "SnnDriftOperator",  # tests/integration/test_drift.py
    }
    assert known == set(seen) | small
    assert {f"{task} return_value" for task in seen.values()} <= set(ti.sizes)
    assert {name: size for name, size in ti.sizes.items() if size > LIMIT} == {}
    large = {name.partition(" ")[0] for name, size in ti.sizes.items() if size > 0.6 * LIMIT}
    assert {"stage", "evaluate", "predict", "report", "plan", "table"} <= large, ti.sizes
