"""Bad input where a run begins or goes on: uploads, launches, and the events of all three functions.

Nothing may be left of what is refused: ledger and bucket are listed before and after.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import oracle
import pytest
import redis
from badinput.given import JSON, changed, damaged, network, parameters
from badinput.hdf5_files import FILES, compressed, good
from badinput.tally import generated, judge, left_behind, some
from badinput.test_commands import ask as command
from badinput.test_images import BAD as BAD_IMAGES
from badinput.test_parameters import BAD as BAD_PARAMETERS
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput
from snn_cli.local.emulator import Emulator
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CacheLost, RunNotFound
from snn_cloud.aws.settings import Settings
from snn_cloud.launch import uploading
from snn_cloud.launch.ending import trainer_gone
from snn_cloud.launch.launching import launch
from snn_cloud.launch.uploading import launch_upload
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State
from snn_cloud.neurons import task as neuron_task
from snn_cloud.neurons.cache import Cache
from snn_cloud.train.following import Follower

DIRECT, UPLOAD, NEURON, TRAINER, GONE = (
    "LaunchLambda, direct", "S3 event", "NeuronLambda", "TrainerLambda", "failure destination",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(clients: Clients, stack: StackOutputs) -> Settings:
    """LaunchLambda's own, but that the trainer is a function which does nothing with the event: runs stay PENDING."""
    found = clients.lambda_.get_function_configuration(FunctionName=stack.launch_function)["Environment"]["Variables"]
    return replace(Settings.from_environment(found), trainer_function=stack.neuron_function)


@pytest.fixture(scope="module", autouse=True)
def no_waiting() -> Iterator[None]:
    """Nobody uploads parameters later, here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploading, "PARAMETERS_GRACE_SECONDS", 0.0)
        yield


class World:
    """What lies in the bucket and the ledger."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self.clients, self.settings, self.ours = clients, settings, set[str]()
        self.ledger = Ledger(clients.dynamodb, settings.table)
        self.before = self._list()

    def put(self, key: str, body: bytes) -> str:
        """Store what the test hands in."""
        self.ours.add(key)
        answer = self.clients.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=body)
        return answer.get("VersionId", "")

    def check(self, door: str, kind: str, runs: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Fail if there is more than there was, than what was handed in, and than these runs' own."""
        new = self._list() - self.before
        mine = {each for each in new if each in self.ours or any(run in each.split("/") for run in runs)}
        left_behind(door, kind, sorted(new - mine))

    def _list(self) -> set[str]:
        objects = self.clients.s3.get_paginator("list_object_versions").paginate(Bucket=self.settings.bucket)
        keys = {item["Key"] for page in objects for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))}
        items = self.clients.dynamodb.scan(TableName=self.settings.table, ConsistentRead=True)["Items"]
        return keys | {"ledger/" + item["run_id"]["S"] for item in items}


@pytest.fixture
def world(clients: Clients, settings: Settings) -> World:
    return World(clients, settings)


def request(**change: Any) -> dict[str, Any]:
    return {"run_id": "bad-input", "dataset": "runs/bad/input/given.h5", "parameters": network(), **change}


def invoke(clients: Clients, function: str, event: Any) -> dict[str, Any]:
    answer = clients.lambda_.invoke(FunctionName=function, Payload=json.dumps(event).encode())
    assert "FunctionError" not in answer, answer["Payload"].read()
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    return said


def _raise_refusal(said: dict[str, Any]) -> dict[str, Any]:
    line = said.get("error") or said.get("refused") or said.get("lost")
    if line:
        raise InvalidInput(line.removesuffix("\n"))
    return said


EVENTS: list[Any] = [
    None, True, 0, -1.5, "", "x" * 10_000, [], [[]], {}, {"": 0}, {"Records": None}, {"Records": 1}, {"Records": {}},
    {"Records": [None]}, {"Records": [[]]}, {"Records": [{"s3": 1}]}, {"Records": [{"s3": {"object": []}}]},
    {"Records": [{"s3": {"object": {"key": 5}, "bucket": {"name": "b"}}}]}, {"run_id": None}, {"run_id": ["r"]},
    {"run_id": "../x"}, {"run_id": "a" * 64}, {"requestPayload": None}, {"requestPayload": {"run_id": ""}},
    {"requestPayload": {"run_id": 5}, "requestContext": []}, {"parameters": {"epochs": 0}},
    {"run_id": "R", "dataset": "runs/r/input/\0.h5", "parameters": {}}, {"follower": 1, "run_id": "r"},
]  # fmt: skip


@pytest.mark.parametrize("door", [DIRECT, TRAINER, NEURON])
def test_events_of_other_shapes_at_the_functions_themselves(
    door: str, clients: Clients, stack: StackOutputs, world: World
) -> None:
    function = {DIRECT: stack.launch_function, TRAINER: stack.trainer_function, NEURON: stack.neuron_function}[door]
    for event in EVENTS:
        said = judge(door, "list, deployed", lambda event=event: _raise_refusal(invoke(clients, function, event)))
        # Nothing to do is nothing done: a failure of a follower, no records.
        assert said in (None, {}) or (door == DIRECT and said == {}), (event, said)
    world.check(door, "list, deployed")


@pytest.mark.parametrize("name", some(name for name, (_, says) in FILES.items() if says))
def test_the_list_of_data_sets_starts_nothing(name: str, clients: Clients, settings: Settings, world: World) -> None:
    version = world.put("runs/bad/input/given.h5", FILES[name][0]())
    began = time.monotonic()
    ask = lambda: launch(request(dataset_version=version), settings, clients)  # noqa: E731
    assert judge(DIRECT, "data sets, list", ask, InvalidInput) is None
    assert time.monotonic() - began < 20
    world.check(DIRECT, "data sets, list")


def test_damaged_data_sets(clients: Clients, settings: Settings, world: World) -> None:
    begun = set[str]()

    @generated
    @given(damaged(good()) | damaged(compressed()))
    def each(content: bytes) -> None:
        version = world.put("runs/bad/input/given.h5", content)
        name = places.new_run_id(f"damaged {version}")
        ask = lambda: launch(request(run_id=name, dataset_version=version), settings, clients)  # noqa: E731
        run = judge(DIRECT, "data sets, some bytes changed", ask, InvalidInput)
        if run:
            assert run.state is State.PENDING
            begun.add(name)

    each()
    world.check(DIRECT, "data sets, some bytes changed", begun)


def test_any_direct_event(clients: Clients, settings: Settings, world: World) -> None:
    world.put("runs/bad/input/given.h5", good())
    begun, wanted = set[str](), Parameters.load(network())

    @generated
    @given(changed(request()) | parameters().map(lambda fields: request(parameters=fields)))
    def each(event: Any) -> None:
        if isinstance(event, dict) and event.get("run_id") == "bad-input":
            event = {**event, "run_id": places.new_run_id(f"event {len(begun)}")}
        run = judge(DIRECT, "events", lambda: launch(event, settings, clients), InvalidInput)
        if run:
            begun.add(run.run_id)
            assert (run.state, run.dataset) == (State.PENDING, "runs/bad/input/given.h5")
            assert run.parameters == Parameters.load(event["parameters"])
            assert (run.features, run.samples, wanted.layers) == (27, 24, 3)

    each()
    world.check(DIRECT, "events", begun)


def record(bucket: str, key: str, version: str = "") -> dict[str, Any]:
    """What S3 sends; `key` as it encodes it."""
    return {
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "eTag": "e", "versionId": version, "size": 5}},
    }


def announce(event: Any, settings: Settings, clients: Clients, begun: set[str]) -> Any:
    """Announce an upload, and return its run; the reason of a run that was recorded as failed is raised."""
    run = launch_upload(event, settings, clients)
    begun.add(run.run_id)
    if run.state is State.FAILED:
        raise InvalidInput(run.reason)
    return run


def test_any_s3_event(clients: Clients, settings: Settings, world: World) -> None:
    begun = set[str]()

    @generated
    @given(changed(record(settings.bucket, "training_input/none/x.h5")))
    def each(event: Any) -> None:
        ask = lambda: announce(event, settings, clients, begun)  # noqa: E731
        assert judge(UPLOAD, "events", ask, InvalidInput) is None

    each()
    world.check(UPLOAD, "events", begun)


KEYS = {
    "training_input/a b/x.h5": True, "training_input/a+b/ü😀/x y+z%.h5": True, "training_input/%2e%2e/x.h5": True,
    "training_input/../runs/r/input/x.h5": True, "training_input/./x.h5": True, "training_input//x.h5": True,
    "training_input/'\"<script>&.h5": True, "training_input/" + "é" * 503 + ".h5": True, "training_input/.h5": True,
    "training_input/x.H5": False, "training_input/x.h5.txt": False, "training_input/": False,
    "runs/r/input/x.h5": False,
    "../training_input/x.h5": False, "/training_input/x.h5": False, "training_inputs/x.h5": False,
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_keys(key: str, clients: Clients, settings: Settings, world: World) -> None:
    assert len(key.encode()) <= 1_024
    begun, event = set[str](), record(settings.bucket, quote_plus(key, safe="/"), "v")
    assert judge(UPLOAD, "keys", lambda: announce(event, settings, clients, begun), InvalidInput) is None
    assert len(begun) == KEYS[key]
    for run_id in begun:  # for there is nothing under that key
        run = world.ledger.get(places.check_run_id(run_id))
        assert run.dataset == key
        assert "parameters.json: is missing (upload it beside the data set)" in run.reason
    world.check(UPLOAD, "keys", begun)


@pytest.fixture
def unnoticed(clients: Clients, stack: StackOutputs) -> Iterator[None]:
    """Uploads start nothing by themselves meanwhile."""
    kept: Any = clients.s3.get_bucket_notification_configuration(Bucket=stack.bucket)
    kept.pop("ResponseMetadata")
    clients.s3.put_bucket_notification_configuration(Bucket=stack.bucket, NotificationConfiguration={})
    yield
    clients.s3.put_bucket_notification_configuration(Bucket=stack.bucket, NotificationConfiguration=kept)


@pytest.mark.usefixtures("unnoticed")
def test_uploads_of_anything(clients: Clients, settings: Settings, world: World) -> None:
    begun = set[str]()
    texts = st.one_of(
        st.just(json.dumps(network()).encode()),
        damaged(json.dumps(network()).encode()),
        parameters().map(lambda fields: json.dumps(fields).encode()),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.just(b"x" * 1_500_000),
    )

    @generated
    @given(st.just(good()) | damaged(good()), texts)
    def each(content: bytes, text: bytes) -> None:
        world.put("training_input/bad/parameters.json", text)
        version = world.put("training_input/bad/x.h5", content)
        named = record(settings.bucket, "training_input/bad/x.h5", version)

        run = judge(UPLOAD, "uploads", lambda: announce(named, settings, clients, begun))
        assert run is None or (run.state, run.parameters) == (State.PENDING, Parameters.load(text))

    each()
    world.check(UPLOAD, "uploads", begun)
    # A failed upload is one record: nothing lies in its run's folder.
    failed = [run for run in begun if world.ledger.get(run).state is State.FAILED]
    assert failed
    listed = [clients.s3.list_objects_v2(Bucket=settings.bucket, Prefix=places.run_prefix(run)) for run in failed]
    assert [each["KeyCount"] for each in listed] == [0] * len(failed)


def test_any_failure_record(clients: Clients, settings: Settings, world: World) -> None:
    told = {
        "requestPayload": {"run_id": "nobody"}, "requestContext": {"condition": "x", "approximateInvokeCount": 3},
        "responsePayload": {"errorMessage": "killed"},
    }  # fmt: skip

    def ask(event: Any) -> Any:
        if not isinstance(event, dict) or "requestPayload" not in event:
            return []  # LaunchLambda takes it for another kind of event
        try:
            return trainer_gone(event, settings, clients)
        except RunNotFound as error:  # ends in the dead letters
            raise InvalidInput(str(error)) from None

    @generated
    @given(changed(told))
    def each(event: Any) -> None:
        assert judge(GONE, "events", lambda: ask(event), InvalidInput) in (None, [])

    each()
    world.check(GONE, "events")


FOLLOWER = {"fence": 1, "rank": 1, "workers": 2, "checkpoint_version": "v"}


@generated
@given(changed(FOLLOWER))
def test_any_follower(event: Any) -> None:
    follower = judge(TRAINER, "followers", lambda: Follower.load(event), InvalidInput)
    if follower:
        counts = (follower.fence, follower.rank, follower.workers)
        assert all(type(count) is int and count >= 0 for count in counts)


class Neurons:
    """Three neurons of a layer on four samples of five numbers, and what a task of theirs says."""

    def __init__(self, cache: Cache) -> None:
        chance = np.random.default_rng(0)
        self.W, self.b = chance.standard_normal((3, 5)), chance.standard_normal((3, 1))
        self.A_prev, self.photos = chance.standard_normal((5, 4)), chance.integers(0, 256, (9, 5), np.uint8)
        self.places = np.array([[8, 0, 3, 3]])
        kept, dZ_next = chance.standard_normal((3, 4)), chance.standard_normal((2, 4))
        named = {"W": self.W, "b": self.b, "A_prev": self.A_prev, "samples": self.photos, "places": self.places,
                 "kept": kept, "W_next": chance.standard_normal((3, 2)), "dZ_next": dZ_next, "dZ": kept}  # fmt: skip
        self.refs = cache.put({f"snn:bad:{name}": array for name, array in named.items()})
        own = {"dropout": {"rate": 0.5, "draw": [1, 3, 0, 0, 0, 1], "neurons": 3},
               "input_dropout": {"rate": 0.25, "draw": [1, 3, 0, 0, 0, 0], "neurons": 5}}  # fmt: skip
        first = ("samples", "places")
        self.tasks = {
            "forward": self.task("forward", "W", "b", "A_prev"),
            "forward, first": self.task("forward", "W", "b", *first),
            "forward, some left out": self.task("forward", "W", "b", *first, **own),
            "backward": self.task("backward", "A_prev", "kept", "W_next", "dZ_next"),
            "backward, last": self.task("backward", "A_prev", "dZ"),
            "backward, some left out": self.task("backward", *first, "kept", "W_next", "dZ_next", **own),
        }

    def task(self, direction: str, *names: str, **more: Any) -> dict[str, Any]:
        return {
            "run_id": "bad", "layer": 1, "neurons": [0, 3], "direction": direction, "activation": "relu",
            "dtype": "float64", "inputs": {name: list(self.refs[f"snn:bad:{name}"]) for name in names},
            "output": "snn:bad:out", **more,
        }  # fmt: skip

    def check(self, cache: Cache, event: Any) -> None:
        """What goes forward and leaves nothing out is right, whatever else the task says."""
        plain = not {"dropout", "input_dropout"} & event.keys() and event["direction"] == "forward"
        inputs = event["inputs"]
        named = {"W": self.W, "b": self.b, "A_prev": self.A_prev, "samples": self.photos, "places": self.places}
        if not plain or any(inputs[name] != list(self.refs[f"snn:bad:{name}"]) for name in inputs if name in named):
            return
        X = self.A_prev
        if "samples" in inputs:
            rows = self.photos[self.places[0]] if "places" in inputs else self.photos
            X = (rows.astype(event["dtype"]) / np.dtype(event["dtype"]).type(255)).T
        wanted = oracle.G[event["activation"]][0](self.W @ X + self.b)
        (A,) = cache.get([self.refs["snn:bad:W"]._replace(key=f"{event['output']}:A", columns=X.shape[1])])
        np.testing.assert_allclose(A, wanted, rtol=0, atol=1e-14)


@pytest.fixture
def cache(emulator: Emulator) -> Iterator[Cache]:
    """The cache, in which nothing is left, nor in what a neuron keeps."""
    valkey = redis.Redis(emulator.redis_host, emulator.redis_port)
    before = set(valkey.scan_iter("*"))
    yield Cache(valkey)
    neuron_task._kept.clear()
    assert set(valkey.scan_iter("*")) <= before


def compute(event: Any, cache: Cache) -> bool:
    """Let a neuron do a task; what the cache lacks is an answer as good as a refusal."""
    try:
        neuron_task.work(event, cache)
    except CacheLost as lost:
        raise InvalidInput(str(lost)) from None
    return True


@pytest.mark.parametrize("kind", range(6))
def test_any_task_of_a_neuron(emulator: Emulator, cache: Cache, kind: int) -> None:
    valkey, neurons = redis.Redis(emulator.redis_host, emulator.redis_port), Neurons(cache)
    task = [*neurons.tasks.values()][kind]
    assert compute(task, cache)
    neurons.check(cache, task)

    @generated
    @given(changed(task))
    def each(event: Any) -> None:
        before = set(valkey.scan_iter("*"))
        if judge(NEURON, "tasks", lambda: compute(event, cache), InvalidInput):
            neurons.check(cache, event)
            valkey.delete(*(f"{event['output']}:{name}" for name in ("A", "kept", "dZ", "dW", "db")))
        else:
            left_behind(NEURON, "tasks", set(valkey.scan_iter("*")) - before)

    each()
    valkey.delete(*neurons.refs, *(f"snn:bad:out:{name}" for name in ("A", "kept", "dZ", "dW", "db")))


def drop(neurons: Any, rate: Any = 0.5) -> dict[str, Any]:
    return {"rate": rate, "draw": [1], "neurons": neurons}


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a place beyond the samples": ("forward, first", {"samples": ["snn:bad:samples", 8, 5, "|u1", 0, 8]}),
    "places that are no whole numbers": ("forward, first", {"places": ["snn:bad:places", 1, 4, "<f8"]}),
    "no row of places": ("forward, first", {"places": ["snn:bad:nothing", 0, 4, "<i8"]}),
    "samples of another size": ("forward, first", {"samples": ["snn:bad:samples", 5, 9, "|u1"]}),
    "places that are samples": ("forward, first", {"places": ["snn:bad:samples", 9, 5, "|u1"]}),
    "a layer too wide to be": ("forward, some left out", {"dropout": drop(2**39)}),
    "inputs too many to be": ("forward, some left out", {"input_dropout": drop(2**39)}),
    "a layer of fewer neurons": ("backward, some left out", {"dropout": drop(2)}),
    "other inputs than there are": ("backward, some left out", {"input_dropout": drop(6)}),
    "all left out": ("forward, some left out", {"dropout": drop(3, 1.0)}),
    "a draw that is none": ("forward, some left out", {"dropout": {**drop(3), "draw": ["1"]}}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_task_that_fits_nothing(emulator: Emulator, cache: Cache, name: str) -> None:
    valkey, neurons = redis.Redis(emulator.redis_host, emulator.redis_port), Neurons(cache)
    valkey.set("snn:bad:nothing", b"")
    kind, change = WRONG[name]
    event, inputs = dict(neurons.tasks[kind]), {name: ref for name, ref in change.items() if isinstance(ref, list)}
    event |= {field: value for field, value in change.items() if field not in inputs}
    event["inputs"] = {**event["inputs"], **inputs}
    before = set(valkey.scan_iter("*"))
    assert judge(NEURON, "tasks", lambda: compute(event, cache), InvalidInput) is None
    left_behind(NEURON, "tasks", set(valkey.scan_iter("*")) - before)
    valkey.delete(*neurons.refs, "snn:bad:nothing")


def test_the_header_s_reader_is_told_of_s3_s_own_errors(clients: Clients, settings: Settings, world: World) -> None:
    with pytest.raises(InvalidInput, match=r"runs/bad/input/nobody\.h5: no such object in S3"):
        launch(request(dataset="runs/bad/input/nobody.h5"), settings, clients)
    world.check(DIRECT, "data sets, list")


# The command line, on the stack.

COMMANDS: dict[str, list[str]] = {
    "epochs 0": ["train", "--epochs", "0"],
    "epochs of 400 digits": ["train", "--epochs", "9" * 400],
    "epochs of 5,000 digits": ["train", "--epochs", "9" * 5_000],
    "epochs 2.5": ["train", "--epochs", "2.5"],
    "learning rate NaN": ["train", "--learning-rate", "nan"],
    "learning rate infinite": ["train", "--learning-rate", "inf"],
    "learning rate -1": ["train", "--learning-rate", "-1"],
    "batch size 0": ["train", "--batch-size", "0"],
    "threshold NaN": ["train", "--threshold", "nan"],
    "seed -1": ["train", "--seed", "-1"],
    "seed of 64 bits": ["train", "--seed", str(2**64)],
    "no workers": ["train", "--workers", "0"],
    "workers without mini-batches": ["train", "--workers", "2"],
    "no such strategy": ["train", "--strategy", "best"],
    "no such granularity": ["train", "--granularity", ""],
    "name that climbs": ["train", "--name", "../x"],
    "name in capitals": ["train", "--name", "Mine"],
    "name with a line end": ["train", "--name", "a\nb"],
    "name of 64": ["train", "--name", "x" * 64],
    "resume nobody": ["train", "--resume", "nobody"],
    "resume a path": ["resume", "../x"],
    "data set nowhere": ["train", "--dataset", "nowhere.h5"],
    "data set a device": ["train", "--dataset", "/dev/zero"],
    "data set no address": ["train", "--dataset", "s3://"],
    "data set in no bucket that can be": ["train", "--dataset", "s3://A B/c.h5"],
    "data set with a NUL": ["train", "--dataset", "a\0.h5"],
    "parameters nowhere": ["train", "--parameters", "s3://{bucket}/nowhere.json"],
    "parameters a folder": ["train", "--parameters", "/"],
    "status of nobody": ["status", "nobody"],
    "status of a path": ["status", "../../x"],
    "logs of nobody": ["logs", "nobody"],
    "cancel nobody": ["cancel", "nobody"],
    "evaluate nobody": ["evaluate", "nobody"],
    "evaluate by nothing": ["evaluate", "{run}", "--dataset", "nowhere.h5"],
    "evaluate by no data set": ["evaluate", "{run}", "--dataset", "runs/{run}/params.h5"],
    "evaluate two": ["evaluate", "{run}", "--promoted"],
    "predict nothing": ["predict", "--run", "{run}"],
    "predict nowhere": ["predict", "nowhere.png", "--run", "{run}"],
    "predict a device": ["predict", "/dev/zero", "--run", "{run}"],
    "report to nowhere": ["report", "{run}", "--out", "/dev/null/x"],
    "no such stack": ["status", "--stack", "nobody"],
    "a stack with another kind of name": ["status", "--stack", "a b;c"],
}  # fmt: skip
CLI = "command line"


@pytest.fixture(scope="module")
def trained(clients: Clients, stack: StackOutputs) -> str:
    """A run that completed."""
    run_id, key = runs.new_run_id("trained for bad input"), "runs/bad/input/good.h5"
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=good())
    runs.launch(clients, stack, run_id, key, Parameters.load(network()))
    runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.05, limit_seconds=60)
    return run_id


def on_stack(stack: StackOutputs, words: list[str]) -> str:
    return command(*words, *([] if "--stack" in words else ["--stack", stack.stack_name]))


@pytest.mark.parametrize("name", some(COMMANDS))
def test_commands(name: str, stack: StackOutputs, trained: str, world: World) -> None:
    words = [word.replace("{run}", trained).replace("{bucket}", stack.bucket) for word in COMMANDS[name]]
    assert judge(CLI, "train … cancel, list", lambda: on_stack(stack, words), InvalidInput) is None
    # A report is in S3 before a copy of it cannot be written.
    world.check(CLI, "train … cancel, list", {trained} if words[0] == "report" else set())


@pytest.mark.parametrize("name", ["cut", "names by reference", "compressed bomb", "virtual", "NaN among labels"])
def test_training_on_a_bad_data_set(name: str, stack: StackOutputs, world: World, tmp_path: Path) -> None:
    path = tmp_path / "given.h5"
    path.write_bytes(good()[:-500] if name == "cut" else FILES[name][0]())
    words = ["train", "--dataset", str(path)]
    assert judge(CLI, "train, data sets", lambda: on_stack(stack, words), InvalidInput) is None
    world.check(CLI, "train, data sets")


IN_FILES = [name for name in BAD_PARAMETERS if name != "a BOM in text"]  # which a file may have


@pytest.mark.parametrize("name", some(IN_FILES))
def test_training_with_bad_parameters(name: str, stack: StackOutputs, world: World, tmp_path: Path) -> None:
    text = BAD_PARAMETERS[name][0]
    path = tmp_path / "given.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    words = ["train", "--parameters", str(path)]
    assert judge(CLI, "train, parameters", lambda: on_stack(stack, words), InvalidInput) is None
    world.check(CLI, "train, parameters")


@pytest.mark.parametrize("name", some(BAD_IMAGES))
def test_predicting_a_bad_picture(name: str, stack: StackOutputs, trained: str, world: World, tmp_path: Path) -> None:
    path = tmp_path / "given.png"
    path.write_bytes(BAD_IMAGES[name]())
    words = ["predict", str(path), "--run", trained]
    assert judge(CLI, "predict, pictures", lambda: on_stack(stack, words), InvalidInput) is None
    world.check(CLI, "predict, pictures")
