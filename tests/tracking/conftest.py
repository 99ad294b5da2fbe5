"""A real MLflow server, from an environment of its own, and a stack on the emulator whose runs it gets to know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from documentation import ROOT
from tracked import VENV, Server

from snn_cli.local import emulator as local_emulator
from snn_cli.local import processes
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start MLflow for the session, on a port of its own."""
    local_emulator.install(VENV, ROOT / "requirements" / "mlflow.txt")
    running = Server(tmp_path_factory.mktemp("mlflow"))
    command: list[str | Path] = [
        VENV / "bin/mlflow", "server", "--host", processes.LOOPBACK, "--port", running.url.rpartition(":")[2],
        "--workers", "1", "--backend-store-uri", f"sqlite:///{running.home}/mlflow.db",
        "--artifacts-destination", running.artifacts,
    ]  # fmt: skip
    environment = {
        "LANG": "C.UTF-8", "PATH": f"{VENV}/bin:/usr/bin:/bin", "HOME": str(running.home),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    try:
        process = processes.start(running.home, "mlflow", command, environment)
        processes.wait_until(running.home, process, healthy=running.healthy, limit=120)
        yield running
    finally:
        processes.stop(running.home, "mlflow")
        running.http.close()


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """AWS clients of an emulator that runs for the session."""
    home = tmp_path_factory.mktemp("local")
    try:
        running = local_emulator.up(home, venv=ROOT / ".local" / "emulator-venv", port=0, redis_port=0)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in running.environment().items():
                patch.setenv(name, value)
            yield Clients.from_environment()
    finally:
        local_emulator.down(home)


@pytest.fixture(scope="session")
def stack(clients: Clients) -> StackOutputs:
    """The deployed stack, without a cache."""
    return deploy_stack(clients, StackOptions.from_environment(stack_name="snn-tracked", with_cache=False))
