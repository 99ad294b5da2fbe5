"""A run's Lambda log lines for its watchers: a few at a time, seldom, and without delaying the watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby
from threading import Thread
from typing import TYPE_CHECKING

from snn_cloud.aws.passing import passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_logs import CloudWatchLogsClient

    from snn_client.runs.logs import RunLogs
    from snn_client.stack.outputs import StackOutputs
    from snn_cloud.ledger.record import Run

# Seconds between two readings: CloudWatch answers an account five times a second, and a sweep is many runs. A long
# run's lines are few and can wait.
OFTEN, SELDOM, SHARE_OF_AGE = 5.0, 60.0, 1 / 20
LINES = 30  # of one reading
LINE_LENGTH = 500
LAST_LINES = 40  # of each function, in the exception of a failed run
LAST_WORD_SECONDS = 5.0  # for which the last lines of a run that just ended are waited for
JUST = 60.0


class RemoteLogs:
    """Reads a run's lines in a thread of its own, now and then; `lines` has what has come since it was last asked.

    Logs are optional: one that cannot be read (no permission, no log group) is reported once and not tried again.
    """

    def __init__(self, logs: RunLogs, clock: Callable[[], float] = time.monotonic) -> None:
        self._logs, self._clock = logs, clock
        self._began, self._due = clock(), -float("inf")
        self._reading: Thread | None = None
        self._found: list[str] = []
        self._given_up = False

    def lines(self) -> list[str]:
        """Return what the last reading found, and begin another if it is time. Never waits."""
        if self._reading is not None and self._reading.is_alive():
            return []
        found, self._found = self._found, []
        now = self._clock()
        if now >= self._due and not self._given_up:
            self._due = now + min(SELDOM, max(OFTEN, (now - self._began) * SHARE_OF_AGE))
            self._reading = Thread(target=self._read, name="lambda-logs", daemon=True)
            self._reading.start()
        return found

    def rest(self, run: Run) -> list[str]:
        """Return all that a run which has ended still had to say; its last lines take some seconds to CloudWatch."""
        expected = run.started_at and time.time() - run.ended_at < JUST
        deadline = self._clock() + (LAST_WORD_SECONDS if expected else 0)
        if self._reading is not None:
            self._reading.join(LAST_WORD_SECONDS)
            if self._reading.is_alive():
                return []
        while not self._over:
            self._read()
            if self._over or self._clock() >= deadline:
                break
            time.sleep(1.0)
        found, self._found = self._found, []
        return found

    @property
    def _over(self) -> bool:
        return self._given_up or self._logs.heard_last_word

    def _read(self) -> None:
        try:
            lines = self._logs.new()
        except Exception as error:
            if not passes(error):
                self._given_up = True
                self._found.append(f"the log of the Lambda functions cannot be read: {error}")
            return
        self._found += shortened([str(line) for line in lines], LINES)


def last_words(logs: CloudWatchLogsClient, outputs: StackOutputs, run: Run) -> list[str]:
    """Return the last lines of a failed run's functions under a heading; [] if there is nothing to tell."""
    from snn_client.runs.logs import last_lines

    try:
        by_function = groupby(last_lines(logs, outputs, run), key=lambda line: line.function)
        lines = [text for _, said in by_function for text in shortened([str(line) for line in said], LAST_LINES)]
    except Exception as error:  # no reason to hide why the run failed
        return [f"(the log of its Lambda functions cannot be read: {error})"]
    return ["The last lines of its Lambda functions:", *(f"  {line}" for line in lines)] if lines else []


def shortened(lines: Sequence[str], most: int) -> list[str]:
    """Return the last lines and how many came before; the last line of a traceback says what went wrong."""
    more = len(lines) - most
    first = [f"… and {more:,} more lines before these"] if more > 0 else []
    return first + [line[:LINE_LENGTH] for line in lines[-most:]]
