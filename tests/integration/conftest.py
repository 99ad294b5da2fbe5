"""What integration tests run against: a real emulator with a real Valkey, and the stack deployed on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small import photos
from strict import Strict

from snn_cli.local import emulator as local_emulator
from snn_cli.local.emulator import Emulator

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs
    from snn_cloud.aws.clients import Clients

ROOT = Path(__file__).parents[2]
# `make test-iam`: the session's emulator, too, denies every role what its policies do not allow.
ENFORCED = {"AUTH": "true"}
IAM_EVERYWHERE = os.environ.get("SNN_IAM") == "enforced"


@pytest.fixture(scope="session")
def emulator_venv() -> Path:
    """Where the emulator is installed; shared with `make demo`, so that it is installed once."""
    return ROOT / ".local" / "emulator-venv"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory, emulator_venv: Path) -> Iterator[Emulator]:
    """One emulator for the session, on ports of its own; the environment points boto3 and `snn` at it."""
    home = tmp_path_factory.mktemp("local")
    try:
        running = local_emulator.up(
            home, venv=emulator_venv, port=0, redis_port=0, settings=ENFORCED if IAM_EVERYWHERE else None
        )
        with pytest.MonkeyPatch.context() as patch:
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in running.environment().items():
                patch.setenv(name, value)
            yield running
    finally:
        local_emulator.down(home)


@pytest.fixture(scope="session")
def clients(emulator: Emulator) -> Clients:
    """AWS clients of the product, made from the environment."""
    from snn_cloud.aws.clients import Clients

    return Clients.from_environment()


@pytest.fixture(scope="session")
def stack(clients: Clients) -> StackOutputs:
    """The deployed stack, with its cache, once for the session; runs do not touch each other, so tests share it."""
    from snn_client.stack.deploy import deploy_stack
    from snn_client.stack.options import StackOptions

    return deploy_stack(clients, StackOptions.from_environment(stack_name="snn-test", with_cache=True))


@pytest.fixture(scope="session")
def data() -> bytes:
    """A small data set of photos, as the file that users stage."""
    return photos()


@pytest.fixture(scope="session")
def strict(
    tmp_path_factory: pytest.TempPathFactory, emulator_venv: Path, request: pytest.FixtureRequest
) -> Iterator[Strict]:
    """A second emulator, which enforces IAM, and a stack on it; the session's, if that does too."""
    if IAM_EVERYWHERE:
        yield Strict(request.getfixturevalue("emulator"))
        return
    home = tmp_path_factory.mktemp("strict")
    try:
        yield Strict(local_emulator.up(home, venv=emulator_venv, port=0, redis_port=0, settings=ENFORCED))
    finally:
        local_emulator.down(home)


@pytest.fixture(scope="module")
def at_strict(strict: Strict) -> Iterator[None]:
    """Have the environment point boto3 and `snn` at `strict`, for a module's tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in strict.emulator.environment().items():
            patch.setenv(name, value)
        yield
