"""What `make demo` asks of Airflow's REST API: trigger a DAG, follow its run, read XComs and task logs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from snn.errors import SnnError
from snn_cli.local.airflow import USER, Airflow

if TYPE_CHECKING:
    import httpx

ENDED = frozenset({"success", "failed"})


class AirflowError(SnnError):
    """Airflow refused a request; the message says which, and its reason."""


class AirflowApi:
    """A client of one Airflow. Methods raise AirflowError if Airflow refuses, with the reason it gives."""

    def __init__(self, airflow: Airflow) -> None:
        import httpx  # a fifth of the time in which `snn` starts, and only this needs it

        self._airflow = airflow
        self._http = httpx.Client(base_url=airflow.url, timeout=30)
        self._login()

    def _login(self) -> None:
        answer = self._http.post("/auth/token", json={"username": USER, "password": self._airflow.password})
        if answer.status_code != 201:
            raise AirflowError(f"logging in to {self._airflow.url} failed: {answer.status_code} {answer.text}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def ask(self, method: str, path: str, **keywords: Any) -> httpx.Response:
        """Return the answer to a request for `path` below /api/v2/; logs in again if the token has expired."""
        answer = self._http.request(method, f"/api/v2/{path}", **keywords)
        if answer.status_code == 401:  # the token lives for a day, less than a forgotten terminal
            self._login()
            answer = self._http.request(method, f"/api/v2/{path}", **keywords)
        if answer.is_error:
            try:
                # A mistake in a Param is told in its first line; the rest is the whole schema.
                reason = str(answer.json()["detail"]).partition("\n")[0]
            except (ValueError, KeyError, TypeError):
                reason = answer.text
            raise AirflowError(f"{method} {path}: {answer.status_code}: {reason}")
        return answer

    def wait_for_dag(self, dag_id: str, limit: float = 60.0) -> None:
        """Wait until the DAG is known; raises AirflowError with the import errors there are after `limit` seconds."""
        deadline = time.monotonic() + limit
        while True:
            answer = self._http.get(f"/api/v2/dags/{quote(dag_id)}")
            if answer.status_code == 200:
                return
            errors = self.ask("GET", "importErrors").json()["import_errors"]
            if errors or time.monotonic() > deadline:
                traces = "\n".join(f"{entry['filename']}: {entry['stack_trace']}" for entry in errors)
                raise AirflowError(f"there is no DAG {dag_id}: {traces or 'it did not appear in time'}")
            time.sleep(0.2)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of the DAG with `conf` (its Params) and return the run's id."""
        body = {"logical_date": None, "conf": dict(conf or {})}
        run_id: str = self.ask("POST", f"dags/{quote(dag_id)}/dagRuns", json=body).json()["dag_run_id"]
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the run's state: queued, running, success or failed."""
        state: str = self.ask("GET", run_path(dag_id, run_id)).json()["state"]
        return state

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's task instances (task_id, state, start_date, duration, try_number, map_index, …)."""
        tasks: list[dict[str, Any]] = self.ask("GET", f"{run_path(dag_id, run_id)}/taskInstances").json()[
            "task_instances"
        ]
        return tasks

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom's value, None if there is none."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        answer = self._http.get(f"/api/v2/{path}", params={"deserialize": False})
        if answer.status_code == 404:
            return None
        value = self.ask("GET", path).json()["value"]
        # Airflow hands out the stored JSON text of objects, but plain values as they are.
        if isinstance(value, str) and value[:1] in "{[":
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value

    def failure(self, dag_id: str, run_id: str) -> str:
        """Return the failed task of a run and why it failed, in one line."""
        for task in self.task_instances(dag_id, run_id):
            if task["state"] == "failed":
                log = self.log(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
                details = [
                    error for entry in log if isinstance(entry, dict) for error in entry.get("error_detail") or []
                ]
                reason = str(details[-1]["exc_value"]).strip() if details else "its log does not say why"
                return f"task {task['task_id']} failed: {reason}"
        return f"run {run_id} failed, though none of its tasks did"

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> list[Any]:
        """Return the entries in the log of one try of a task, or of one instance of a mapped task."""
        path = f"{run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        params = {"full_content": True, "map_index": map_index}
        answer = self.ask("GET", path, params=params, headers={"Accept": "application/json"})
        content: list[Any] = answer.json()["content"]
        return content


def run_path(dag_id: str, run_id: str) -> str:
    """Return a DAG run's path in the API."""
    return f"dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
