"""The faults of docs/troubleshooting.md, provoked: a function a heading, which returns what a user gets to see."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
from documentation import ROOT, fences
from small import first_checkpoint
from training import Lesson

from snn.batches import Samples
from snn.errors import SnnError
from snn_cli import aws
from snn_cli.local import commands
from snn_client.data.staging import read_source
from snn_client.models import champion
from snn_client.runs import runs
from snn_client.stack import cleanup
from snn_client.stack.deploy import deploy_stack, start_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.settings import Settings
from snn_cloud.cost import memory
from snn_cloud.cost.workload import Size
from snn_cloud.launch import ending, launching, uploading
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_cloud.neurons.cache import Cache
from snn_cloud.train import training
from snn_cloud.train.neuron_pool import NeuronPool
from snn_data.dataset import load_dataset, save_dataset
from snn_data.model import load_model, save_model
from snn_photos.reading import load_image


def quotes() -> dict[str, str]:
    """Return what the page quotes, by heading."""
    page = ROOT / "docs" / "troubleshooting.md"
    return {fence.heading: fence.text.strip() for fence in fences("text") if fence.page == page}


def as_quoted(quote: str) -> str:
    """Return the pattern of a quote, in which "…" stands for anything."""
    return ".*".join(re.escape(part) for part in quote.split("…"))


def told(call: Callable[[], Any]) -> str:
    """Return the line that ends `call`."""
    with pytest.raises(SnnError) as caught:
        call()
    return str(caught.value)


# ---- without servers: each gets a folder, and what undoes its changes ------------------------------------------------


def parameters_file(folder: Path, **changes: Any) -> str:
    given = {name: value for name, value in {**oracle.small_network(), **changes}.items() if value is not None}
    path = folder / "parameters.json"
    path.write_text(json.dumps(given))
    return told(lambda: Parameters.load(path))


def unknown_field(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return parameters_file(folder, epoch=3)


def layers_differ(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return parameters_file(folder, layers=4)


def no_mini_batches(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return parameters_file(folder, strategy="best-batch")


def not_hdf5(folder: Path, patch: pytest.MonkeyPatch) -> str:
    (folder / "datasets.h5").write_text("<!DOCTYPE html> Sign in to download")
    return told(lambda: load_dataset(folder / "datasets.h5"))


def no_labels(folder: Path, patch: pytest.MonkeyPatch) -> str:
    import h5py

    pixels, labels = oracle.photos_and_labels()
    save_dataset(folder / "datasets.h5", pixels, labels, pixels, labels, ("no", "yes"))
    with h5py.File(folder / "datasets.h5", "a") as file:
        del file["test_set_y"]
    return told(lambda: load_dataset(folder / "datasets.h5"))


def not_there(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return told(lambda: read_source(SimpleNamespace(), "photos/datasets.h5"))  # type: ignore[arg-type]


def not_a_picture(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return told(lambda: load_image(io.BytesIO(b"my notes"), (8, 8, 3), source="notes.txt"))


def other_size(folder: Path, patch: pytest.MonkeyPatch) -> str:
    small, large = (oracle.photos_and_labels(height=side, width=side)[0] for side in (3, 8))
    chosen = Parameters.load(oracle.small_network())
    params = chosen.network(small[0].size).first_params(chosen.seed)
    save_model(folder / "params.h5", params, chosen.activation_per_layer, {})
    model = load_model(folder / "params.h5")
    return told(lambda: model.judge(Samples(large, np.zeros(len(large)))))


def diverges(folder: Path, patch: pytest.MonkeyPatch) -> str:
    pixels, labels = oracle.photos_and_labels()
    save_dataset(folder / "datasets.h5", pixels, labels, pixels, labels, ("no", "yes"))
    data = load_dataset(folder / "datasets.h5")

    def train(**fields: Any) -> list[float]:
        functions = ("relu",) * 4 + ("sigmoid",)
        chosen = Parameters.load(oracle.small_network((30, 30, 30, 30, 1), functions, epochs=100, seed=3, **fields))
        lesson = Lesson(chosen, data)
        for _ in lesson.steps():
            pass
        return lesson.training.history.costs

    stuck = train(learning_rate=10.0)
    assert len({round(cost, 12) for cost in stuck[-50:]}) <= 2  # its neurons answer 0 to every photo
    with np.errstate(all="ignore"):
        return told(lambda: train(learning_rate=1000.0))


def too_large(folder: Path, patch: pytest.MonkeyPatch) -> str:
    settings = Settings("", "", "", "", memory_mb=1024, trainer_mb=1769, neuron_mb=512)
    chosen, size = Parameters.load(oracle.small_network()), Size(12_288, 40_000, others=50)
    return told(lambda: memory.check_fits(chosen, size, settings, "runs/cats/input/datasets.h5"))


def stack_name(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return told(lambda: StackOptions(stack_name="My_Stack"))


def old_runtime(folder: Path, patch: pytest.MonkeyPatch) -> str:
    import boto3

    patch.delenv("AWS_ENDPOINT_URL", raising=False)
    clients = Clients(partial(boto3.client, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"))
    # Nothing is asked of AWS: the stack is said to be missing.
    patch.setattr("snn_client.stack.ownership.describe_stack", lambda *_: None)
    return told(lambda: start_deploy(clients, StackOptions(runtime="python3.11")))


def no_region(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _nowhere(folder, patch)
    return told(lambda: aws.connect(home=folder))


def no_profile(folder: Path, patch: pytest.MonkeyPatch) -> str:
    _nowhere(folder, patch)
    return told(lambda: aws.connect(profile="work", home=folder))


def _nowhere(folder: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        patch.delenv(name, raising=False)
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))


def no_emulator(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return told(lambda: commands.env(home=folder))


WITHOUT_SERVERS: dict[str, Callable[[Path, pytest.MonkeyPatch], str]] = {
    "A field of parameters.json is not known": unknown_field,
    "The layers do not fit together": layers_differ,
    "A strategy wants mini-batches": no_mini_batches,
    "datasets.h5 is not HDF5": not_hdf5,
    "datasets.h5 lacks something": no_labels,
    "A file is not found, though it is there": not_there,
    "A photo is not a picture": not_a_picture,
    "The model was trained for samples of another size": other_size,
    "The cost is not a number": diverges,
    "The data do not fit into a function": too_large,
    "A stack name is not allowed": stack_name,
    "python3.11 is refused": old_runtime,
    "No region is known": no_region,
    "A profile is not configured": no_profile,
    "The emulator does not run": no_emulator,
}


# ---- on the stack of the tests ---------------------------------------------------------------------------------------


class Stack:
    """The deployed stack, with a data set in it, and what undoes a test's changes."""

    def __init__(
        self, clients: Clients, outputs: StackOutputs, cache: Cache, data: bytes, patch: pytest.MonkeyPatch
    ) -> None:
        self.clients, self.outputs, self.cache, self.data, self.patch = clients, outputs, cache, data, patch
        self.ledger = Ledger(clients.dynamodb, outputs.table)
        self.settings = Settings(outputs.bucket, outputs.table, "", outputs.trainer_function)

    def put(self, run_id: str) -> str:
        key = places.input_dataset(run_id, "0" * 64)
        self.clients.s3.put_object(Bucket=self.outputs.bucket, Key=key, Body=self.data)
        return key

    def record(self, run_id: str, **fields: Any) -> str:
        """Record a run as LaunchLambda does, without starting its trainer."""
        key, chosen = self.put(run_id), small()
        first = first_checkpoint(chosen, load_dataset(io.BytesIO(self.data)).features)
        put = self.clients.s3.put_object(Bucket=self.outputs.bucket, Key=places.checkpoint(run_id), Body=first)
        version = put["VersionId"]
        run = Run(run_id, parameters=chosen, dataset=key, checkpoint_version=version, created_at=time.time())
        assert self.ledger.create(replace(run, **fields))
        return run_id

    def neurons(self, invoke: Callable[..., Any], name: str) -> tuple[NeuronPool, Lesson]:
        """Return a pool whose neurons are invoked so, and a training to give it."""
        lesson = Lesson(small(granularity="neuron"), load_dataset(io.BytesIO(self.data)))
        settings = Settings("", "", "", "", self.outputs.neuron_function, neuron_concurrency=3)
        clients: Any = SimpleNamespace(lambda_=SimpleNamespace(invoke=invoke))
        return NeuronPool(clients, settings, self.cache, lesson.job, name, f"snn:{name}:1"), lesson


def small(**fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network((3, 2, 1), ("relu", "relu", "sigmoid"), **fields))


def late_neuron(stack: Stack) -> str:
    """Return what itsacat says when its first neuron is the last to finish; ours has to compute what it should."""
    lambda_, finished, lock, others = stack.clients.lambda_, list[str](), threading.Lock(), threading.Event()

    def invoke(FunctionName: str, Payload: bytes) -> Any:
        task = json.loads(Payload)
        if task["layer"] == 1 and task["neurons"][0] == 0:
            assert others.wait(60)
        answer = lambda_.invoke(FunctionName=FunctionName, Payload=Payload)
        with lock:
            if task["layer"] == 1 and len(finished) < 3:
                finished.append(str(task["neurons"][0]))
            if len(finished) == 2:
                others.set()
        return answer

    pool, lesson = stack.neurons(invoke, "late")
    with closing(pool):
        ((cost, back),) = pool.gradients_of(lesson.training.params, lesson.epoch(0).step(0))
        slopes = back()
    chosen, samples = lesson.parameters, lesson.job.samples
    Ws, bs = oracle.first_weights(chosen, samples.features)
    wanted = oracle.step(Ws, bs, chosen, oracle.as_inputs(samples.stored, chosen.dtype), samples.y)
    assert finished[-1] == "0"  # it was late indeed
    assert cost == pytest.approx(wanted[0], abs=1e-12)
    assert all(np.abs(slopes[f"W{number}"] - dW).max() < 1e-12 for number, dW in enumerate(wanted[1], start=1))
    # itsacat's rule, with the same order of events: the highest neuron says that the layer is done.
    there = finished[: finished.index("2") + 1]
    try:
        [there[neuron] for neuron in range(3)]
    except IndexError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was late"


def not_deployed(stack: Stack) -> str:
    return told(lambda: StackOutputs.load(stack.clients, "cats"))


def needs_cache(stack: Stack) -> str:
    return told(lambda: runs.check_cache(small(granularity="neuron"), replace(stack.outputs, has_cache=False)))


def name_taken(stack: Stack) -> str:
    run_id = stack.record("cats-of-may")
    key = places.input_dataset(run_id, "0" * 64)
    return told(lambda: runs.launch(stack.clients, stack.outputs, run_id, key, small(seed=2)))


def nothing_beside(stack: Stack) -> str:
    stack.patch.setattr(uploading, "PARAMETERS_GRACE_SECONDS", 0.0)
    key = "training_input/alone/datasets.h5"
    version = stack.clients.s3.put_object(Bucket=stack.outputs.bucket, Key="runs/alone.h5", Body=b"x")["VersionId"]
    record = {"s3": {"bucket": {"name": stack.outputs.bucket}, "object": {"key": key, "versionId": version}}}
    return uploading.launch_upload(record, stack.settings, stack.clients).reason


def killed_by_lambda(stack: Stack) -> str:
    stack.patch.setattr(Ledger.abandon, "__defaults__", (0.2,))  # the patience
    run_id = stack.record("killed-by-lambda", state=State.RUNNING, owner="dead")
    record = {
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": {"run_id": run_id},
        "responsePayload": {"errorMessage": "RequestId: 1f3c Error: Runtime exited with error: signal: killed"},
    }
    (run,) = ending.trainer_gone(record, stack.settings, stack.clients)
    return run.reason


def killed_thrice(stack: Stack) -> str:
    run_id = stack.record("killed-thrice")
    for number in range(3):
        assert stack.ledger.acquire(run_id, f"killed {number}", patience=0.1)
    stack.ledger.acquire(run_id, "killed 3", patience=0.1).release()  # type: ignore[union-attr]
    return training.advance(run_id, "here", lambda: training.MARGIN_SECONDS + 600, stack.settings, stack.clients).reason


def budget_spent(stack: Stack) -> str:
    run_id = stack.record("budget-spent", parameters=small(epochs=10_000_000, max_usd=1e-05))
    left = training.MARGIN_SECONDS + 600
    return training.advance(run_id, "here", lambda: left, stack.settings, stack.clients).reason


def too_many_trainers(stack: Stack) -> str:
    key, chosen = stack.put("three-trainers"), small(workers=3, batch_size=7)
    request = {"run_id": "three-trainers", "dataset": key, "parameters": json.loads(chosen.to_json())}
    limited = replace(stack.settings, has_cache=True, trainer_concurrency=2)
    return told(lambda: launching.launch(request, limited, stack.clients))


def neuron_fails(stack: Stack) -> str:
    answer = {"errorType": "ValueError", "errorMessage": "out of luck"}

    def invoke(FunctionName: str, Payload: bytes) -> Any:
        return {"Payload": io.BytesIO(json.dumps(answer).encode()), "FunctionError": "Unhandled"}

    pool, lesson = stack.neurons(invoke, "unlucky")
    with closing(pool):
        return told(lambda: pool.gradients_of(lesson.training.params, lesson.epoch(0).step(0)))


def cannot_resume(stack: Stack) -> str:
    done = stack.record("done", state=State.COMPLETED)
    key = places.input_dataset(done, "0" * 64)
    return told(lambda: runs.launch(stack.clients, stack.outputs, "goes-on", key, small(), resume_from=done))


def another_champion(stack: Stack) -> str:
    s3, bucket = stack.clients.s3, stack.outputs.bucket
    run_id, body, chosen = stack.record("second"), io.BytesIO(), small()
    params = chosen.network(27).first_params(chosen.seed)
    save_model(body, params, chosen.activation_per_layer, {"run_id": "first"})
    for key in (places.params(run_id), places.PROMOTED_PARAMS):
        s3.put_object(Bucket=bucket, Key=key, Body=body.getvalue())
    s3.put_object(Bucket=bucket, Key=places.results(run_id), Body=b"{}")
    try:
        return told(lambda: champion.promote(stack.clients, bucket, run_id, over="another"))
    finally:
        s3.delete_object(Bucket=bucket, Key=places.PROMOTED_PARAMS)


def cannot_deploy(stack: Stack) -> str:
    missing = "arn:aws:lambda:us-east-1:000000000000:layer:missing:3"
    return told(lambda: deploy_stack(stack.clients, StackOptions("snn-troubled", layer_arn=missing)))


def runs_go_on(stack: Stack) -> str:
    stack.record("goes-on-and-on")
    wanted = cleanup.plan(stack.clients, stack.outputs.stack_name)
    try:
        return told(lambda: cleanup.start_cleanup(stack.clients, wanted))
    finally:
        stack.ledger.request_cancel("goes-on-and-on")


def not_ours(stack: Stack) -> str:
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    stack.clients.cloudformation.create_stack(StackName="payroll", TemplateBody=template)
    try:
        return told(lambda: cleanup.plan(stack.clients, "payroll"))
    finally:
        stack.clients.cloudformation.delete_stack(StackName="payroll")


ON_A_STACK: dict[str, Callable[[Stack], str]] = {
    "IndexError: list index out of range": late_neuron,
    "The stack is not deployed": not_deployed,
    "A granularity needs a cache": needs_cache,
    "A run of this name exists": name_taken,
    "An upload starts nothing": nothing_beside,
    "Lambda gave up on the trainer": killed_by_lambda,
    "Trainers are killed before a checkpoint": killed_thrice,
    "A run ends at its budget": budget_spent,
    "More trainers than the stack allows": too_many_trainers,
    "A neuron fails": neuron_fails,
    "A run cannot be resumed": cannot_resume,
    "A challenger is not promoted, though it was better": another_champion,
    "A stack cannot be deployed": cannot_deploy,
    "A cleanup refuses because of runs": runs_go_on,
    "A cleanup refuses because of the name": not_ours,
}
