"""Several trainers of one run: each computes its share of the mini-batches, and they meet in the cache every epoch.

    rank 0 (holds the lease)            cache                        rank 1 … (followers)
    results of its batches ───▶  step 7: batch 0, batch 2   ◀─── results of its batches: batch 1, batch 3
    waits for batch 1, 3   ◀───  step 7: all four           ───▶ waits for batch 0, 2
    same sum, same step                                          same sum, same step

Every trainer holds all weights and sums up in the order of the batches, so all have the same bits, and the same as a
trainer alone. A result is written whole, under a name that says what it is: a repeated message changes nothing. Who
waits looks at whether the others still breathe; one that does not ends the meeting with PeerLost, and the run goes on
from its last checkpoint with new followers under a new fence.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from snn.dataset import Batch
from snn.layers import Array
from snn.network import Layer, Weights
from snn.parameters import Strategy
from snn.strategies import GradientsOf, Result
from snn_cloud.cache import Cache, Ref
from snn_cloud.errors import PeerLost

BREATH_SECONDS = 2.0
DEAD_SECONDS = 15
KEEP_SECONDS = 300
START_SECONDS = 90.0  # for a follower's cold start and its reading of the data


class Dismissed(Exception):
    """Rank 0 has stopped: there is nothing more to wait for."""


class Peers:
    """One trainer's place among the trainers of a run; its `gradients_of` is what the strategies call.

    `compute` gives the results of batches on this machine.
    """

    def __init__(
        self, cache: Cache, prefix: str, rank: int, workers: int, strategy: Strategy, compute: GradientsOf
    ) -> None:
        self._cache, self._prefix, self._rank, self._workers = cache, f"{prefix}:peers", rank, workers
        self._strategy, self._compute = strategy, compute
        self._steps = itertools.count()
        self._written: list[list[str]] = [[], []]
        self._since, self._met = time.monotonic(), set[int]()
        self._done = threading.Event()
        self._breath = threading.Thread(target=self._breathe, name="breath", daemon=True)
        self._breath.start()

    def close(self) -> None:
        """Leave; when rank 0 leaves, all may."""
        self._done.set()
        self._breath.join()
        if self._rank == 0:
            self._cache.sign(f"{self._prefix}:stop", KEEP_SECONDS)
            self._cache.poke(self._inboxes())
        # What this trainer wrote last is left for those that have yet to read it; it goes by itself.

    def gradients_of(self, weights: Weights, batches: Sequence[Batch]) -> Sequence[Result]:
        """Return every batch's result, this trainer's own and the others'. Raises PeerLost, or Dismissed."""
        step = next(self._steps)
        # Whoever has come to this step has read all of the step before the last.
        self._cache.forget(self._written.pop(0))
        self._written.append([])
        mine = [batch for batch in batches if batch.index % self._workers == self._rank]
        results = dict(zip((batch.index for batch in mine), self._compute(weights, mine), strict=True))
        costs = {self._key(step, "cost", index): np.array([[cost]]) for index, (cost, _) in results.items()}
        if self._strategy is Strategy.BEST_BATCH:
            # Only the winner's gradients are wanted: its owner goes back for them, the others wait for those.
            self._tell(costs)
            own = {index: partial(self._back_and_tell, step, index, back) for index, (_, back) in results.items()}
        else:
            slopes = {index: back() for index, (_, back) in results.items()}
            self._tell(costs | {self._key(step, "slopes", index): _flat(each) for index, each in slopes.items()})
            own = {index: partial(slopes.__getitem__, index) for index in slopes}
        others = [batch.index for batch in batches if batch.index not in results]
        heard = self._hear({index: Ref(self._key(step, "cost", index), 1, 1) for index in others})
        everyone = {index: (cost, own[index]) for index, (cost, _) in results.items()}
        everyone |= {i: (float(heard[i].item()), partial(self._hear_slopes, step, i, weights)) for i in others}
        return [everyone[batch.index] for batch in batches]

    def _back_and_tell(self, step: int, index: int, back: Callable[[], Weights]) -> Weights:
        slopes = back()
        self._tell({self._key(step, "slopes", index): _flat(slopes)})
        return slopes

    def _hear_slopes(self, step: int, index: int, weights: Weights) -> Weights:
        size = sum(W.size + b.size for W, b in weights)
        flat = self._hear({index: Ref(self._key(step, "slopes", index), 1, size)})[index]
        return _shaped(flat[0], weights)

    def _tell(self, arrays: Mapping[str, Array]) -> None:
        self._cache.put(arrays, KEEP_SECONDS)
        self._written[-1].extend(arrays)
        self._cache.poke(self._inboxes())

    def _hear(self, wanted: Mapping[int, Ref]) -> dict[int, Array]:
        """Wait until the others have written what is wanted."""
        heard: dict[int, Array] = {}
        while True:
            missing = {index: ref for index, ref in wanted.items() if index not in heard}
            found = self._cache.find(list(missing.values()))
            heard |= {index: array for index, array in zip(missing, found, strict=True) if array is not None}
            if len(heard) == len(wanted):
                return heard
            if not self._cache.wait_for_poke(self._inbox(self._rank), seconds=1):
                self._look_around({index % self._workers for index in missing})

    def _look_around(self, awaited: set[int]) -> None:
        if self._rank and self._cache.exists(f"{self._prefix}:stop"):
            raise Dismissed
        for rank in awaited:
            if self._cache.exists(self._alive(rank)):
                self._met.add(rank)
            elif rank in self._met or time.monotonic() - self._since > START_SECONDS:
                raise PeerLost(f"trainer {rank} of {self._workers} gives no sign of life")

    def _breathe(self) -> None:
        while True:
            self._cache.sign(self._alive(self._rank), DEAD_SECONDS)
            if self._done.wait(BREATH_SECONDS):
                return

    def _key(self, step: int, what: str, index: int) -> str:
        return f"{self._prefix}:{step}:{what}:{index}"

    def _alive(self, rank: int) -> str:
        return f"{self._prefix}:alive:{rank}"

    def _inbox(self, rank: int) -> str:
        return f"{self._prefix}:inbox:{rank}"

    def _inboxes(self) -> list[str]:
        return [self._inbox(rank) for rank in range(self._workers) if rank != self._rank]


def _flat(slopes: Weights) -> Array:
    return np.concatenate([array.ravel() for layer in slopes for array in layer])[None, :]


def _shaped(flat: Array, like: Weights) -> Weights:
    slopes, at = [], 0
    for W, b in like:
        end = at + W.size
        slopes.append(Layer(flat[at:end].reshape(W.shape), flat[end : end + b.size].reshape(b.shape)))
        at = end + b.size
    return slopes
