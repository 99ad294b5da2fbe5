"""The DAG snn_sweep in a real Airflow: twelve networks, a few at once, and a table that is computed here once more."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from dag_run import DagRun, runner

from snn_cli.datasets import build_faces
from snn_cli.local.airflow_api import ENDED, AirflowError
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run, State

DAG = "snn_sweep"
STACK = "snn-e2e-sweep"
AT_ONCE = 3  # what the DAG allows without the Variable
HELD_OUT = 0.25
EPOCHS = 1200
# Twelve networks. A rate of 100 takes the weights of the deep ones out of the numbers, and the others nowhere. Computed
# directly, so that the deep ones take seconds, more than the two in which a task waits in its worker.
DEEP = [50] * 10 + [1]
GRID: dict[str, Any] = {
    "learning_rate": [0.003, 100, 0.03],
    "layer_sizes": [[20, 7, 5, 1], DEEP],
    "seed": [1, 2],
    "first_layer": "direct",
}
RUNGS = ("choose_2", "rung_2.train", "rung_2.evaluate", "choose_3", "rung_3.train", "rung_3.evaluate")
AFTER_PLAN = ("combination.train", "combination.evaluate", *RUNGS, "table", "hand_over", "retrain")
JOINED = {task: ["success"] for task in ("combination_ended", "rung_2_ended", "rung_3_ended")}
NOT_HALVED = {**JOINED, **{task: ["success" if task.startswith("choose") else "skipped"] for task in RUNGS}}
DIVERGE = (6, 7)  # their places in the plan


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture(scope="module")
def run(machine: Any) -> Callable[..., DagRun]:
    return runner(machine, DAG, 600, stack_name=STACK)


@pytest.fixture(scope="module")
def sweep(run: Callable[..., DagRun], faces: Path) -> DagRun:
    return run(dataset=str(faces), combinations=GRID, validation=HELD_OUT, epochs=EPOCHS, retrain=True)


@pytest.fixture(scope="module")
def ledger(sweep: DagRun) -> dict[str, Run]:
    """Every run of the sweep, as the ledger has it."""
    ledger = Ledger(sweep.machine.clients.dynamodb, sweep.xcom("deploy")["table"])
    return {training["run_id"]: ledger.get(training["run_id"]) for training in sweep.xcom("plan")}


def photos(content: Any, part: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with h5py.File(content) as h5:
        return h5[f"{part}_set_x"][()], h5[f"{part}_set_y"][()]


def accuracy(params: bytes, fold: bytes) -> float:
    """Return a network's accuracy on a fold's test set, computed here and by nothing of the project."""
    X, labels = photos(io.BytesIO(fold), "test")
    A = X.reshape(len(X), -1).T / 255
    with h5py.File(io.BytesIO(params)) as h5:
        layers = len(h5) // 2
        for number in range(1, layers + 1):
            Z = h5[f"W{number}"][()] @ A + h5[f"b{number}"][()]
            A = np.maximum(Z, 0) if number < layers else 1 / (1 + np.exp(-Z))
    return float(np.mean((A[0] > 0.5) == labels))


def test_the_sweep_succeeds_though_two_of_its_networks_diverge(sweep: DagRun) -> None:
    trained = ["failed" if place in DIVERGE else "success" for place in range(12)]
    judged = ["upstream_failed" if place in DIVERGE else "success" for place in range(12)]
    assert sweep.mapped_states == {
        "deploy": ["success"],
        "plan": ["success"],
        "combination.train": trained,
        "combination.evaluate": judged,
        **NOT_HALVED,
        "table": ["success"],
        "hand_over": ["success"],
        "retrain": ["success"],
    }


def test_its_table_is_an_asset_and_its_models_are_not(sweep: DagRun) -> None:
    table = sweep.xcom("table")
    winner = {name: table["winner"][name] for name in ("combination", "score")}
    told = [
        (event["source_task_id"], event["uri"], event["extra"])
        for event in sweep.machine.api.asset_events(DAG, sweep.run_id)
    ]
    assert told == [("table", table["sweep_json"], {"sweep_id": table["sweep_id"], **winner})]


def test_no_more_runs_are_in_lambda_at_once_than_allowed(sweep: DagRun, ledger: dict[str, Run]) -> None:
    assert len(ledger) == 12
    # While a run is watched from the triggerer its task holds no slot, and is still one of those allowed.
    logs = [sweep.machine.api.log_lines(DAG, sweep.run_id, "combination.train", map_index=index) for index in range(12)]
    assert sum(any(line.startswith("Pausing task as DEFERRED") for line in log) for log in logs) >= 4
    at_once = [
        sum(other.started_at <= run.started_at < other.ended_at for other in ledger.values()) for run in ledger.values()
    ]
    assert 2 <= max(at_once) <= AT_ONCE, at_once


def test_the_table_is_right(sweep: DagRun, ledger: dict[str, Run]) -> None:
    table = sweep.xcom("table")
    plan = json.loads(sweep.read(f"runs/{table['sweep_id']}/input/plan.json"))
    named = ("run_id", "dataset_key", "resume_from")
    assert [{name: training[name] for name in named} for training in plan] == sweep.xcom("plan")
    asked = [
        {"learning_rate": rate, "layer_sizes": sizes, "seed": seed, "first_layer": "direct"}
        for rate in GRID["learning_rate"] for sizes in GRID["layer_sizes"] for seed in GRID["seed"]
    ]  # fmt: skip
    assert [training["overrides"] for training in plan] == asked
    expected = []
    for number, training in enumerate(plan, start=1):
        run = ledger[training["run_id"]]
        row = {"combination": number, "overrides": training["overrides"], "run_ids": [run.run_id], "std": None}
        if number - 1 in DIVERGE:
            assert run.state is State.FAILED
            assert run.reason.endswith("is nan (lower learning_rate, now 100, or set clip_norm to 1)")
            reason = f"run {run.run_id} failed after {run.epoch} epochs: {run.reason}"
            expected.append({**row, "score": None, "failure": reason})
            continue
        assert (run.state, run.epoch) == (State.COMPLETED, EPOCHS)
        score = accuracy(sweep.read(f"runs/{run.run_id}/params.h5"), sweep.read(training["dataset_key"]))
        costs = json.loads(sweep.read(f"runs/{run.run_id}/results.json"))
        expected.append({**row, "score": score, "failure": "", "final_cost": costs[f"epoch{EPOCHS - 1}"]["cost"]})
        assert [run.parameters.neurons_per_layer, run.parameters.learning_rate, run.parameters.seed] == [
            tuple(row["overrides"]["layer_sizes"]), row["overrides"]["learning_rate"], row["overrides"]["seed"],
        ]  # fmt: skip
    expected.sort(key=lambda row: (row["score"] is None, -(row["score"] or 0), row["combination"]))
    assert len({row["score"] for row in expected}) > 3  # else sorting shows nothing
    for row, right in zip(table["rows"], expected, strict=True):
        run = ledger[row["run_ids"][0]]
        assert {name: row[name] for name in right} == right
        assert (row["epochs"], row["seconds"]) == (run.epoch, round(run.seconds, 3))
        assert row["usd"] > 0
    assert table["failed"] == 2
    assert table["usd"] == pytest.approx(sum(row["usd"] for row in table["rows"]))
    best = plan[expected[0]["combination"] - 1]
    assert (
        sweep.xcom("table", "winner")
        == table["winner"]
        == {
            "combination": expected[0]["combination"],
            "overrides": best["overrides"],
            "score": expected[0]["score"],
            "std": None,
            "parameters": best["parameters"],
        }
    )
    assert json.loads(sweep.read(f"runs/{table['sweep_id']}/report/sweep.json")) == table


def test_the_networks_have_learnt_and_judged_without_the_test_set(sweep: DagRun, faces: Path) -> None:
    keys = {training["dataset_key"] for training in sweep.xcom("plan")}
    assert len(keys) == 1
    content = io.BytesIO(sweep.read(keys.pop()))
    training, labels = photos(faces, "train")
    learnt, held_out = photos(content, "train")[0], photos(content, "test")[0]
    everything = sorted(photo.tobytes() for photo in training)
    assert sorted(photo.tobytes() for photo in [*learnt, *held_out]) == everything
    assert len(held_out) == HELD_OUT * len(labels)
    unseen = {photo.tobytes() for photo in photos(faces, "test")[0]}
    assert unseen.isdisjoint(everything)
    assert unseen.isdisjoint(photo.tobytes() for photo in [*learnt, *held_out])


def test_the_winner_is_trained_on_the_whole_training_set_by_the_retraining_dag(sweep: DagRun, faces: Path) -> None:
    api, handed = sweep.machine.api, sweep.xcom("retrain", "trigger_run_id")
    deadline = time.monotonic() + 300
    while api.run_state("snn_retraining", handed) not in ENDED:
        assert time.monotonic() < deadline, api.task_instances("snn_retraining", handed)
        time.sleep(0.3)
    outputs, run_id = sweep.xcom("deploy"), api.xcom("snn_retraining", handed, "train", "run_id")
    trained = Ledger(sweep.machine.clients.dynamodb, outputs["table"]).get(run_id)
    assert trained.state is State.COMPLETED
    assert json.loads(trained.parameters.to_json()) == sweep.xcom("table", "winner")["parameters"]
    assert trained.samples == 160
    assert sweep.read(trained.dataset) == faces.read_bytes()


def test_who_does_not_ask_for_it_gets_no_retraining(sweep: DagRun, run: Callable[..., DagRun], faces: Path) -> None:
    # One that is listed twice is trained once.
    one = run(dataset=str(faces), deploy=False, combinations=[{"epochs": 1}] * 2)
    assert one.mapped_states == {
        **{task: ["success"] for task in ("deploy", "plan", "combination.train", "combination.evaluate", "table")},
        **NOT_HALVED,
        "hand_over": ["success"],
        "retrain": ["skipped"],
    }


def test_by_halving_the_best_go_on_where_they_paused(run: Callable[..., DagRun], faces: Path) -> None:
    """Of five the best two, of those the best one."""
    halved = run(
        dataset=str(faces), epochs=9, halving=True,
        combinations={"seed": [1, 2, 3, 4, 5]},
    )  # fmt: skip
    assert halved.mapped_states == {
        "deploy": ["success"],
        "plan": ["success"],
        "combination.train": ["success"] * 5,
        "combination.evaluate": ["success"] * 5,
        "choose_2": ["success"],
        "rung_2.train": ["success"] * 2,
        "rung_2.evaluate": ["success"] * 2,
        "choose_3": ["success"],
        "rung_3.train": ["success"],
        "rung_3.evaluate": ["success"],
        **JOINED,
        "table": ["success"],
        "hand_over": ["success"],
        "retrain": ["skipped"],
    }
    table = halved.xcom("table")
    assert [(row["rung"], row["epochs"], len(row["run_ids"])) for row in table["rows"]] == [
        (3, 9.0, 3), (2, 3.0, 2), (1, 1.0, 1), (1, 1.0, 1), (1, 1.0, 1),
    ]  # fmt: skip
    assert not any(row["failure"] for row in table["rows"])
    (last,) = halved.xcom("choose_3")
    assert table["winner"]["combination"] == table["rows"][0]["combination"]
    assert last["run_id"] == table["rows"][0]["run_ids"][-1]
    assert last["resume_from"] == table["rows"][0]["run_ids"][-2]
    assert "pause_after" not in table["winner"]["parameters"]


def test_a_combination_that_cannot_be_trained_stops_the_sweep_before_it_starts(
    sweep: DagRun, run: Callable[..., DagRun], faces: Path
) -> None:
    def there() -> tuple[int, int]:
        outputs, clients = sweep.xcom("deploy"), sweep.machine.clients
        objects = clients.s3.list_object_versions(Bucket=outputs["bucket"])
        return len(objects["Versions"]), clients.dynamodb.scan(TableName=outputs["table"])["Count"]

    before = there()
    refused = run(dataset=str(faces), deploy=False, combinations={"learning_rate": [0.003, 1e6]})
    assert {task: set(states) for task, states in refused.mapped_states.items()} == {
        "deploy": {"success"},
        "plan": {"failed"},
        **{task: {"upstream_failed"} for task in AFTER_PLAN},
        **{task: {"success"} for task in JOINED},
    }
    assert refused.machine.api.failure(DAG, refused.run_id) == (
        'task plan failed: combination 2 {"learning_rate": 1000000.0}: learning_rate: '
        "Input should be less than or equal to 1000, got 1000000.0"
    )
    assert there() == before


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("validation", 1, "1 is not valid under any of the given schemas"), ("combinations", {}, "{} ")],
)
def test_the_form_refuses_a_bad_value(run: Callable[..., DagRun], field: str, value: Any, reason: str) -> None:
    with pytest.raises(AirflowError, match=f"400: Invalid input for param {field}: {reason}"):
        run(dataset="d.h5", **{field: value})
