"""Arrays by reference through a real Valkey."""

import os
import subprocess
import sys

import numpy as np
import pytest
import redis

from snn.errors import InvalidInput
from snn_cloud.aws.errors import CacheLost
from snn_cloud.ledger.record import Run, State
from snn_cloud.neurons import task as neuron_task
from snn_cloud.neurons.cache import Cache, Ref
from snn_cloud.neurons.task import work


@pytest.fixture
def valkey(emulator):
    return redis.Redis(emulator.redis_host, emulator.redis_port)


@pytest.fixture
def cache(valkey):
    return Cache(valkey)


def test_arrays_and_rows_of_them_read_back_exactly(cache):
    W = np.random.default_rng(1).standard_normal((5, 7))
    photos = np.arange(12, dtype=np.uint8).reshape(4, 3)
    refs = cache.put({"t:W": W, "t:T": W.T, "t:X": photos})
    whole, rows, columns, pixels = cache.get(
        [refs["t:W"], refs["t:W"].slice(2, 4), refs["t:T"].slice(6, 7), refs["t:X"]]
    )
    assert np.array_equal(whole, W)
    assert np.array_equal(rows, W[2:4])
    assert np.array_equal(columns, W.T[6:7])
    assert np.array_equal(pixels, photos)
    assert pixels.dtype == np.uint8


def test_every_array_leaves_by_itself(cache, valkey):
    cache.put({"t:ttl": np.zeros((1, 1))})
    assert 0 < valkey.ttl("t:ttl") <= 3600


@pytest.mark.parametrize("rows", [slice(None), (0, 2), (3, 5)])
def test_what_is_missing_or_short_is_a_loss_never_a_number(cache, valkey, rows):
    ref = cache.put({"t:lost": np.ones((5, 2))})["t:lost"]
    wanted = ref if rows == slice(None) else ref.slice(*rows)
    cache.get([wanted])
    valkey.setrange("t:lost", 0, b"")
    valkey.set("t:lost", valkey.get("t:lost")[:-8])
    if rows != (0, 2):
        with pytest.raises(CacheLost, match="t:lost is not in the cache, or not in full"):
            cache.get([wanted])
    cache.forget(["t:lost"])
    with pytest.raises(CacheLost):
        cache.get([wanted])


def test_progress_is_what_was_last_put(cache):
    assert cache.progress_of("nobody") is None
    cache.put_progress(Run("t-run", State.RUNNING, epoch=3, cost=0.5))
    assert cache.progress_of("t-run") == {"state": "RUNNING", "epoch": 3, "cost": 0.5}
    cache.forget_progress(Run("t-run", State.COMPLETED))
    assert cache.progress_of("t-run") is None


def test_a_cache_that_is_down_stops_no_progress(capsys):
    down = Cache(redis.Redis("127.0.0.1", 1, retry=None))
    down.put_progress(Run("t-run", State.RUNNING))
    assert "t-run: no progress in the cache: " in capsys.readouterr().out
    with pytest.raises(redis.RedisError):
        down.put({"t:x": np.zeros((1, 1))})
    down.forget(["t:x", "t:y", "t:z"])
    assert "t: t:x and 2 more stay in the cache until they expire: " in capsys.readouterr().out


def test_a_cache_that_hangs_is_an_error_before_a_neurons_minute_is_over():
    # Long enough for a value of 80 MB at a small node's 8 MB/s, and three more tries.
    kept = Cache.from_environment({"CACHE_HOST": "127.0.0.1", "CACHE_PORT": "1"})._redis
    retry, longest = kept.get_retry(), kept.get_connection_kwargs()["socket_timeout"]
    pauses = sum(retry._backoff._cap for _ in range(retry.get_retries()))
    assert (retry.get_retries() + 1) * longest + pauses < 60


def test_without_a_host_there_is_no_cache():
    assert Cache.from_environment({}) is None
    assert Cache.from_environment({"CACHE_HOST": ""}) is None


def task(inputs, **fields):
    return {"run_id": "t", "layer": 1, "neurons": (0, 2), "direction": "forward", "activation": "relu",
            "dtype": "float64", "inputs": {name: list(ref) for name, ref in inputs.items()}, "output": "t:out",
            **fields}  # fmt: skip


@pytest.fixture
def samples(cache):
    """Five photos of six numbers as they are stored; the neurons of a layer of four; where they lie."""
    random = np.random.default_rng(2)
    W, b, X = random.standard_normal((4, 6)), random.standard_normal((4, 1)), random.integers(0, 256, (5, 6), np.uint8)
    refs = cache.put({"t:W1": W, "t:b1": b, "t:X1": X, "t:P1": np.array([[4, 1, 2]])})
    return W, b, X, {name: refs[f"t:{name}1"] for name in "WbXP"}


@pytest.mark.parametrize(("places", "chosen"), [(False, [0, 1, 2, 3, 4]), (True, [4, 1, 2])])
def test_a_repeated_neuron_writes_the_same_bytes(cache, valkey, samples, places, chosen):
    W, b, X, refs = samples
    inputs = {"W": refs["W"].slice(1, 3), "b": refs["b"].slice(1, 3), "samples": refs["X"]}
    one = task(inputs | ({"places": refs["P"]} if places else {}), neurons=(1, 3))
    work(one, cache)
    first = valkey.get("t:out:A")
    work(one, cache)
    assert valkey.get("t:out:A") == first
    assert not valkey.exists("t:out:kept")
    found = cache.get([Ref("t:out:A", 2, len(chosen))])[0]
    assert np.array_equal(found, np.maximum(0, W[1:3] @ (X[chosen] / 255).T + b[1:3]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_neurons_leave_out_their_rows_of_what_their_layer_leaves_out(cache, samples, dtype):
    W, b, X, refs = samples
    masks = [
        (np.random.default_rng(draw).random(shape, dtype=np.float32) >= rate).astype(dtype)
        / np.dtype(dtype).type(1 - rate)
        for draw, shape, rate in (([1, 2], (6, 5), 0.25), ([1, 3], (4, 5), 0.5))
    ]
    W, b, X = W.astype(dtype), b.astype(dtype), X.astype(dtype) / 255
    named = cache.put({"t:W1": W, "t:b1": b})
    said = {"dropout": {"rate": 0.5, "draw": [1, 3], "neurons": 4},
            "input_dropout": {"rate": 0.25, "draw": [1, 2], "neurons": 6}, "dtype": dtype}  # fmt: skip
    inputs = {"W": named["t:W1"].slice(1, 3), "b": named["t:b1"].slice(1, 3), "samples": refs["X"]}
    work(task(inputs, neurons=(1, 3), activation="tanh", **said), cache)
    A, kept = cache.get([Ref(f"t:out:{name}", 2, 5, named["t:W1"].dtype) for name in ("A", "kept")])
    wanted = np.tanh(W[1:3] @ (X.T * masks[0]) + b[1:3])
    tolerance = 1e-6 if dtype == "float32" else 1e-15
    assert np.abs(kept - wanted).max() < tolerance
    assert np.abs(A - wanted * masks[1][1:3]).max() < tolerance
    assert 0 < np.count_nonzero(A) < A.size
    W_next, dZ_next = np.arange(9.0).reshape(3, 3).T.astype(dtype)[:2], np.ones((3, 5), dtype)
    back = cache.put({"t:kept": kept, "t:Wn": W_next, "t:dZ": dZ_next})
    inputs = {"samples": refs["X"], "kept": back["t:kept"], "W_next": back["t:Wn"], "dZ_next": back["t:dZ"]}
    work(task(inputs, neurons=(1, 3), activation="tanh", direction="backward", **said), cache)
    places = (("dZ", 5), ("dW", 6), ("db", 1))
    dZ, dW, db = cache.get([Ref(f"t:out:{name}", 2, columns, named["t:W1"].dtype) for name, columns in places])
    wanted = (W_next @ dZ_next) * masks[1][1:3] * (1 - wanted**2)
    for found, right in ((dZ, wanted), (dW, wanted @ (X.T * masks[0]).T), (db, wanted.sum(axis=1, keepdims=True))):
        assert np.abs(found - right).max() < 100 * tolerance


def test_a_task_of_another_form_is_refused(cache):
    with pytest.raises(InvalidInput, match="lacks A_prev"):
        work(task({"W": Ref("t:W1", 1, 1)}), cache)
    for bad, says in (
        ({}, "run_id: is missing"),
        ([], "is a list, not a task"),
        ({**task({}), "inputs": []}, "inputs: is \\[\\]"),
        ({**task({}), "inputs": {"W": ["k"]}}, "inputs.W: is \\['k'\\]"),
        ({**task({}), "dtype": "float16"}, "dtype: is 'float16' \\(choose float32 or float64\\)"),
        ({**task({}), "activation": "softmax"}, "activation: is 'softmax' \\(choose one of "),
        ({**task({}), "dropout": {"rate": 1.0, "draw": [1], "neurons": 2}}, "dropout: is "),
        ({**task({}), "input_dropout": {"rate": 0.5, "draw": [-1], "neurons": 2}}, "input_dropout: is "),
        ({**task({}), "dropout": 0.5}, "dropout: is 0.5 "),
    ):
        with pytest.raises(InvalidInput, match=f"^NeuronLambda: {says}"):
            work(bad, cache)


@pytest.mark.parametrize("gone", ["t:W1", "t:X1", "t:P1"])
def test_what_a_neuron_does_not_find_is_a_loss(cache, samples, kept, gone):
    refs = samples[-1]
    cache.forget([gone])
    with pytest.raises(CacheLost, match=gone):
        work(task({"W": refs["W"], "b": refs["b"], "samples": refs["X"], "places": refs["P"]}), cache)


@pytest.fixture
def kept(monkeypatch):
    """What a neuron's environment keeps, empty now, with room for three times 100 photos of six numbers.

    As they are stored, and as numbers. What it has to itself is three times that.
    """
    monkeypatch.setattr(neuron_task, "MEMORY_MB", 1)
    monkeypatch.setattr(neuron_task, "EMPTY_BYTES", 2**20 - 3 * 3 * (1 + 8) * 600)
    neuron_task._kept.clear()
    yield neuron_task._kept
    neuron_task._kept.clear()


@pytest.fixture
def compute(cache):
    """Compute a neuron on a batch, (samples, 6) photos, that nobody but `t:X<name>` has; return where it lies."""
    W, b = np.random.default_rng(2).standard_normal((1, 6)), np.zeros((1, 1))
    refs = cache.put({"t:W1": W, "t:b1": b})

    def compute(name, samples=100):
        X = np.random.default_rng(ord(name)).integers(0, 256, (samples, 6), np.uint8)
        photos = cache.put({f"t:X{name}": X})[f"t:X{name}"]
        work(task({"W": refs["t:W1"], "b": refs["t:b1"], "samples": photos}, neurons=(0, 1)), cache)
        assert np.array_equal(cache.get([Ref("t:out:A", 1, samples)])[0], np.maximum(0, W @ (X / 255).T + b))

    return compute


def stored(name):
    return f"t:X{name}"


def numbers(name):
    return f"t:X{name} float64"


def test_a_neuron_keeps_the_photos_used_last(kept, compute, cache):
    for name in "abcad":  # a is used again as numbers, so what is stored of it goes, and b
        compute(name)
        cache.forget([f"t:X{name}"])
    assert list(kept) == [stored("c"), numbers("c"), numbers("a"), stored("d"), numbers("d")]


def test_photos_are_kept_by_their_bytes(kept, compute):
    for name in "abc":
        compute(name)
    assert list(kept) == [each(name) for name in "abc" for each in (stored, numbers)]
    compute("d", samples=101)  # one more than there is room for beside two
    assert list(kept) == [numbers("b"), stored("c"), numbers("c"), stored("d"), numbers("d")]
    compute("e", samples=338)  # as numbers more than all there is room for: they are used, not kept
    assert list(kept) == [stored("e")]
    compute("f", samples=337)
    assert list(kept) == [numbers("f")]


def test_mini_batches_of_a_set_that_is_kept_are_converted_once(kept, samples, cache, monkeypatch):
    refs, converted = samples[-1], []
    convert = neuron_task.as_inputs

    def counted(rows, *how, **named):
        converted.append(len(rows))
        return convert(rows, *how, **named)

    monkeypatch.setattr(neuron_task, "as_inputs", counted)
    inputs = {"samples": refs["X"], "places": refs["P"]}
    for first in range(4):
        own = {"W": refs["W"].slice(first, first + 1), "b": refs["b"].slice(first, first + 1)}
        work(task(own | inputs, neurons=(first, first + 1)), cache)
        cache.forget(["t:X1"])  # which is wanted once
    assert converted == [3]
    assert list(kept) == ["t:X1", "t:X1 t:P1 float64"]
    other = cache.put({"t:P2": np.array([[0, 3]])})["t:P2"]
    work(task({"W": refs["W"], "b": refs["b"], "samples": refs["X"], "places": other}), cache)
    assert converted == [3, 2]
    scaled = task({"W": refs["W"], "b": refs["b"], "samples": refs["X"], "places": other})
    work(scaled | {"scaling": [0.5, 0.25]}, cache)  # other numbers of the same photos
    assert converted == [3, 2, 2]
    assert list(kept)[-1] == "t:X1 t:P2 float64 0.5 0.25"
    assert np.array_equal(kept["t:X1 t:P2 float64 0.5 0.25"], (kept["t:X1 t:P2 float64"] - 0.5) / 0.25)


def test_what_is_kept_makes_way_for_what_a_task_fetches(kept, compute, cache):
    for name in "abc":
        compute(name)
    wide = cache.put({"t:wide": np.ones((1, 2_000)), "t:high": np.ones((2_000, 1)), "t:b1": np.zeros((1, 1))})
    work(task({"W": wide["t:wide"], "b": wide["t:b1"], "A_prev": wide["t:high"]}, neurons=(0, 1)), cache)
    # 3 × 16,000 bytes while it is read, twice, are nearly the 48,600 that there are.
    assert list(kept) == []


NEURON = """
import pathlib, re, sys
from snn_handlers import neuron

for index in range(8):
    whole = {"samples": ["t:X", 4_000, 12_288, "|u1"], "places": [f"t:P{index}", 1, 500, "<i8"]}
    samples = whole if sys.argv[1] == "whole" else {"samples": [f"t:X{index}", 500, 12_288, "|u1"]}
    inputs = {"W": ["t:W", 1, 12_288], "b": ["t:b", 1, 1], **samples}
    task = {"run_id": "t", "layer": 1, "neurons": [0, 1], "direction": "forward", "activation": "relu",
            "dtype": "float64", "inputs": inputs, "output": "t:out"}
    assert "milliseconds" in neuron.handler(task, None).keys() - {"lost"}
print("peak", re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize(("memory_mb", "travels"), [(256, "batch"), (512, "batch"), (512, "whole")])
def test_large_mini_batches_do_not_fill_a_neurons_memory(cache, emulator, memory_mb, travels):
    # 500 photos of 64×64×3 are 49 MB as numbers; eight such mini-batches are 393. All as they are stored are 49 MB.
    photos = {f"t:X{index}": np.full((500, 12_288), index, np.uint8) for index in range(8)}
    if travels == "whole":
        places = {f"t:P{index}": np.arange(index, 4_000, 8)[None, :] for index in range(8)}
        photos = {"t:X": np.concatenate([*photos.values()]), **places}
    cache.put({**photos, "t:W": np.ones((1, 12_288)), "t:b": np.zeros((1, 1))})
    env = {
        **os.environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb), "OPENBLAS_NUM_THREADS": "1",
        "CACHE_HOST": emulator.redis_host, "CACHE_PORT": str(emulator.redis_port),
    }  # fmt: skip
    command = [sys.executable, "-c", NEURON, travels]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert '"lost"' not in done.stdout
    peak = int(done.stdout.rsplit("peak ", 1)[1]) / 1024
    assert peak < memory_mb
    cache.forget(list(photos))
