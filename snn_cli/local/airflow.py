"""A real Airflow on loopback, on SQLite: two API servers (see COMPONENTS), scheduler, DAG processor and triggerer.

Everything it needs is under `home/airflow`. The plugin comes in by its installed entry point, the DAGs by folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from snn_cli.local import processes
from snn_cli.local.emulator import Emulator
from snn_cli.local.processes import LOOPBACK, LocalError

DEFAULT_PORT = 8080
USER = "admin"
# Logs are read from the shared folder; Airflow's log servers would listen on every interface.
#
# Tasks have an API server of their own. Airflow writes who did what from within the event loop, so with one server:
#
#   a task's write takes SQLite's only lock  ──►  its commit waits for its turn in the event loop
#   a person pauses a DAG: the event loop    ──►  waits for SQLite's lock
#
# and after 5 s of that SQLite refuses one of the two: "database is locked", answered with 500.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server", "--apps", "core", "--workers", "1"),
    "execution-api": ("api-server", "--apps", "execution", "--workers", "1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# What a task may need of the caller's environment: where packages (for the Lambda layer) are fetched from and cached.
PASSED_ON = ("HOME", "TZ", "LANG", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NO_PROXY")
PASSED_ON_PREFIXES = ("PIP_", "UV_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class Airflow:
    """A running Airflow: its address, the file with the password of its user `admin`, and the address for its tasks."""

    url: str
    password_file: str
    execution_url: str = ""  # of an Airflow that an earlier version of ours started

    @property
    def password(self) -> str:
        """The password of USER."""
        password: str = json.loads(Path(self.password_file).read_text())[USER]
        return password


def up(
    home: Path,
    dags: Path,
    emulator: Emulator,
    *,
    port: int = DEFAULT_PORT,
    variables: Mapping[str, str] | None = None,
) -> Airflow:
    """Start the Airflow of `home` with the DAGs of the folder `dags`, or return the one that runs already.

    Its `aws_default` connection leads to `emulator`; `variables` are added to its environment. A component that died is
    started again, the others are left alone; all are restarted if it runs with other DAGs, another emulator or other
    variables, or is not well though all of it runs.
    Raises LocalError if a component ends, or if they are not all healthy within three minutes.
    """
    home, dags = home.resolve(), dags.resolve()
    if not dags.is_dir():
        raise LocalError(f"{dags} is not a folder of DAGs")
    with processes.locked(home / "lock"):
        made_for = {"dags": str(dags), "components": repr(COMPONENTS), **emulator.environment(), **(variables or {})}
        state, folder = processes.read_state(home), home / "airflow"
        as_asked, dead = state.get("airflow_made_for") == made_for, _dead(home)
        if as_asked and dead and len(dead) < len(COMPONENTS):
            # A session outlives its leader: what the dead one started would work beside what its successor starts.
            processes.stop(home, *dead)
            airflow = Airflow(**state["airflow"])
        else:
            running = find(home)
            if running is not None and as_asked:
                return running
            _stop(home)
            dead = list(COMPONENTS)
            url, execution_url = (
                f"http://{LOOPBACK}:{processes.free_port(each)}" for each in (port, port and port + 1)
            )
            airflow = Airflow(url, str(folder / "passwords.json"), execution_url)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "plugins").mkdir(exist_ok=True)
        environment = {**_environment(folder, dags, emulator, airflow), **(variables or {})}
        own = {"execution-api": {"AIRFLOW__API__PORT": airflow.execution_url.rpartition(":")[2]}}
        _migrate(home, folder, environment)
        processes.write_state(home, airflow=airflow.__dict__, airflow_made_for=made_for)
        began = time.time()
        try:
            servers = [
                processes.start(
                    home,
                    name,
                    [sys.executable, "-m", "airflow", *COMPONENTS[name]],
                    {**environment, **own.get(name, {})},
                )
                for name in dead
            ]
            processes.wait_until(home, *servers, healthy=lambda: all(_health(airflow, began).values()), limit=180)
        except BaseException:
            _stop(home)
            raise
        return airflow


def down(home: Path) -> None:
    """Stop the Airflow of `home`; its database and logs stay. Nothing happens if none runs."""
    home = home.resolve()
    with processes.locked(home / "lock"):
        _stop(home)


def find(home: Path) -> Airflow | None:
    """Return the Airflow of `home` if all of it runs and is healthy."""
    home = home.resolve()
    state = processes.read_state(home)
    if "airflow" not in state or _dead(home):
        return None
    airflow = Airflow(**state["airflow"])
    with contextlib.suppress(OSError):
        if all(_health(airflow).values()):
            return airflow
    return None


def status(home: Path) -> dict[str, str]:
    """Return for each component its address or "healthy", "stopped", or "not answering"."""
    home = home.resolve()
    servers, state = processes.recorded(home), processes.read_state(home)
    health = dict.fromkeys(COMPONENTS, False)
    if "airflow" in state:
        with contextlib.suppress(OSError):
            health = _health(Airflow(**state["airflow"]))
    result = {}
    for name in COMPONENTS:
        if not processes.alive(servers.get(name)):
            result[name] = "stopped"
        elif not health[name]:
            result[name] = "not answering"
        else:
            result[name] = state["airflow"]["url"] if name == "api-server" else "healthy"
    return result


def _environment(folder: Path, dags: Path, emulator: Emulator, airflow: Airflow) -> dict[str, str]:
    secret = _secrets(folder)
    connection = {
        "conn_type": "aws",
        "login": emulator.environment()["AWS_ACCESS_KEY_ID"],
        "password": emulator.environment()["AWS_SECRET_ACCESS_KEY"],
        "extra": {
            "region_name": emulator.environment()["AWS_DEFAULT_REGION"],
            "endpoint_url": emulator.endpoint_url,
        },
    }
    settings = {
        "core": {
            "dags_folder": str(dags),
            "plugins_folder": str(folder / "plugins"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": "4",
            "execution_api_server_url": f"{airflow.execution_url}/execution/",
            "dags_are_paused_at_creation": "False",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": airflow.password_file,
        },
        "api": {
            "base_url": airflow.url,
            "host": LOOPBACK,
            "port": airflow.url.rpartition(":")[2],
            "secret_key": secret["session"],
        },
        "api_auth": {"jwt_secret": secret["jwt"]},
        # Where Airflow has it anyway, but a writer waits 20 s for the others instead of 5: a laptop may be busy.
        "database": {"sql_alchemy_conn": f"sqlite:///{folder}/airflow.db?timeout=20"},
        # Airflow's defaults suit a cluster; these make a chain of short tasks take seconds.
        "scheduler": {"scheduler_idle_sleep_time": "0.1"},
        # At each heartbeat a task learns that it was killed. It kills itself, and its training, after some heartbeats
        # that nobody answered: with 3 a second apart, that would be before a crashed API server is back.
        "workers": {"min_heartbeat_interval": "1", "max_failed_heartbeats": "60"},
        # A crashed triggerer's trainings are watched again, and can be cancelled, once it has been silent this long.
        "triggerer": {"job_heartbeat_sec": "2", "triggerer_health_check_threshold": "15"},
        # A file that was changed is read within five seconds. The others, each of which takes a second or two of a
        # processor, are read again once a minute, for what they read of Airflow's Variables.
        "dag_processor": {"refresh_interval": "5", "min_file_process_interval": "60"},
        "usage_data_collection": {"enabled": "False"},
    }
    return {
        **_passed_on(os.environ),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        # A developer's own AWS profiles must not leak into a run that is meant for the emulator.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **emulator.environment(),
        **{
            f"AIRFLOW__{section.upper()}__{name.upper()}": value
            for section, entries in settings.items()
            for name, value in entries.items()
        },
    }


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or name.upper().startswith(PASSED_ON_PREFIXES)
    }


def _secrets(folder: Path) -> dict[str, str]:
    """Return the signing secrets, made once per home, and make sure that there is a password."""
    for name, content in (
        ("secrets.json", {"jwt": secrets.token_urlsafe(64), "session": secrets.token_urlsafe(32)}),
        ("passwords.json", {USER: secrets.token_urlsafe(12)}),
    ):
        with contextlib.suppress(FileExistsError), open(folder / name, "x", opener=_owner_only) as file:
            json.dump(content, file)
    stored: dict[str, str] = json.loads((folder / "secrets.json").read_text())
    return stored


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _migrate(home: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Bring the database to the installed version of Airflow; skipped (6 s) if that was done."""
    from airflow import __version__ as version

    stamp = folder / "database-version"
    if stamp.exists() and stamp.read_text() == version:
        return
    log = processes.log_path(home, "db-migrate")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise LocalError(f"airflow db migrate failed; the end of {log}:\n{processes.tail(log)}")
    stamp.write_text(version)


def _dead(home: Path) -> list[str]:
    """Return the components that do not run."""
    servers = processes.recorded(home)
    return [name for name in COMPONENTS if not processes.alive(servers.get(name))]


def _stop(home: Path) -> None:
    # The triggerer often waits ten seconds and more for children that have ended already.
    processes.stop(home, *COMPONENTS, grace=5.0)
    if processes.read_state(home):
        processes.write_state(home, airflow=None, airflow_made_for=None)


def _health(airflow: Airflow, since: float = 0.0) -> dict[str, bool]:
    """Return which components are well and have said so after `since`, in seconds since 1970.

    Airflow itself calls one that was killed healthy until its last heartbeat is old. Raises OSError while the API
    server does not answer.
    """
    parts = _answer(f"{airflow.url}/api/v2/monitor/health")

    def well(name: str) -> bool:
        part = parts.get(name) or {}
        beat = part.get(f"latest_{name}_heartbeat")
        return part.get("status") == "healthy" and (not beat or datetime.fromisoformat(beat).timestamp() >= since)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return _answer(f"{airflow.execution_url}/execution/health") == {"status": "healthy"}
        return False

    # API servers have no heartbeat: they answer, the first one for the database too.
    servers = {"api-server": well("metadatabase"), "execution-api": answers()}
    return {name: servers[name] if name in servers else well(name.replace("-", "_")) for name in COMPONENTS}


def _answer(url: str) -> dict[str, Any]:
    """Return what an API server answers. Raises OSError if it does not, or anything but 200."""
    import httpx  # as in airflow_api

    try:
        answer = httpx.get(url, timeout=5)
    except httpx.HTTPError as error:
        raise ConnectionError(str(error)) from error
    if answer.status_code != 200:
        raise ConnectionError(f"{url} answered {answer.status_code}")
    parts: dict[str, Any] = answer.json()
    return parts
