"""Launching: what is refused, what is shared, what is asked for twice, and a run that goes on where another stopped."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from io import BufferedReader
from typing import Any

import h5py
import numpy as np
import oracle
import pytest
from botocore.exceptions import ClientError
from small import photos

from snn.errors import InvalidInput
from snn.schedules import Cosine
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, LaunchRejected, RunCancelled
from snn_cloud.aws.objects import ObjectFile
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.launching import launch
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_data.checkpoint import load_checkpoint
from snn_data.dataset import save_dataset

EPOCHS = 30


def parameters(**fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **{"epochs": EPOCHS, **fields}))


@pytest.fixture(scope="module")
def ledger(clients: Clients, stack: StackOutputs) -> Ledger:
    return Ledger(clients.dynamodb, stack.table)


@pytest.fixture
def key(clients: Clients, stack: StackOutputs) -> str:
    """A staged data set, in the input of a run that there never was."""
    key = places.input_dataset("shared", "a" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=photos())
    return key


@pytest.fixture
def settings(clients: Clients, stack: StackOutputs) -> Settings:
    """LaunchLambda's own, but that the trainer is a function which does nothing with the event: runs stay PENDING."""
    configuration = clients.lambda_.get_function_configuration(FunctionName=stack.launch_function)
    return replace(
        Settings.from_environment(configuration["Environment"]["Variables"]), trainer_function=stack.neuron_function
    )


def watch(clients: Clients, stack: StackOutputs, run_id: str) -> Run:
    return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.05, limit_seconds=60)


def stored(clients: Clients, stack: StackOutputs, key: str, version: str = "") -> bytes:
    named: Any = {"VersionId": version} if version else {}
    return clients.s3.get_object(Bucket=stack.bucket, Key=key, **named)["Body"].read()


def arrays(file: bytes) -> dict[str, Any]:
    with h5py.File(io.BytesIO(file)) as h5:
        return {name: h5[name][()] for name in h5}


@pytest.fixture
def stop(clients: Clients, stack: StackOutputs, ledger: Ledger, key: str) -> Any:
    """Launch a run in which every epoch is an invocation, and cancel it after some."""

    def stop(run_id: str, chosen: Parameters) -> Run:
        runs.launch(clients, stack, run_id, key, chosen, trainer_seconds=0.001)
        limit = time.monotonic() + 60
        while ledger.get(run_id).epoch < 5:
            assert time.monotonic() < limit
            time.sleep(0.02)
        runs.cancel(clients, stack, run_id)
        with pytest.raises(RunCancelled):
            watch(clients, stack, run_id)
        return ledger.get(run_id)

    return stop


WAYS: dict[str, dict[str, Any]] = {
    "direct": {"first_layer": "direct"},
    "span": {"first_layer": "span"},
    "best-batch, span": {"first_layer": "span", "batch_size": 7},
    "average by two": {"batch_size": 7, "strategy": "average", "first_layer": "span"},
    "neurons": {"granularity": "layer"},
    "sgd by two": {"batch_size": 12, "strategy": "sgd", "sub_batches": 2, "optimizer": "adam", "learning_rate": 0.01,
                   "dropout": 0.2, "augmentation": {"shift": 1}, "schedule": "step"},
    "sgd, float32": {"batch_size": 12, "strategy": "sgd", "dtype": "float32", "validation": 0.25, "dropout": 0.3,
                     "optimizer": {"name": "rmsprop", "momentum": 0.5}, "learning_rate": 0.001},
    "sgd, neurons": {"batch_size": 12, "strategy": "sgd", "granularity": "layer", "optimizer": "adamw"},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_run_ends_as_one_that_never_stopped(
    clients: Clients, stack: StackOutputs, ledger: Ledger, key: str, stop: Any, way: str
) -> None:
    whole, older_id, new_id = (runs.new_run_id(f"{way} {part}") for part in ("whole", "older", "new"))
    # What may differ does: how far the older run was to go, and by how many trainers.
    older = stop(older_id, parameters(epochs=1_000_000, **WAYS[way]))
    assert older.epoch >= 5
    epochs = older.epoch + 25
    chosen = parameters(epochs=epochs, **WAYS[way])
    runs.launch(clients, stack, whole, key, chosen)
    watch(clients, stack, whole)
    again = chosen.model_copy(update={"workers": 2}) if way.endswith("by two") else chosen
    runs.launch(clients, stack, new_id, key, again, resume_from=older_id)
    new = watch(clients, stack, new_id)
    assert (new.state, new.epoch, new.resumed_from) == (State.COMPLETED, epochs, older_id)
    one, two = (arrays(stored(clients, stack, places.params(run_id))) for run_id in (whole, new_id))
    assert one.keys() == two.keys() == {"W1", "b1", "W2", "b2", "W3", "b3"}
    assert all(np.array_equal(one[name], two[name]) for name in one)
    results = [json.loads(stored(clients, stack, places.results(run_id))) for run_id in (whole, new_id)]
    costs = [[result[f"epoch{epoch}"] for epoch in range(epochs)] for result in results]
    assert costs[0] == costs[1]
    assert ledger.progress(whole)[1] == ledger.progress(new_id)[1]
    assert len(ledger.progress(new_id)[1]) == epochs


def test_a_resumed_run_begins_with_the_epochs_of_the_older_one(
    clients: Clients, stack: StackOutputs, ledger: Ledger, settings: Settings, key: str, stop: Any
) -> None:
    older = stop("older", parameters(epochs=1_000_000, first_layer="direct", validation=0.25))
    assert older.validation_cost is not None
    request = {
        "run_id": "begins",
        "dataset": places.input_dataset("begins", "a" * 64),  # another object, the same contents by its name
        "parameters": json.loads(parameters(first_layer="direct", epochs=older.epoch + 25, validation=0.25).to_json()),
        "resume_from": "older",
    }
    clients.s3.put_object(Bucket=stack.bucket, Key=request["dataset"], Body=photos())
    for _ in range(2):  # a repeated launch writes the same again
        run = launch(request, settings, clients)
        assert (run.state, run.epoch, run.cost, run.resumed_from) == ("PENDING", older.epoch, older.cost, "older")
        assert ledger.progress("begins")[1] == ledger.progress("older")[1]
        for figure in ("validation_cost", "validation_metric", "best_epoch"):
            assert getattr(run, figure) == getattr(older, figure)
    first = stored(clients, stack, places.checkpoint("begins"), run.checkpoint_version)
    assert first == stored(clients, stack, places.checkpoint("older"), older.checkpoint_version)
    assert load_checkpoint(first).epoch == run.epoch


def test_what_cannot_be_resumed_is_refused_and_leaves_nothing(
    clients: Clients, stack: StackOutputs, ledger: Ledger, settings: Settings, key: str, stop: Any
) -> None:
    chosen = parameters(epochs=1_000_000, first_layer="direct", threshold=1e-9)
    older = stop("stopped", chosen)
    costs = [row.cost for row in ledger.progress("stopped")[1]]
    assert older.dataset == key
    for name, change in {
        "running": {"state": State.RUNNING},
        "completed": {"state": State.COMPLETED},
        "upload": {"parameters": None, "checkpoint_version": ""},
        "unversioned": {"checkpoint_version": ""},
        "spanned": {"parameters": parameters(epochs=1_000_000, first_layer="span", threshold=1e-9)},
        "cosine": {"parameters": chosen.model_copy(update={"schedule": Cosine()})},
    }.items():
        ledger.create(replace(older, run_id=name, **change))
    other = places.input_dataset("shared", "b" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=other, Body=photos(seed=9))
    for change, line in [
        ({"resume_from": "nobody"}, "resume_from: there is no run 'nobody'"),
        ({"resume_from": "running"}, "resume_from: run running is RUNNING (resume a FAILED, CANCELLED or paused run)"),
        (
            {"resume_from": "completed"},
            "resume_from: run completed is COMPLETED (resume a FAILED, CANCELLED or paused run)",
        ),
        ({"resume_from": "upload"}, "resume_from: run upload never had a checkpoint (launch anew)"),
        (
            {"resume_from": "unversioned"},
            "resume_from: the checkpoint of run unversioned has no version, as its bucket kept none (turn on the "
            "bucket's versioning, and launch anew)",
        ),
        ({"seed": 2}, "parameters.seed: is 2, but run stopped had 1 (keep 1)"),
        ({"learning_rate": 0.2}, "parameters.learning_rate: is 0.2, but run stopped had 0.1 (keep 0.1)"),
        ({"dropout": 0.5}, "parameters.dropout: is 0.5, but run stopped had 0.0 (keep 0.0)"),
        ({"dtype": "float32"}, "parameters.dtype: is float32, but run stopped had float64 (keep float64)"),
        (
            {"strategy": "sgd", "batch_size": 7},
            "parameters.batch_size: is 7, but run stopped had None (keep None)",
        ),
        (
            {"resume_from": "cosine", "schedule": "cosine", "epochs": 2_000_000},
            "parameters.epochs: is 2000000, but run cosine had 1000000 (keep 1000000)",
        ),
        ({"dataset": other}, f"dataset: differs from run stopped's (use {key})"),
        (
            {"epochs": 4},
            f"parameters.epochs: is 4, but run stopped has already done {older.epoch} (choose {older.epoch} or more)",
        ),
        (
            {"threshold": costs[2]},
            f"parameters.threshold: {costs[2]:g} was reached in epoch 2 of the {older.epoch} that run stopped has done "
            "(choose a lower one)",
        ),
        (
            {"first_layer": "span"},
            "parameters.first_layer: would be span, but run stopped's was direct (choose direct)",
        ),
        (
            {"resume_from": "spanned", "granularity": "layer"},
            "parameters.first_layer: would be direct, but run spanned's was span (choose span and granularity batch)",
        ),
    ]:
        asked = {"run_id": "refused", "dataset": key, "resume_from": "stopped"}
        asked |= {name: change.pop(name) for name in ("resume_from", "dataset") if name in change}
        given = json.loads(Parameters.load(json.loads(chosen.to_json()), **change).to_json())
        with pytest.raises(InvalidInput) as refused:
            launch({**asked, "parameters": given}, settings, clients)
        assert str(refused.value) == f"launch request: {line}"
    assert ledger.find("refused") is None
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=places.run_prefix("refused"))


def test_a_failed_run_can_be_resumed_and_an_upload_s_version_is_kept(
    clients: Clients, stack: StackOutputs, ledger: Ledger, settings: Settings, key: str, stop: Any
) -> None:
    older = stop("failed", parameters(epochs=1_000_000, first_layer="direct"))
    upload = "training_input/resumed/data.bin"  # no .h5: it starts nothing
    version = clients.s3.put_object(Bucket=stack.bucket, Key=upload, Body=photos())["VersionId"]
    clients.s3.put_object(Bucket=stack.bucket, Key=upload, Body=b"replaced since")
    checkpoint = stored(clients, stack, places.checkpoint("failed"), older.checkpoint_version)
    copy = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint("broke"), Body=checkpoint)
    broke = replace(older, run_id="broke", state=State.FAILED, checkpoint_version=copy["VersionId"])
    ledger.create(replace(broke, dataset=upload, dataset_version=version))
    given = json.loads(parameters(first_layer="direct", epochs=older.epoch + 25).to_json())
    request = {"run_id": "mended", "dataset": upload, "parameters": given, "resume_from": "broke"}
    for _ in range(2):
        run = launch(request, settings, clients)
        assert (run.dataset_version, run.epoch, run.state) == (version, older.epoch, State.PENDING)
    with pytest.raises(InvalidInput, match="dataset: differs from run broke's"):
        launch({**request, "run_id": "other", "dataset_version": "other"}, settings, clients)


def test_runs_share_a_data_set(clients: Clients, stack: StackOutputs, key: str) -> None:
    for seed in (1, 2):
        run_id = runs.new_run_id(f"share {seed}")
        runs.launch(clients, stack, run_id, key, parameters(seed=seed))
        run = watch(clients, stack, run_id)
        assert (run.state, run.dataset, run.epoch) == (State.COMPLETED, key, EPOCHS)
    with pytest.raises(LaunchRejected, match=r"dataset: 'runs/.*/params.h5' is not a place for data sets"):
        runs.launch(clients, stack, "thief", places.params(run_id), parameters())


def test_a_name_stands_for_one_request(clients: Clients, stack: StackOutputs, settings: Settings, key: str) -> None:
    other = places.input_dataset("shared", "b" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=other, Body=photos(seed=9))
    request = {"run_id": "taken", "dataset": key, "parameters": json.loads(parameters().to_json())}
    first = launch(request, settings, clients)
    for change, what in [
        ({"parameters": json.loads(parameters(seed=2).to_json())}, "parameters"),
        ({"dataset": other}, "dataset"),
        ({"dataset": other, "promote": True}, "dataset and promote"),
        ({"trainer_seconds": 5}, "trainer_seconds"),
    ]:
        with pytest.raises(InvalidInput) as refused:
            launch({**request, **change}, settings, clients)
        line = f"launch request: run_id: taken already names a run with different {what} (choose another name)"
        assert str(refused.value) == line
    assert launch(request, settings, clients) == first
    with pytest.raises(LaunchRejected, match="taken already names a run with different promote"):
        runs.launch(clients, stack, "taken", key, parameters(), promote=True)


@pytest.mark.parametrize("event", [{"Records": 5}, 5, {"run_id": "x", "promote": "false"}, {"trainer_seconds": "y"}])
def test_a_malformed_event_is_refused_in_one_line(clients: Clients, stack: StackOutputs, event: Any) -> None:
    answer = clients.lambda_.invoke(FunctionName=stack.launch_function, Payload=json.dumps(event).encode())
    assert "FunctionError" not in answer
    said = json.loads(answer["Payload"].read())
    assert said["type"] == "InvalidInput"
    assert said["error"].startswith("launch request: ")
    assert "\n" not in said["error"]


def test_a_launch_that_breaks_may_be_tried_again_and_a_refusal_may_not(
    clients: Clients, stack: StackOutputs, key: str
) -> None:
    broken = replace(stack, launch_function=stack.trainer_function)  # raises: it knows no such run
    with pytest.raises(CloudError, match=r"TrainerLambda failed: the ledger .* has no run 'breaks'") as failed:
        runs.launch(clients, broken, "breaks", key, parameters())
    assert not isinstance(failed.value, LaunchRejected)
    with pytest.raises(LaunchRejected):
        runs.launch(clients, stack, "breaks", places.input_dataset("nobody", "c" * 64), parameters())


def huge(samples: int, side: int) -> bytes:
    """A data set of many photos, none of them written: a few kilobytes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        for name, count in (("train", samples), ("test", 2)):
            h5.create_dataset(f"{name}_set_x", (count, side, side, 3), np.uint8, chunks=(1, side, side, 3))
            h5.create_dataset(f"{name}_set_y", (count,), np.int8)
        h5["list_classes"] = [b"no", b"yes"]
    assert len(buffer.getvalue()) < 500_000
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("fields", "neurons", "line"),
    [
        (
            {},
            5,
            r"61,474 weights need 4,323 MB, but TrainerLambda has 1,769 "
            r"\(choose dtype float32, use fewer or smaller samples, "
            r"or enlarge TrainerLambda in cloudformation/training.yaml\)",
        ),
        (
            {"granularity": "layer", "batch_size": 5_000, "strategy": "average"},
            5,
            r"NeuronLambda has 512 \(choose a sm",
        ),
        (
            {"first_layer": "span"},
            5,
            r"TrainerLambda has 1,769 \(choose dtype float32, choose first_layer direct, use f",
        ),
        (
            {"granularity": "layer", "batch_size": 500, "strategy": "average"},
            3_000,
            r"LaunchLambda has 1,024 \(use few",
        ),
    ],
)
def test_a_run_that_would_not_fit_is_refused_before_anything_is_read(
    clients: Clients, stack: StackOutputs, ledger: Ledger, fields: dict[str, Any], neurons: int, line: str
) -> None:
    key = places.input_dataset("huge", "d" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=huge(40_000, 64))
    chosen = Parameters.load(oracle.small_network((neurons, 4, 1), ("relu", "relu", "sigmoid"), **fields))
    began = time.monotonic()
    with pytest.raises(LaunchRejected, match=f"^{key}: 40,000 samples of 12,288 numbers and .*{line}"):
        runs.launch(clients, stack, "too-big", key, chosen)
    assert time.monotonic() - began < 20
    assert ledger.find("too-big") is None
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=places.run_prefix("too-big"))


def test_launching_reads_what_it_must_of_a_large_file_and_no_more(
    clients: Clients, stack: StackOutputs, settings: Settings
) -> None:
    chance = np.random.default_rng(0)
    pixels, labels = chance.integers(0, 256, (20_000, 32, 32, 3), dtype=np.uint8), np.arange(20_000) % 2
    buffer = io.BytesIO()
    save_dataset(buffer, pixels, labels, pixels[:10], labels[:10], ("no", "yes"))
    key = places.input_dataset("large", "e" * 64)
    put = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=buffer.getvalue())
    read: list[int] = []
    counting = Clients.from_environment()
    counting.s3.meta.events.register(
        "after-call.s3.GetObject", lambda parsed, **_: read.append(parsed["ContentLength"])
    )
    given = json.loads(parameters(granularity="layer", batch_size=500, strategy="average").to_json())
    run = launch({"run_id": "large", "dataset": key, "parameters": given}, settings, counting)
    assert (run.features, run.samples) == (32 * 32 * 3, 20_000)
    assert 0 < sum(read) <= 3 * 4 * 1024**2 < len(buffer.getvalue()) / 4
    for version in ("", put["VersionId"]):
        with ObjectFile(clients, stack.bucket, key, version) as file:
            assert BufferedReader(file).read() == buffer.getvalue()
    with ObjectFile(clients, stack.bucket, key) as file:
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=bytes(len(buffer.getvalue())))
        with pytest.raises(ClientError, match="PreconditionFailed"):
            BufferedReader(file).read()


@pytest.mark.parametrize(("body", "line"), [(b"", "is empty"), (b"not HDF5", "cannot be read as HDF5")])
def test_what_is_no_data_set_is_refused(
    clients: Clients, stack: StackOutputs, settings: Settings, body: bytes, line: str
) -> None:
    key = "runs/shared/input/nothing.h5"
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=body)
    request = {"run_id": "nothing", "dataset": key, "parameters": json.loads(parameters().to_json())}
    with pytest.raises(InvalidInput, match=f"{key}: {line}"):
        launch(request, settings, clients)
