"""5,000 neuron invocations in a burst while NeuronLambda may run eight times at once, and no more."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import oracle
import pytest
from faults.cloud import Cloud, workers
from load.kinds import DATA, Kind, check_usage, dead_letters, leftovers, printed
from load.tally import AT_ONCE, LOAD, keep

from snn_cloud.ledger.parameters import Parameters

BATCHES, SIZES = 5, (16, 8, 1)  # 50 invocations for a mini-batch, 250 for an epoch


def burst_of(runs: int) -> list[Kind]:
    """Return runs that together make 5,000 invocations."""
    epochs = 5_000 // (2 * sum(SIZES) * BATCHES * runs)
    fields: Any = {"epochs": epochs, "granularity": "neuron", "batch_size": 5}
    shape = SIZES, ("relu", "relu", "sigmoid")
    return [
        Kind("burst", Parameters.load(oracle.small_network(*shape, **fields, seed=seed))) for seed in range(1, runs + 1)
    ]


@contextmanager
def watched(cloud: Cloud, processes: list[int]) -> Iterator[None]:
    """Count NeuronLambda's processes all the time: what runs at once has a process each."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            processes.append(len(workers(cloud, cloud.stack.neuron_function)))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()


def metric(cloud: Cloud, name: str) -> int:
    """Return the sum of one of NeuronLambda's metrics, which the emulator counts as AWS does."""
    now = datetime.now(UTC)
    points = cloud.clients._make("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda", MetricName=name, Statistics=["Sum"], Period=3_600,
        Dimensions=[{"Name": "FunctionName", "Value": cloud.stack.neuron_function}],
        StartTime=now - timedelta(hours=3), EndTime=now + timedelta(hours=1),
    )["Datapoints"]  # fmt: skip
    return round(sum(point["Sum"] for point in points))


@pytest.mark.parametrize("runs", [1, 20], ids=["one run, by its own bound", "twenty runs, by the function's limit"])
def test_five_thousand_invocations(cloud: Cloud, runs: int) -> None:
    kinds = burst_of(runs)
    wanted = [cloud.reference(kind.chosen, DATA) for kind in kinds]
    assert sum(kind.neurons for kind in kinds) == 5_000
    before = {name: metric(cloud, name) for name in ("Invocations", "Throttles")}
    processes: list[int] = []
    with watched(cloud, processes):
        began = time.time()
        names = [kind.start(cloud, f"burst {runs}") for kind in kinds]
        outcomes = [cloud.judge(name, result, limit=300) for name, result in zip(names, wanted)]
    assert outcomes == ["right"] * runs
    ended = [cloud.ledger.get(name) for name in names]
    counted = {name: metric(cloud, name) - before[name] for name in before}
    for kind, run in zip(kinds, ended):
        check_usage(cloud, kind, run)
        # Every neuron of every layer, in both directions, once for each mini-batch of each epoch.
        lines = printed(cloud, cloud.stack.neuron_function, run.run_id)
        said = Counter(re.sub(r" \d+ ms$", "", line.partition(": ")[2]) for line in lines)
        assert said == {
            f"layer {layer} neurons [{first}, {first + 1}] {direction}": BATCHES * kind.chosen.epochs
            for layer, size in enumerate(SIZES, start=1)
            for first in range(size)
            for direction in ("forward", "backward")
        }
    refused = counted["Throttles"] // 2  # the emulator counts a refusal twice, and twice as an invocation
    assert counted["Invocations"] - counted["Throttles"] == 5_000
    assert max(processes) == AT_ONCE
    assert (refused > 0) == (runs > 1), counted
    assert dead_letters(cloud) == leftovers(cloud)["values"] == 0
    seconds = max(run.ended_at for run in ended) - began
    figures = {
        "runs": runs,
        "invocations": sum(run.usage["neuron"].invocations for run in ended),
        "seconds": round(seconds, 1),
        "most": max(processes),
        "refused": refused,
    }
    print(figures)
    keep(LOAD, **{f"burst of {runs}": figures})
