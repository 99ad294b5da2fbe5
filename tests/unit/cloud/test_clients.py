"""How long the clients wait, by service, and that a slow or silent AWS is met accordingly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import BotoCoreError

from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.messages import Messages


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "NEURON_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def silence() -> Iterator[tuple[str, list[float]]]:
    """A server that takes connections and never answers; when each came."""
    came: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept() -> None:
            try:
                while True:
                    kept.append(server.accept()[0])
                    came.append(time.monotonic())
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        server.shutdown(socket.SHUT_RDWR)


def test_only_an_invocation_may_take_long() -> None:
    clients = Clients.from_environment()
    services = {"lambda": clients.lambda_, "dynamodb": clients.dynamodb, "sns": clients.sns, "s3": clients.s3}
    configs = {name: client.meta.config for name, client in services.items()}
    assert {name: config.read_timeout for name, config in configs.items()} == {
        "lambda": 120, "dynamodb": 4, "sns": 4, "s3": 30,
    }  # fmt: skip
    assert {name: config.retries["total_max_attempts"] for name, config in configs.items()} == {
        "lambda": 6, "dynamodb": 6, "sns": 2, "s3": 6,
    }  # fmt: skip
    assert clients.cloudformation.meta.config.read_timeout == 60


@pytest.mark.parametrize(("concurrency", "connections"), [("", 16), ("8", 16), ("100", 102), ("512", 514)])
def test_every_neuron_invoked_at_a_time_has_a_connection(
    monkeypatch: pytest.MonkeyPatch, concurrency: str, connections: int
) -> None:
    if concurrency:
        monkeypatch.setenv("NEURON_CONCURRENCY", concurrency)
    clients = Clients.from_environment()
    assert clients.lambda_.meta.config.max_pool_connections == connections
    assert clients.dynamodb.meta.config.max_pool_connections == 16


def test_a_message_that_nobody_takes_costs_seconds(
    monkeypatch: pytest.MonkeyPatch, silence: tuple[str, list[float]], capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint, came = silence
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    began = time.monotonic()
    Messages(Clients.from_environment().sns, "arn:aws:sns:us-east-1:0:t").last("over")
    assert 7 < time.monotonic() - began < 20
    assert len(came) == 2
    assert "not sent: over: " in capsys.readouterr().out


def test_the_ledger_is_asked_again_within_seconds(
    monkeypatch: pytest.MonkeyPatch, silence: tuple[str, list[float]]
) -> None:
    endpoint, came = silence
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    def ask() -> None:
        with pytest.raises(BotoCoreError):
            Clients.from_environment().dynamodb.list_tables()

    threading.Thread(target=ask, daemon=True).start()
    limit = time.monotonic() + 20
    while len(came) < 2:
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert 3.5 < came[1] - came[0] < 12
