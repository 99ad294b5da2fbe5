"""Arrays by reference through a real Valkey."""

import os
import subprocess
import sys

import numpy as np
import pytest
import redis

from snn.errors import InvalidInput
from snn.layers import forward
from snn_cloud import neuron_task
from snn_cloud.cache import Cache, Ref, read_progress
from snn_cloud.errors import CacheLost
from snn_cloud.neuron_task import work
from snn_cloud.record import Run, State


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
    assert read_progress(cache, "nobody") is None
    cache.put_progress(Run("t-run", State.RUNNING, epoch=3, cost=0.5))
    assert read_progress(cache, "t-run") == {"state": "RUNNING", "epoch": 3, "cost": 0.5}
    cache.forget_progress(Run("t-run", State.COMPLETED))
    assert read_progress(cache, "t-run") is None


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
            "inputs": {name: list(ref) for name, ref in inputs.items()}, "output": "t:out", **fields}  # fmt: skip


def test_a_repeated_neuron_writes_the_same_bytes(cache, valkey):
    random = np.random.default_rng(2)
    W, b, X = random.standard_normal((4, 6)), random.standard_normal((4, 1)), random.integers(0, 256, (6, 3), np.uint8)
    refs = cache.put({"t:W1": W, "t:b1": b, "t:X1": X})
    one = task({"W": refs["t:W1"].slice(1, 3), "b": refs["t:b1"].slice(1, 3), "A_prev": refs["t:X1"]})
    work(one, cache)
    first = valkey.get("t:out:A")
    work(one, cache)
    assert valkey.get("t:out:A") == first
    assert np.array_equal(cache.get([Ref("t:out:A", 2, 3)])[0], forward(W[1:3], b[1:3], X / 255, "relu"))


def test_a_task_of_another_form_is_refused(cache):
    with pytest.raises(InvalidInput, match="lacks b, A_prev"):
        work(task({"W": Ref("t:W1", 1, 1)}), cache)
    for bad, says in (
        ({}, "run_id: is missing"),
        ([], "is a list, not a task"),
        ({**task({}), "inputs": []}, "inputs: is \\[\\]"),
        ({**task({}), "inputs": {"W": ["k"]}}, "inputs.W: is \\['k'\\]"),
    ):
        with pytest.raises(InvalidInput, match=f"^NeuronLambda: {says}"):
            work(bad, cache)


@pytest.fixture
def kept(monkeypatch):
    """What a neuron's environment keeps, empty now, with room for three times 100 photos of six numbers."""
    monkeypatch.setattr(neuron_task, "FREE_BYTES", 60_000)
    monkeypatch.setattr(neuron_task, "KEEP_BYTES", 3 * 8 * 600)
    neuron_task._kept.clear()
    yield neuron_task._kept
    neuron_task._kept.clear()


@pytest.fixture
def compute(cache):
    """Compute a neuron on a batch, (6, samples) photos, that nobody but `t:X<name>` has; return where it lies."""
    W, b = np.random.default_rng(2).standard_normal((1, 6)), np.zeros((1, 1))
    refs = cache.put({"t:W1": W, "t:b1": b})

    def compute(name, samples=100):
        X = np.random.default_rng(ord(name)).integers(0, 256, (6, samples), np.uint8)
        photos = cache.put({f"t:X{name}": X})[f"t:X{name}"]
        work(task({"W": refs["t:W1"], "b": refs["t:b1"], "A_prev": photos}, neurons=(0, 1)), cache)
        assert np.array_equal(cache.get([Ref("t:out:A", 1, samples)])[0], forward(W, b, X / 255, "relu"))

    return compute


def test_a_neuron_keeps_the_photos_used_last(kept, compute, cache):
    for name in "abcad":  # a is used again, so b goes
        compute(name)
        cache.forget([f"t:X{name}"])
    assert list(kept) == ["t:Xc", "t:Xa", "t:Xd"]


def test_photos_are_kept_by_their_bytes(kept, compute):
    for name in "abc":
        compute(name)
    compute("d", samples=101)  # one more than there is room for beside two
    assert list(kept) == ["t:Xc", "t:Xd"]
    compute("e", samples=301)  # more than all there is room for: it is used, not kept
    assert list(kept) == []
    compute("f", samples=300)
    assert list(kept) == ["t:Xf"]


def test_what_is_kept_makes_way_for_what_a_task_fetches(kept, compute, cache):
    for name in "abc":
        compute(name)
    wide = cache.put({"t:wide": np.ones((1, 2_000)), "t:high": np.ones((2_000, 1)), "t:b1": np.zeros((1, 1))})
    work(task({"W": wide["t:wide"], "b": wide["t:b1"], "A_prev": wide["t:high"]}, neurons=(0, 1)), cache)
    # 3 × 32,008 bytes while it is read are more than 60,000.
    assert list(kept) == []


NEURON = """
import pathlib, re
from snn_handlers import neuron

for index in range(8):
    inputs = {"W": ["t:W", 1, 12_288], "b": ["t:b", 1, 1], "A_prev": [f"t:X{index}", 12_288, 500, "|u1"]}
    task = {"run_id": "t", "layer": 1, "neurons": [0, 1], "direction": "forward", "activation": "relu",
            "inputs": inputs, "output": "t:out"}
    assert "milliseconds" in neuron.handler(task, None).keys() - {"lost"}
print("peak", re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("memory_mb", [256, 512])
def test_large_mini_batches_do_not_fill_a_neurons_memory(cache, emulator, memory_mb):
    # 500 photos of 64×64×3 are 49 MB as numbers; eight such mini-batches are 393.
    photos = {f"t:X{index}": np.full((12_288, 500), index, np.uint8) for index in range(8)}
    cache.put({**photos, "t:W": np.ones((1, 12_288)), "t:b": np.zeros((1, 1))})
    env = {
        **os.environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb), "OPENBLAS_NUM_THREADS": "1",
        "CACHE_HOST": emulator.redis_host, "CACHE_PORT": str(emulator.redis_port),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", NEURON], env=env, capture_output=True, text=True, check=True)
    peak = int(done.stdout.rsplit("peak ", 1)[1]) / 1024
    assert peak < memory_mb
    cache.forget(list(photos))
