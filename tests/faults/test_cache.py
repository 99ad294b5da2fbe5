"""The cache is flushed, restarted, hanging or full while trainers and neurons, or two trainers, meet in it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from faults import tally
from faults.cloud import DRAWN, Cloud, network
from small import photos

from snn_cli.local import emulator as local_emulator
from snn_cli.local import processes

DATA = photos()
RUNS = [
    network(epochs=12 if tally.FULL else 8, granularity="layer", batch_size=12, **DRAWN),
    network(epochs=300 if tally.FULL else 200, batch_size=8, sub_batches=2, workers=2, **DRAWN),
    network(epochs=900 if tally.FULL else 600, batch_size=7, strategy="average", workers=2, first_layer="direct"),
    network(epochs=10, granularity="neuron"),
    network(epochs=900, batch_size=7, strategy="best-batch", workers=2),
    network(epochs=24, granularity="layer", batch_size=12),
][: 6 if tally.FULL else 3]
TRIALS = 5 if tally.FULL else 1


def flushed(cloud: Cloud, chance: random.Random) -> None:
    cloud.valkey.flushall()


def restarted(cloud: Cloud, chance: random.Random) -> None:
    temporary = processes.read_state(cloud.home)["temporary"]
    processes.stop(cloud.home, "valkey")
    time.sleep(chance.choice([0.0, 0.5, 2.0]))
    local_emulator._start_valkey(cloud.home, cloud.venv, temporary, cloud.emulator.redis_port)


def hanging(cloud: Cloud, chance: random.Random) -> None:
    server = processes.recorded(cloud.home)["valkey"].pid
    os.kill(server, signal.SIGSTOP)
    try:
        time.sleep(chance.choice([1.0, 3.0, 12.0]) if tally.FULL else 1.0)
    finally:
        os.kill(server, signal.SIGCONT)


def full(cloud: Cloud, chance: random.Random) -> None:
    """No place for anything more; what is there stays, or goes, as the policy says."""
    cloud.valkey.config_set("maxmemory-policy", chance.choice(["noeviction", "allkeys-random"]))
    cloud.valkey.config_set("maxmemory", 1)
    try:
        time.sleep(chance.choice([0.2, 1.0]))
    finally:
        cloud.valkey.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    "loss", [flushed, hanging, *(pytest.param(loss, marks=pytest.mark.slow) for loss in (restarted, full))]
)
def test_a_loss(cloud: Cloud, loss: Callable[[Cloud, random.Random], None]) -> None:
    chance = random.Random(loss.__name__)
    row = tally.row(f"cache {loss.__name__} under neurons, layers and two trainers", "losses", 5)
    chosen = RUNS
    for _ in range(TRIALS):
        while True:
            wanted = [cloud.reference(each, DATA) for each in chosen]
            began = time.monotonic()
            names = [cloud.launch(f"cache {loss.__name__}", each, DATA) for each in chosen]
            time.sleep(chance.uniform(0.3, 2.0 if tally.FULL else 0.6))
            if any(not cloud.ledger.get(name).state.is_terminal for name in names):
                break
            # The loss came too late: this process was, or the functions are faster.
            chosen = [each.model_copy(update={"epochs": 2 * each.epochs}) for each in chosen]
        loss(cloud, chance)
        row.injected += 1
        for name, result in zip(names, wanted):
            row.add(cloud.judge(name, result, limit=began + 200 - time.monotonic()), time.monotonic() - began)
    row.check()
