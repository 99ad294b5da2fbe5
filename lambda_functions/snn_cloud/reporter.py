"""What a trainer tells while it works: progress, signs of life, usage; and what it hears: a cancel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from snn.training import Training
from snn_cloud.cache import Cache
from snn_cloud.ledger import Lease
from snn_cloud.messages import Messages
from snn_cloud.neuron_pool import NeuronPool
from snn_cloud.record import Usage

FLUSH_SECONDS = 0.5  # progress, sign of life and the look for a cancel, in one write


class Meter:
    """Counts what this invocation and its neurons use. (That it was invoked, the ledger counted with its lease.)"""

    def __init__(self, started: float, memory_mb: int, pool: NeuronPool | None) -> None:
        self._since, self._memory_mb, self._pool = started, memory_mb, pool

    def take(self) -> dict[str, Usage]:
        """Return the usage since the last call."""
        now = time.monotonic()
        mine = Usage(0, round((now - self._since) * 1000), self._memory_mb)
        self._since = now
        return {"trainer": mine, **({"neuron": self._pool.take_usage()} if self._pool else {})}


class Reporter:
    """Flushes a training's progress twice a second from a thread of its own, whether an epoch takes 1 ms or a minute.

    So the epoch loop does nothing but arithmetic, and a long epoch does not look like a dead trainer.
    """

    def __init__(self, lease: Lease, training: Training, messages: Messages, meter: Meter, cache: Cache | None) -> None:
        self._lease, self._costs, self._messages = lease, training.costs, messages
        self._meter, self._cache = meter, cache
        self._done, self._busy = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._lost: BaseException | None = None
        self.cancel_requested = lease.run.cancel_requested

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if error is None:
            self.raise_if_lost()

    def hold(self, action: Callable[[], None]) -> None:
        """Do something with the lease while no flush is under way."""
        with self._busy:
            action()

    def raise_if_lost(self) -> None:
        """Raise in the epoch loop what the last flush raised."""
        if self._lost:
            raise self._lost

    def _run(self) -> None:
        while not self._done.wait(FLUSH_SECONDS):
            try:
                with self._busy:
                    run = self._lease.flush(self._costs[:], self._meter.take())
                self.cancel_requested = run.cancel_requested
                self._messages.progress(self._costs)
                if self._cache:
                    self._cache.put_progress(run)
            except Exception as error:
                self._lost = error
                return
