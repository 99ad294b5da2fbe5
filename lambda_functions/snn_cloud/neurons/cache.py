"""The cache: arrays by reference, through Redis or Valkey, between a trainer and its neurons.

A value is written whole and once; a reader that finds it missing or short raises CacheLost. So a cache that was
flushed or restarted in the middle of a step costs that step, never a wrong number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import redis
from numpy.typing import NDArray
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from snn_cloud.aws.errors import CacheLost

if TYPE_CHECKING:
    from snn_cloud.ledger.record import Run

# A run that dies leaves nothing behind for longer than this.
KEEP_SECONDS = 3600


class Ref(NamedTuple):
    """Where an array (rows, columns) lies in the cache, and which of its rows are meant."""

    key: str
    rows: int
    columns: int
    dtype: str = "<f8"
    first: int = 0
    last: int | None = None

    @property
    def nbytes(self) -> int:
        """Return the bytes of the rows that are meant."""
        rows = self.rows if self.last is None else self.last - self.first
        return rows * self.columns * np.dtype(self.dtype).itemsize

    def slice(self, first: int, last: int) -> Ref:
        """Return a reference to rows `first` up to, not including, `last`."""
        return self._replace(first=first, last=last)


class CachedProgress(TypedDict):
    """How far a run is: a few numbers for whoever watches the cache."""

    state: str
    epoch: int
    cost: float | None


class Cache:
    """Arrays by reference. Raises CacheLost for what is missing, and redis' own errors when it cannot be reached."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Cache | None:
        """Return the stack's cache as CACHE_HOST and its companions name it, or None for a stack without one."""
        if not env.get("CACHE_HOST"):
            return None
        credentials: Any = None
        if env.get("CACHE_USER"):
            from snn_cloud.neurons.cache_login import IamLogin

            credentials = IamLogin(env["CACHE_USER"], env["CACHE_NAME"], env["AWS_REGION"])
        return cls(
            redis.Redis(
                host=env["CACHE_HOST"],
                port=int(env.get("CACHE_PORT", "6379")),
                ssl=env.get("CACHE_TLS", "false") == "true",
                credential_provider=credentials,
                socket_timeout=10,
                socket_connect_timeout=5,
                socket_keepalive=True,
                # redis-py would try 11 times: a cache that hangs has to be an error before a neuron's minute is over.
                retry=Retry(ExponentialWithJitterBackoff(cap=1.0, base=0.1), retries=3),
            )
        )

    def put(self, arrays: Mapping[str, NDArray[Any]], seconds: int = KEEP_SECONDS) -> dict[str, Ref]:
        """Store arrays (rows, columns) under their keys, for so many seconds at most; return the references."""
        refs = {}
        with self._redis.pipeline(transaction=False) as pipe:
            for key, array in arrays.items():
                pipe.set(key, np.ascontiguousarray(array).tobytes(), ex=seconds)
                refs[key] = Ref(key, array.shape[0], array.shape[1], array.dtype.str)
            pipe.execute()
        return refs

    def get(self, refs: Sequence[Ref]) -> list[NDArray[Any]]:
        """Return the arrays (or the rows of them) that the references name, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for ref in refs:
                width = ref.columns * np.dtype(ref.dtype).itemsize
                if ref.last is None:
                    pipe.get(ref.key)
                else:
                    pipe.getrange(ref.key, ref.first * width, ref.last * width - 1)
            values = pipe.execute()
        return [_array(ref, value) for ref, value in zip(refs, values, strict=True)]

    def find(self, refs: Sequence[Ref]) -> list[NDArray[Any] | None]:
        """Return the arrays that are there, and None for those that are not."""
        values: Any = self._redis.mget([ref.key for ref in refs])
        return [None if value is None else _array(ref, value) for ref, value in zip(refs, values, strict=True)]

    def exists(self, key: str) -> bool:
        """Return whether something lies under a key."""
        return bool(self._redis.exists(key))

    def missing(self, keys: Sequence[str]) -> int:
        """Return under how many of these keys nothing lies."""
        there: Any = self._redis.exists(*keys) if keys else 0
        return len(keys) - int(there)

    def sign(self, key: str, seconds: int) -> None:
        """Leave a sign that vanishes after so many seconds."""
        self._redis.set(key, 1, ex=seconds)

    def claim(self, key: str) -> bool:
        """Return whether the caller is the first to claim a key."""
        return bool(self._redis.set(key, 1, nx=True, ex=KEEP_SECONDS))

    def poke(self, inboxes: Sequence[str]) -> None:
        """Wake whoever waits for a poke. It is only a hint: one lost or one too many does no harm."""
        with self._redis.pipeline(transaction=False) as pipe:
            for inbox in inboxes:
                pipe.rpush(inbox, 1)
                pipe.ltrim(inbox, -100, -1)
                pipe.expire(inbox, KEEP_SECONDS)
            pipe.execute()

    def wait_for_poke(self, inbox: str, seconds: int) -> bool:
        """Return whether a poke came within so many seconds."""
        return self._redis.blpop([inbox], timeout=seconds) is not None

    def forget(self, keys: Sequence[str]) -> None:
        """Free the memory of arrays that are no longer needed. No error if it cannot be: they leave by themselves."""
        try:
            if keys:
                self._redis.unlink(*keys)
        except redis.RedisError as error:
            print(f"{run_of(keys[0])}: {keys[0]} and {len(keys) - 1} more stay in the cache until they expire: {error}")

    def put_progress(self, run: Run) -> None:
        """Publish a run's progress in the cache."""
        progress: CachedProgress = {"state": run.state.value, "epoch": run.epoch, "cost": run.cost}
        try:
            self._redis.set(_progress_key(run.run_id), json.dumps(progress), ex=KEEP_SECONDS)
        except redis.RedisError as error:  # the ledger has it too: no reason to stop training
            print(f"{run.run_id}: no progress in the cache: {error}")

    def progress_of(self, run_id: str) -> CachedProgress | None:
        """Return how far a run that uses the cache is, or None when nothing is known of it."""
        value: Any = self._redis.get(_progress_key(run_id))
        progress: CachedProgress | None = json.loads(value) if value else None
        return progress

    def forget_progress(self, run: Run) -> None:
        """Delete the progress of a run that has ended: how it ended is in the ledger."""
        self.forget([_progress_key(run.run_id)])


def run_of(key: str) -> str:
    """Return the run whose key this is: snn:<run>:…"""
    return key.removeprefix("snn:").partition(":")[0]


def _progress_key(run_id: str) -> str:
    return f"snn:{run_id}:progress"


def _array(ref: Ref, value: bytes | None) -> NDArray[Any]:
    if value is None or len(value) != ref.nbytes:
        raise CacheLost(f"{ref.key} is not in the cache, or not in full")
    return np.frombuffer(value, dtype=ref.dtype).reshape(-1, ref.columns)
