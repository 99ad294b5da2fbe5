"""A second emulator, moto, with the stack on it; it runs no functions, so their handlers are called in this process."""

from __future__ import annotations

import importlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from documentation import ROOT
from small import photos

from snn_cli.local import emulator as local_emulator
from snn_cli.local import processes
from snn_cli.local.emulator import Emulator
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients

Call = Callable[..., Any]


class Moto(Emulator):
    """Where moto answers."""

    def ask(self, what: str, body: Any = None) -> None:
        """Tell moto something that AWS cannot be told."""
        data = b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint_url}/moto-api/{what}", data, method="POST")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status in (200, 201)

    def function_answers(self, said: Any) -> None:
        """Have the next function that is invoked answer so."""
        self.ask("static/lambda-simple/response", {"results": [json.dumps(said)]})


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """Start moto for the session, on a port of its own; the environment points boto3 and `snn` at it."""
    home, venv = tmp_path_factory.mktemp("moto"), ROOT / ".local" / "moto-venv"
    local_emulator.install(venv, ROOT / "requirements" / "moto.txt")
    port = processes.free_port()
    running = Moto(f"http://{processes.LOOPBACK}:{port}", "", 0)
    command: list[str | Path] = [
        venv / "bin/python", "-P", Path(__file__).with_name("server.py"), "-H", processes.LOOPBACK, "-p", str(port),
    ]  # fmt: skip
    try:
        server = processes.start(home, "moto", command, {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(home)})
        processes.wait_until(home, server, healthy=lambda: _answers(running), limit=60)
        running.ask("config", {"lambda": {"use_docker": False}})
        with pytest.MonkeyPatch.context() as patch:
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                patch.delenv(name, raising=False)
            # Its CloudFormation knows no function URLs.
            for name, value in {**running.environment(), "SNN_WITH_CACHE": "false", "SNN_ENDPOINT": "none"}.items():
                patch.setenv(name, value)
            yield running
    finally:
        processes.stop(home, "moto")


def _answers(moto: Moto) -> bool:
    with urllib.request.urlopen(f"{moto.endpoint_url}/moto-api/data.json", timeout=5) as answer:
        return bool(answer.status == 200)


@pytest.fixture(scope="session")
def clients(emulator: Moto) -> Clients:
    """AWS clients of the product, made from the environment."""
    return Clients.from_environment()


@pytest.fixture(scope="session")
def layer(clients: Clients) -> str:
    """A layer that is there already, so that none is built: moto looks into no layer."""
    made: Any = clients.lambda_.publish_layer_version(LayerName="dependencies", Content={"ZipFile": b"no zip"})
    return str(made["LayerVersionArn"])


@pytest.fixture(scope="session")
def deploy(clients: Clients, layer: str) -> Call:
    """Deploy a stack without a cache, and see to what moto's CloudFormation leaves out: the versions of its bucket."""

    def deploy(name: str, **options: Any) -> StackOutputs:
        outputs = deploy_stack(clients, StackOptions.from_environment(stack_name=name, layer_arn=layer, **options))
        assert "Status" not in clients.s3.get_bucket_versioning(Bucket=outputs.bucket)
        clients.s3.put_bucket_versioning(Bucket=outputs.bucket, VersioningConfiguration={"Status": "Enabled"})
        return outputs

    return deploy


@pytest.fixture(scope="session")
def stack(deploy: Call) -> StackOutputs:
    """The deployed stack, once for the session."""
    outputs: StackOutputs = deploy("snn-test")
    return outputs


@pytest.fixture(scope="session")
def data() -> bytes:
    """A small data set of photos, as the file that users stage."""
    return photos()


@pytest.fixture
def function(clients: Clients, emulator: Moto) -> Iterator[Call]:
    """Call a function's handler in this process, with the environment that the stack's template gives it."""

    with pytest.MonkeyPatch.context() as patch:

        def call(function_name: str, event: Any, context: Any = None) -> Any:
            told: Any = clients.lambda_.get_function_configuration(FunctionName=function_name)
            for name, value in told["Environment"]["Variables"].items():
                patch.setenv(name, str(value))
            module = importlib.import_module(f"snn_handlers.{told['Handler'].removesuffix('.handler')}")
            return module.handler(event, context)

        yield call
