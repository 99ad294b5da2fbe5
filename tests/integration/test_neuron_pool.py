"""The trainer's side of neurons, with real functions: what one failure costs, what many batches take."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections import Counter
from contextlib import closing
from threading import Lock
from types import SimpleNamespace

import boto3
import numpy as np
import oracle
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from cable import NOWHERE, Cable
from inbox import role
from snn_handlers import neuron
from training import Lesson, table

from snn_cloud.aws import invoking
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CacheLost, NeuronFailed, Stopped
from snn_cloud.aws.settings import Settings
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.neurons import task as neuron_task
from snn_cloud.neurons.cache import Cache
from snn_cloud.train.neuron_pool import NeuronPool
from snn_cloud.train.recording import Recorder
from snn_data.dataset import load_dataset

DYING = """
import os, time

def exits(event, context):
    os._exit(1)

def raises(event, context):
    raise ValueError("out of luck")

def sleeps(event, context):
    time.sleep(30)
"""


@pytest.fixture(scope="module")
def dying(clients):
    """The names of functions that end as a neuron may: by {exits, raises, sleeps}."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("dying.py", DYING)
    for name in ("exits", "raises", "sleeps"):
        clients.lambda_.create_function(
            FunctionName=f"pool-{name}", Handler=f"dying.{name}", Runtime="python3.13",
            Timeout=1 if name == "sleeps" else 60, Role=role("pool"), Code={"ZipFile": code.getvalue()},
        )  # fmt: skip
    return {name: f"pool-{name}" for name in ("exits", "raises", "sleeps")}


class Unlucky:
    """The real client; the first invocations of the tasks of layer 2 go to other functions, in turn."""

    def __init__(self, real, *instead):
        self._real, self._instead, self._seen, self._lock = real, instead, Counter(), Lock()
        self.calls = 0

    def invoke(self, FunctionName, Payload):
        with self._lock:
            self.calls += 1
            turn = self._seen[Payload]
            self._seen[Payload] += 1
        if b'"layer": 2' in Payload and turn < len(self._instead):
            FunctionName = self._instead[turn]
        return self._real.invoke(FunctionName=FunctionName, Payload=Payload)


@pytest.fixture
def valkey(emulator):
    return redis.Redis(emulator.redis_host, emulator.redis_port)


class Step:
    """One step of a small network's training: what a pool is given, and what an independent step gives."""

    def __init__(self, dataset, number=0, epoch=0, sizes=(3, 2, 1), **fields):
        network = oracle.small_network(sizes, ("relu", "relu", "sigmoid"))
        lesson = Lesson(Parameters.load({**network, **fields}), dataset)
        self.job, self.dataset, self.chosen = lesson.job, dataset, lesson.parameters
        self.params, self.batches = lesson.training.params, lesson.epoch(epoch).step(number)
        self.draws = [(epoch, number, index) for index in range(len(self.batches))]
        self.epoch, self.number = epoch, number

    def run(self, pool):
        return pool.gradients_of(self.params, self.batches)

    def check(self, results, tolerance=1e-12):
        """The results are those of an independent step."""
        chosen, (Ws, bs) = self.chosen, oracle.first_weights(self.chosen, self.dataset.features)
        stored, y = self.dataset.train.stored, self.dataset.train.y
        drawn = oracle.batches_of(chosen, len(y), self.epoch)[self.number]
        assert len(drawn) == len(self.batches)
        largest = {}
        for (cost, back), places, draw in zip(results, drawn, self.draws, strict=True):
            photos = oracle.augmented(stored[places], chosen, len(y), self.epoch, places)
            X = oracle.as_inputs(photos, chosen.dtype, chosen.input_scaling)
            wanted = oracle.step(Ws, bs, chosen, X, y[places], draw)
            assert cost == pytest.approx(wanted[0], abs=tolerance)
            slopes = back()
            assert slopes.keys() == self.params.keys()
            for number, (dW, db) in enumerate(zip(*wanted[1:], strict=True), start=1):
                assert slopes[f"W{number}"].dtype == slopes[f"b{number}"].dtype == np.dtype(chosen.dtype)
                assert np.abs(slopes[f"W{number}"] - dW).max() < tolerance
                assert np.abs(slopes[f"b{number}"] - db).max() < tolerance
                largest[number] = max(largest.get(number, 0.0), float(np.abs(dW).max()))
        assert min(largest.values()) > 100 * tolerance


@pytest.fixture
def job(data):
    """The first step of a small network's training."""

    def job(**fields):
        return Step(load_dataset(io.BytesIO(data)), **fields)

    return job


@pytest.fixture
def pool(stack, valkey, request):
    """Make a pool that uses this Lambda client; it is closed when the test ends."""
    made = []

    def pool(lambda_, step, concurrency=4, cache=None, stop=lambda: False, neuron_mb=0):
        prefix = f"snn:{request.node.name}:{len(made) + 1}"
        settings = Settings("", "", "", "", stack.neuron_function, concurrency, neuron_mb=neuron_mb)
        clients = SimpleNamespace(lambda_=lambda_)
        made.append(NeuronPool(clients, settings, cache or Cache(valkey), step.job, "a-run", prefix, stop))
        return made[-1]

    yield pool
    for each in made:
        each.close()


class Recording(Cache):
    """A real cache that remembers which arrays it was given, and how large they were."""

    def __init__(self, client):
        super().__init__(client)
        self.given = []

    def put(self, arrays, *seconds):
        self.given += [(key.split(":", 3)[-1], array.shape, array.dtype.str) for key, array in arrays.items()]
        return super().put(arrays, *seconds)

    def samples(self):
        """What travelled of the samples."""
        return [(key, *how) for key, *how in self.given if key.endswith(("samples", "places"))]


STRATEGIES = {
    "full-batch": {},
    "best-batch": {"batch_size": 7},
    "average": {"batch_size": 7, "strategy": "average"},
    "sgd": {"batch_size": 7, "strategy": "sgd", "sub_batches": 3},
}
KINDS = {
    "dropout": {"dropout": {"layer0": 0.3, "layer1": 0.4, "layer2": 0.5}},
    "gelu": {"activations": {"layer1": "gelu", "layer2": "gelu", "layer3": "sigmoid"}, "dropout": 0.2},
    "in place": {"activations": {"layer1": "tanh", "layer2": "elu", "layer3": "sigmoid"}},
    "augmentation": {"augmentation": {"mirror": True, "shift": 1}, "dropout": {"layer0": 0.2}},
    "scaled": {"input_scaling": {"mean": 0.5, "scale": 0.25}, "dropout": {"layer0": 0.2}},
    "weighted": {"class_weights": [0.5, 2.0], "label_smoothing": 0.1},
    "softmax": {"sizes": (6, 5, 4), "label_smoothing": 0.2,
                "activations": {"layer1": "leaky_relu", "layer2": "identity", "layer3": "softmax"}},
    "identity": {"activations": {"layer1": "gelu", "layer2": "sigmoid", "layer3": "identity"}, "dropout": 0.3},
    "float32": {"dtype": "float32", "dropout": 0.3,
                "activations": {"layer1": "gelu", "layer2": "relu", "layer3": "sigmoid"}},
}  # fmt: skip


@pytest.mark.parametrize("granularity", ["neuron", "layer"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_neurons_compute_what_the_oracle_does(clients, valkey, pool, job, data, kind, strategy, granularity):
    classes = {"softmax": 4, "identity": 0}
    dataset = table(classes=classes[kind]) if kind in classes else load_dataset(io.BytesIO(data))
    # Of sgd the third mini-batch; and all of them in an epoch that is not the first.
    number = 2 if strategy == "sgd" else 0
    fields = {"sizes": (6, 5, 1), **STRATEGIES[strategy], **KINDS[kind], "granularity": granularity}
    step = Step(dataset, number=number, epoch=2, **fields)
    cache = Recording(valkey)
    neurons = pool(clients.lambda_, step, concurrency=8, cache=cache)
    step.check(step.run(neurons), 2e-5 if kind == "float32" else 1e-12)
    each = sum(step.chosen.neurons_per_layer) if granularity == "neuron" else 3
    assert neurons.take_usage()["neuron"].invocations == 2 * each * len(step.batches)
    sent, whole = cache.samples(), dataset.train.rows
    if kind == "augmentation":
        assert sorted(each[1:] for each in sent) == sorted(((batch.size, 27), "|u1") for batch in step.batches)
    else:
        assert sent[0] == ("samples", whole.shape, whole.dtype.str)
        sizes = [((1, batch.size), "<i8") for batch in step.batches if strategy != "full-batch"]
        assert sorted(each[1:] for each in sent[1:]) == sorted(sizes)


@pytest.mark.parametrize(("room", "travels"), [(24 * 27, "places"), (24 * 27 - 1, "samples")])
def test_a_set_that_neurons_cannot_keep_travels_a_mini_batch_at_a_time(
    clients, valkey, pool, job, monkeypatch, room, travels
):
    # Half of a third of what a neuron has to itself is the most that it keeps of a set.
    monkeypatch.setattr(neuron_task, "EMPTY_BYTES", 2**20 - 6 * room)
    step, cache = job(granularity="layer", batch_size=7, strategy="sgd"), Recording(valkey)
    neurons = pool(clients.lambda_, step, cache=cache, neuron_mb=1)
    for _ in range(2):
        step.check(step.run(neurons))
    once, one = ("samples", (24, 27), "|u1"), ((7, 27), "|u1")
    if travels == "places":
        assert cache.samples() == [once, *((f"{turn}:0:places", (1, 7), "<i8") for turn in range(2))]
    else:
        assert cache.samples() == [(f"{turn}:0:samples", *one) for turn in range(2)]


def test_what_failed_is_noted_and_what_was_asked_again(clients, dying, valkey, pool, job):
    step = job(granularity="neuron", batch_size=12)
    neurons = pool(Unlucky(clients.lambda_, dying["raises"], dying["exits"]), step)
    neurons.recorder = Recorder()
    step.check(step.run(neurons))
    found = neurons.recorder.ended(1).invocations
    assert Counter((one.layer, one.attempt, one.outcome) for one in found) == {
        (1, 1, "done"): 12, (2, 1, "failed"): 8, (2, 2, "failed"): 8, (2, 3, "done"): 8, (3, 1, "done"): 4,
    }  # fmt: skip
    assert {one.round for one in found} == {1}
    assert sum(one.milliseconds for one in found) == neurons.take_usage()["neuron"].milliseconds
    neurons.recorder = None  # and nothing is noted
    step.run(neurons)


def test_a_step_that_is_done_again_is_another_round(clients, valkey, pool, job):
    class Losing(Cache):
        lost = False

        def put(self, arrays, *seconds):
            refs = super().put(arrays, *seconds)
            if not self.lost and any(":A1" in key for key in arrays):
                self.lost = True
                self.forget(list(arrays))
            return refs

    step = job(granularity="layer")
    neurons = pool(clients.lambda_, step, cache=Losing(valkey))
    neurons.recorder = Recorder()
    step.check(step.run(neurons))
    found = neurons.recorder.ended(1).invocations
    assert [(one.round, one.layer, one.direction, one.outcome) for one in found] == [
        (1, 1, "forward", "done"), (1, 2, "forward", "lost"),
        *((2, layer, "forward", "done") for layer in (1, 2, 3)),
        *((2, layer, "backward", "done") for layer in (3, 2, 1)),
    ]  # fmt: skip


def test_nothing_is_left_in_the_cache(clients, valkey, pool, job):
    for fields in ({"batch_size": 7}, {"augmentation": {"mirror": True}, "dropout": 0.5}):
        step = job(granularity="layer", **fields)
        neurons = pool(clients.lambda_, step)
        step.run(neurons)
        kept = [] if "augmentation" in fields else [f"{neurons._prefix}:samples".encode()]
        assert valkey.keys(f"{neurons._prefix.replace('[', '?')}:*") == kept
        neurons.close()
        assert valkey.keys(f"{neurons._prefix}:*") == []


def test_nothing_is_left_in_the_cache_when_it_loses_arrays_again_and_again(valkey, pool, job):
    class Losing:
        def __init__(self):
            self.calls = 0

        def invoke(self, FunctionName, Payload):
            self.calls += 1
            return {"Payload": io.BytesIO(b'{"lost": "W1 is not in the cache", "milliseconds": 1}')}

    losing, step = Losing(), job(granularity="layer", batch_size=12)
    neurons = pool(losing, step)
    with pytest.raises(CacheLost, match="W1 is not in the cache"):
        step.run(neurons)
    assert losing.calls in range(3, 7)  # thrice, and of two mini-batches one may not have begun
    neurons.close()
    assert valkey.keys(f"{neurons._prefix}:*") == []


def test_a_neuron_that_fails_once_or_twice_ends_nothing(clients, dying, pool, job, capsys):
    step = job(granularity="neuron", batch_size=12)
    for instead in (["exits"], ["raises", "exits"], ["sleeps"]):
        unlucky = Unlucky(clients.lambda_, *(dying[name] for name in instead))
        neurons = pool(unlucky, step)
        step.check(step.run(neurons))
        # Six neurons there and back for two batches, and layer 2's eight tasks so often again.
        assert unlucky.calls == 24 + 8 * len(instead)
        used = neurons.take_usage()["neuron"]
        assert (used.invocations, used.memory_mb) == (unlucky.calls, 512)
        printed = capsys.readouterr().out
        assert printed.count("a-run: layer 2, neurons ") == printed.count(" again: ") == 8 * len(instead)
        if instead == ["sleeps"]:
            assert used.milliseconds > 8 * 1_000  # what the trainer waited for those that ran out of time


def test_an_answer_that_was_cut_off_is_asked_for_again(clients, pool, job, capsys):
    step = job(granularity="layer")

    class Cut(Unlucky):
        def invoke(self, FunctionName, Payload):
            answer = super().invoke(FunctionName, Payload)
            if self.calls == 2:
                short = answer["Payload"].read()[:10]
                answer["Payload"] = StreamingBody(io.BytesIO(short), content_length=1_000)
            return answer

    cut = Cut(clients.lambda_)
    neurons = pool(cut, step)
    step.check(step.run(neurons))
    assert neurons.take_usage()["neuron"].invocations == cut.calls == 6 + 1
    assert "again: 10 read, but total bytes expected is 1000" in capsys.readouterr().out


def test_a_neuron_that_fails_for_good_is_named_with_its_reason(clients, dying, pool, job):
    step = job(granularity="layer")
    unlucky = Unlucky(clients.lambda_, dying["exits"], dying["exits"], dying["raises"])
    neurons = pool(unlucky, step)
    with pytest.raises(NeuronFailed, match=r"layer 2, neurons \(0, 2\), forward: out of luck"):
        step.run(neurons)
    assert neurons.take_usage()["neuron"].invocations == unlucky.calls == 1 + 3


def test_a_task_that_is_refused_is_not_repeated(clients, pool, job):
    step = job(granularity="layer")

    class Garbling(Unlucky):
        def invoke(self, FunctionName, Payload):
            return super().invoke(FunctionName, Payload.replace(b'"inputs"', b'"outputs"'))

    unlucky = Garbling(clients.lambda_)
    with pytest.raises(NeuronFailed, match=r"layer 1, neurons \(0, 3\), forward: NeuronLambda: inputs: is missing"):
        step.run(pool(unlucky, step))
    assert unlucky.calls == 1


@pytest.fixture
def impatient():
    """A client that asks once: what waits is the pool, not botocore."""
    return boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def closed(clients, stack):
    """NeuronLambda, which may not run at all until this is called, or the test ends."""
    name = {"FunctionName": stack.neuron_function}
    clients.lambda_.put_function_concurrency(**name, ReservedConcurrentExecutions=0)
    yield lambda: clients.lambda_.delete_function_concurrency(**name)
    clients.lambda_.delete_function_concurrency(**name)


def test_neurons_wait_for_their_turn(impatient, closed, pool, job):
    step = job(granularity="layer")
    neurons = pool(impatient, step)
    opening, began = threading.Timer(1.5, closed), time.monotonic()
    opening.start()
    step.check(step.run(neurons))
    assert time.monotonic() - began > 1.5
    assert neurons.take_usage()["neuron"].invocations == 6


def test_neurons_do_not_wait_for_ever(impatient, closed, pool, job, monkeypatch):
    monkeypatch.setattr(invoking, "PATIENCE_SECONDS", 0.2)
    step = job(granularity="layer")
    neurons = pool(impatient, step)
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        step.run(neurons)
    assert neurons.take_usage()["neuron"].invocations == 0


def test_who_waits_for_a_turn_hears_of_a_stop(impatient, closed, pool, job):
    step = job(granularity="layer")
    began = time.monotonic()
    neurons = pool(impatient, step, stop=lambda: time.monotonic() - began > 1)
    with pytest.raises(Stopped):
        step.run(neurons)
    assert 1 < time.monotonic() - began < 10
    assert neurons.take_usage()["neuron"].invocations == 0


def test_what_a_neuron_cannot_get_from_the_cache_costs_a_step(clients, emulator, valkey, pool, job):
    step = job(granularity="neuron")
    valkey.acl_setuser("a-trainer", enabled=True, nopass=True, keys=["*"], categories=["+@all"])
    trainers = redis.Redis(emulator.redis_host, emulator.redis_port, username="a-trainer", password="any")

    class Barred(Unlucky):
        """Until a first neuron has answered, none may read."""

        def invoke(self, FunctionName, Payload):
            try:
                return super().invoke(FunctionName, Payload)
            finally:
                valkey.acl_setuser("default", enabled=True, nopass=True, keys=["*"], categories=["+@all"])

    valkey.acl_setuser("default", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-getrange"])
    barred = Barred(clients.lambda_)
    neurons = pool(barred, step, concurrency=1, cache=Cache(trainers))
    step.check(step.run(neurons))
    assert neurons.take_usage()["neuron"].invocations == barred.calls > 12


def test_a_neuron_answers_that_the_cache_is_gone(monkeypatch):
    monkeypatch.setattr(neuron, "cache", Cache(NOWHERE))
    task = {"run_id": "a-run", "layer": 1, "neurons": [0, 1], "direction": "forward", "activation": "relu",
            "dtype": "float64", "output": "out",
            "inputs": {"W": ["W", 1, 1], "b": ["b", 1, 1], "A_prev": ["A", 1, 1]}}  # fmt: skip
    answer = neuron.handler(task, None)
    assert "Connection refused" in answer["lost"]
    assert answer["milliseconds"] > 0


def test_a_pool_closes_without_a_cache_and_leaves_the_error_that_ended_it(clients, valkey, pool, job, capsys):
    step = job(granularity="layer")
    cable = Cable(valkey)
    neurons = pool(clients.lambda_, step, cache=Cache(cable))
    step.run(neurons)
    cable.pulled = True
    with pytest.raises(NeuronFailed, match="what ended it"), closing(neurons):
        raise NeuronFailed("what ended it")
    assert ":1:samples and 0 more stay in the cache until they expire: Error 111" in capsys.readouterr().out


def test_many_batches_share_few_threads_that_stay(clients, pool, job):
    step = job(granularity="layer", batch_size=1)
    assert len(step.batches) == 24
    neurons = pool(clients.lambda_, step, concurrency=3)
    seen = []
    for _ in range(2):
        step.check(step.run(neurons))
        seen.append({each.ident for each in threading.enumerate() if each.name.startswith("batch")})
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]
    neurons.close()
    assert not [each.name for each in threading.enumerate() if each.name.startswith(("batch", "invoke"))]


def test_a_pool_asks_for_its_client_at_once_and_once(stack, valkey, job):
    made = []
    several = Clients(lambda service: made.append(service) or Clients.from_environment().lambda_)
    step = job(granularity="neuron", batch_size=6)
    settings = Settings("", "", "", "", stack.neuron_function)
    neurons = NeuronPool(several, settings, Cache(valkey), step.job, "a-run", "snn:once:1")
    assert made == ["lambda"]
    step.run(neurons)
    neurons.close()
    assert made == ["lambda"]
