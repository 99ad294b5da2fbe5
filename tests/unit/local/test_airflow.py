"""What Airflow is started with: its own secrets, the emulator's address, and nothing of the developer's AWS."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from snn_cli.local import airflow, processes
from snn_cli.local.airflow import Airflow
from snn_cli.local.emulator import Emulator
from snn_cli.local.processes import LocalError

EMULATOR = Emulator("http://127.0.0.1:4999", "127.0.0.1", 6399)


def _environment(folder: Path) -> dict[str, str]:
    running = Airflow("http://127.0.0.1:8099", "passwords.json", "http://127.0.0.1:8123")
    return airflow._environment(folder, folder / "dags", EMULATOR, running)


def test_tasks_reach_the_emulator_and_no_account_of_the_developer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    environment = _environment(tmp_path)
    assert "AWS_PROFILE" not in environment
    assert "AWS_SESSION_TOKEN" not in environment
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == environment["AWS_CONFIG_FILE"] == os.devnull
    assert environment["AWS_ENDPOINT_URL"] == EMULATOR.endpoint_url
    assert environment["SNN_WITH_CACHE"] == "true"
    assert json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"]) == {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {"region_name": "us-east-1", "endpoint_url": "http://127.0.0.1:4999"},
    }
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8099"
    assert environment["AIRFLOW__API__PORT"] == "8099"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8123/execution/"


def test_package_indexes_and_proxies_of_the_caller_reach_the_tasks_that_build_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"UV_INDEX_URL": "https://mirror", "PIP_INDEX_URL": "https://mirror", "https_proxy": "http://proxy"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert given.items() <= _environment(tmp_path).items()


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first = airflow._secrets(tmp_path)
    assert airflow._secrets(tmp_path) == first
    assert len(first["jwt"]) >= 64
    for name in ("secrets.json", "passwords.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    password = Airflow("http://127.0.0.1:8099", str(tmp_path / "passwords.json")).password
    assert len(password) >= 12
    assert password not in repr(Airflow("http://127.0.0.1:8099", str(tmp_path / "passwords.json")))


def test_a_missing_folder_of_dags_is_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="nowhere is not a folder of DAGs"):
        airflow.up(tmp_path, tmp_path / "nowhere", EMULATOR)
    assert list(tmp_path.iterdir()) == []


def test_an_airflow_that_an_earlier_version_started_is_taken_for_not_well(tmp_path: Path) -> None:
    """It had one API server: `up` starts it anew."""
    processes.write_state(tmp_path, airflow={"url": "http://127.0.0.1:9", "password_file": "passwords.json"})
    assert airflow.find(tmp_path) is None
    assert set(airflow.status(tmp_path).values()) == {"stopped"}
