"""What an older version left behind: its champion, runs and checkpoints, from files that it wrote, and its stack."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import oracle
import pytest

from snn_client.models.champion import find_champion
from snn_client.reports.report import evaluate_run, make_report
from snn_client.runs import runs
from snn_client.runs.listing import newest_runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, LaunchRejected, RunFailed
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State, StoppedBy
from snn_data.dataset import load_dataset

OLDER = Path(__file__).parents[1] / "upgrade" / "0.1"


@pytest.fixture(scope="module")
def left(clients: Clients, stack: StackOutputs) -> Iterator[list[str]]:
    """The older version's bucket and ledger in today's stack; returns the names of its runs."""
    versions = {}
    for file in sorted((OLDER / "bucket").rglob("*.h5")) + sorted((OLDER / "bucket").rglob("*.json")):
        key = file.relative_to(OLDER / "bucket").as_posix()
        put = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=file.read_bytes())
        versions[key] = put["VersionId"]
    items: list[dict[str, Any]] = json.loads((OLDER / "ledger.json").read_text())
    names = []
    for item in items:
        run_id = item["run_id"]["S"]
        if "checkpoint_version" in item:
            names.append(run_id)
            item["checkpoint_version"]["S"] = versions[places.checkpoint(run_id)]
            clients.s3.put_object(
                Bucket=stack.bucket, Key=item["dataset"]["S"], Body=(OLDER / "datasets.h5").read_bytes()
            )
        values: Any = {
            name: {kind: base64.b64decode(text) if kind == "B" else text for kind, text in value.items()}
            for name, value in item.items()
        }
        clients.dynamodb.put_item(TableName=stack.table, Item=values)
    yield names
    for key in (places.PROMOTED_PARAMS, places.PROMOTED_RESULTS):
        clients.s3.delete_object(Bucket=stack.bucket, Key=key)


def weights(clients: Clients, stack: StackOutputs, key: str) -> dict[str, Any]:
    body = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    with h5py.File(BytesIO(body)) as h5:
        return {name: h5[name][()] for name in h5}


def test_its_runs_are_listed_with_all_their_epochs(clients: Clients, stack: StackOutputs, left: list[str]) -> None:
    ledger = Ledger(clients.dynamodb, stack.table)
    assert len(left) == 6
    assert set(left) <= {run.run_id for run in newest_runs(clients.dynamodb, stack.table)}
    for run_id in left:
        run, rows = ledger.progress(run_id)
        assert run.parameters is not None
        assert [row.epoch for row in rows] == list(range(run.epoch))
        assert rows[-1].cost == run.cost
        assert {(row.validation_cost, row.validation_metric) for row in rows} == {(None, None)}
    done = ledger.get("done-full-batch")
    assert (done.state, done.epoch, done.stopped_by) == (State.COMPLETED, 200, StoppedBy.EPOCHS)


def test_its_champion_and_its_models_still_judge(clients: Clients, stack: StackOutputs, left: list[str]) -> None:
    dataset = load_dataset(OLDER / "datasets.h5")
    ledger = Ledger(clients.dynamodb, stack.table)
    champion = find_champion(clients, stack.bucket)
    assert champion is not None
    assert champion.run_id == "done-full-batch"
    for run_id in ("done-full-batch", "done-average"):
        run = ledger.get(run_id)
        test_set = evaluate_run(clients, stack.bucket, run_id, run.dataset)
        W = weights(clients, stack, places.params(run_id))
        A = np.maximum(W["W1"] @ dataset.test.inputs() + W["b1"], 0)
        A = 1 / (1 + np.exp(-(W["W2"] @ A + W["b2"])))
        P = 1 / (1 + np.exp(-(W["W3"] @ A + W["b3"])))
        assert test_set["accuracy"] == np.mean((P[0] > 0.5) == dataset.test.y)
        report = make_report(clients, stack, run, test_set)
        assert report["training"]["epochs_run"] == run.epoch


@pytest.mark.parametrize("run_id", ["stopped-full-batch", "stopped-full-batch-direct"])
def test_a_full_batch_run_goes_on_from_its_checkpoint(
    clients: Clients, stack: StackOutputs, left: list[str], run_id: str
) -> None:
    older = Ledger(clients.dynamodb, stack.table).get(run_id)
    assert older.parameters is not None
    chosen = older.parameters.model_copy(update={"epochs": older.epoch + 300})
    resumed = f"{run_id}-t2"
    key = older.dataset.replace(run_id, resumed)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=(OLDER / "datasets.h5").read_bytes())
    runs.launch(clients, stack, resumed, key, chosen, resume_from=run_id)
    run = runs.watch(clients, stack, resumed, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    params, costs = oracle.train_on(chosen, load_dataset(OLDER / "datasets.h5"))
    assert run.epoch == older.epoch + 300
    _, rows = Ledger(clients.dynamodb, stack.table).progress(resumed)
    assert [row.cost for row in rows] == pytest.approx(costs, abs=1e-10)
    stored = weights(clients, stack, places.params(resumed))
    assert all(np.abs(stored[name] - array).max() < 1e-9 for name, array in params.items())


@pytest.mark.parametrize("run_id", ["stopped-best-batch", "stopped-average"])
def test_a_run_with_mini_batches_is_not_resumed_and_says_why(
    clients: Clients, stack: StackOutputs, left: list[str], run_id: str
) -> None:
    older = Ledger(clients.dynamodb, stack.table).get(run_id)
    assert older.parameters is not None
    why = (
        r"^checkpoint of run .*: was started by an older version, which shuffled its mini-batches once .*"
        r"\(start a new run\)$"
    )
    with pytest.raises(LaunchRejected, match=why):
        runs.launch(clients, stack, f"{run_id}-t2", older.dataset, older.parameters, resume_from=run_id)
    assert Ledger(clients.dynamodb, stack.table).find(f"{run_id}-t2") is None


@pytest.mark.parametrize(("run_id", "ends"), [("stopped-full-batch", ""), ("stopped-best-batch", "shuffled its mini-")])
def test_a_run_under_way_while_the_stack_is_deployed_goes_on_or_fails_with_one_line(
    clients: Clients, stack: StackOutputs, left: list[str], run_id: str, ends: str
) -> None:
    # As the older version's trainer left it, between two of its invocations.
    ledger, name = Ledger(clients.dynamodb, stack.table), f"under-way-{run_id}"
    older = ledger.get(run_id)
    assert older.parameters is not None
    chosen = older.parameters.model_copy(update={"epochs": older.epoch + 20})
    content = (OLDER / "bucket" / places.checkpoint(run_id)).read_bytes()
    put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(name), Body=content)
    run = replace(older, run_id=name, state=State.PENDING, parameters=chosen, checkpoint_version=put["VersionId"],
                  ended_at=0.0, stopped_by=None, cancel_requested=False, usage={})  # fmt: skip
    assert ledger.create(run)
    start_trainer(clients, stack.trainer_function, name)
    if ends:
        with pytest.raises(RunFailed, match=ends):
            runs.watch(clients, stack, name, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    else:
        done = runs.watch(clients, stack, name, lambda *_: None, every_seconds=0.1, limit_seconds=60)
        assert done.epoch == older.epoch + 20


def test_a_stack_of_an_older_version_is_refused_before_anything_is_launched(
    clients: Clients, stack: StackOutputs
) -> None:
    outputs = {
        item["OutputKey"]: item["OutputValue"] for item in json.loads((OLDER / "stack.json").read_text())["Outputs"]
    }
    assert "Version" not in outputs
    assert stack.version == runs.TASK_VERSION
    older = StackOutputs.from_dict({name: value for name, value in stack.to_dict().items() if name != "version"})
    assert older.version == 1
    with pytest.raises(CloudError, match=r"was deployed by an older version, .* deploy it again \(snn deploy\)"):
        runs.launch(clients, older, "never", "runs/never/input/x.h5", Parameters.load(oracle.small_network()))
    assert Ledger(clients.dynamodb, stack.table).find("never") is None
