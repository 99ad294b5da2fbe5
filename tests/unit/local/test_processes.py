"""Servers are found again by pid and start time, and ended with everything they started."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from snn_cli.local import processes
from snn_cli.local.processes import LocalError

# A server that ignores SIGTERM, with a child that ignores it too; both say when they are ready.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    # In a group of its own, as Airflow starts its tasks.
    subprocess.Popen([sys.executable, "-c", open("stubborn.py").read(), "child"], process_group=0)
print(os.getpid(), flush=True)
time.sleep(60)
"""


def _pids(home: Path, name: str, count: int) -> list[int]:
    """Wait for `count` lines of pids in the log."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lines = processes.log_path(home, name).read_text().split()
        if len(lines) == count:
            return [int(line) for line in lines]
        time.sleep(0.02)
    raise AssertionError(f"not ready: {processes.tail(processes.log_path(home, name))}")


def _runs(pid: int) -> bool:
    return processes._started(pid) is not None


def test_a_server_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    server = processes.start(tmp_path, "stubborn", [sys.executable, "stubborn.py"], {})
    leader, child = sorted(_pids(tmp_path, "stubborn", 2), key=lambda pid: pid != server.pid)
    assert leader == server.pid
    assert processes.alive(server)
    assert _runs(child)
    started = time.monotonic()
    processes.stop(tmp_path, "stubborn", grace=0.3)
    assert 0.3 <= time.monotonic() - started < 5
    assert not _runs(leader)
    assert not _runs(child)
    assert processes.recorded(tmp_path) == {}


def test_children_that_outlive_their_leader_are_ended(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    server = processes.start(tmp_path, "stubborn", [sys.executable, "stubborn.py"], {})
    child = next(pid for pid in _pids(tmp_path, "stubborn", 2) if pid != server.pid)
    os.kill(server.pid, signal.SIGKILL)
    while processes.alive(server):
        time.sleep(0.01)
    assert _runs(child)
    processes.stop(tmp_path, "stubborn", grace=0.1)
    assert not _runs(child)


def test_a_recycled_pid_is_never_signalled(tmp_path: Path) -> None:
    ours = processes.start(tmp_path, "sleep", ["/bin/sleep", "30"], {})
    try:
        # The same pid with another start is what a recycled pid looks like.
        impostor = replace(ours, name="gone", started=ours.started - 1)
        processes.write_state(tmp_path, servers={"gone": asdict(impostor)})
        assert not processes.alive(impostor)
        processes.stop(tmp_path, "gone", grace=0.1)
        assert processes.alive(ours)
        assert processes.recorded(tmp_path) == {}
    finally:
        processes.write_state(tmp_path, servers={"sleep": asdict(ours)})
        processes.stop(tmp_path, "sleep")
    assert not processes.alive(ours)


def test_a_server_gets_exactly_the_environment_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "1")
    code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k != 'LC_CTYPE'}))"
    server = processes.start(tmp_path, "environment", [sys.executable, "-c", code], {"GIVEN": "a b"})
    while processes.alive(server):
        time.sleep(0.01)
    assert json.loads(processes.log_path(tmp_path, "environment").read_text()) == {"GIVEN": "a b"}


def test_waiting_ends_at_once_with_the_log_when_the_server_dies(tmp_path: Path) -> None:
    server = processes.start(tmp_path, "brief", [sys.executable, "-c", "raise SystemExit('no such luck')"], {})
    started = time.monotonic()
    with pytest.raises(LocalError, match=r"brief ended while starting(.|\n)*no such luck"):
        processes.wait_until(tmp_path, server, healthy=lambda: False, limit=30)
    assert time.monotonic() - started < 5


def test_waiting_has_a_limit_and_treats_refused_connections_as_not_yet(tmp_path: Path) -> None:
    def refused() -> bool:
        raise ConnectionRefusedError

    server = processes.start(tmp_path, "mute", ["/bin/sleep", "30"], {})
    try:
        with pytest.raises(LocalError, match=r"mute did not answer within 0\.2 s"):
            processes.wait_until(tmp_path, server, healthy=refused, limit=0.2)
    finally:
        processes.stop(tmp_path, "mute")


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"ghost cannot be started: .*no-such-program"):
        processes.start(tmp_path, "ghost", ["/no-such-program"], {})
    assert processes.recorded(tmp_path) == {}


def test_a_free_port_is_the_preferred_one_unless_it_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = processes.free_port(port)
        assert other not in (0, port)
    assert processes.free_port(port) == port


def test_damaged_state_is_reported_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(LocalError, match=r"state\.json is damaged"):
        processes.recorded(tmp_path)
