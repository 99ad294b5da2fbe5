"""Pausing, successive halving and warm starts on the emulator: real Lambdas, a real ledger, real money."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
import pytest
from oracle import small_network
from training import saved

from snn_client.reports.report import evaluate_run
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_client.sweeps.halving import climbed, first_rung, next_rung
from snn_client.sweeps.sweep import expand, trainings
from snn_client.sweeps.table import make_table, outcomes
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import LaunchRejected
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_data.model import load_model


def read(clients: Clients, stack: StackOutputs, key: str) -> bytes:
    content: bytes = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    return content


def weights(clients: Clients, stack: StackOutputs, run_id: str) -> dict[str, bytes]:
    with h5py.File(io.BytesIO(read(clients, stack, places.params(run_id)))) as h5:
        return {name: h5[name][()].tobytes() for name in h5}


@pytest.fixture
def train(clients: Clients, stack: StackOutputs, data: bytes, request: pytest.FixtureRequest) -> Any:
    """Launch a run and watch it to its end."""

    def train(name: str, content: bytes = data, key: str = "", **options: Any) -> Run:
        recipe = (*Parameters.model_fields, "sizes", "functions")
        fields = {name: options.pop(name) for name in list(options) if name in recipe}
        run_id = runs.new_run_id(f"{request.node.name} {name}")
        if not key:
            key = places.input_dataset(runs.new_run_id(request.node.name), "0" * 64)
            clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=content)
        chosen = Parameters.load(small_network(**fields))
        runs.launch(clients, stack, run_id, key, chosen, **options)
        return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=120)

    return train


@pytest.mark.parametrize(
    "fields",
    [
        {"validation": 0.25, "decision_threshold": "best_f1"},
        {"strategy": "sgd", "batch_size": 5, "optimizer": "adam", "schedule": "cosine", "sub_batches": 2, "workers": 2},
        {"granularity": "layer"},
    ],
    ids=["span", "two trainers", "layers"],
)
def test_a_paused_run_is_complete_and_goes_on_bit_for_bit(
    clients: Clients, stack: StackOutputs, train: Any, fields: dict[str, Any]
) -> None:
    whole = train("whole", epochs=6, **fields)
    key = whole.dataset
    first = train("first", key=key, epochs=6, pause_after=1, promote=True, **fields)
    assert (first.state, first.stopped_by, first.epoch) == (State.COMPLETED, StoppedBy.PAUSE, 1)
    assert len(json.loads(read(clients, stack, places.results(first.run_id)))) == 3  # Start, epoch0, End
    with pytest.raises(clients.s3.exceptions.NoSuchKey):  # what is not finished is not promoted
        clients.s3.get_object(Bucket=stack.bucket, Key=places.PROMOTED_PARAMS)
    second = train("second", key=key, epochs=6, pause_after=4, resume_from=first.run_id, **fields)
    assert (second.stopped_by, second.epoch, second.resumed_from) == (StoppedBy.PAUSE, 4, first.run_id)
    last = train("last", key=key, epochs=6, resume_from=second.run_id, **fields)
    assert (last.stopped_by, last.epoch) == (StoppedBy.EPOCHS, 6)
    assert weights(clients, stack, last.run_id) == weights(clients, stack, whole.run_id)
    ledger = Ledger(clients.dynamodb, stack.table)
    assert ledger.progress(last.run_id)[1] == ledger.progress(whole.run_id)[1]
    told = load_model(io.BytesIO(read(clients, stack, places.params(last.run_id))))
    assert (told.threshold == 0.5) == ("decision_threshold" not in fields)
    judged = evaluate_run(clients, stack.bucket, last.run_id, key)
    assert judged["threshold"] == told.threshold  # type: ignore[typeddict-item]
    with pytest.raises(LaunchRejected, match="resume a FAILED, CANCELLED or paused run"):
        train("again", key=key, epochs=6, resume_from=last.run_id, **fields)


def test_a_training_begins_with_the_weights_of_another_run(clients: Clients, stack: StackOutputs, train: Any) -> None:
    whole = train("whole", epochs=5, first_layer="direct")
    old = train("old", key=whole.dataset, epochs=2, first_layer="direct")
    named = {"initial_weights": places.params(old.run_id), "first_layer": "direct"}
    new = train("new", key=whole.dataset, epochs=3, **named)
    assert weights(clients, stack, new.run_id) == weights(clients, stack, whole.run_id)
    with pytest.raises(
        LaunchRejected, match=r"initial_weights: runs/.*/params\.h5 is a network of 27 inputs and 5-4-1"
    ):
        train("other", key=whole.dataset, sizes=(3, 1), functions=("relu", "sigmoid"), **named)
    with pytest.raises(LaunchRejected, match=r"runs/nobody/params\.h5"):
        train("nobody", key=whole.dataset, initial_weights="runs/nobody/params.h5")


@pytest.mark.slow
def test_halving_finds_the_best_of_27_for_two_fifths_of_the_money(
    clients: Clients, stack: StackOutputs, record_property: Any
) -> None:
    random = np.random.default_rng(3)
    x = random.standard_normal((3_000, 6))
    y = ((x[:, 0] * x[:, 1] + 0.5 * x[:, 2] + 0.3 * random.standard_normal(3_000)) > 0).astype(np.int64)
    held = x[400:], y[400:]
    key = places.input_dataset("halving", "0" * 64)
    content = saved(x[:400], y[:400], *held, classes=("no", "yes"))
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=content)
    base = {**small_network((8, 1), ("tanh", "sigmoid")), "epochs": 1_800, "strategy": "sgd", "batch_size": 20}
    grid = {"learning_rate": [0.0003, 0.003, 0.03], "layer_sizes": [[2, 1], [8, 1], [24, 1]],
            "optimizer": ["gradient_descent", "adam", "rmsprop"]}  # fmt: skip
    combinations = expand(grid, base, 0.2)
    assert len(combinations) == 27

    def train(training: Any) -> tuple[str, Any]:
        chosen, run_id = Parameters.load(training["parameters"]), training["run_id"]
        runs.launch(clients, stack, run_id, key, chosen, resume_from=training["resume_from"])
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.2, limit_seconds=300)
        return run_id, evaluate_run(clients, stack.bucket, run_id, key)

    def rung(plan: Any) -> Any:
        with ThreadPoolExecutor(2) as at_once:
            done = list(at_once.map(train, plan))
        return outcomes(clients, stack, plan, [run_id for run_id, _ in done], [judged for _, judged in done])

    about: Any = {"sweep_id": "s", "validation": 0.2, "combinations": 27, "runs": 27}
    full = make_table(about, rung(trainings("full", combinations, [key])))
    rungs, plan = [], first_rung(trainings("half", combinations, [key]))
    while plan:
        rungs.append(rung(plan))
        plan = next_rung(rungs[-1])
    halved = make_table(about, climbed(rungs))
    assert [len(each) for each in rungs] == [27, 10, 5]
    assert halved["winner"] is not None
    assert full["winner"] is not None
    for name, table in (("full", full), ("halved", halved)):
        record_property(name, f"{table['usd']:.6f} USD, {table['rows'][0]['score']:.4f}")
    assert halved["winner"]["score"] >= full["winner"]["score"] - 0.01
    epochs = [sum(row["epochs"] for row in table["rows"]) for table in (halved, full)]
    assert epochs[0] / epochs[1] <= 0.4
    assert halved["usd"] / full["usd"] <= 0.4
    for row in halved["rows"][:5]:
        assert row["rung"] == 3
        whole = f"full-{row['combination']}-f1"
        assert weights(clients, stack, row["run_ids"][-1]) == weights(clients, stack, whole)
