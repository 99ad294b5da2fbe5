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
from inbox import role
from snn_handlers import neuron

from snn.dataset import batches, load_dataset
from snn.network import initial_weights
from snn.parameters import Parameters
from snn_cloud import neuron_pool
from snn_cloud.cache import Cache
from snn_cloud.clients import Clients
from snn_cloud.errors import NeuronFailed, Stopped
from snn_cloud.neuron_pool import NeuronPool

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


@pytest.fixture
def job(data):
    """Parameters, first weights and mini-batches of a small network."""

    def job(**fields):
        dataset = load_dataset(io.BytesIO(data))
        chosen = Parameters.load(oracle.small_network((3, 2, 1), ("relu", "relu", "sigmoid"), **fields))
        return chosen, initial_weights(chosen, dataset.features), batches(dataset, chosen.batch_size, chosen.seed)

    return job


@pytest.fixture
def pool(stack, valkey, request):
    """Make a pool that uses this Lambda client; it is closed when the test ends."""
    made = []

    def pool(lambda_, chosen, concurrency=4, cache=None, stop=lambda: False):
        prefix = f"snn:{request.node.name}:1"
        clients = SimpleNamespace(lambda_=lambda_)
        args = clients, stack.neuron_function, cache or Cache(valkey), chosen, "a-run", prefix, concurrency, stop
        made.append(NeuronPool(*args))
        return made[-1]

    yield pool
    for each in made:
        each.close()


def check(results, weights, parts, chosen):
    """The results are those of an independent step."""
    for (cost, back), batch in zip(results, parts, strict=True):
        acts = [activation.value for activation in chosen.activation_per_layer]
        wanted = oracle.step([layer.W for layer in weights], [layer.b for layer in weights], acts, batch.X, batch.Y)
        assert cost == pytest.approx(wanted[0], abs=1e-12)
        for slope, dW, db in zip(back(), wanted[1], wanted[2], strict=True):
            assert np.abs(slope.W - dW).max() < 1e-12
            assert np.abs(slope.b - db).max() < 1e-12


def test_a_neuron_that_fails_once_or_twice_ends_nothing(clients, dying, pool, job, capsys):
    chosen, weights, parts = job(granularity="neuron", batch_size=12)
    for instead in (["exits"], ["raises", "exits"], ["sleeps"]):
        unlucky = Unlucky(clients.lambda_, *(dying[name] for name in instead))
        neurons = pool(unlucky, chosen)
        check(neurons.gradients_of(weights, parts), weights, parts, chosen)
        # Six neurons there and back for two batches, and layer 2's eight tasks so often again.
        assert unlucky.calls == 24 + 8 * len(instead)
        used = neurons.take_usage()
        assert (used.invocations, used.memory_mb) == (unlucky.calls, 512)
        printed = capsys.readouterr().out
        assert printed.count("a-run: layer 2, neurons ") == printed.count(" again: ") == 8 * len(instead)
        if instead == ["sleeps"]:
            assert used.milliseconds > 8 * 1_000  # what the trainer waited for those that ran out of time


def test_an_answer_that_was_cut_off_is_asked_for_again(clients, pool, job, capsys):
    chosen, weights, parts = job(granularity="layer")

    class Cut(Unlucky):
        def invoke(self, FunctionName, Payload):
            answer = super().invoke(FunctionName, Payload)
            if self.calls == 2:
                short = answer["Payload"].read()[:10]
                answer["Payload"] = StreamingBody(io.BytesIO(short), content_length=1_000)
            return answer

    cut = Cut(clients.lambda_)
    neurons = pool(cut, chosen)
    check(neurons.gradients_of(weights, parts), weights, parts, chosen)
    assert neurons.take_usage().invocations == cut.calls == 6 + 1
    assert "again: 10 read, but total bytes expected is 1000" in capsys.readouterr().out


def test_a_neuron_that_fails_for_good_is_named_with_its_reason(clients, dying, pool, job):
    chosen, weights, parts = job(granularity="layer")
    unlucky = Unlucky(clients.lambda_, dying["exits"], dying["exits"], dying["raises"])
    neurons = pool(unlucky, chosen)
    with pytest.raises(NeuronFailed, match=r"layer 2, neurons \(0, 2\), forward: out of luck"):
        neurons.gradients_of(weights, parts)
    assert neurons.take_usage().invocations == unlucky.calls == 1 + 3


def test_a_task_that_is_refused_is_not_repeated(clients, pool, job):
    chosen, weights, parts = job(granularity="layer")

    class Garbling(Unlucky):
        def invoke(self, FunctionName, Payload):
            return super().invoke(FunctionName, Payload.replace(b'"inputs"', b'"outputs"'))

    unlucky = Garbling(clients.lambda_)
    with pytest.raises(NeuronFailed, match=r"layer 1, neurons \(0, 3\), forward: NeuronLambda: inputs: is missing"):
        pool(unlucky, chosen).gradients_of(weights, parts)
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
    chosen, weights, parts = job(granularity="layer")
    neurons = pool(impatient, chosen)
    opening, began = threading.Timer(1.5, closed), time.monotonic()
    opening.start()
    check(neurons.gradients_of(weights, parts), weights, parts, chosen)
    assert time.monotonic() - began > 1.5
    assert neurons.take_usage().invocations == 6


def test_neurons_do_not_wait_for_ever(impatient, closed, pool, job, monkeypatch):
    monkeypatch.setattr(neuron_pool, "PATIENCE_SECONDS", 0.2)
    chosen, weights, parts = job(granularity="layer")
    neurons = pool(impatient, chosen)
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        neurons.gradients_of(weights, parts)
    assert neurons.take_usage().invocations == 0


def test_who_waits_for_a_turn_hears_of_a_stop(impatient, closed, pool, job):
    chosen, weights, parts = job(granularity="layer")
    began = time.monotonic()
    neurons = pool(impatient, chosen, stop=lambda: time.monotonic() - began > 1)
    with pytest.raises(Stopped):
        neurons.gradients_of(weights, parts)
    assert 1 < time.monotonic() - began < 10
    assert neurons.take_usage().invocations == 0


def test_what_a_neuron_cannot_get_from_the_cache_costs_a_step(clients, emulator, valkey, pool, job):
    chosen, weights, parts = job(granularity="neuron")
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
    neurons = pool(barred, chosen, concurrency=1, cache=Cache(trainers))
    check(neurons.gradients_of(weights, parts), weights, parts, chosen)
    assert neurons.take_usage().invocations == barred.calls > 12


def test_a_neuron_answers_that_the_cache_is_gone(monkeypatch):
    gone = redis.Redis("127.0.0.1", 1, retry=None)
    monkeypatch.setattr(neuron, "cache", Cache(gone))
    task = {"run_id": "a-run", "layer": 1, "neurons": [0, 1], "direction": "forward", "activation": "relu",
            "inputs": {"W": ["W", 1, 1], "b": ["b", 1, 1], "A_prev": ["A", 1, 1]}, "output": "out"}  # fmt: skip
    answer = neuron.handler(task, None)
    assert "Connection refused" in answer["lost"]
    assert answer["milliseconds"] > 0


def test_a_pool_closes_without_a_cache_and_leaves_the_error_that_ended_it(clients, valkey, pool, job, capsys):
    chosen, weights, parts = job(granularity="layer")
    cache = Cache(valkey)
    neurons = pool(clients.lambda_, chosen, cache=cache)
    neurons.gradients_of(weights, parts)
    cache._redis = redis.Redis("127.0.0.1", 1, retry=None)
    with pytest.raises(NeuronFailed, match="what ended it"), closing(neurons):
        raise NeuronFailed("what ended it")
    assert ":1:X:0 and 1 more stay in the cache until they expire: Error 111" in capsys.readouterr().out


def test_many_batches_share_few_threads_that_stay(clients, pool, job):
    chosen, weights, parts = job(granularity="layer", batch_size=1)
    assert len(parts) == 24
    neurons = pool(clients.lambda_, chosen, concurrency=3)
    seen = []
    for _ in range(2):
        check(neurons.gradients_of(weights, parts), weights, parts, chosen)
        seen.append({each.ident for each in threading.enumerate() if each.name.startswith("batch")})
    assert len(seen[0]) == 3
    assert seen[0] == seen[1]
    neurons.close()
    assert not [each.name for each in threading.enumerate() if each.name.startswith(("batch", "invoke"))]


def test_a_pool_asks_for_its_client_at_once_and_once(stack, valkey, job):
    made = []
    several = Clients(lambda service: made.append(service) or Clients.from_environment().lambda_)
    chosen, weights, parts = job(granularity="neuron", batch_size=6)
    neurons = NeuronPool(several, stack.neuron_function, Cache(valkey), chosen, "a-run", "snn:once:1", 8)
    assert made == ["lambda"]
    neurons.gradients_of(weights, parts)
    neurons.close()
    assert made == ["lambda"]
