"""The tasks of retraining against a real stack on the emulator: what is chosen, compared, decided and promoted."""

from __future__ import annotations

import io
import json
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from snn_client.models.champion import promote
from snn_client.runs.uploads import Upload
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import ChampionChanged
from snn_data.dataset import save_dataset
from snn_operators.champion import SnnChooseOperator, SnnCompareOperator, SnnPromoteOperator, SnnRollbackOperator
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
PARAMETERS = {
    "epochs": 200,
    "layers": 2,
    "activations": {"layer1": "relu", "layer2": "sigmoid"},
    "neurons": {"layer1": 4, "layer2": 1},
    "learning_rate": 0.05,
    "seed": 3,
}


def photos(path: Path, size: int = 4, *, seed: int = 0, tested: int = 40, noise: int = 0) -> Path:
    """Write a data set whose class 1 is bright, class 0 dark; `noise` test labels in 40 are wrong."""
    chance = np.random.default_rng(seed)
    labels = np.arange(40 + tested) % 2
    pixels = (chance.integers(0, 150, (len(labels), size, size, 3)) + 100 * labels[:, None, None, None]).astype(
        np.uint8
    )
    told = labels.copy()
    told[40:][np.arange(tested) % 40 < noise] ^= 1
    save_dataset(path, pixels[:40], told[:40], pixels[40:], told[40:], ("dark", "bright"))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return photos(tmp_path / "datasets.h5")


@pytest.fixture(autouse=True)
def _no_champion(clients: Clients, stack: StackOutputs) -> None:
    """Each test begins without a champion, whoever was it before."""
    for key in (places.PROMOTED_PARAMS, places.PROMOTED_RESULTS, places.PREVIOUS_PARAMS, places.PREVIOUS_RESULTS):
        clients.s3.delete_object(Bucket=stack.bucket, Key=key)


@pytest.fixture
def train(stack: StackOutputs, request: pytest.FixtureRequest) -> Any:
    """Stage and train, as the DAG does; return the run's id."""

    def train(dataset: Path, **overrides: Any) -> str:
        given: Any = {"stack": stack.to_dict(), **AWS}
        staged = SnnStageOperator(
            task_id="stage", dataset=str(dataset), parameters=PARAMETERS, overrides=overrides,
            run_id=f"{request.node.name} {time.time_ns()}", **given,
        ).execute({})  # fmt: skip
        context: Any = {"ti": SimpleNamespace(try_number=1, max_tries=0, xcom_push=lambda key, value: None)}
        wanted = {name: staged[name] for name in ("run_id", "dataset_key", "parameters")}
        trained = SnnTrainOperator(task_id="train", poll_interval=0.2, **wanted, **given).execute(context)
        return str(trained["run_id"])

    return train


def compared(stack: StackOutputs, run_id: str, **options: Any) -> dict[str, Any]:
    return SnnCompareOperator(task_id="compare", stack=stack.to_dict(), run_id=run_id, **options, **AWS).execute({})


def promoted(stack: StackOutputs, run_id: str, found: dict[str, Any]) -> dict[str, str]:
    given: Any = {"decision": found["decision"], "over": found["champion_etag"], **AWS}
    task = SnnPromoteOperator(task_id="promote", stack=stack.to_dict(), run_id=run_id, **given)
    change = task.execute({})
    assert told(task) == ([places.params(run_id)], [places.PROMOTED_PARAMS])
    return change


def told(task: Any) -> tuple[list[str], list[str]]:
    """Return what a task tells OpenLineage that it read and made."""
    lineage = task.get_openlineage_facets_on_complete(None)
    return [each.name for each in lineage.inputs], [each.name for each in lineage.outputs]


def read(clients: Clients, stack: StackOutputs, key: str) -> bytes:
    return clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()


def accuracy(params: bytes, dataset: Path) -> float:
    """Judge a model, computed here and by nothing of the project."""
    with h5py.File(dataset) as h5:
        X, labels = h5["test_set_x"][()].reshape(len(h5["test_set_x"]), -1).T / 255, h5["test_set_y"][()]
    with h5py.File(io.BytesIO(params)) as h5:
        hidden = np.maximum(h5["W1"][()] @ X + h5["b1"][()], 0)
        Z = h5["W2"][()] @ hidden + h5["b2"][()]
    return float(np.mean((Z[0] > 0) == labels))


def test_a_better_challenger_is_promoted_a_worse_one_is_not_and_a_rollback_brings_the_former_back(
    clients: Clients, stack: StackOutputs, data: Path, train: Any
) -> None:
    first = train(data, epochs=1)
    found = compared(stack, first)
    assert (found["champion"], found["champion_etag"]) == (None, "")
    assert found["decision"]["reason"].startswith("there is no champion yet; the challenger's accuracy is 0.")
    assert promoted(stack, first, found) == {"champion": first, "previous": ""}
    former = read(clients, stack, places.PROMOTED_PARAMS)
    assert former == read(clients, stack, places.params(first))

    better = train(data)
    found = compared(stack, better, margin="0.2")
    scores = {
        name: accuracy(read(clients, stack, places.params(run)), data)
        for name, run in (("old", first), ("new", better))
    }
    assert scores["new"] - scores["old"] > 0.2
    assert found["decision"] == {
        "promote": True,
        "reason": f"the challenger is better by {scores['new'] - scores['old']:.3f}, and not by chance (McNemar, p < "
        f"0.001, 40 samples, {found['decision']['evidence']['differ']} of which only one got right): accuracy "
        f"{scores['new']:.3f}, the champion's is {scores['old']:.3f}",
        "metric": "accuracy",
        "margin": 0.2,
        "significance": 0.05,
        "evidence": {**found["decision"]["evidence"], "test": "McNemar", "samples": 40},
        "champion": pytest.approx(scores["old"]),
        "challenger": pytest.approx(scores["new"]),
    }
    for name, run, epochs in (("champion", first, 1), ("challenger", better, 200)):
        report = found[name]
        assert (report["run_id"], report["training"]["epochs_run"]) == (run, epochs)
        assert report["test_set"]["accuracy"] == found["decision"][name]
        assert report["cost"]["usd"] > 0
    assert promoted(stack, better, found) == {"champion": better, "previous": first}
    assert compared(stack, better)["decision"]["reason"] == f"run {better} is already the champion"

    worse = train(data, epochs=1, seed=4)
    found = compared(stack, worse)
    assert not found["decision"]["promote"]
    with pytest.raises(AirflowSkipException, match="the challenger is not better: accuracy 0"):
        promoted(stack, worse, found)
    assert read(clients, stack, places.PROMOTED_PARAMS) == read(clients, stack, places.params(better))

    roll_back = SnnRollbackOperator(task_id="roll_back", stack=stack.stack_name, **AWS)
    assert roll_back.execute({}) == {"champion": first, "previous": better}
    assert told(roll_back) == ([places.PROMOTED_PARAMS, places.PREVIOUS_PARAMS],) * 2
    assert read(clients, stack, places.PROMOTED_PARAMS) == former
    assert read(clients, stack, places.PROMOTED_RESULTS) == read(clients, stack, places.results(first))


def test_who_was_compared_with_another_champion_is_not_promoted_and_not_retried(
    clients: Clients, stack: StackOutputs, data: Path, train: Any
) -> None:
    one, two = train(data), train(data, seed=5)
    both = compared(stack, one), compared(stack, two)
    promoted(stack, one, both[0])
    with pytest.raises(
        AirflowFailException, match=f"the champion has changed in the meantime, it is now run {one}: compare"
    ):
        promoted(stack, two, both[1])
    assert read(clients, stack, places.PROMOTED_PARAMS) == read(clients, stack, places.params(one))


@pytest.mark.parametrize("native", [True, False])
def test_an_etag_is_the_same_without_its_quotes(
    clients: Clients, stack: StackOutputs, data: Path, train: Any, native: bool
) -> None:
    """A native DAG takes them off."""
    one, two = train(data), train(data, seed=5)
    promoted(stack, one, compared(stack, one))
    etag = compared(stack, two)["champion_etag"]
    assert (etag[0], etag[-1]) == ('"', '"')
    dag = DAG("d", render_template_as_native_obj=native)
    given: Any = {"run_id": two, "over": "{{ params.etag }}", **AWS}
    task = SnnPromoteOperator(task_id="promote", stack=stack.to_dict(), dag=dag, **given)
    task.render_template_fields({"params": {"etag": etag}})
    assert task.over == (etag.strip('"') if native else etag)
    assert task.execute({}) == {"champion": two, "previous": one}
    with pytest.raises(ChampionChanged):
        promote(clients, stack.bucket, one, over=etag)  # by now it is the other's


def test_a_champion_for_other_photos_stays(
    clients: Clients, stack: StackOutputs, data: Path, train: Any, tmp_path: Path
) -> None:
    small = train(data)
    promoted(stack, small, compared(stack, small))
    found = compared(stack, train(photos(tmp_path / "larger.h5", 6)))
    assert found["champion"] is None
    assert found["decision"]["champion"] is None
    assert (found["decision"]["promote"], found["decision"]["reason"]) == (
        False,
        "the champion was trained for samples of (4, 4, 3), but the test set has (6, 6, 3): it stays; remove "
        f"s3://{stack.bucket}/predict_input/params.h5 to start over",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"meow",
            "the champion cannot be judged (s3://snn-test-000000000000-us-east-1/predict_input/params.h5: cannot",
        ),
        (None, "the challenger is better by "),
    ],
)
def test_a_champion_that_no_run_of_ours_trained(
    clients: Clients, stack: StackOutputs, data: Path, train: Any, content: bytes | None, reason: str
) -> None:
    if content is None:  # itsacat's own: arrays and no word of where they come from; it says 0 to everything
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as h5:
            for name, shape in (("W1", (2, 48)), ("b1", (2, 1)), ("W2", (1, 2)), ("b2", (1, 1))):
                h5[name] = np.zeros(shape)
        content = buffer.getvalue()
    clients.s3.put_object(Bucket=stack.bucket, Key=places.PROMOTED_PARAMS, Body=content)
    found = compared(stack, train(data))
    assert found["decision"]["reason"].startswith(reason)
    if found["decision"]["promote"]:
        assert found["decision"]["champion"] == 0.5
        assert (found["champion"]["run_id"], found["champion"]["test_set"]["accuracy"]) == ("", 0.5)


def test_both_reports_fit_into_xcom_whatever_the_data(stack: StackOutputs, train: Any, tmp_path: Path) -> None:
    data = photos(tmp_path / "datasets.h5", 2, tested=4000, noise=20)
    one = train(data)
    promoted(stack, one, compared(stack, one))
    found = compared(stack, train(data, seed=6))
    assert 20_000 < len(json.dumps(found).encode()) < 48_000
    for report in (found["champion"], found["challenger"]):
        told = report["test_set"]
        wrong = told["confusion_matrix"]["fp"] + told["confusion_matrix"]["fn"]
        assert wrong > 1000
        assert len(told["mislabelled"]) + told["mislabelled_left_out"] == wrong


def events(*uploads: Upload) -> dict[str, Any]:
    """Return the context of a run that was started by an event for each upload."""
    told = [SimpleNamespace(extra={"from_trigger": True, "payload": {"uploads": [asdict(one)]}}) for one in uploads]
    return {"triggering_asset_events": {"snn_new_data": told}}


def choose(stack: StackOutputs, context: Any, **given: Any) -> dict[str, Any]:
    options = {"fallback": "/somewhere/parameters.json", **given}
    return SnnChooseOperator(task_id="choose", stack=stack.to_dict(), **options, **AWS).execute(context)


def test_the_newest_upload_is_chosen_and_the_others_are_named(stack: StackOutputs, capsys: Any) -> None:
    old, new, elsewhere = (
        Upload(bucket, f"retraining_input/{name}.h5", f"v-{name}", f"2026-11-22T10:0{minute}:00.000Z")
        for bucket, name, minute in ((stack.bucket, "old", 1), (stack.bucket, "new", 2), ("other", "elsewhere", 3))
    )
    chosen = choose(stack, events(new, elsewhere, old), dataset="s3://form/d.h5")
    assert chosen == {
        "dataset": f"s3://{stack.bucket}/retraining_input/new.h5?versionId=v-new",
        "parameters": "/somewhere/parameters.json",
    }
    said = capsys.readouterr().out
    assert f"newer one: s3://{stack.bucket}/retraining_input/old.h5?versionId=v-old of 2026-11-22T10:01" in said
    assert "elsewhere" not in said


def test_without_an_upload_the_form_s_data_set_is_chosen_or_none(stack: StackOutputs) -> None:
    by_hand: Any = {"triggering_asset_events": {"snn_new_data": [SimpleNamespace(extra={"note": "by hand"})]}}
    assert choose(stack, by_hand, dataset="s3://form/d.h5")["dataset"] == "s3://form/d.h5"
    for nothing in (None, "None", ""):
        with pytest.raises(AirflowFailException, match=r"dataset: was neither uploaded nor given \(name one, or"):
            choose(stack, {}, dataset=nothing)


def test_the_parameters_are_the_form_s_then_the_champion_s_then_the_file_s(
    stack: StackOutputs, data: Path, train: Any
) -> None:
    assert choose(stack, {}, dataset="d.h5")["parameters"] == "/somewhere/parameters.json"
    champion = train(data, learning_rate=0.07)
    promoted(stack, champion, compared(stack, champion))
    parameters = choose(stack, {}, dataset="d.h5")["parameters"]
    assert {name: parameters[name] for name in PARAMETERS} == {**PARAMETERS, "learning_rate": 0.07}
    assert choose(stack, {}, dataset="d.h5", parameters={"epochs": 3})["parameters"] == {"epochs": 3}
    assert choose(stack, {}, dataset="d.h5", parameters="p.json")["parameters"] == "p.json"


def test_a_rollback_without_a_previous_champion_is_one_line(stack: StackOutputs) -> None:
    with pytest.raises(AirflowFailException, match=r"predict_input/previous/params\.h5: there is no previous champion"):
        SnnRollbackOperator(task_id="roll_back", stack=stack.stack_name, **AWS).execute({})


def test_a_champion_for_other_classes_stays(clients: Clients, stack: StackOutputs, data: Path, train: Any) -> None:
    first = train(data)
    promoted(stack, first, compared(stack, first))
    with h5py.File(data, "a") as h5:
        h5["list_classes"][...] = [b"cat", b"dog"]
    decision = compared(stack, train(data))["decision"]
    assert not decision["promote"]
    assert decision["reason"].startswith(
        "the champion was trained for the classes dark, bright, but the test set has cat, dog"
    )
