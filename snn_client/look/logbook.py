"""The functions' log lines of runs, for all who read them: asked of CloudWatch at most every few seconds together."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from snn_client.look.stacks import Stack
from snn_client.runs.logs import Line, RunLogs, last_lines
from snn_cloud.ledger.record import Run, State

LOOK_SECONDS = 3.0
MOST_LINES = 5_000  # of a run; older ones go
RUNS = 20
OVERLAP_MS = 40_000  # a line may become visible so much later than a younger one


class LogLine(TypedDict):
    """A line: when (milliseconds since 1970), of which function, in which stream, and what it says."""

    at: int
    function: str
    stream: str
    text: str


class LogSeen(TypedDict):
    """The lines from some moment on, also some that whoever asked may have already."""

    lines: list[LogLine]


@dataclass
class _Book:
    logs: RunLogs
    lock: threading.Lock = field(default_factory=threading.Lock)
    lines: list[Line] = field(default_factory=list)
    read_at: float = -float("inf")
    closed: bool = False


class Logbook:
    """The log lines of one stack's runs. For several threads."""

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack, self._clock, self._lock = stack, clock, threading.Lock()
        self._books: OrderedDict[str, _Book] = OrderedDict()

    def lines(self, run: Run, since: int) -> LogSeen:
        """Return a run's lines from a moment on (milliseconds since 1970), and those of some seconds before.

        By time and not by number, for another process of the server may have other lines.
        """
        logs = self._stack.clients.logs
        with self._lock:
            key = f"{run.run_id} {run.created_at}"
            if key not in self._books:
                self._books[key] = _Book(RunLogs(logs, self._stack.outputs, run.run_id, run.created_at))
            book = self._books[key]
            self._books.move_to_end(key)
            while len(self._books) > RUNS:
                self._books.popitem(last=False)
        # CloudWatch may take seconds: who comes meanwhile gets the lines that there are.
        if book.lock.acquire(blocking=False):
            try:
                self._read(book, run)
            finally:
                book.lock.release()
        return {
            "lines": [
                {"at": line.at, "function": line.function.rpartition("-")[2], "stream": line.stream, "text": line.text}
                for line in book.lines
                if line.at >= since - OVERLAP_MS
            ]
        }

    def _read(self, book: _Book, run: Run) -> None:
        """Read what is new, if it is time. The lines are replaced as a whole, for somebody may be reading them."""
        logs, now = self._stack.clients.logs, self._clock()
        if book.closed or now - book.read_at < LOOK_SECONDS:
            return
        book.read_at = now
        lines = [*book.lines, *book.logs.new()]
        if run.state.is_terminal and book.logs.heard_last_word and not book.logs.more:
            book.closed = True
        if run.state is State.FAILED and time.time() - run.ended_at > LOOK_SECONDS:
            known = set(lines)
            lines += [line for line in last_lines(logs, self._stack.outputs, run) if line not in known]
            book.closed = True
        book.lines = lines[-MOST_LINES:]
