"""Reports progress, heartbeat and usage while a trainer works; notices a cancel, and a budget that is spent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from snn.batches import Batch
from snn.network import Params
from snn.strategies import Result
from snn.training import Training
from snn_cloud.aws import init_phase
from snn_cloud.aws.metering import Requests
from snn_cloud.aws.passing import passes
from snn_cloud.aws.saying import say
from snn_cloud.ledger.ledger import Lease
from snn_cloud.ledger.messages import Messages
from snn_cloud.ledger.record import Run, Usage
from snn_cloud.neurons.cache import Cache

FLUSH_SECONDS = 1.0  # progress, sign of life and the look for a cancel, in one write
FAILED_SECONDS = 3.0  # after a flush that failed, whose attempts took seconds already


class Helpers(Protocol):
    """What computes mini-batches beside a trainer: neurons, or other trainers of the run."""

    def gradients_of(self, params: Params, batches: Sequence[Batch]) -> Sequence[Result]:
        """Return every batch's cost and gradients."""

    def take_usage(self) -> Mapping[str, Usage]:
        """Return by function what they used since the last call, and leave to this trainer to count."""

    def uncounted(self) -> Mapping[str, Usage]:
        """Return by function what they have used so far, and will count themselves."""

    def close(self) -> None:
        """Send them away."""


class Meter:
    """Counts what this invocation and its neurons use. (That it was invoked, the ledger counted with its lease.)

    Set `helpers` once there are any.
    """

    def __init__(self, started: float, memory_mb: int, requests: Requests) -> None:
        self._since, self._memory_mb, self._requests = started, memory_mb, requests
        self.helpers: Helpers | None = None
        self._unsaid: dict[str, Usage] = {}

    def take(self, ahead: Usage | None = None) -> dict[str, Usage]:
        """Return the usage since the last call, and with it what is known to be still ahead of this invocation."""
        now = time.monotonic()
        milliseconds = round((now - self._since) * 1000) + init_phase.take()
        mine = Usage(0, milliseconds, self._memory_mb, **self._requests.take()) + (ahead or Usage())
        self._since = now
        found = {"trainer": mine, **(self.helpers.take_usage() if self.helpers else {})}
        unsaid, self._unsaid = self._unsaid, {}
        return {function: used + unsaid.get(function, Usage()) for function, used in found.items()}

    def give_back(self, usage: dict[str, Usage]) -> None:
        """Keep for the next call what the ledger could not be told."""
        self._unsaid = usage

    def so_far(self, run: Run) -> Run:
        """Return the run as the ledger has it, and with it what other trainers have used and not counted yet."""
        ahead = self.helpers.uncounted() if self.helpers else {}
        return replace(run, usage={**run.usage, **{name: run.usage[name] + used for name, used in ahead.items()}})


class Reporter:
    """Flushes a training's progress once a second, whether an epoch takes 20 µs or a minute.

    The epoch loop calls `tick`, which flushes when it is time. Only when it has not come by for long (in a long epoch,
    while the data is read or the model is stored) does a thread flush in its place, so that a slow trainer does not
    look like a dead one. The thread alone would not do: a loop of small NumPy operations gives up the interpreter for a
    moment at each of them, which keeps a second thread from ever insisting on its turn; measured, a flush of 15 ms took
    10 s.

    Set `training` once there is one, and `steps`, how many an epoch has. `spent` says of a run whether its budget is (a
    text, or none), `price` what it has cost, in USD.
    """

    def __init__(
        self, lease: Lease, messages: Messages, meter: Meter, cache: Cache | None, spent: Callable[[Run], str],
        price: Callable[[Run], float],
    ) -> None:  # fmt: skip
        self._lease, self._messages, self._meter, self._cache, self._spent = lease, messages, meter, cache, spent
        self._price = price
        self.training = Training({})
        self.steps = 0
        self._done, self._busy = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._stand_in, name="reporter", daemon=True)
        self._due = time.monotonic() + FLUSH_SECONDS / 2
        self._lost: Exception | None = None
        self.cancel_requested, self._over_budget = lease.run.cancel_requested, False

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is None and self._lost:
            raise self._lost

    def stop(self) -> bool:
        """Return whether to stop: somebody wants it, the budget is spent, or the run is another trainer's now."""
        return self.cancel_requested or self._over_budget or self._lost is not None

    def tick(self, now: float) -> None:
        """Flush if it is time. Raises what a flush raised and does not pass, also one in the thread."""
        if now >= self._due:
            self._try_flush()
        if self._lost:
            raise self._lost

    def write(self) -> Run:
        """Tell the ledger how far the training is; no other flush may be under way (see `hold`)."""
        training = self.training
        step = (training.step, self.steps) if self.steps > 1 else (0, 0)
        usd = self._price(self._meter.so_far(self._lease.run))  # up to the last flush, a second ago
        usage = self._meter.take()
        try:
            return self._lease.flush(training.history, usage, step, training.best_epoch, usd)
        except Exception:
            self._meter.give_back(usage)
            raise

    def hold(self, action: Callable[[], object]) -> None:
        """Do something with the lease while no flush is under way."""
        with self._busy:
            action()

    def _flush(self) -> None:
        with self._busy:
            run = self.write()
            self._due = time.monotonic() + FLUSH_SECONDS
            self._messages.progress(self.training.history.costs)
        self.cancel_requested = run.cancel_requested
        self._over_budget = self._spent(self._meter.so_far(run)) != ""
        if self._cache:
            self._cache.put_progress(run)

    def _stand_in(self) -> None:
        while not self._done.wait(FLUSH_SECONDS / 2):
            if time.monotonic() > self._due + FLUSH_SECONDS:
                self._try_flush()
                if self._lost:
                    return

    def _try_flush(self) -> None:
        """Flush; a failure that passes is a line, as the next flush tells all that this one could not."""
        try:
            self._flush()
        except Exception as error:
            if passes(error):
                self._due = time.monotonic() + FAILED_SECONDS
                say(self._lease.run.run_id, f"cannot reach the ledger, retrying: {error}")
            else:
                self._lost = error
