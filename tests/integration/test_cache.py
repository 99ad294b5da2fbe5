"""Arrays by reference through a real Valkey."""

import numpy as np
import pytest
import redis

from snn.errors import InvalidInput
from snn.layers import forward
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


def test_a_cache_that_is_down_stops_no_progress(capsys):
    down = Cache(redis.Redis("127.0.0.1", 1, socket_connect_timeout=1))
    down.put_progress(Run("t-run", State.RUNNING))
    assert "t-run: no progress in the cache: " in capsys.readouterr().out
    with pytest.raises(redis.RedisError):
        down.put({"t:x": np.zeros((1, 1))})


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
    for bad in ({}, {"inputs": []}, {"inputs": {"W": ["k"]}}, []):
        with pytest.raises(InvalidInput, match="is not a neuron's task"):
            work(bad, cache)
