"""Runs as they go on, for all who watch them: one look at the ledger a second together, none when nobody watches."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from snn_client.look.stacks import Stack
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.ledger import Curves
from snn_cloud.ledger.record import Run

LOOK_SECONDS = 1.0
WAIT_SECONDS = 5.0  # for somebody else's look; then what was seen before will do
MOST_BYTES = 128 * 2**20
"""Of the curves of all runs that are held; a million epochs with validation take 24 MB."""

NOTHING = Curves(0, np.empty(0), np.empty(0), np.empty(0), [])


@dataclass
class Seen:
    """A run, and all of its curves, as they were at a moment (seconds since 1970)."""

    run: Run
    curves: Curves
    at: float


@dataclass
class _Watched:
    lock: threading.Lock = field(default_factory=threading.Lock)
    looked_at: float = -float("inf")
    seen: Seen | None = None


class Lives:
    """The runs of one stack that are watched. For several threads: who comes during a look gets what it showed."""

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack, self._clock, self._lock = stack, clock, threading.Lock()
        self._watched: OrderedDict[str, _Watched] = OrderedDict()

    def look(self, run_id: str) -> Seen:
        """Return the run as it was at most a second ago; while AWS is slow, as it was when it last answered.

        Raises RunNotFound, and CloudError if AWS has not answered yet.
        """
        with self._lock:
            watched = self._watched.setdefault(run_id, _Watched())
            self._watched.move_to_end(run_id)
        if not watched.lock.acquire(timeout=WAIT_SECONDS):
            if watched.seen is None:
                raise CloudError(f"AWS takes long to tell of run {run_id}: try again in a moment")
            return watched.seen
        try:
            now = self._clock()
            if watched.seen is None or now - watched.looked_at >= LOOK_SECONDS:
                try:
                    watched.seen = self._read(run_id, watched.seen)
                except BaseException:
                    self.forget(run_id)
                    raise
                watched.looked_at = now
            seen = watched.seen
        finally:
            watched.lock.release()
        self._make_room(run_id)
        return seen

    def forget(self, run_id: str) -> None:
        """Have a run read anew at the next look."""
        with self._lock:
            self._watched.pop(run_id, None)

    def _read(self, run_id: str, seen: Seen | None) -> Seen:
        ledger, at = self._stack.ledger, time.time()
        run = ledger.get(run_id)
        if seen is None or run.created_at != seen.run.created_at:
            return Seen(run, ledger.curves(run_id), at)
        if run.beat == seen.run.beat and run.epoch <= len(seen.curves):
            return Seen(run, seen.curves, at)
        # A trainer that fell back to a checkpoint writes the same epochs again, and no others.
        return Seen(run, _joined(seen.curves, ledger.curves(run_id, len(seen.curves) - 1)), at)

    def _make_room(self, run_id: str) -> None:
        with self._lock:
            while len(self._watched) > 1 and sum(map(_size, self._watched.values())) > MOST_BYTES:
                oldest = next(iter(self._watched))
                if oldest == run_id:
                    break
                del self._watched[oldest]


def _joined(old: Curves, new: Curves) -> Curves:
    if not len(new):
        return old
    return Curves(
        0,
        np.concatenate([old.costs, new.costs]),
        np.concatenate([old.validation_costs, new.validation_costs]),
        np.concatenate([old.validation_metrics, new.validation_metrics]),
        [*old.marks, *new.marks],
    )


def _size(watched: _Watched) -> int:
    curves = watched.seen.curves if watched.seen else NOTHING
    return sum(int(array.nbytes) for array in curves[1:4]) + 100 * len(curves.marks)
