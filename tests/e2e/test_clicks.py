"""What a person does in Airflow is done at once, also while tasks write to its database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn_cli.local.airflow_api import ENDED

DAG = "busy"
CLICKS = 100  # with one API server for people and tasks, one in twenty-five was refused


def test_no_click_is_refused_while_four_tasks_write(machine: Any, tmp_path: Path) -> None:
    api, end = machine.api, tmp_path / "end"
    api.wait_for_dag(DAG)
    dag_run = api.trigger(DAG, {"end": str(end)})
    tasks = [f"write{number}" for number in range(4)]
    try:
        machine.until(lambda: all(api.xcom(DAG, dag_run, task, "number") for task in tasks), 240)
        before = {task: api.xcom(DAG, dag_run, task, "number") for task in tasks}
        for click in range(CLICKS):
            api.pause(DAG, click % 2 == 0)  # raises AirflowError if Airflow answers 500
        written = {task: api.xcom(DAG, dag_run, task, "number") - before[task] for task in tasks}
        assert min(written.values()) > 0  # they wrote meanwhile
    finally:
        end.touch()
        api.pause(DAG, False)
    machine.until(lambda: api.run_state(DAG, dag_run) in ENDED, 120)
    assert api.run_state(DAG, dag_run) == "success"
