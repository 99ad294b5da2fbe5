"""How Lambda's lines get into a task's log: seldom, a few at a time, and never in the way."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from snn_client.runs import remote_logs
from snn_client.runs.logs import Line
from snn_client.runs.remote_logs import RemoteLogs, shortened
from snn_cloud.ledger.record import Run, State


class Logs:
    """What `RunLogs` gives, one item a reading; an exception is raised."""

    def __init__(self, *readings: Any) -> None:
        self._readings, self.count, self.heard_last_word = list(readings), 0, False

    def new(self) -> list[Line]:
        self.count += 1
        reading = self._readings.pop(0) if self._readings else []
        if isinstance(reading, Exception):
            raise reading
        self.heard_last_word = "the end" in reading
        return [Line(0, "snn-TrainerLambda", "s", text) for text in reading]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def denied(code: str = "AccessDeniedException") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(response, "FilterLogEvents")


def remote(logs: Any, clock: Clock | None = None) -> RemoteLogs:
    return RemoteLogs(logs, clock or Clock())


def looked(remote: RemoteLogs) -> list[str]:
    """Return a look's lines, once the reading it began (if any) is over."""
    lines = remote.lines()
    assert remote._reading is not None
    remote._reading.join(10)
    return lines


def ended(seconds_ago: float = 0.0) -> Run:
    now = time.time()
    return Run("r", State.COMPLETED, created_at=now, started_at=now, ended_at=now - seconds_ago)


def test_a_look_shows_what_the_last_reading_found_each_line_once() -> None:
    clock, logs = Clock(), Logs(["a", "b"], [], ["c"])
    watch = remote(logs, clock)
    seen = []
    for clock.now in range(0, 60, 6):
        seen.append(looked(watch))
    assert seen[:5] == [[], ["[TrainerLambda] a", "[TrainerLambda] b"], [], ["[TrainerLambda] c"], []]


def test_cloudwatch_is_read_seldom_and_of_a_long_run_less_often() -> None:
    clock, logs = Clock(), Logs()
    watch, readings = remote(logs, clock), []
    while clock.now < 7200:
        before = logs.count
        looked(watch)
        if logs.count > before:
            readings.append(clock.now)
        clock.now += 1
    gaps = [after - before for before, after in itertools.pairwise(readings)]
    assert set(gaps[:19]) == {5}
    assert gaps == sorted(gaps)
    assert max(gaps) == 60
    assert len(readings) < 190  # in two hours; every five seconds it would be 1,440


def test_a_slow_reading_delays_nobody_and_is_the_only_one() -> None:
    release = threading.Event()

    class Slow(Logs):
        def new(self) -> list[Line]:
            assert release.wait(10)
            return super().new()

    clock, logs = Clock(), Slow(["late"])
    watch, began = remote(logs, clock), time.monotonic()
    for clock.now in range(0, 100, 10):
        assert watch.lines() == []
    assert time.monotonic() - began < 5
    release.set()
    assert watch._reading is not None
    watch._reading.join(10)
    assert logs.count == 1
    assert watch.lines() == ["[TrainerLambda] late"]


def test_what_may_not_be_read_is_said_once_and_left_alone() -> None:
    clock, logs = Clock(), Logs(denied(), ["never seen"])
    watch, seen = remote(logs, clock), []
    for clock.now in range(0, 600, 10):
        seen += looked(watch)
    message = "An error occurred (AccessDeniedException) when calling the FilterLogEvents operation: no"
    assert seen == [f"the log of the Lambda functions cannot be read: {message}"]
    assert watch.rest(ended()) == []
    assert logs.count == 1


def test_throttling_is_no_word_worth_and_reading_goes_on() -> None:
    clock, logs = Clock(), Logs(denied("ThrottlingException"), ["there"])
    watch, seen = remote(logs, clock), []
    for clock.now in range(0, 60, 10):
        seen += looked(watch)
    assert seen == ["[TrainerLambda] there"]


def test_the_rest_is_waited_for_until_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, logs = Clock(), Logs(["first"], [], ["more"], ["the end"], ["too late"])
    monkeypatch.setattr(remote_logs.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    watch = remote(logs, clock)
    assert watch.lines() == []
    assert watch.rest(ended()) == ["[TrainerLambda] first", "[TrainerLambda] more", "[TrainerLambda] the end"]
    assert clock.now == 2


@pytest.mark.parametrize(("seconds_ago", "readings"), [(0, 6), (90, 1)])
def test_the_rest_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch, seconds_ago: float, readings: int
) -> None:  # fmt: skip
    clock, logs = Clock(), Logs()
    monkeypatch.setattr(remote_logs.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    assert remote(logs, clock).rest(ended(seconds_ago)) == []
    assert logs.count == readings


def test_a_flood_of_lines_is_cut_to_its_end() -> None:
    logs = Logs([str(number) for number in range(1, 2_001)])
    watch = remote(logs)
    looked(watch)
    lines = watch.lines()
    assert lines[:2] == ["… and 1,970 more lines before these", "[TrainerLambda] 1971"]
    assert (lines[-1], len(lines)) == ("[TrainerLambda] 2000", 31)


def test_shortened_keeps_the_last_lines_and_a_line_s_beginning() -> None:
    assert shortened(["a", "b"], 2) == ["a", "b"]
    assert shortened(["a", "b", "c"], 2) == ["… and 1 more lines before these", "b", "c"]
    assert shortened(["x" * 900], 2) == ["x" * 500]
