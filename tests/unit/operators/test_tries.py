"""Which run a try works on. Airflow's own part in it, what clearing does to `max_tries`, is tested end to end."""

from __future__ import annotations

import pytest

from snn_cloud.aws.places import run_of_try
from snn_cloud.ledger.record import Run, State
from snn_operators import tries
from snn_operators.tries import choose_run


class Runs(dict[str, Run]):
    """A ledger of a few runs, whose trainers stop at once."""

    def __init__(self, *runs: Run) -> None:
        super().__init__({run.run_id: run for run in runs})
        self.stopped: list[str] = []

    def stop(self, run_id: str) -> Run:
        self.stopped.append(run_id)
        self[run_id] = Run(run_id, State.CANCELLED)
        return self[run_id]

    def choose(self, try_number: int, first_try: int, resume: bool = False) -> tries.Choice:
        return choose_run("x", try_number, first_try, resume, self.get, self.stop)


def test_the_first_try_starts_the_run_that_the_stage_task_named() -> None:
    assert Runs().choose(1, 1)[:2] == ("x", "")
    assert Runs().choose(2, 1)[:2] == ("x-t2", "")  # the first try never came to launching


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.COMPLETED, State.FAILED])
@pytest.mark.parametrize("resume", [False, True])
def test_a_try_repeated_by_airflow_goes_on_with_the_run_that_is_there(state: State, resume: bool) -> None:
    runs = Runs(Run("x", state))
    assert runs.choose(2, 1, resume)[:2] == ("x", "")
    assert runs.choose(3, 1, resume)[:2] == ("x", "")
    assert not runs.stopped


@pytest.mark.parametrize(("state", "resume_from"), [(State.FAILED, "x"), (State.CANCELLED, "x"), (State.COMPLETED, "")])
def test_a_cleared_task_gets_a_new_run_that_resumes_the_last_one_if_asked(state: State, resume_from: str) -> None:
    assert Runs(Run("x", state)).choose(2, 2)[:2] == ("x-t2", "")
    assert Runs(Run("x", state)).choose(2, 2, resume=True)[:2] == ("x-t2", resume_from)


def test_a_cleared_task_stops_its_run_before_it_starts_another() -> None:
    runs = Runs(Run("x", State.RUNNING))
    assert runs.choose(2, 2)[:2] == ("x-t2", "")
    assert runs.stopped == ["x"]
    runs = Runs(Run("x", State.RUNNING))
    assert runs.choose(2, 2, resume=True)[:2] == ("x-t2", "x")


def test_a_task_cleared_in_the_worker_has_cancelled_its_run_and_gets_a_new_one() -> None:
    # max_tries, and so the first try, are as they were
    assert Runs(Run("x", State.CANCELLED)).choose(2, 1)[:2] == ("x-t2", "")
    assert Runs(Run("x", State.RUNNING, cancel_requested=True)).choose(2, 1, resume=True)[:2] == ("x-t2", "x")


def test_the_latest_run_counts() -> None:
    runs = Runs(Run("x", State.CANCELLED), Run("x-t3", State.RUNNING, resumed_from="x"))
    assert runs.choose(4, 3)[:2] == ("x-t3", "x")  # as it was launched
    assert runs.choose(4, 4, resume=True)[:2] == ("x-t4", "x-t3")


def test_names_of_tries_are_run_ids_and_all_different() -> None:
    long = "a" * 63
    names = [run_of_try(name, number) for name in (long, long[:-1] + "b", "x") for number in (1, 2, 10, 123)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) == 63
    assert names[-4:] == ["x", "x-t2", "x-t10", "x-t123"]
