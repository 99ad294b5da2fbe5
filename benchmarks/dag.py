"""What Airflow adds: a DAG run's wall time, from the trigger to success, minus the seconds of its training.

The rest is not idle: it brings the stack up to date, checks and stages the data, judges the network by the test set,
classifies photos and writes the report, each in a task of its own.
"""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.problem import ROOT
from benchmarks.session import Session, column
from snn_cli.datasets import sample_images

DAG, STACK = "snn_training", "snn-bench-dag"
LIMIT_SECONDS = 300.0


def dag(session: Session) -> dict[str, Any]:
    """A first DAG run, which deploys, and then as many as there are repetitions."""
    home = session.serverless.home
    os.environ["AIRFLOW_HOME"] = str(home / "airflow")  # Airflow makes a home as soon as it is imported
    from snn_cli.local import airflow
    from snn_cli.local.airflow_api import AirflowApi

    try:
        began = time.monotonic()
        api = AirflowApi(airflow.up(home, ROOT / "dags", session.serverless.running, port=0))
        api.wait_for_dag(DAG)
        start = time.monotonic() - began
        photos = [str(photo) for photo in sample_images(session.folder / "samples")]
        form = {"stack_name": STACK, "dataset": str(session.dataset), "epochs": 3000, "images": photos}
        runs = []
        for turn in range(session.repetitions + 1):
            runs.append(_run(api, {**form, "seed": turn + 1}))
            session.say(f"DAG run: {runs[-1]['wall']:.1f} s, of which training {runs[-1]['training']:.1f} s")
            session.step()
    finally:
        airflow.down(home)
    first, *later = runs
    return {
        "overhead_seconds": column([run["wall"] - run["training"] for run in later])["seconds"],
        "all": [run["wall"] - run["training"] for run in later],
        "wall_seconds": column([run["wall"] for run in later])["seconds"],
        "training_seconds": column([run["training"] for run in later])["seconds"],
        "first_overhead_seconds": first["wall"] - first["training"],
        "tasks_seconds": later[-1]["tasks"],
        "airflow_start_seconds": start,
    }


def _run(api: Any, form: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    run_id = api.trigger(DAG, form)
    while (state := api.run_state(DAG, run_id)) not in ("success", "failed"):
        if time.monotonic() > began + LIMIT_SECONDS:
            raise TimeoutError(f"the DAG run is still {state} after {LIMIT_SECONDS:g} s")
        time.sleep(0.1)
    wall = time.monotonic() - began
    if state == "failed":
        raise RuntimeError(api.failure(DAG, run_id))
    tasks = {task["task_id"]: task["duration"] for task in api.task_instances(DAG, run_id)}
    return {"wall": wall, "training": api.xcom(DAG, run_id, "report")["training"]["seconds"], "tasks": tasks}
