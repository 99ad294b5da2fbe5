"""`snn local`: what it starts, that it starts it once, and that nothing is left of it."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest
import redis
from small import wait_until
from typer.testing import CliRunner

from snn_cli.local import emulator as local_emulator
from snn_cli.local import processes
from snn_cli.main import app


def _processes_mentioning(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in command:
                found.append(f"{entry.name} {command}")
    return found


def test_up_is_idempotent_answers_and_down_leaves_nothing(tmp_path: Path, emulator_venv: Path) -> None:
    # A blank in the path: nothing may split on it.
    home = tmp_path / "a home"
    first = local_emulator.up(home, venv=emulator_venv, port=0, redis_port=0)
    try:
        servers = processes.recorded(home)
        temporary = Path(processes.read_state(home)["temporary"])
        assert local_emulator.up(home, venv=emulator_venv, port=0, redis_port=0) == first
        assert processes.recorded(home) == servers
        assert local_emulator.status(home) == {
            "ministack": first.endpoint_url,
            "valkey": f"redis://127.0.0.1:{first.redis_port}",
        }

        with redis.Redis(first.redis_host, first.redis_port) as client:
            assert client.ping() is True
            assert client.config_get("save") == {"save": ""}
        sts = boto3.client(
            "sts",
            endpoint_url=first.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        assert sts.get_caller_identity()["Account"] == "000000000000"
        shown = CliRunner().invoke(app, ["local", "env", "--home", str(home)])
        assert shown.exit_code == 0
        for line in (
            f"export AWS_ENDPOINT_URL={first.endpoint_url}",
            "export AWS_ACCESS_KEY_ID=test",
            "export SNN_WITH_CACHE=true",
            f"export SNN_RUNTIME=python{sys.version_info.major}.{sys.version_info.minor}",
        ):
            assert line in shown.output.splitlines()
        if local_emulator.SHARED_MEMORY.is_dir():
            assert temporary.parent == local_emulator.SHARED_MEMORY
        assert temporary.is_dir()
        assert _processes_mentioning(str(home))
    finally:
        local_emulator.down(home)
    assert not temporary.exists()
    assert _processes_mentioning(str(home)) == []
    assert _processes_mentioning(str(temporary)) == []
    assert local_emulator.status(home) == {"ministack": "stopped", "valkey": "stopped"}
    local_emulator.down(home)


def test_up_replaces_a_server_that_was_killed(tmp_path: Path, emulator_venv: Path) -> None:
    local_emulator.up(tmp_path, venv=emulator_venv, port=0, redis_port=0)
    try:
        killed = processes.recorded(tmp_path)["valkey"]
        subprocess.run(["kill", "-9", str(killed.pid)], check=True)
        wait_until(lambda: not processes.alive(killed), "it outlives its kill")
        assert local_emulator.status(tmp_path)["valkey"] == "stopped"
        again = local_emulator.up(tmp_path, venv=emulator_venv, port=0, redis_port=0)
        with redis.Redis(again.redis_host, again.redis_port) as client:
            assert client.ping() is True
    finally:
        local_emulator.down(tmp_path)


def test_a_taken_port_is_avoided(tmp_path: Path, emulator_venv: Path) -> None:
    first = local_emulator.up(tmp_path / "one", venv=emulator_venv, port=0, redis_port=0)
    taken = int(first.endpoint_url.rpartition(":")[2])
    try:
        second = local_emulator.up(tmp_path / "two", venv=emulator_venv, port=taken, redis_port=first.redis_port)
        assert second.endpoint_url != first.endpoint_url
        assert second.redis_port != first.redis_port
        with urllib.request.urlopen(f"{second.endpoint_url}/_ministack/health") as answer:
            assert answer.status == 200
    finally:
        local_emulator.down(tmp_path / "two")
        local_emulator.down(tmp_path / "one")


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path, emulator_venv: Path) -> None:
    with pytest.raises(processes.LocalError, match=r"ministack ended while starting(.|\n)*invalid literal for int"):
        local_emulator.up(tmp_path, venv=emulator_venv, port=0, redis_port=0, settings={"GATEWAY_PORT": "not a port"})
    assert local_emulator.status(tmp_path) == {"ministack": "stopped", "valkey": "stopped"}
    assert processes.recorded(tmp_path) == {}
