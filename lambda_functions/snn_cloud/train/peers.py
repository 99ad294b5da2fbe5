"""Several trainers of one run: each computes its share of the mini-batches, and they meet in the cache every epoch.

    rank 0 (holds the lease)            cache                        rank 1 … (followers)
    results of its batches ───▶  step 7: batch 0, batch 2   ◀─── results of its batches: batch 1, batch 3
    waits for batch 1, 3   ◀───  step 7: all four           ───▶ waits for batch 0, 2
    same sum, same step                                          same sum, same step

Every trainer holds all weights and sums up in the order of the batches, so all have the same bits, and the same as a
trainer alone. A result is written whole, under a name that says what it is: a repeated message changes nothing. Who
waits checks the others' heartbeats; one that has stopped ends the exchange with PeerLost, and the run continues
from its last checkpoint with new followers under a new fence. Rank 0 leaves last, so that all have counted their
usage before the run ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import redis

from snn.activations import Array
from snn.batches import Batch
from snn.network import Params
from snn.strategies import Result, best
from snn_cloud.aws.errors import CacheLost, PeerLost
from snn_cloud.ledger.record import Usage
from snn_cloud.neurons.cache import Cache, Ref, run_of
from snn_cloud.train.job import Job

HEARTBEAT_SECONDS = 2.0
DEAD_SECONDS = 15
START_SECONDS = 90.0  # for a follower's cold start and its reading of the data
# A result outlives whoever may still want it: a trainer lives for 900 s, and a follower may start START_SECONDS late.
KEEP_SECONDS = 1_000
LEAVE_SECONDS = 5.0  # that rank 0 waits for the others to count what they used, and leave


class Dismissed(Exception):
    """Rank 0 has stopped: there is nothing more to wait for."""


class Peers:
    """One trainer's place among the trainers of a run; its `gradients_of` is what the strategies call."""

    def __init__(self, cache: Cache, prefix: str, rank: int, workers: int, job: Job) -> None:
        self._cache, self._prefix, self._rank, self._workers = cache, f"{prefix}:peers", rank, workers
        self._run_id = run_of(prefix)
        self._only_best, self._first = job.parameters.how.combine is best, job.first
        self._compute = job.here().gradients_of
        self._step, self._batches = -1, 0
        self._stop = Ref(f"{self._prefix}:stop", 1, 1)
        self._written: list[list[str]] = [[], []]
        self._since, self._met = time.monotonic(), set[int]()
        self._done = threading.Event()
        # First of all: rank 0 does not wait, when it leaves, for a trainer that never sent a heartbeat.
        self._cache.sign(self._alive(self._rank), DEAD_SECONDS)
        self._heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heartbeat.start()

    def close(self) -> None:
        """Leave; rank 0 dismisses the others first. A failing cache is not an error: they will miss the heartbeat."""
        self._done.set()
        self._heartbeat.join()
        try:
            if self._rank == 0:
                self._dismiss()
            else:
                self._cache.sign(self._left(self._rank), KEEP_SECONDS)
                self._cache.poke([self._inbox(0)])
        except redis.RedisError as error:
            print(f"{self._run_id}: trainer {self._rank} leaves without telling the others: {error}")

    def _dismiss(self) -> None:
        self._cache.forget([self._inbox(0)])  # up to 100 pokes of the past
        self._cache.put({self._stop.key: np.ones((1, 1))}, KEEP_SECONDS)
        self._cache.poke(self._inboxes())
        deadline, staying = time.monotonic() + LEAVE_SECONDS, list(range(1, self._workers))
        while staying := [rank for rank in staying if self._stays(rank)]:
            if time.monotonic() > deadline:
                print(
                    f"{self._run_id}: {len(staying)} trainers are still working; their usage is counted when they leave"
                )
                break
            self._cache.wait_for_poke(self._inbox(0), seconds=1)
        # Nobody reads any more what anybody wrote last: for this step, the one before, or already for the next.
        steps = range(self._step - 1, self._step + 2)
        kinds = [(what, index) for what in ("cost", "slopes") for index in range(self._batches)]
        self._cache.forget([self._key(step, *kind) for step in steps for kind in kinds])

    def _stays(self, rank: int) -> bool:
        return self._cache.exists(self._alive(rank)) and not self._cache.exists(self._left(rank))

    def take_usage(self) -> dict[str, Usage]:
        """Return nothing: every trainer counts for itself what it used."""
        return {}

    def uncounted(self) -> dict[str, Usage]:
        """Return what the others have used, as nearly as rank 0 can know: they count it themselves when they leave.

        They began when it did, or a cold start later.
        """
        others = 0 if self._done.is_set() else self._workers - 1
        return {"trainer": Usage(others, others * round((time.monotonic() - self._since) * 1000))}

    def gradients_of(self, params: Params, batches: Sequence[Batch]) -> Sequence[Result]:
        """Return every batch's result, this trainer's own and the others'. Raises PeerLost, or Dismissed."""
        self._step, self._batches = self._step + 1, max(self._batches, len(batches))
        step = self._step
        # Whoever has come to this step has read all of the step before the last.
        self._cache.forget(self._written.pop(0))
        self._written.append([])
        mine = [batch for batch in batches if batch.number % self._workers == self._rank]
        published, results = dict[str, Array](), dict[int, Result]()
        for batch, (cost, back) in zip(mine, self._compute(params, mine), strict=True):
            published[self._key(step, "cost", batch.number)] = np.array([[cost]])
            if self._only_best:
                # Only the winner's gradients are wanted: its owner goes back for them, the others wait for those.
                results[batch.number] = cost, partial(self._back_and_publish, step, batch, back)
            else:
                flat = published[self._key(step, "slopes", batch.number)] = self._flat(back(), batch)
                results[batch.number] = cost, partial(self._unpack, flat, batch, params)
        self._publish(published)
        others = [batch for batch in batches if batch.number not in results]
        heard = self._hear({batch.number: Ref(self._key(step, "cost", batch.number), 1, 1) for batch in others})
        for batch in others:
            results[batch.number] = heard[batch.number].item(), partial(self._hear_slopes, step, batch, params)
        return [results[batch.number] for batch in batches]

    def _back_and_publish(self, step: int, batch: Batch, back: Callable[[], Params]) -> Params:
        slopes = back()
        self._publish({self._key(step, "slopes", batch.number): self._flat(slopes, batch)})
        return slopes

    def _hear_slopes(self, step: int, batch: Batch, params: Params) -> Params:
        size = sum(part.size for part in self._parts(params, batch).values())
        ref = Ref(self._key(step, "slopes", batch.number), 1, size, params["b1"].dtype.str)
        return self._unpack(self._hear({batch.number: ref})[batch.number], batch, params)

    def _flat(self, slopes: Params, batch: Batch) -> Array:
        return np.concatenate([part.ravel() for part in self._parts(slopes, batch).values()])[None, :]

    def _unpack(self, flat: Array, batch: Batch, params: Params) -> Params:
        """Return gradients of the shape of `params` from one row of numbers."""
        slopes, at = Params(), 0
        for name, part in self._parts(params, batch).items():
            numbers = flat[0, at : at + part.size].reshape(part.shape).copy()  # the cache's own cannot be clipped
            at += part.size
            if part.shape != params[name].shape:
                slopes[name] = np.zeros_like(params[name])
                slopes[name][:, self._first.places(batch)] = numbers
            else:
                slopes[name] = numbers
        return slopes

    def _parts(self, slopes: Params, batch: Batch) -> Params:
        """Return what of a batch's gradients is not zero anyway."""
        where = self._first.travels
        return {
            name: slopes[name][:, self._first.places(batch)] if name == where else slopes[name]
            for name in sorted(slopes)
        }

    def _publish(self, arrays: Mapping[str, Array]) -> None:
        self._cache.put(arrays, KEEP_SECONDS)
        self._written[-1].extend(arrays)
        self._cache.poke(self._inboxes())

    def _hear(self, wanted: Mapping[int, Ref]) -> dict[int, Array]:
        """Wait until the others have written what is wanted. Raises CacheLost when what they wait for is gone."""
        heard: dict[int, Array] = {}
        while True:
            missing = {index: ref for index, ref in wanted.items() if index not in heard}
            *found, stop = self._cache.find([*missing.values(), self._stop])
            heard |= {index: array for index, array in zip(missing, found, strict=True) if array is not None}
            if len(heard) == len(wanted):
                return heard
            if stop is not None:
                raise Dismissed
            if not self._cache.wait_for_poke(self._inbox(self._rank), seconds=1):
                self._look_around({index % self._workers for index in missing})
                # Had the cache lost what this trainer published, the others would wait for it as it waits for them.
                if lost := self._cache.missing([key for keys in self._written for key in keys]):
                    raise CacheLost(f"{lost} results of trainer {self._rank} are no longer in the cache")

    def _look_around(self, awaited: set[int]) -> None:
        for rank in awaited:
            if self._cache.exists(self._alive(rank)):
                self._met.add(rank)
            elif rank in self._met or time.monotonic() - self._since > START_SECONDS:
                raise PeerLost(f"trainer {rank} of {self._workers} has stopped responding")

    def _beat(self) -> None:
        trouble = False
        while not self._done.wait(HEARTBEAT_SECONDS):
            try:
                self._cache.sign(self._alive(self._rank), DEAD_SECONDS)
                trouble = False
            except redis.RedisError as error:
                if not trouble:
                    print(f"{self._run_id}: cannot send the heartbeat of trainer {self._rank}: {error}")
                trouble = True

    def _key(self, step: int, what: str, index: int) -> str:
        return f"{self._prefix}:{step}:{what}:{index}"

    def _alive(self, rank: int) -> str:
        return f"{self._prefix}:alive:{rank}"

    def _left(self, rank: int) -> str:
        return f"{self._prefix}:left:{rank}"

    def _inbox(self, rank: int) -> str:
        return f"{self._prefix}:inbox:{rank}"

    def _inboxes(self) -> list[str]:
        return [self._inbox(rank) for rank in range(self._workers) if rank != self._rank]
