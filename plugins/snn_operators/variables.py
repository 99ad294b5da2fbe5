"""Airflow Variables that DAG files read: Airflow reads them with the file, before any task could say what is wrong."""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow.sdk import Variable

from snn_operators.compat import AirflowFailException, CronTriggerTimetable


class WholeNumber(NamedTuple):
    """What a Variable says; if it cannot be used, a default in its place and the `problem` in one line."""

    value: int
    problem: str = ""

    def check(self, context: Any) -> None:
        """Fail if the Variable cannot be used. For the `pre_execute` of a DAG's first task."""
        if self.problem:
            raise AirflowFailException(self.problem)


def whole_number(name: str, default: int) -> WholeNumber:
    """Return a number of runs, from 1 on, that a Variable gives; with a wrong one the DAG stays, and a task says so."""
    given = Variable.get(name, default=default)
    try:
        number = int(given)
        if number >= 1:
            return WholeNumber(number)
    except (TypeError, ValueError):
        pass
    hint = f"set a whole number from 1 on, or delete it, which means {default}; then clear this task"
    return WholeNumber(default, f"Airflow Variable {name}: {str(given)[:100]!r} is no number of runs ({hint})")


def flag(name: str, default: bool) -> bool:
    """Return whether a Variable says true.

    Raises ValueError for what is neither true nor false, which Airflow shows as an import error: to guess could do what
    somebody meant to forbid.
    """
    given = str(Variable.get(name, default=default)).strip()
    if given.lower() not in ("true", "1", "false", "0", ""):
        hint = f"set true or false, or delete it, which means {str(default).lower()}"
        raise ValueError(f"Airflow Variable {name}: {given[:100]!r} is neither true nor false ({hint})")
    return given.lower() in ("true", "1") if given else default


def cron_times(name: str) -> CronTriggerTimetable | None:
    """Return the times, in UTC, that a Variable gives as a cron expression; None if it is empty or not there.

    Raises ValueError for any other text, also for times that never come. Airflow shows it as an import error: a DAG
    without its times would have no task that could say so.
    """
    given = str(Variable.get(name, default="")).strip()
    if not given:
        return None
    # Airflow's scheduler has another class of this name, and only that one looks at what it is given.
    import pendulum
    from airflow.timetables import trigger as scheduler
    from airflow.timetables.base import TimeRestriction

    try:
        from_now = TimeRestriction(earliest=pendulum.now("UTC"), latest=None, catchup=True)
        times = scheduler.CronTriggerTimetable(given, timezone="UTC")
        times.next_dagrun_info(last_automated_data_interval=None, restriction=from_now)
    except Exception as error:  # whatever it is, the Variable is named
        hint = "set a cron expression such as 0 3 * * 1, or delete it"
        raise ValueError(f"Airflow Variable {name}: {given!r} gives no times: {error} ({hint})") from None
    return CronTriggerTimetable(given, timezone="UTC")
