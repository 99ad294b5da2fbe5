"""What end-to-end tests run against: a real Airflow with the project's DAGs, and the emulator that they deploy to."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow_clicks import Clicks

from snn_cli.datasets import build_faces
from snn_cli.local import airflow, emulator, processes
from snn_cli.local.emulator import Emulator
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run

# Airflow makes a home for itself as soon as it is imported; the servers have their own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")

ROOT = Path(__file__).parents[2]
ROLES = ("admin", "op", "user", "viewer")
# People of every role, and the stack that the page of neural networks shows.
PAGE = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{role}:{role}" for role in ROLES),
    "AIRFLOW__SNN__STACKS": "snn-train@aws_default, gone",
}
ENDLESS = 10_000_000
PARAMETERS = {
    "epochs": ENDLESS,
    "layers": 2,
    "activations": {"layer1": "relu", "layer2": "sigmoid"},
    # Wide: an epoch of the trainer's own takes some milliseconds.
    "neurons": {"layer1": 1000, "layer2": 1},
    "learning_rate": 1e-5,
    "seed": 1,
}


@dataclass(frozen=True)
class Machine:
    """Everything on this machine: Airflow's API, AWS clients for the emulator; and Airflow's parts can be killed."""

    api: Clicks
    clients: Clients
    home: Path
    dags: Path
    emulator: Emulator

    @staticmethod
    def until(condition: Callable[[], Any], limit: float) -> Any:
        """Wait until `condition` returns something true, and return that; fails after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {limit:g} s"
            time.sleep(0.1)
        return found

    def kill(self, component: str, number: int = signal.SIGKILL) -> None:
        """Send the component's main process a signal and wait for its end."""
        server = processes.recorded(self.home)[component]
        os.kill(server.pid, number)
        # A triggerer told to end waits ten seconds and more for a child that has ended already.
        self.until(lambda: not processes.alive(server), 60)

    def revive(self) -> None:
        """Start what was killed, as `snn local up` does, and wait until it is well."""
        airflow.up(self.home, self.dags, self.emulator, variables=PAGE)

    def revive_dead(self) -> None:
        """Start again what has ended by itself; nothing happens if all of it runs.

        Airflow 3.3's scheduler ends if a DAG run is deleted in the moment in which it is scheduled: its answer to that
        error asks the deleted run for its name.
        """
        servers = processes.recorded(self.home)
        if not all(processes.alive(servers[name]) for name in airflow.COMPONENTS):
            self.revive()

    def pids(self) -> dict[str, int]:
        """Return the main processes of Airflow's parts."""
        return {name: processes.recorded(self.home)[name].pid for name in airflow.COMPONENTS}

    def task_processes(self) -> int:
        """Return how many processes run a task now: children of the executor's workers, which are the scheduler's."""
        parents = dict(_parents())
        scheduler = self.pids()["scheduler"]
        return sum(parents.get(parent) == scheduler for parent in parents.values())


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of its own for the session, with an empty account, and the tests' DAGs beside the project's."""
    home, dags = tmp_path_factory.mktemp("machine"), tmp_path_factory.mktemp("dags")
    for file in [*(ROOT / "dags").iterdir(), *Path(__file__).with_name("dags").iterdir()]:
        if file.is_file():
            (dags / file.name).symlink_to(file)
    try:
        aws = emulator.up(home, venv=ROOT / ".local" / "emulator-venv", port=0, redis_port=0)
        web = airflow.up(home, dags, aws, port=0, variables=PAGE)
        keys = aws.environment()
        session = boto3.Session(
            keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], None, keys["AWS_DEFAULT_REGION"]
        )
        clients = Clients(lambda name: session.client(name, endpoint_url=aws.endpoint_url))
        yield Machine(Clicks(web), clients, home, dags, aws)
    finally:
        airflow.down(home)
        emulator.down(home)


@dataclass(frozen=True)
class Training:
    """A DAG run, and what its task `train` has started."""

    machine: Machine
    ledger: Ledger
    dag: str
    dag_run: str

    @property
    def task(self) -> str | None:
        """The state of `train`."""
        tasks = self.machine.api.task_instances(self.dag, self.dag_run)
        return next((task["state"] for task in tasks if task["task_id"] == "train"), None)

    @property
    def run_id(self) -> str | None:
        """The run that `train` has started, None before."""
        return self.xcom("run_id")

    def xcom(self, key: str) -> Any:
        return self.machine.api.xcom(self.dag, self.dag_run, "train", key)

    def log(self, try_number: int = 1) -> list[str]:
        return self.machine.api.log_lines(self.dag, self.dag_run, "train", try_number)

    def under_way(self) -> str:
        """Wait until the training is watched and has done some epochs; return the run's id."""
        waits = "running" if self.dag == "waiting_training" else "deferred"
        run_id: str = self.machine.until(lambda: self.task == waits and self.run_id, 240)
        self.machine.until(lambda: self.ledger.get(run_id).epoch >= 3, 240)
        return run_id

    def runs(self, run_id: str) -> list[Run]:
        """Return all runs whose names begin with this one's: its own and those of later tries, oldest first."""
        pages = self.machine.clients.dynamodb.get_paginator("scan").paginate(TableName=self.ledger.table)
        names = {item["run_id"]["S"] for page in pages for item in page["Items"] if item["item"]["S"] == "run"}
        found = [self.ledger.get(name) for name in names if name.startswith(run_id)]
        return sorted(found, key=lambda run: run.created_at)


@pytest.fixture(scope="session")
def stack(machine: Machine) -> StackOutputs:
    """A stack with a cache, of their own, for the tests that only train."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in machine.emulator.environment().items():
            patch.setenv(name, value)
        return deploy_stack(machine.clients, StackOptions.from_environment(stack_name="snn-train", with_cache=True))


@pytest.fixture(scope="session")
def ledger(machine: Machine, stack: StackOutputs) -> Ledger:
    """The ledger of that stack."""
    return Ledger(machine.clients.dynamodb, stack.table)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photos: a data set of faces."""
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture(scope="session")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with PARAMETERS."""
    path = tmp_path_factory.mktemp("parameters") / "parameters.json"
    path.write_text(json.dumps(PARAMETERS))
    return path


@pytest.fixture(scope="session")
def train(
    machine: Machine, stack: StackOutputs, ledger: Ledger, faces: Path, parameters: Path
) -> Callable[..., Training]:
    """Trigger a DAG that trains, endlessly unless `epochs` are given, and return at once."""

    def train(dag: str, **form: Any) -> Training:
        machine.api.wait_for_dag(dag)
        filled = {"stack_name": stack.stack_name, "dataset": str(faces), "parameters_file": str(parameters), **form}
        return Training(machine, ledger, dag, machine.api.trigger(dag, filled))

    return train


def _parents() -> Iterator[tuple[int, int]]:
    """Yield the pid and the parent's pid of every living process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name comes second, in parentheses, and may itself contain blanks and parentheses.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            yield int(stat.parent.name), int(parent)
