"""No room in /tmp, clocks that are hours wrong, and an emulator that is restarted or killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from faults import tally
from faults.cloud import DRAWN, Cloud, network, workers
from small import photos

from snn.training import History
from snn_cli.local import emulator as local_emulator
from snn_cli.local import processes
from snn_client.runs import runs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.aws.places import input_dataset
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.launching import launch
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import State
from snn_cloud.train import training

DATA = photos()


def test_no_room_in_tmp(cloud: Cloud) -> None:
    """Not one byte can be written to any file by any function: RLIMIT_FSIZE, set on the processes that run."""
    row = tally.row("disk full: functions that can write no byte to any file", "runs", 5)
    kinds = [network(epochs=30), network(epochs=4, granularity="neuron"), network(epochs=60, batch_size=7, workers=2),
             network(epochs=5, batch_size=8, sub_batches=2, workers=2, **DRAWN)]  # fmt: skip
    for chosen in kinds * (2 if tally.FULL else 1):
        wanted, began = cloud.reference(chosen, DATA), time.monotonic()
        functions = cloud.stack.launch_function, cloud.stack.trainer_function, cloud.stack.neuron_function
        limited = {
            pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for name in functions for pid in workers(cloud, name)
        }
        for pid, (_, hard) in limited.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        try:
            name = cloud.launch("full disk", chosen, DATA)
            row.add(cloud.judge(name, wanted, limit=60), time.monotonic() - began, injected=1)
        finally:
            for pid, limits in limited.items():
                if Path(f"/proc/{pid}").exists():
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert limited
    row.check()


@pytest.mark.parametrize("hours", [-30, -5, 5, 30] if tally.FULL else [-5])
def test_clocks_that_are_wrong(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """A trainer whose clock is hours off dies; one whose clock is off the other way waits, takes over and ends."""
    row = tally.row("clocks of two trainers of a run, hours wrong in opposite directions", "takeovers", 4)
    chosen = network(epochs=100, batch_size=8, **DRAWN)
    wanted, began, right_time = cloud.reference(chosen, DATA), time.monotonic(), time.time
    stack, clients = cloud.stack, cloud.clients
    monkeypatch.setenv("CACHE_HOST", "")
    monkeypatch.setattr(Ledger.acquire, "__defaults__", (1.0,))
    name = cloud.stage("clock", DATA)
    # The run is recorded by LaunchLambda's own work; its trainer's event is held back.
    held = Clients.from_environment()
    held.lambda_ = SimpleNamespace(invoke=lambda **_: {})  # type: ignore[assignment]
    settings = Settings(stack.bucket, stack.table, "", stack.trainer_function)
    request = {"run_id": name, "dataset": input_dataset(name, "0" * 64), "parameters": json.loads(chosen.to_json())}
    launch(request, settings, held)
    ledger = Ledger(clients.dynamodb, stack.table)
    monkeypatch.setattr(time, "time", lambda: right_time() + 3600 * hours)
    dead = ledger.acquire(name, "the first, killed at once")
    assert dead is not None
    monkeypatch.setattr(time, "time", lambda: right_time() - 3600 * hours)
    waited = time.monotonic()
    second = training.advance(name, "the second", lambda: training.MARGIN_SECONDS + 600, settings, clients)
    monkeypatch.setattr(time, "time", right_time)
    assert time.monotonic() - waited > 1.0, "it did not wait for a sign of life"
    assert (second.fence, second.state) == (2, State.COMPLETED)
    with pytest.raises(training.LeaseLost):
        dead.flush(History(), {})
    row.add(cloud.judge(name, wanted, limit=1), time.monotonic() - began, injected=1)
    if hours == 30 or not tally.FULL:
        row.check()


def restart(cloud: Cloud, clean: bool) -> None:
    """End the emulator, by SIGTERM or kill -9, with all that it runs, and start it again on the same port."""
    home = cloud.home
    temporary = Path(processes.read_state(home)["temporary"])
    if not clean:
        os.kill(processes.recorded(home)["ministack"].pid, signal.SIGKILL)
    processes.stop(home, "ministack")
    local_emulator._start_ministack(home, cloud.venv, temporary, cloud.emulator, cloud.settings)


@pytest.mark.parametrize("clean", [True, True, True, False, False] if tally.FULL else [False])
def test_an_emulator_that_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: bool) -> None:
    """After a clean restart ledger and bucket are there, events under way are not: AWS would deliver them again."""
    what = "restarted; events under way delivered again" if clean else "killed, which loses all that it held"
    row = tally.row(f"emulator {what}", "restarts", 3 if clean else 2)
    kept = {"PERSIST_STATE": "1", "STATE_DIR": str(tmp_path / "state"), "S3_PERSIST": "1",
            "S3_DATA_DIR": str(tmp_path / "s3")}  # fmt: skip
    cloud = Cloud(tmp_path / "cloud", monkeypatch, kept if clean else {}, proxied=False)
    try:
        chosen, short = network(epochs=100_000, first_layer="direct"), network(epochs=60)
        wanted, began = cloud.reference(short, DATA), time.monotonic()
        name = cloud.launch("restarted", short if clean else chosen, DATA, trainer_seconds=0.001 if clean else 0.0)
        while cloud.ledger.get(name).epoch < 2:
            assert time.monotonic() < began + 60, cloud.ledger.get(name)
            time.sleep(0.02)
        began = time.monotonic()
        restart(cloud, clean)
        if clean:
            assert not cloud.ledger.get(name).state.is_terminal
            start_trainer(cloud.clients, cloud.stack.trainer_function, name)
            outcome = cloud.judge(name, wanted, limit=120)
        else:
            with pytest.raises((CloudError, ClientError, BotoCoreError)) as told:
                runs.watch(cloud.clients, cloud.stack, name, lambda *_: None, limit_seconds=60)
            print(told.value)
            outcome = "failed" if str(told.value) and "\n" not in str(told.value) else "wrong"
        row.add(outcome, time.monotonic() - began, injected=1)
    finally:
        cloud.close()
    assert (row.wrong, row.hung) == (0, 0)
