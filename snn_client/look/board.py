"""The runs of a stack for all who look at their list: read at most once a second together, and never when nobody looks.

A run that has ended changes only by what people note on it, so it is read again every ten seconds; one that goes on,
and one that is new, is read at every look.
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from snn_client.look.rows import Entry
from snn_client.look.stacks import Stack
from snn_client.runs.listing import newest_ids, read_runs
from snn_cloud.aws.errors import CloudError

LOOK_SECONDS = 1.0
WAIT_SECONDS = 5.0  # for somebody else's look; then what was seen before will do
ENDED_SECONDS = 10.0  # after which a run that has ended is read once more; another server process may know of a note
MOST_RUNS = 2_000  # the newest


class Listed(NamedTuple):
    """The runs, the newest first; how many older ones there are; those that cannot be read; and when that was.

    `version` is another number whenever one of them has changed.
    """

    runs: list[Entry]
    older: int
    unreadable: list[str]
    at: float
    version: int


class Board:
    """The list of one stack's runs. For several threads: who comes while another one reads gets what that one read."""

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack, self._clock, self._lock = stack, clock, threading.Lock()
        self._known: dict[str, tuple[float, Entry]] = {}
        self._last: Listed | None = None
        self._looked_at = -float("inf")

    def runs(self) -> Listed:
        """Return the runs as they were at most a second ago; while AWS is slow, as they were when it last answered.

        Raises CloudError if it has not answered yet.
        """
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            if self._last is None:
                raise CloudError("AWS takes long to list the runs: try again in a moment")
            return self._last
        try:
            now = self._clock()
            if self._last is None or now - self._looked_at >= LOOK_SECONDS:
                self._last = self._read(now)
                self._looked_at = now
            return self._last
        finally:
            self._lock.release()

    def forget(self, run_id: str) -> None:
        """Have a run read anew at the next look: somebody has changed it."""
        with self._lock:
            self._known.pop(run_id, None)
            self._looked_at = -float("inf")

    def _read(self, now: float) -> Listed:
        dynamodb, table = self._stack.clients.dynamodb, self._stack.outputs.table
        ids = newest_ids(dynamodb, table)
        shown = ids[:MOST_RUNS]
        due = [name for name in shown if not self._is_fresh(name, now)]
        found, unreadable = read_runs(dynamodb, table, due)
        known = self._known
        # Who has not changed stays the very entry that it was.
        outputs = self._stack.outputs
        for run in found:
            before = known.get(run.run_id)
            same = before is not None and before[1].run == run
            known[run.run_id] = now, before[1] if before and same else Entry.of(run, outputs)
        self._known = {name: known[name] for name in shown if name in known}
        runs = [entry for _, entry in self._known.values()]
        last = self._last
        same = last is not None and len(last.runs) == len(runs) and all(map(operator.is_, last.runs, runs))
        version = last.version if last and same else time.time_ns()
        return Listed(runs, len(ids) - len(shown), unreadable, time.time(), version)

    def _is_fresh(self, run_id: str, now: float) -> bool:
        if run_id not in self._known:
            return False
        read_at, entry = self._known[run_id]
        return entry.run.state.is_terminal and now - read_at < ENDED_SECONDS
