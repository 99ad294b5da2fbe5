"""A sweep against a real stack on the emulator: folds staged once, runs that share them, a table of what they did."""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import numpy as np
import pytest
from airflow.sdk.exceptions import AirflowFailException
from oracle import small_network

from snn.errors import InvalidInput
from snn_cli.datasets import build_faces
from snn_client.data.staging import stage_folds
from snn_client.stack.outputs import StackOutputs
from snn_client.sweeps.sweep import read_plan
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.cost.workload import Size
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import State
from snn_data.dataset import load_dataset
from snn_operators.results import SnnEvaluateOperator
from snn_operators.sweep import SnnSweepPlanOperator, SnnSweepTableOperator
from snn_operators.train import SnnTrainOperator

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
NETWORK = small_network((4, 1), ("relu", "sigmoid"), epochs=20, learning_rate=0.05)


class TaskInstance:
    """What the operators use of Airflow's: XComs, by task and map index, and the number of the try."""

    try_number, max_tries = 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, str, int], Any] = {}
        self.task, self.map_index = "", -1

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[self.task, key, self.map_index] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str = "return_value", *, map_indexes: Any) -> list[Any]:
        return [self.xcoms.get((task_ids, key, index)) for index in map_indexes]

    def run(self, task: Any, map_index: int = -1) -> Any:
        """Run a task as this instance, which keeps what it returns as Airflow does."""
        self.task, self.map_index = task.task_id, map_index
        returned = task.execute({"ti": self})
        self.xcom_push("return_value", returned)
        return returned


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "faces.h5"
    build_faces(path)
    return path


def in_bucket(clients: Clients, stack: StackOutputs, prefix: str = "") -> set[tuple[str, str]]:
    pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=stack.bucket, Prefix=prefix)
    return {(item["Key"], item["VersionId"]) for page in pages for item in page.get("Versions", [])}


def read(clients: Clients, stack: StackOutputs, key: str) -> bytes:
    return clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()


def test_folds_are_staged_once_and_hold_every_training_photo_and_no_test_photo(
    clients: Clients, stack: StackOutputs, faces: Path
) -> None:
    staged = stage_folds(clients, stack.bucket, "folds", faces, 4, seed=7)
    there = in_bucket(clients, stack, places.run_prefix("folds"))
    assert {key for key, _ in there} == set(staged.dataset_keys)
    assert len(set(staged.dataset_keys)) == 4
    assert staged.sizes == [Size(1875, 120, itemsize=1, others=80)] * 4
    whole = load_dataset(faces)
    photos = [photo.tobytes() for photo in whole.train.stored]
    label = dict(zip(photos, whole.train.y))
    assert len(label) == 160
    unseen = {photo.tobytes() for photo in whole.test.stored}
    held_out = []
    for key in staged.dataset_keys:
        fold = load_dataset(io.BytesIO(read(clients, stack, key)))
        learnt, judged = [[photo.tobytes() for photo in pixels] for pixels in (fold.train.stored, fold.test.stored)]
        assert unseen.isdisjoint([*learnt, *judged])
        assert sorted([*learnt, *judged]) == sorted(photos)
        assert [label[photo] for photo in [*learnt, *judged]] == [*fold.train.y, *fold.test.y]
        assert (np.count_nonzero(fold.test.y), fold.test.y.size, fold.classes) == (20, 40, whole.classes)
        # A training that validates does so by what is held out.
        assert np.array_equal(fold.validation.stored, fold.test.stored)
        assert np.array_equal(fold.validation.y, fold.test.y)
        held_out += judged
    assert sorted(held_out) == sorted(photos)

    assert stage_folds(clients, stack.bucket, "folds", faces, 4, seed=7) == staged
    assert in_bucket(clients, stack, places.run_prefix("folds")) == there
    assert not set(stage_folds(clients, stack.bucket, "folds", faces, 4, seed=8).dataset_keys) & set(
        staged.dataset_keys
    )


def test_what_cannot_be_held_out_leaves_nothing(clients: Clients, stack: StackOutputs, faces: Path) -> None:
    with pytest.raises(InvalidInput, match="validation: 81 cannot be held out of 80, 80 samples of the 2 classes"):
        stage_folds(clients, stack.bucket, "too-many-folds", faces, 81, seed=1)
    assert in_bucket(clients, stack, places.run_prefix("too-many-folds")) == set()


def test_from_a_grid_to_the_winner(clients: Clients, stack: StackOutputs, faces: Path, capsys: Any) -> None:
    ti = TaskInstance()
    planning = SnnSweepPlanOperator(
        task_id="plan",
        stack=stack.to_dict(),
        dataset=str(faces),
        parameters=NETWORK,
        overrides={"epochs": "30", "seed": None},
        combinations={"learning_rate": [0.05, 0.0001], "seed": [3]},
        validation="2",
        sweep_id="A sweep from a grid to the winner, with a name that is long",
        **AWS,
    )
    returned = ti.run(planning)
    sweep = ti.xcoms["plan", "sweep", -1]
    sweep_id = sweep["sweep_id"]
    assert sweep == {"sweep_id": sweep_id, "validation": 2, "combinations": 2, "runs": 4}
    plan = read_plan(clients, stack.bucket, sweep_id)
    named = ("run_id", "dataset_key", "resume_from")
    assert returned == [{name: one[name] for name in named} for one in plan]
    assert [one["run_id"] for one in plan] == [f"{sweep_id}-{n}-f{fold}" for n in (1, 2) for fold in (1, 2)]
    assert len({one["dataset_key"] for one in plan}) == 2
    assert all(one["dataset_key"].startswith(places.run_prefix(sweep_id) + "input/") for one in plan)
    assert {(one["parameters"]["epochs"], one["parameters"]["seed"]) for one in plan} == {(30, 3)}
    said = capsys.readouterr().out
    assert "2 combinations × 2 data sets = 4 runs, estimate ≤ 0.00" in said

    test_sets = {}
    for index, one in enumerate(returned):
        ti.run(SnnTrainOperator(task_id="train", stack=stack.to_dict(), poll_interval=0.2, **one, **AWS), index)
        if index == 1:
            continue  # as when its task failed
        test_sets[index] = ti.run(
            SnnEvaluateOperator(task_id="evaluate", stack=stack.to_dict(), run_id=one["run_id"], **AWS), index
        )
        assert sum(test_sets[index]["confusion_matrix"].values()) == 80
    task = SnnSweepTableOperator(
        task_id="table",
        stack=stack.to_dict(),
        sweep=sweep,
        train="train",
        evaluate="evaluate",
        **AWS,
    )
    table = ti.run(task)
    ledger = Ledger(clients.dynamodb, stack.table)
    runs = [ledger.get(one["run_id"]) for one in plan]
    assert {run.state for run in runs} == {State.COMPLETED}
    best, failed = table["rows"]
    accuracies = [test_sets[2]["accuracy"], test_sets[3]["accuracy"]]
    assert best == {
        "combination": 2,
        "overrides": {"learning_rate": 0.0001, "seed": 3},
        "score": pytest.approx(np.mean(accuracies)),
        "std": pytest.approx(np.std(accuracies)),
        "final_cost": pytest.approx(np.mean([runs[2].cost, runs[3].cost])),
        "epochs": 30.0,
        "seconds": pytest.approx(runs[2].seconds + runs[3].seconds, abs=1e-3),
        "usd": best["usd"],
        "run_ids": [runs[2].run_id, runs[3].run_id],
        "failure": "",
        "rung": 1,
        "interval": None,
    }
    assert best["usd"] > 0
    assert failed["score"] is None
    assert failed["failure"] == f"run {sweep_id}-1-f2 was not judged: its task's log says why"
    assert table["winner"] == ti.xcoms["table", "winner", -1]
    assert table["winner"]["parameters"] == plan[2]["parameters"]
    assert json.loads(read(clients, stack, places.sweep_json(sweep_id))) == table
    assert table["sweep_json"] == f"s3://{stack.bucket}/runs/{sweep_id}/report/sweep.json"
    assert read(clients, stack, places.sweep_svg(sweep_id)).startswith(b"<svg")
    link = task.operator_extra_links[0].get_link(task, ti_key=None)  # type: ignore[arg-type]
    assert link.endswith(f"/{stack.bucket}/runs/{sweep_id}/report/sweep.json")
    folds = [plan[0]["dataset_key"], plan[1]["dataset_key"]]
    for told, read_, made in ((planning, [str(faces)], folds), (task, folds, [places.sweep_json(sweep_id)])):
        lineage = told.get_openlineage_facets_on_complete(None)
        assert lineage is not None
        assert [each.name for each in lineage.inputs] == read_
        assert [(each.namespace, each.name) for each in lineage.outputs] == [(f"s3://{stack.bucket}", k) for k in made]


def test_a_combination_that_reaches_its_budget_is_listed_as_failed(
    clients: Clients, stack: StackOutputs, faces: Path, capsys: Any
) -> None:
    ti = TaskInstance()
    given: Any = {"stack": stack.to_dict(), **AWS}
    combinations = [{"max_seconds": 600}, {"epochs": 10_000_000, "learning_rate": 1e-6, "max_seconds": 0.5}]
    plan = ti.run(
        SnnSweepPlanOperator(
            task_id="plan", dataset=str(faces), parameters=NETWORK, combinations=combinations, sweep_id="b", **given
        )
    )
    said = capsys.readouterr().out
    assert "combination 2: warning: the estimate is above max_seconds, 0.5 s: the run may stop there" in said
    assert "combination 1: " not in said
    for index, one in enumerate(plan):
        train = SnnTrainOperator(task_id="train", poll_interval=0.2, **one, **given)
        if index == 1:
            with pytest.raises(AirflowFailException, match="max_seconds: "):
                ti.run(train, index)
            assert "warning: the estimate is above max_seconds, 0.5 s" in capsys.readouterr().out
            continue
        ti.run(train, index)
        ti.run(SnnEvaluateOperator(task_id="evaluate", run_id=one["run_id"], **given), index)
    sweep = ti.xcoms["plan", "sweep", -1]
    task = SnnSweepTableOperator(
        task_id="table", sweep=sweep, train="train", evaluate="evaluate", **given
    )  # fmt: skip
    table = ti.run(task)
    run = Ledger(clients.dynamodb, stack.table).get(plan[1]["run_id"])
    assert [row["failure"] for row in table["rows"]] == [
        "",
        f"run {run.run_id} failed after {run.epoch} epochs: {run.reason}",
    ]
    assert (table["winner"]["combination"], table["failed"]) == (1, 1)
    assert table["rows"][1]["usd"] > 0


def test_when_all_failed_the_task_fails_and_the_table_is_there(
    clients: Clients, stack: StackOutputs, faces: Path
) -> None:
    ti = TaskInstance()
    given: Any = {"stack": stack.to_dict(), **AWS}
    ti.run(
        SnnSweepPlanOperator(
            task_id="plan", dataset=str(faces), parameters=NETWORK, combinations=[{}], sweep_id="all failed", **given
        )
    )
    sweep = ti.xcoms["plan", "sweep", -1]
    with pytest.raises(
        AirflowFailException, match=r"^none of 1 combinations completed; the first one: run .* was not started"
    ):
        ti.run(SnnSweepTableOperator(task_id="table", sweep=sweep, train="t", evaluate="e", **given))
    assert json.loads(read(clients, stack, places.sweep_json(sweep["sweep_id"])))["failed"] == 1


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"combinations": {"seed": [1, -1]}},
            'combination 2 {"seed": -1}: seed: Input should be greater than or equal',
        ),
        (
            {"combinations": {"granularity": ["batch", "layer"]}, "has_cache": False},
            "combination 2: granularity: layer",
        ),
        ({"parameters": {**NETWORK, "epochs": 0}}, "parameters.json: epochs: "),
        ({"parameters": "/nowhere/parameters.json"}, "/nowhere/parameters.json: no such file"),
        ({"dataset": "/nowhere/datasets.h5"}, "/nowhere/datasets.h5: no such file"),
        ({"validation": 500}, "combinations: 2 make 1,000 runs (at most 256 runs"),
        ({"validation": 100}, "validation: 100 cannot be held out of 80, 80 samples of the 2 classes"),
        ({"validation": "many"}, "validation: 'many' is of type str, expected a number"),
        ({"validation": 1}, "validation: 1 is not a valid validation"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    clients: Clients, stack: StackOutputs, faces: Path, options: dict[str, Any], line: str
) -> None:
    before = in_bucket(clients, stack)
    outputs = {**stack.to_dict(), "has_cache": options.pop("has_cache", True)}
    given: Any = {"dataset": str(faces), "parameters": NETWORK, "combinations": {"seed": [1, 2]}, **options, **AWS}
    with pytest.raises(AirflowFailException) as caught:
        TaskInstance().run(SnnSweepPlanOperator(task_id="plan", stack=outputs, sweep_id=line, **given))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert in_bucket(clients, stack) == before
