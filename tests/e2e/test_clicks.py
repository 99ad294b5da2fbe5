"""What a person does in Airflow is done at once, also while tasks write to its database."""

from __future__ import annotations

import time
from typing import Any

from snn_cli.local.airflow_api import ENDED

DAG = "busy"


def test_a_dag_is_paused_at_once_while_four_tasks_write(machine: Any) -> None:
    api = machine.api
    api.wait_for_dag(DAG)
    dag_run = api.trigger(DAG, {})
    machine.until(lambda: [task["state"] for task in api.task_instances(DAG, dag_run)] == ["running"] * 4, 120)
    seconds = []
    while api.run_state(DAG, dag_run) not in ENDED:
        began = time.monotonic()
        api.pause(DAG, len(seconds) % 2 == 0)  # raises AirflowError if Airflow answers 500
        seconds.append(time.monotonic() - began)
    assert api.run_state(DAG, dag_run) == "success"
    assert len(seconds) > 100
    assert max(seconds) < 4  # SQLite waits 5 s for its lock before it gives up
    assert min(api.xcom(DAG, dag_run, f"write{number}") for number in range(4)) > 50
    api.pause(DAG, False)
