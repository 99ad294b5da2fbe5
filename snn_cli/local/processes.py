"""Servers that run beside the terminal: each in a session of its own, found again later and stopped for good.

A server's record (name, pid, start time) lives in `state.json` under the home folder. The start time is what makes a
pid trustworthy: numbers are recycled, so a process is only ever signalled if both still agree. Linux only (`/proc`),
as are the Lambda layers that run here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snn.errors import SnnError

LOOPBACK = "127.0.0.1"

# A child that ended stays a zombie until its parent asks for its status; keeping the handle lets `alive` ask.
_children: dict[int, subprocess.Popen[bytes]] = {}


class LocalError(SnnError):
    """A part of the machine without AWS did not start, or did not answer in time."""


@dataclass(frozen=True)
class Server:
    """A server this home started: its `name`, `pid` (also its session) and start in clock ticks since boot."""

    name: str
    pid: int
    started: int


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Hold the lock file, so that two `snn local` commands at once take turns."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_state(home: Path) -> dict[str, Any]:
    """Return what is recorded about this home; an empty record if there is none."""
    try:
        state: dict[str, Any] = json.loads((home / "state.json").read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LocalError(f"{home / 'state.json'} is damaged ({error}); stop its servers and delete it") from error
    return state


def write_state(home: Path, **changes: Any) -> None:
    """Merge `changes` into the record; a value of None removes its key. The file is replaced in one step."""
    state = {key: value for key, value in (read_state(home) | changes).items() if value is not None}
    new = home / "state.json.new"
    new.write_text(json.dumps(state, indent=2) + "\n")
    new.replace(home / "state.json")


def log_path(home: Path, name: str) -> Path:
    """Where the server called `name` writes."""
    return home / "logs" / f"{name}.log"


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or a note that it is empty."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) or f"({path.name} is empty)"


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if nothing listens there, otherwise some other free port.

    Not one that the system chooses: those it also gives to every outgoing connection, and one of them may take the port
    before the server does.
    """
    candidates = random.sample(range(20_000, 32_000), 100)  # nosec B311
    for port in [preferred, *candidates] if preferred else candidates:
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do: a port in TIME_WAIT after a restart counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    raise LocalError("no port is free on 127.0.0.1")


def start(home: Path, name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> Server:
    """Start `command` with exactly `environment`, in a session of its own, and record it.

    Raises LocalError if the program cannot be executed.
    """
    log = log_path(home, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(
                [str(part) for part in command],
                env=dict(environment),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise LocalError(f"{name} cannot be started: {error}") from error
    _children[child.pid] = child
    # The child cannot be reaped before `alive` polls it, so its entry exists, as a zombie at worst.
    server = Server(name, child.pid, _stat(child.pid)[3])
    write_state(home, servers=read_state(home).get("servers", {}) | {name: asdict(server)})
    return server


def recorded(home: Path) -> dict[str, Server]:
    """Return the servers on record by name, running or not."""
    return {name: Server(**entry) for name, entry in read_state(home).get("servers", {}).items()}


def alive(server: Server | None) -> bool:
    """Tell whether the recorded process itself still runs (and is not another one with its pid)."""
    return server is not None and _started(server.pid) == server.started


def stop(home: Path, *names: str, grace: float = 10.0) -> None:
    """End everything in the servers' sessions: SIGTERM, at most `grace` seconds of patience, then SIGKILL.

    A session is the server's group and the groups its children made for themselves, as Airflow's tasks do. Nothing
    happens to a name that is not on record, or whose pid belongs to somebody else by now. Raises LocalError if
    processes are left even after SIGKILL.
    """
    servers = [server for name, server in recorded(home).items() if name in names]
    if not servers:
        return
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for group in set(_members(servers).values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)
        deadline = time.monotonic() + patience
        while _members(servers) and time.monotonic() < deadline:
            time.sleep(0.02)
    if left := _members(servers):
        raise LocalError(f"{', '.join(names)} left processes that cannot be killed: {sorted(left)}")
    write_state(home, servers={name: asdict(entry) for name, entry in recorded(home).items() if name not in names})


def wait_until(home: Path, *servers: Server, healthy: Callable[[], bool], limit: float) -> None:
    """Wait until `healthy()`, which may raise OSError for 'not yet', while all of `servers` run.

    Raises LocalError with the end of the log as soon as one of them ends, or after `limit` seconds.
    """
    deadline = time.monotonic() + limit
    while True:
        ended = next((server for server in servers if not alive(server)), None)
        if ended is not None:
            log = log_path(home, ended.name)
            raise LocalError(f"{ended.name} ended while starting; the end of {log}:\n{tail(log)}")
        with contextlib.suppress(OSError):
            if healthy():
                return
        if time.monotonic() > deadline:
            log = log_path(home, servers[0].name)
            names = ", ".join(server.name for server in servers)
            raise LocalError(f"{names} did not answer within {limit:g} s; the end of {log}:\n{tail(log)}")
        time.sleep(0.05)


def _stat(pid: int) -> tuple[str, int, int, int]:
    """Return a process's state letter, process group, session and start (clock ticks since boot).

    Raises ProcessLookupError or FileNotFoundError if there is none.
    """
    # The name comes second, in parentheses, and may itself contain blanks and parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[2]), int(fields[3]), int(fields[19])


def _started(pid: int) -> int | None:
    """Return when a living process started, None if there is none (or only its zombie)."""
    if pid in _children:
        _children[pid].poll()
    try:
        state, _, _, started = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else started


def _members(servers: Sequence[Server]) -> dict[int, int]:
    """Return pid -> process group of what lives in the servers' sessions, also of what outlived its leader.

    A process that has a leader's pid but another start proves that the session is gone: the system gives out no pid
    that is still the name of a session.
    """
    since = {server.pid: server.started for server in servers if _started(server.pid) in (None, server.started)}
    members = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, group, session, started = _stat(int(entry.name))
                if state != "Z" and session in since and started >= since[session]:
                    members[int(entry.name)] = group
    return members
