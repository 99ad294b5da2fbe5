"""The runs of a stack for all who look at their list: read at most once a second together, and never when nobody looks.

A run that has ended changes only by what people note on it, so it is read again once a minute; one that goes on, and
one that is new, is read at every look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from snn_client.look.stacks import Stack
from snn_client.runs.listing import newest_ids, read_runs
from snn_cloud.ledger.record import Run

LOOK_SECONDS = 1.0
ENDED_SECONDS = 60.0  # after which a run that has ended is read once more
MOST_RUNS = 2_000  # the newest


class Listed(NamedTuple):
    """The runs, the newest first; how many older ones there are; those that cannot be read; and when that was."""

    runs: list[Run]
    older: int
    unreadable: list[str]
    at: float


class Board:
    """The list of one stack's runs. For several threads: who comes while another one reads gets what that one read."""

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack, self._clock, self._lock = stack, clock, threading.Lock()
        self._known: dict[str, tuple[float, Run]] = {}
        self._listed: tuple[float, Listed] | None = None

    def runs(self) -> Listed:
        """Return the runs as they were at most a second ago."""
        with self._lock:
            now = self._clock()
            if self._listed is None or now - self._listed[0] >= LOOK_SECONDS:
                self._listed = now, self._read(now)
            return self._listed[1]

    def forget(self, run_id: str) -> None:
        """Have a run read anew at the next look: somebody has changed it."""
        with self._lock:
            self._known.pop(run_id, None)
            self._listed = None

    def _read(self, now: float) -> Listed:
        dynamodb, table = self._stack.clients.dynamodb, self._stack.outputs.table
        ids = newest_ids(dynamodb, table)
        shown = ids[:MOST_RUNS]
        due = [name for name in shown if not self._is_fresh(name, now)]
        found, unreadable = read_runs(dynamodb, table, due)
        self._known |= {run.run_id: (now, run) for run in found}
        runs = [self._known[name][1] for name in shown if name in self._known]
        return Listed(runs, len(ids) - len(shown), unreadable, time.time())

    def _is_fresh(self, run_id: str, now: float) -> bool:
        if run_id not in self._known:
            return False
        read_at, run = self._known[run_id]
        return run.state.is_terminal and now - read_at < ENDED_SECONDS
