"""A DAG run in the Airflow of the tests: triggered as a person fills in the form, waited for, looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from snn_cli.local.airflow_api import ENDED


@dataclass(frozen=True)
class DagRun:
    """A DAG run: what came of it, once it has been waited for."""

    machine: Any
    dag: str
    run_id: str

    @property
    def mapped_states(self) -> dict[str, list[str]]:
        """The states of each task, in the order of its map indexes."""
        states: dict[str, list[str]] = {}
        tasks = self.machine.api.task_instances(self.dag, self.run_id)
        for task in sorted(tasks, key=lambda task: task["map_index"]):
            states.setdefault(task["task_id"], []).append(task["state"])
        return states

    @property
    def states(self) -> dict[str, str]:
        """The state of each task, where none is mapped."""
        return {task: state for task, (state,) in self.mapped_states.items()}

    def wait(self, limit: float) -> None:
        """Wait until it has ended, at most `limit` seconds."""
        deadline = time.monotonic() + limit
        while self.machine.api.run_state(self.dag, self.run_id) not in ENDED:
            assert time.monotonic() < deadline, self.mapped_states
            time.sleep(0.3)

    def log(self, task: str) -> list[str]:
        return self.machine.api.log_lines(self.dag, self.run_id, task)

    def xcom(self, task: str, key: str = "return_value") -> Any:
        return self.machine.api.xcom(self.dag, self.run_id, task, key)

    def read(self, key: str) -> bytes:
        """An object of the bucket that the DAG's first task deployed."""
        bucket = self.xcom("deploy")["bucket"]
        return self.machine.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def runner(machine: Any, dag: str, limit: float, **always: Any) -> Callable[..., DagRun]:
    """Return what triggers the DAG with the form filled in, and waits for its end, at most `limit` seconds."""
    machine.api.wait_for_dag(dag)

    def run(**form: Any) -> DagRun:
        begun = DagRun(machine, dag, machine.api.trigger(dag, always | form))
        begun.wait(limit)
        return begun

    return run
