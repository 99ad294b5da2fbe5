"""Keeping epochs while a training goes on: copied when they are due, stored some at a time.

Nothing that goes wrong here ends a training: what could not be stored is said, and missing then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from snn.training import Training
from snn_cloud.aws import places
from snn_cloud.aws.passing import AWS_ERRORS, reason
from snn_cloud.aws.saying import say
from snn_cloud.cost.kept import MOST_WAITING, PAUSES
from snn_cloud.ledger.record import Run
from snn_cloud.train.recording import Recorder
from snn_data.invocations import EpochInvocations
from snn_data.kept import KeptEpoch, dump_epochs, kept_from, state_of


class Pool(Protocol):
    """What invokes neurons: while it has a recorder, it notes each invocation there."""

    recorder: Recorder | None


class Keeper:
    """Keeps every stride-th epoch of the grid by `put`, which stores an object.

    Between two steps, call `look`; at the end `last`. Of a run that begins, or is resumed, the first state is kept,
    too. Set `pool` once there is one.
    """

    def __init__(self, run: Run, training: Training, put: Callable[[str, bytes], object], stride: int = 1) -> None:
        self._run, self._training, self._put, self._stride = run, training, put, stride
        parameters = run.parameters
        self.wanted = parameters is not None and parameters.keep_epochs
        self.pool: Pool | None = None
        self._waiting, self._bytes = list[KeptEpoch](), 0
        self._pauses = iter(PAUSES)
        self._pause = next(self._pauses)
        self._due = time.monotonic() + self._pause
        self._held, self._next, self._end = -1, 0, -1
        self._recorded: EpochInvocations | None = None
        if parameters is None or not self.wanted:
            return
        self._end = min(parameters.epochs, parameters.pause_after or parameters.epochs)
        # What was due at a checkpoint was stored before it, but for that with which a run begins.
        begins = training.epoch == 0 or run.fence <= 1
        self._next = training.epoch if begins else kept_from(training.epoch + 1, stride)

    def look(self, now: float) -> None:
        """Keep the epoch that has just ended, if it is one of those, and store what waits, if it is time."""
        if not self.wanted:
            return
        training, pool = self._training, self.pool
        if training.step == 0:
            if pool is not None and pool.recorder is not None:
                self._recorded = pool.recorder.ended(training.epoch)
                pool.recorder = None
            if training.epoch >= self._next:
                self._keep()
        if self._waiting and now > self._due:
            self.flush()
        if pool is not None and training.step == 0 and training.epoch < self._end:
            pool.recorder = Recorder() if training.epoch + 1 in (self._next, self._end) else None

    def last(self) -> None:
        """Keep the epoch that is the last one, whichever it is, and store what waits."""
        if not self.wanted:
            return
        if self._training.step == 0 and self._training.epoch != self._held:
            self._keep()
        self.flush()

    def flush(self) -> None:
        """Store what waits."""
        if not self._waiting:
            return
        if self._store(self._waiting):
            self._waiting, self._bytes = [], 0
        self._pause = next(self._pauses, self._pause)
        self._due = time.monotonic() + self._pause

    def _keep(self) -> None:
        """Keep the state as it is; a small one waits, in a copy. One whose weights are no longer numbers is not."""
        epoch = self._training.epoch
        self._next = kept_from(epoch + 1, self._stride)
        recorded = self._recorded if self._recorded and self._recorded.epoch == epoch else None
        state = state_of(self._training, recorded)
        if not state.finite:
            return
        self._held = epoch
        if self._bytes + state.nbytes > MOST_WAITING:
            self.flush()
            self._waiting, self._bytes = [], 0  # also what could not be stored
        if state.nbytes > MOST_WAITING:
            self._store([state])
        else:
            self._waiting.append(state.copy())
            self._bytes += state.nbytes

    def _store(self, states: list[KeptEpoch]) -> bool:
        """Store states, and return whether that went well."""
        run = self._run
        key = places.kept_epochs(run.run_id, states[0].epoch, states[-1].epoch, self._stride)
        try:
            self._put(key, dump_epochs(states, run.resumed_from))
        except AWS_ERRORS as error:
            say(run.run_id, f"epochs {states[0].epoch} to {states[-1].epoch} are not kept: {reason(error)}")
            return False
        return True
