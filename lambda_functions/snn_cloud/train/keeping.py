"""Keeping epochs while a training goes on: copied when they are due, stored some at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from snn.training import Training
from snn_cloud.aws import places
from snn_data.kept import KeptEpoch, dump_epochs, kept_from, state_bytes

MOST_BYTES = 100_000_000
"""Of all kept epochs of a run together; those that would come later are not kept, but for the last."""

MOST_WAITING = 16_000_000  # bytes of kept epochs in memory
FIRST_PAUSE, PAUSE_GROWTH, LONGEST_PAUSE = 1.0, 2.0, 60.0  # seconds between two puts: few, however long a run is


class Keeper:
    """Keeps epochs of a run by `put`, which stores an object. Between two epochs, call `look`; at the end `last`."""

    def __init__(self, run_id: str, training: Training, put: Callable[[str, bytes], object], wanted: bool) -> None:
        self._run_id, self._training, self._put = run_id, training, put
        self._waiting: list[KeptEpoch] = []
        self._bytes, self._pause, self._due = 0, FIRST_PAUSE, time.monotonic() + FIRST_PAUSE
        # What is due at a checkpoint was stored before it; only a run that begins has its first state to keep.
        self._next, self._kept = kept_from(training.epoch + 1 if training.epoch else 0)
        self._held = -1  # the last one that was
        self.wanted = wanted

    def look(self, now: float) -> None:
        """Keep the epoch that has just ended, if it is one of those, and store what waits, if it is time."""
        training = self._training
        if not self.wanted:
            return
        if training.step == 0 and training.epoch >= self._next:
            self._keep()
        if self._waiting and (now > self._due or self._bytes > MOST_WAITING):
            self.flush()

    def last(self) -> None:
        """Keep the epoch that is the last one, whichever it is, and store what waits."""
        if not self.wanted:
            return
        if self._training.step == 0 and self._training.epoch != self._held:
            self._waiting.append(KeptEpoch.of(self._training))
        self.flush()

    def flush(self) -> None:
        """Store what waits."""
        if not self._waiting:
            return
        first, last = self._waiting[0].epoch, self._waiting[-1].epoch
        self._put(places.kept_epochs(self._run_id, first, last), dump_epochs(self._waiting))
        self._waiting, self._bytes = [], 0
        self._pause = min(self._pause * PAUSE_GROWTH, LONGEST_PAUSE)
        self._due = time.monotonic() + self._pause

    def _keep(self) -> None:
        size = state_bytes(self._training)
        if (self._kept + 1) * size <= MOST_BYTES:
            self._waiting.append(KeptEpoch.of(self._training))
            self._bytes += size
            self._held = self._training.epoch
        self._next, self._kept = kept_from(self._training.epoch + 1)
