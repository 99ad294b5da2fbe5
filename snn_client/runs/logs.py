"""What the functions of one run printed, from CloudWatch Logs.

A function's log group holds the lines of all runs; each begins with the run it is of (`snn_cloud.aws.saying`), so a
filter on the name finds them. Lambda's own lines (a time-out, a kill for memory) name no run: those of a failed run are
found by what they follow in their stream.

It is all read by FilterLogEvents, the one permission needed. An account may call it five times a second, so callers
keep seconds between two looks.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from snn_cloud.ledger.parameters import Granularity
from snn_cloud.ledger.record import Run

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import FilteredLogEventTypeDef

    from snn_client.stack.outputs import StackOutputs

OVERLAP_MS = 30_000  # a line may become visible this much later than a younger one of another environment
CLOCKS_MS = 10_000  # by so much may a caller's clock be ahead of Lambda's
PAGES = 5  # of one look at a group; there is another look
# A failed run: how far back its trainers and its neurons are looked for (the latter print thousands of lines a minute),
# in how many pages, how many trainers are told of, and how long the last one's lines may take to be complete.
TRAINER_MS, NEURON_MS, TAIL_PAGES, TRAINERS, PATIENCE_SECONDS = 3_600_000, 60_000, 20, 4, 10.0

LAST_WORD = re.compile(r"(COMPLETED|FAILED|CANCELLED) after \d+ epochs")  # of TrainerLambda, on a run that is over
NEXT_INVOCATION, END_OF_INVOCATION = "START RequestId: ", "REPORT RequestId: "


class Line(NamedTuple):
    """One printed line: when (milliseconds since 1970), by which function, in which stream (one environment's)."""

    at: int
    function: str
    stream: str
    text: str

    def __str__(self) -> str:
        return f"[{self.function.rpartition('-')[2]}] {self.text}"


class RunLogs:
    """Follows what LaunchLambda and TrainerLambda print of one run. Not for several threads at once.

    :param since: seconds since 1970; older lines are left out
    """

    def __init__(self, logs: CloudWatchLogsClient, outputs: StackOutputs, run_id: str, since: float) -> None:
        start = max(0, int(since * 1000) - CLOCKS_MS)
        self._launch: _Group | None = _Group(logs, outputs.launch_function, run_id, start)
        self._trainer = _Group(logs, outputs.trainer_function, run_id, start)
        self.heard_last_word = False

    def new(self) -> list[Line]:
        """Return the lines that have become visible since the last call, each once, by their time."""
        lines = self._launch.new() if self._launch else []
        if lines:
            self._launch = None  # it says one line a run
        trained = self._trainer.new()
        self.heard_last_word |= any(LAST_WORD.match(line.text) for line in trained)
        return sorted([*lines, *trained], key=lambda line: line.at)

    @property
    def more(self) -> bool:
        """Return whether the last call left some that were visible already to the next one."""
        return self._trainer.more or (self._launch is not None and self._launch.more)


class _Group:
    """The lines of one run in one function's log group, from a moving position on.

    CloudWatch shows a line some time after it was printed, and not the oldest first when they come from several
    environments. So each look begins a little before the newest line seen, and leaves out what it has shown already.
    """

    def __init__(self, logs: CloudWatchLogsClient, function: str, run_id: str, start: int) -> None:
        self._logs, self._function, self._run_id = logs, function, run_id
        self._start, self._newest, self._token = start, start, ""
        self._seen: dict[str, int] = {}

    @property
    def more(self) -> bool:
        return bool(self._token)

    def new(self) -> list[Line]:
        lines = []
        for _ in range(PAGES):
            events, self._token = _page(self._logs, self._function, self._start, self._run_id, token=self._token)
            for event in events:
                if event["eventId"] not in self._seen:
                    self._seen[event["eventId"]] = event["timestamp"]
                    lines += _of_run(self._run_id, self._function, event)
            if not self._token:  # else the next look goes on where this one had enough
                self._newest = max([self._newest, *self._seen.values()])
                self._start = max(self._start, self._newest - OVERLAP_MS)
                self._seen = {each: at for each, at in self._seen.items() if at >= self._start}
                break
        return lines


def last_lines(logs: CloudWatchLogsClient, outputs: StackOutputs, run: Run) -> list[Line]:
    """Return what the functions of a FAILED run printed last: the tracebacks, and how Lambda ended them.

    Waits up to 10 s for lines that are on their way. [] for a run that no trainer began: its reason says all.
    """
    if not run.started_at:
        return []
    end = int(run.ended_at * 1000)
    on_their_way = time.time() - run.ended_at < 10 * PATIENCE_SECONDS
    deadline = time.monotonic() + (PATIENCE_SECONDS if on_their_way else 0)
    while True:
        lines, whole = _last_of_trainers(logs, outputs.trainer_function, run.run_id, end - TRAINER_MS)
        if whole or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    if run.parameters and run.parameters.granularity is not Granularity.BATCH:
        lines = _errors_of_a_neuron(logs, outputs.neuron_function, run.run_id, end - NEURON_MS) + lines
    return lines


def _last_of_trainers(
    logs: CloudWatchLogsClient, function: str, run_id: str, start: int
) -> tuple[list[Line], bool]:  # fmt: skip
    """Return the run's lines and those of Lambda after them; and whether the last invocation has been told in full."""
    streams: dict[str, list[Line]] = defaultdict(list)
    for event in _events(logs, function, start, run_id):
        streams[event["logStreamName"]] += _of_run(run_id, function, event)
    latest = sorted(filter(None, streams.values()), key=lambda lines: lines[-1].at)[-TRAINERS:]
    for lines in latest:
        lines += _after(logs, lines[-1], run_id)
    whole = bool(latest) and latest[-1][-1].text.startswith(END_OF_INVOCATION)
    return sorted((line for lines in latest for line in lines), key=lambda line: line.at), whole


def _after(logs: CloudWatchLogsClient, last: Line, run_id: str) -> list[Line]:
    """Return what Lambda says of the invocation whose last line of the run this is."""
    events = list(_events(logs, last.function, last.at, streams=(last.stream,)))
    mine = [number for number, event in enumerate(events) if event["message"].startswith(f"{run_id}: ")]
    after = events[mine[-1] + 1 :] if mine else []
    invocation = takewhile(lambda event: not event["message"].startswith(NEXT_INVOCATION), after)
    return [
        line
        for event in invocation
        if not event["message"].startswith("END RequestId: ")
        for line in _lines(last.function, event, event["message"])
    ]


def _errors_of_a_neuron(logs: CloudWatchLogsClient, function: str, run_id: str, start: int) -> list[Line]:
    """Return the traceback of the neuron that failed last; its neighbours, at work at the same time, said the same."""
    lines = [
        line
        for event in _events(logs, function, start, f"{run_id}: error:")
        for line in _of_run(f"{run_id}: error", function, event)
    ]
    return [line for line in lines if line.stream == lines[-1].stream]


def _events(
    logs: CloudWatchLogsClient, function: str, start: int, phrase: str = "", streams: Sequence[str] = ()
) -> Iterator[FilteredLogEventTypeDef]:
    token = ""
    for _ in range(TAIL_PAGES):
        events, token = _page(logs, function, start, phrase, streams, token)
        yield from events
        if not token:
            return


def _page(
    logs: CloudWatchLogsClient, function: str, start: int, phrase: str, streams: Sequence[str] = (), token: str = ""
) -> tuple[list[FilteredLogEventTypeDef], str]:
    """Return a page of events that contain the phrase, by their time, and the token of the next page ("": none).

    A page may be empty and yet not the last.
    """
    asked: dict[str, Any] = {"filterPattern": f'"{phrase}"'} if phrase else {}
    asked |= {"logStreamNames": list(streams)} if streams else {}
    asked |= {"nextToken": token} if token else {}
    page = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}", startTime=max(0, start), **asked)
    return page["events"], page.get("nextToken", "")


def _of_run(name: str, function: str, event: FilteredLogEventTypeDef) -> list[Line]:
    """Return an event's lines without the run's name; none if another run's begins alike or a line mentions this."""
    before, name, text = event["message"].partition(f"{name}: ")
    return [] if before or not name else _lines(function, event, text)


def _lines(function: str, event: FilteredLogEventTypeDef, text: str) -> list[Line]:
    """Return an event's lines; Lambda's own runtime puts a whole traceback into one, indented with hard spaces."""
    return [
        Line(event["timestamp"], function, event["logStreamName"], line.rstrip())
        for line in text.replace("\xa0", " ").splitlines() or [""]
    ]


def lines_of_invocation(
    logs: CloudWatchLogsClient, function: str, request_id: str, stream: str, start: float
) -> list[Line]:  # fmt: skip
    """Return what one invocation printed, with Lambda's own lines around it. [] if it is no longer there.

    :param stream: the log stream that the function named; where it is not there (the emulator's are not), the
        invocation is looked for in all
    :param start: when it was invoked, seconds since 1970
    """
    since = int(start * 1000) - CLOCKS_MS
    found = _between(logs, function, request_id, stream, since) if stream else []
    if found:
        return found
    began = next(_events(logs, function, since, f"{NEXT_INVOCATION}{request_id}"), None)
    return _between(logs, function, request_id, began["logStreamName"], since) if began else []


def _between(logs: CloudWatchLogsClient, function: str, request_id: str, stream: str, start: int) -> list[Line]:
    """Return a stream's lines of one invocation, from its START to its REPORT."""
    try:
        events = list(_events(logs, function, start, streams=(stream,)))
    except logs.exceptions.ResourceNotFoundException:
        return []
    first = next((n for n, one in enumerate(events) if one["message"].startswith(NEXT_INVOCATION + request_id)), None)
    if first is None:
        return []
    lines: list[Line] = []
    for event in events[first:]:
        if event["message"].startswith(NEXT_INVOCATION) and lines and request_id not in event["message"]:
            break
        lines += _lines(function, event, event["message"])
        if event["message"].startswith(END_OF_INVOCATION):
            break
    return lines
