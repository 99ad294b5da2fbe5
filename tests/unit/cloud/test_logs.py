"""Reading a run's lines from CloudWatch Logs: nothing lost, nothing twice, nothing of another run.

The events have the shapes that AWS gives them; `Recorded` shows them late, in pages, some of them empty, as it does.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from snn_client.runs import logs
from snn_client.runs.logs import RunLogs, last_lines
from snn_client.stack.outputs import StackOutputs
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State

OUTPUTS = StackOutputs(
    "snn", "bucket", "table", "snn-LaunchLambda", "snn-TrainerLambda", "snn-NeuronLambda", "topic", True, "arm64",
    "eu-west-3", "artifacts",
)  # fmt: skip
BEGAN = 1_700_000_000.0  # seconds since 1970
MS = int(BEGAN * 1000)


class Recorded:
    """CloudWatch Logs with events that become visible one by one: `visible` is how many seconds have passed."""

    def __init__(self, page_size: int = 100, empty_pages: int = 0) -> None:
        self.visible, self.calls = float("inf"), []
        self._events: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self._size, self._empty = page_size, empty_pages

    def add(self, function: str, at: int, message: str, *, visible: float = 0.0, stream: str = "one") -> None:
        events = self._events.setdefault(f"/aws/lambda/snn-{function}", [])
        shape = {"logStreamName": stream, "timestamp": MS + at, "message": message, "ingestionTime": MS + at + 900}
        events.append((visible, {**shape, "eventId": f"{39_000_000 + len(events):056d}"}))

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        self.calls.append(asked)
        phrase = asked.get("filterPattern", '""').strip('"')
        streams = asked.get("logStreamNames")
        shown = [
            event
            for visible, event in self._events.get(asked["logGroupName"], [])
            if visible <= self.visible and event["timestamp"] >= asked["startTime"] and phrase in event["message"]
            if streams is None or event["logStreamName"] in streams
        ]
        shown.sort(key=lambda event: (event["timestamp"], event["ingestionTime"]))
        page = int(asked.get("nextToken", "0"))
        first = max(0, page - self._empty) * self._size
        size = 0 if page < self._empty else self._size
        more = {"nextToken": str(page + 1)} if first + size < len(shown) else {}
        return {"events": shown[first : first + size], "searchedLogStreams": [], **more}


def texts(found: list[logs.Line]) -> list[str]:
    return [str(line) for line in found]


def run_logs(recorded: Any, run_id: str = "r", since: float = BEGAN) -> RunLogs:
    return RunLogs(recorded, OUTPUTS, run_id, since)


def test_lines_are_those_of_the_run_since_it_began_by_time_and_function() -> None:
    recorded = Recorded()
    recorded.add("TrainerLambda", 50, "r: begins\n")
    recorded.add("LaunchLambda", 20, "r: PENDING \n")
    recorded.add("TrainerLambda", 60, "r-2: begins\n")
    recorded.add("TrainerLambda", 60, "other: continues r: at night\n")
    recorded.add("TrainerLambda", 70, "r: epoch 0 of 5\n", stream="two")
    recorded.add("TrainerLambda", -20_000, "r: from an earlier life\n")
    assert texts(run_logs(recorded).new()) == [
        "[LaunchLambda] PENDING",
        "[TrainerLambda] begins",
        "[TrainerLambda] epoch 0 of 5",
    ]
    assert {call["filterPattern"] for call in recorded.calls} == {'"r"'}


def test_late_lines_are_neither_lost_nor_told_twice() -> None:
    recorded = Recorded()
    # Two environments, one of which CloudWatch shows up to 25 s after the other; and a line printed twice in one ms.
    for second in range(0, 300, 5):
        recorded.add("TrainerLambda", second * 1000, f"r: a {second}", visible=second + 1, stream="a")
        recorded.add("TrainerLambda", second * 1000, f"r: b {second}", visible=second + 25, stream="b")
        recorded.add("TrainerLambda", second * 1000, f"r: a {second}", visible=second + 1, stream="a")
    following, seen = run_logs(recorded), []
    for recorded.visible in range(0, 340, 7):
        seen += texts(following.new())
    assert sorted(seen) == sorted(
        f"[TrainerLambda] {line} {second}" for second in range(0, 300, 5) for line in ("a", "a", "b")
    )
    # It looks at the last half minute again and again, not at all from the start.
    assert recorded.calls[-1]["startTime"] == MS + 295_000 - 30_000
    assert following.new() == []


def test_a_look_takes_so_many_pages_and_the_next_goes_on_there() -> None:
    recorded = Recorded(page_size=2, empty_pages=3)
    for number in range(15):
        recorded.add("TrainerLambda", number, f"r: {number}")
    recorded.add("LaunchLambda", 0, "r: PENDING")
    following = run_logs(recorded)
    looks = [[line.text for line in following.new() if "Trainer" in line.function] for _ in range(4)]
    assert looks[0] == ["0", "1", "2", "3"]  # three of the five pages were empty
    assert looks[1] == [str(number) for number in range(4, 14)]
    assert looks[2] == ["14"]
    assert looks[3] == []


def test_launch_lambda_is_asked_until_it_has_spoken() -> None:
    recorded = Recorded()
    recorded.add("LaunchLambda", 10, "r: PENDING", visible=3)
    following = run_logs(recorded)
    for recorded.visible in (1, 2, 4, 5, 6):
        following.new()
    assert [call["logGroupName"].rpartition("-")[2][:6] for call in recorded.calls] == [
        "Launch", "Traine", "Launch", "Traine", "Launch", "Traine", "Traine", "Traine",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("r: COMPLETED after 20 epochs ", True),
        ("r: CANCELLED after 3 epochs ", True),
        ("r: RUNNING after 20 epochs ", False),
        ("r: epoch 20 of 20, full-batch", False),
    ],
)
def test_the_trainers_last_word_is_heard(line: str, last: bool) -> None:
    recorded = Recorded()
    recorded.add("TrainerLambda", 10, line)
    following = run_logs(recorded)
    assert following.heard_last_word is False
    following.new()
    assert following.heard_last_word is last


def failed(**fields: Any) -> Run:
    known = {"state": State.FAILED, "created_at": BEGAN, "started_at": BEGAN, "ended_at": BEGAN + 60}
    return Run("r", **{**known, **fields})


def test_lambdas_own_lines_about_a_killed_trainer_are_found_by_what_they_follow() -> None:
    recorded = Recorded()
    for number, (at, stream) in enumerate([(0, "a"), (20_000, "b"), (30_000, "a"), (40_000, "c")]):
        for line in ("START RequestId: other Version: $LATEST", "r-2: begins", "END RequestId: other", "REPORT other"):
            recorded.add("TrainerLambda", at - 5, line, stream=stream)
        recorded.add("TrainerLambda", at, f"START RequestId: {number}", stream=stream)
        recorded.add("TrainerLambda", at, f"r: begins {number}", stream=stream)
        if number < 3:
            line = f"RequestId: {number} Error: Runtime exited with error: signal: killed\nRuntime.ExitError\n"
            recorded.add("TrainerLambda", at + 900, line, stream=stream)
        recorded.add("TrainerLambda", at + 901, f"END RequestId: {number}", stream=stream)
        recorded.add("TrainerLambda", at + 901, f"REPORT RequestId: {number}\tDuration: 9 ms", stream=stream)
        recorded.add("TrainerLambda", at + 905, "START RequestId: next Version: $LATEST", stream=stream)
        recorded.add("TrainerLambda", at + 906, "Task of another run timed out", stream=stream)
    killed = "Error: Runtime exited with error: signal: killed"
    assert texts(last_lines(recorded, OUTPUTS, failed())) == [  # type: ignore[arg-type]
        "[TrainerLambda] begins 0",
        "[TrainerLambda] begins 1",
        f"[TrainerLambda] RequestId: 1 {killed}",
        "[TrainerLambda] Runtime.ExitError",
        "[TrainerLambda] REPORT RequestId: 1\tDuration: 9 ms",
        "[TrainerLambda] begins 2",
        f"[TrainerLambda] RequestId: 2 {killed}",
        "[TrainerLambda] Runtime.ExitError",
        "[TrainerLambda] REPORT RequestId: 2\tDuration: 9 ms",
        "[TrainerLambda] begins 3",
        "[TrainerLambda] REPORT RequestId: 3\tDuration: 9 ms",
    ]


def test_a_traceback_of_lambdas_runtime_is_one_event_of_many_lines() -> None:
    recorded = Recorded()
    recorded.add("TrainerLambda", 10, "r: begins")
    event = '[ERROR] MemoryError\rTraceback (most recent call last):\r\xa0\xa0File "/var/task/trainer.py", line 5'
    recorded.add("TrainerLambda", 20, event)
    recorded.add("TrainerLambda", 21, "REPORT RequestId: 1")
    assert [line.text for line in last_lines(recorded, OUTPUTS, failed())] == [  # type: ignore[arg-type]
        "begins",
        "[ERROR] MemoryError",
        "Traceback (most recent call last):",
        '  File "/var/task/trainer.py", line 5',
        "REPORT RequestId: 1",
    ]


def test_the_end_of_the_last_invocation_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, slept = Recorded(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        recorded.visible += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    recorded.visible = 0
    recorded.add("TrainerLambda", 10, "r: begins")
    recorded.add("TrainerLambda", 20, "r: ValueError: shapes", visible=2)
    recorded.add("TrainerLambda", 21, "REPORT RequestId: 1", visible=3)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: BEGAN + 61)
    found = last_lines(recorded, OUTPUTS, failed())  # type: ignore[arg-type]
    assert [line.text for line in found] == ["begins", "ValueError: shapes", "REPORT RequestId: 1"]
    assert sum(slept) == 3
    # A run that failed long ago is read once, complete or not.
    monkeypatch.setattr(time, "time", lambda: now)
    recorded.visible = 0
    assert [line.text for line in last_lines(recorded, OUTPUTS, failed())] == ["begins"]  # type: ignore[arg-type]
    assert sum(slept) == 3


def test_a_run_that_no_trainer_began_has_no_last_lines() -> None:
    recorded = Recorded()
    assert last_lines(recorded, OUTPUTS, failed(started_at=0.0)) == []  # type: ignore[arg-type]
    assert recorded.calls == []


def test_of_neurons_that_failed_together_one_is_told_of_before_the_trainer() -> None:
    recorded = Recorded()
    for stream in ("m", "n"):
        recorded.add("NeuronLambda", 58_000, "r: layer 1 neurons [0, 1] forward 3 ms", stream=stream)
        recorded.add("NeuronLambda", 59_000, "r: error: Traceback (most recent call last):", stream=stream)
        recorded.add("NeuronLambda", 59_000, "r: error: ValueError: matmul", stream=stream)
    recorded.add("TrainerLambda", 59_500, "r: NeuronFailed: layer 1")
    recorded.add("TrainerLambda", 59_501, "REPORT RequestId: 1")
    layers: dict[str, Any] = {"layers": 1, "activations": {"layer1": "sigmoid"}, "neurons": {"layer1": 1}}
    parameters = Parameters.load({"epochs": 3, "learning_rate": 0.1, **layers, "granularity": "neuron"})
    assert texts(last_lines(recorded, OUTPUTS, failed(parameters=parameters))) == [  # type: ignore[arg-type]
        "[NeuronLambda] Traceback (most recent call last):",
        "[NeuronLambda] ValueError: matmul",
        "[TrainerLambda] NeuronFailed: layer 1",
        "[TrainerLambda] REPORT RequestId: 1",
    ]
