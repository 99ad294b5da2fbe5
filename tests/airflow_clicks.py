"""What tests do in Airflow beyond what the demo does: what a person clicks there, and what one reads there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from snn_cli.local.airflow_api import AirflowApi, AirflowError, run_path


class Clicks(AirflowApi):
    """A person at one Airflow. Methods raise AirflowError if Airflow refuses, with the reason it gives."""

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the DAG's runs (dag_run_id, run_type, state, conf, …), the oldest first."""
        runs: list[dict[str, Any]] = self.ask("GET", f"dags/{quote(dag_id)}/dagRuns").json()["dag_runs"]
        return sorted(runs, key=lambda run: run["run_after"])

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark the run as `state`, success or failed, as the button in the UI does."""
        self.ask("PATCH", run_path(dag_id, run_id), json={"state": state})

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete the run and all its task instances; Airflow refuses while it is running."""
        self.ask("DELETE", run_path(dag_id, run_id))

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark the task as `state`, success, failed or skipped, as the button in the UI does."""
        self.ask("PATCH", f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}", json={"new_state": state})

    def clear_tasks(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear these tasks, so that they are run again; those after them are left alone."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False}
        self.ask("POST", f"dags/{quote(dag_id)}/clearTaskInstances", json=body)

    def delete_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Delete the task instance, whatever its state."""
        self.ask("DELETE", f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}")

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Pause the DAG, or let it go on: no task of a paused one is scheduled."""
        self.ask("PATCH", f"dags/{quote(dag_id)}", json={"is_paused": paused})

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """Return what the task asks people, and what was answered; None if it asks nothing."""
        try:
            asked: dict[str, Any] = self.ask("GET", _question(dag_id, run_id, task_id)).json()
        except AirflowError as error:
            if ": 404: " in str(error):
                return None
            raise
        return asked

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Choose an option of what the task asks, as the button in the UI does."""
        body = {"chosen_options": [option], "params_input": {}}
        self.ask("PATCH", _question(dag_id, run_id, task_id), json=body)

    def pool_slots(self, pool: str = "default_pool") -> dict[str, int]:
        """Return how many slots of a pool are used: open, running, queued, scheduled, deferred, occupied."""
        answer = self.ask("GET", f"pools/{quote(pool)}").json()
        return {name.removesuffix("_slots"): count for name, count in answer.items() if name.endswith("_slots")}

    def asset_events(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return what the run's tasks told of assets (source_task_id, uri, extra, …)."""
        run = {"source_dag_id": dag_id, "source_run_id": run_id}
        events: list[dict[str, Any]] = self.ask("GET", "assets/events", params=run).json()["asset_events"]
        return events

    def log_lines(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> list[str]:
        """Return the messages in the log of one try of a task, or of one instance of a mapped task."""
        return [
            entry if isinstance(entry, str) else entry["event"]
            for entry in self.log(dag_id, run_id, task_id, try_number, map_index)
        ]


def _question(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/-1/hitlDetails"
