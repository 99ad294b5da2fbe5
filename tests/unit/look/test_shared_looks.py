"""Many viewers, one look: the list of runs and a run's curves, with a clock of their own and a ledger that counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from snn_client.look import board, live
from snn_client.look.board import Board
from snn_client.look.live import Lives
from snn_client.look.rows import Entry, parameters_of, rows, sweep_of
from snn_client.look.viewers import Owner
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.errors import CloudError, RunNotFound
from snn_cloud.ledger.ledger import Curves, Mark
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, Task

OUTPUTS = StackOutputs("s", "b", "t", "l", "n", "r", "a", True, "arm64", "us-east-1", "x")


class Ledger:
    """A ledger of one run that goes on, which counts how often it is asked."""

    def __init__(self) -> None:
        self.epoch, self.beat, self.state = 3, 1, State.RUNNING
        self.asked: list[Any] = []

    def get(self, run_id: str) -> Run:
        self.asked.append(("run", run_id))
        if run_id == "none":
            raise RunNotFound("no such run")
        return Run(run_id, state=self.state, epoch=self.epoch, beat=self.beat, created_at=1.0)

    def curves(self, run_id: str, after_epoch: int = -1) -> Curves:
        self.asked.append(("curves", after_epoch))
        new = np.arange(after_epoch + 1, self.epoch, dtype=float)
        return Curves(after_epoch + 1, new, np.empty(0), np.empty(0), [Mark(self.epoch - 1, self.epoch, 0.0)])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched() -> tuple[Ledger, Clock, Lives]:
    ledger, clock = Ledger(), Clock()
    stack: Any = SimpleNamespace(ledger=ledger)
    return ledger, clock, Lives(stack, clock)


def test_twenty_viewers_take_one_look_a_second_and_nobody_none() -> None:
    ledger, clock, lives = watched()
    with ThreadPoolExecutor(20) as viewers:
        for second in range(5):
            clock.now = float(second)
            ledger.epoch, ledger.beat = 3 + second, 1 + second
            found = list(viewers.map(lambda _: lives.look("r"), range(200)))
            assert {len(seen.curves) for seen in found} == {3 + second}
    assert [kind for kind, _ in ledger.asked].count("run") == 5
    clock.now = 1_000.0
    assert len(ledger.asked) == 10


def test_only_new_epochs_are_read_and_all_of_them_are_shown() -> None:
    ledger, clock, lives = watched()
    lives.look("r")
    clock.now, ledger.epoch, ledger.beat = 1.0, 6, 2
    assert lives.look("r").curves.costs.tolist() == [0, 1, 2, 3, 4, 5]
    assert ledger.asked[-1] == ("curves", 2)
    assert [mark.epoch for mark in lives.look("r").curves.marks] == [2, 5]
    clock.now = 2.0
    assert len(lives.look("r").curves) == 6
    assert [kind for kind, _ in ledger.asked].count("curves") == 2, "nothing moved, so nothing is read"


def test_a_run_that_is_not_there_leaves_nothing_behind() -> None:
    _, _, lives = watched()
    for _ in range(2):
        with pytest.raises(RunNotFound):
            lives.look("none")
    assert lives._watched == {}


def test_curves_take_no_more_memory_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, clock, lives = watched()
    ledger.epoch = 1_000
    assert live.MOST_BYTES == 128 * 2**20
    monkeypatch.setattr(live, "MOST_BYTES", 20_000)  # two runs of 8,000 bytes and a mark
    for number in range(9):
        clock.now = float(number)
        lives.look(f"r{number}")
    assert list(lives._watched) == ["r7", "r8"]


def test_nobody_waits_long_for_a_look_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, clock, lives = watched()
    assert (live.WAIT_SECONDS, board.WAIT_SECONDS) == (5.0, 5.0)
    monkeypatch.setattr(live, "WAIT_SECONDS", 0.05)
    before = lives.look("r")
    with lives._watched["r"].lock:  # as somebody whose look AWS does not answer
        clock.now = 9.0
        assert lives.look("r") is before
    slow = pytest.raises(CloudError, match="AWS takes long to tell of run other: try again")
    with lives._watched.setdefault("other", live._Watched()).lock, slow:
        lives.look("other")
    assert len(ledger.asked) == 2


def test_the_list_reads_what_ended_once_a_minute_and_what_goes_on_at_every_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = {f"r{number}": State.COMPLETED for number in range(300)} | {"now": State.RUNNING}
    read: list[list[str]] = []

    def read_runs(dynamodb: Any, table: str, ids: list[str]) -> tuple[list[Run], list[str]]:
        read.append(list(ids))
        return [Run(name, state=states[name]) for name in ids], []

    assert {"newest_ids", "read_runs"} <= vars(board).keys()
    monkeypatch.setattr(board, "newest_ids", lambda dynamodb, table: list(states))
    monkeypatch.setattr(board, "read_runs", read_runs)
    clock = Clock()
    stack: Any = SimpleNamespace(clients=SimpleNamespace(dynamodb=None), outputs=OUTPUTS)
    runs = Board(stack, clock)
    first = runs.runs()
    assert len(first.runs) == 301
    runs.runs()
    assert list(map(len, read)) == [301]
    clock.now = 1.0
    assert len(runs.runs().runs) == 301
    assert read[1:] == [["now"]]
    clock.now = 61.0
    runs.runs()
    assert len(read[-1]) == 301
    assert runs.runs().version == first.version, "nothing has changed"
    states["r7"] = State.FAILED
    runs.forget("r7")
    assert runs.runs().version != first.version
    assert read[-1] == ["r7", "now"]


def test_rows_tell_what_differs_and_show_only_what_one_may_see() -> None:
    class Somebody(Owner):
        def sees(self, run: Run) -> bool:
            return run.task is None or run.task.dag_id == "mine"

    def run(name: str, dag: str = "", **fields: Any) -> Run:
        chosen = Parameters.load(
            {"epochs": 9, "layers": 1, "neurons": {"layer1": 1}, "activations": {"layer1": "sigmoid"},
             "learning_rate": 0.1, **fields}
        )  # fmt: skip
        return Run(name, parameters=chosen, started_by=Task(dag, "d", "train", 4).to_text() if dag else "")

    given = [run("a"), run("b", seed=2), run("c", dag="mine", learning_rate=0.2), run("d", dag="other")]
    shown = rows([Entry.of(one, OUTPUTS) for one in given], Somebody())
    assert [row["run_id"] for row in shown] == ["a", "b", "c"]
    assert [row["differs"] for row in shown] == [{}, {"seed": "2"}, {"learning_rate": "0.2"}]
    assert shown[2]["started_by"] == {"dag_id": "mine", "dag_run_id": "d", "task_id": "train", "map_index": 4}
    assert shown[0]["metric"] == "accuracy"
    assert parameters_of(given[0])["neurons"] == "1"


@pytest.mark.parametrize(
    ("run_id", "sweep"),
    [("s1-12-f3", "s1"), ("a-b-2-f1-r3", "a-b"), ("s1-2-f1-t2", "s1"), ("first", ""), ("upload-f1", ""), ("x-f3", "")],
)
def test_a_sweeps_runs_are_known_by_their_names(run_id: str, sweep: str) -> None:
    assert sweep_of(run_id) == sweep


def test_who_asked_for_a_run_reads_back_and_nonsense_is_nobody() -> None:
    task = Task("dag", "manual__2026-11-30T00:00:00+00:00", "train", 2)
    assert Task.of(task.to_text()) == task
    for text in ("", "no JSON", "[]", "{}", '{"dag_id": 1}', "null"):
        assert Task.of(text) is None
