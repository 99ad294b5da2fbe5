"""What a training in a real Airflow tells others: OpenLineage events, and events of assets."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow_clicks import Clicks
from holding import held_trainers

from snn_cli.datasets import build_faces
from snn_cli.local import airflow, emulator
from snn_cli.local.airflow_api import ENDED
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_cloud.aws.clients import Clients

DAG, LISTENER = "snn_training", "new_model"
EPOCHS = 60
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Trained:
    """A DAG run that has ended well: its API, what it wrote to S3, and the folder with OpenLineage's events."""

    api: Clicks
    s3: Any
    run_id: str
    dataset: Path
    events: Path

    def xcom(self, task: str) -> Any:
        return self.api.xcom(DAG, self.run_id, task)

    def read(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.xcom("deploy")["bucket"], Key=key)["Body"].read()

    def completed(self, task: str) -> Any:
        """The event of a task's end; it is written by a process that Airflow does not wait for."""
        return until(lambda: self._event(f"{DAG}.{task}", "COMPLETE"), 60)

    def _event(self, job: str, kind: str) -> Any:
        for file in self.events.iterdir():
            try:
                event = json.loads(file.read_text())
            except ValueError:  # still being written
                continue
            if event.get("eventType") == kind and event["job"]["name"] == job:
                return event
        return None


def until(condition: Callable[[], Any], limit: float) -> Any:
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s"
        time.sleep(0.3)
    return found


def states(api: Clicks, run_id: str) -> set[tuple[str, str]]:
    return {(task["task_id"], task["state"]) for task in api.task_instances(DAG, run_id)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A machine of its own: an Airflow that does not report its lineage is what all others test."""
    home, dags, events = (tmp_path_factory.mktemp(name) for name in ("machine", "dags", "events"))
    build_faces(home / "faces.h5")
    for file in (ROOT / "dags").glob("*.*"):
        (dags / file.name).symlink_to(file)
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "operators.md").read_text(), flags=re.S)
    (listener,) = (snippet for snippet in snippets if LISTENER in snippet)
    (dags / "listener.py").write_text(listener)
    transport = json.dumps({"type": "file", "log_file_path": str(events / "event"), "append": False})
    try:
        aws = emulator.up(home, venv=ROOT / ".local" / "emulator-venv", port=0, redis_port=0)
        web = airflow.up(home, dags, aws, port=0, variables={"AIRFLOW__OPENLINEAGE__TRANSPORT": transport})
        api, keys = Clicks(web), aws.environment()
        session = boto3.Session(
            keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], None, keys["AWS_DEFAULT_REGION"]
        )
        api.wait_for_dag(DAG)
        api.wait_for_dag(LISTENER)
        clients = Clients(lambda name: session.client(name, endpoint_url=aws.endpoint_url))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in keys.items():
                patch.setenv(name, value)
            stack = deploy_stack(clients, StackOptions.from_environment(stack_name="snn-lineage", with_cache=True))
        form = {"stack_name": stack.stack_name, "dataset": str(home / "faces.h5"), "epochs": EPOCHS}
        form |= {"parameters_file": str(ROOT / "dags" / "parameters.json")}
        with held_trainers(clients, stack):  # so that it is deferred, and two processes work on the task
            run_id = api.trigger(DAG, {**form, "granularity": "layer"})
            until(lambda: ("train", "deferred") in states(api, run_id), 240)
        until(lambda: api.run_state(DAG, run_id) in ENDED, 600)
        assert {state for _, state in states(api, run_id)} == {"success"}
        yield Trained(api, clients.s3, run_id, home / "faces.h5", events)
    finally:
        airflow.down(home)
        emulator.down(home)


def names(datasets: Any) -> set[tuple[str, str]]:
    return {(dataset["namespace"], dataset["name"]) for dataset in datasets}


def test_openlineage_hears_what_was_trained_on_and_what_came_out(trained: Trained) -> None:
    staged, ended = trained.xcom("stage"), trained.xcom("train")
    bucket, folder = f"s3://{trained.xcom('deploy')['bucket']}", f"runs/{ended['run_id']}"
    event = trained.completed("train")
    assert names(event["inputs"]) == {(bucket, staged["dataset_key"])}
    assert event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 160
    assert names(event["outputs"]) == {(bucket, f"{folder}/params.h5"), (bucket, f"{folder}/results.json")}
    facets = event["run"]["facets"]
    results = json.loads(trained.read(f"{folder}/results.json"))
    facet = {name: value for name, value in facets["snn_training"].items() if not name.startswith("_")}
    assert facet == {
        "run_id": ended["run_id"],
        "epochs_run": EPOCHS,
        "final_cost": results[f"epoch{EPOCHS - 1}"]["cost"],
        "stopped_by": "epochs",
        "seconds": ended["seconds"],
        "parameters_sha256": hashlib.sha256(trained.read(staged["parameters_key"])).hexdigest(),
    }
    parameters = {each["key"]: each["value"] for each in facets["executionParameters"]["parameters"]}
    assert (parameters["epochs"], parameters["granularity"]) == (str(EPOCHS), "layer")
    assert json.loads(parameters["neurons"]) == {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 1}


def test_openlineage_hears_where_the_data_set_came_from(trained: Trained) -> None:
    event = trained.completed("stage")
    assert names(event["inputs"]) == {("file", str(trained.dataset))}
    assert names(event["outputs"]) == names(trained.completed("train")["inputs"])


def test_openlineage_hears_what_the_model_was_judged_by_and_what_came_of_it(trained: Trained) -> None:
    data, (model, results) = trained.completed("train")["inputs"], trained.completed("train")["outputs"]
    assert names(trained.completed("evaluate")["inputs"]) == names([model, *data])
    assert names(trained.completed("predict")["inputs"]) == names([model])  # there were no photos
    report = trained.completed("report")
    assert names(report["inputs"]) == names([model, results, *data])
    folder = f"runs/{trained.xcom('train')['run_id']}/report"
    assert names(report["outputs"]) == {(model["namespace"], f"{folder}/report.{kind}") for kind in ("html", "json")}


def test_data_set_and_model_are_assets(trained: Trained) -> None:
    staged, ended = trained.xcom("stage"), trained.xcom("train")
    bucket = f"s3://{trained.xcom('deploy')['bucket']}"
    events = {event["source_task_id"]: event for event in trained.api.asset_events(DAG, trained.run_id)}
    assert {task: (event["uri"], event["extra"]) for task, event in events.items()} == {
        "stage": (
            f"{bucket}/{staged['dataset_key']}",
            {"run_id": staged["run_id"], "sha256": hashlib.sha256(trained.dataset.read_bytes()).hexdigest()},
        ),
        "train": (
            f"{bucket}/runs/{ended['run_id']}/params.h5",
            {"run_id": ended["run_id"], "cost": ended["final_cost"], "epochs": EPOCHS},
        ),
    }


def test_a_dag_starts_on_a_new_model_as_the_docs_say(trained: Trained) -> None:
    run_id = until(lambda: next(iter(trained.api.runs(LISTENER)), None), 240)["dag_run_id"]
    until(lambda: trained.api.run_state(LISTENER, run_id) in ENDED, 240)
    ended = trained.xcom("train")
    uri = f"s3://{trained.xcom('deploy')['bucket']}/runs/{ended['run_id']}/params.h5"
    assert f"{uri} {ended['final_cost']}" in trained.api.log_lines(LISTENER, run_id, "look")
