"""What end-to-end tests run against: a real Airflow with the project's DAGs, and the emulator that they deploy to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from snn_cli.local import airflow, emulator
from snn_cli.local.airflow_api import AirflowApi
from snn_cloud.clients import Clients

# Airflow makes a home for itself as soon as it is imported; the servers have their own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Machine:
    """Everything on this machine: Airflow's API, and AWS clients for the emulator."""

    api: AirflowApi
    clients: Clients


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of its own for the session, with an empty account."""
    home = tmp_path_factory.mktemp("machine")
    try:
        aws = emulator.up(home, venv=ROOT / ".local" / "emulator-venv", port=0, redis_port=0)
        web = airflow.up(home, ROOT / "dags", aws, port=0)
        keys = aws.environment()
        session = boto3.Session(
            keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], None, keys["AWS_DEFAULT_REGION"]
        )
        yield Machine(AirflowApi(web), Clients(lambda name: session.client(name, endpoint_url=aws.endpoint_url)))
    finally:
        airflow.down(home)
        emulator.down(home)
