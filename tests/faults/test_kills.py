"""kill -9 of the processes in which the emulator runs TrainerLambda and NeuronLambda, at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

from faults import tally
from faults.cloud import DRAWN, Cloud, network, workers
from small import photos

from snn_cloud.ledger.parameters import Parameters

DATA = photos(samples=120, height=16, width=16)
TRAINERS = [
    ("trainer", network(epochs=2_500, first_layer="direct"), {}),
    ("trainer, continued every second", network(epochs=2_500, first_layer="direct"), {"trainer_seconds": 1.0}),
    ("two trainers", network(epochs=700, first_layer="direct", batch_size=30, strategy="average", workers=2), {}),
    ("two trainers, many steps", network(epochs=100, batch_size=30, sub_batches=3, workers=2, **DRAWN), {}),
]
NEURONS = [
    ("neuron", network(epochs=12, granularity="neuron"), {}),
    ("layer", network(epochs=15, granularity="layer", batch_size=60, **DRAWN), {}),
]


def kill_one_at_work(cloud: Cloud, function: str, chance: random.Random) -> bool:
    """Kill one of the function's processes that computes; return whether there was one."""
    before = workers(cloud, function)
    time.sleep(0.03)
    now = workers(cloud, function)
    busy = [pid for pid, ticks in now.items() if ticks > before.get(pid, ticks)]
    if not busy:
        return False
    os.kill(chance.choice(busy), signal.SIGKILL)
    return True


def kill(cloud: Cloud, row: tally.Row, function: str, kinds: list[tuple[str, Parameters, dict[str, float]]],
         kills: int, pause: float) -> None:  # fmt: skip
    """Kill so many processes at random moments, while one run of each kind follows the other, side by side."""
    chance, done = random.Random(function), False
    if not tally.FULL:  # shorter runs: who is killed is at work all the same
        kinds = [(name, chosen.model_copy(update={"epochs": chosen.epochs // 4}), how) for name, chosen, how in kinds]
    wanted = [cloud.reference(chosen, DATA) for _, chosen, _ in kinds]

    def one_after_the_other(kind: int) -> None:
        _, chosen, options = kinds[kind]
        while not done:
            began = time.monotonic()
            name = cloud.launch(f"kills {kind}", chosen, DATA, **options)
            row.add(cloud.judge(name, wanted[kind], limit=200), time.monotonic() - began)

    with ThreadPoolExecutor(2 * len(kinds)) as pool:
        lines = [pool.submit(one_after_the_other, kind) for kind in [*range(len(kinds))] * (2 if tally.FULL else 1)]
        limit = time.monotonic() + 400
        try:
            while row.injected < kills and time.monotonic() < limit:
                time.sleep(chance.uniform(0.0, pause))
                row.injected += kill_one_at_work(cloud, function, chance)
        finally:
            done = True
        for line in lines:
            line.result()
    row.check()


def test_trainers(cloud: Cloud) -> None:
    row = tally.row("kill -9 of trainers, alone, continued or two of a run", "kills", 30)
    kill(
        cloud,
        row,
        cloud.stack.trainer_function,
        TRAINERS,
        row.least if tally.FULL else 2,
        pause=6.0 if tally.FULL else 0.5,
    )


def test_neurons(cloud: Cloud) -> None:
    row = tally.row("kill -9 of neurons and layers", "kills", 30)
    kill(
        cloud,
        row,
        cloud.stack.neuron_function,
        NEURONS,
        row.least if tally.FULL else 2,
        pause=1.0 if tally.FULL else 0.5,
    )
