"""Every number in the tables of docs/scaling.md, computed anew from the model, the prices and the published limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snn_client.runs.estimate import (
    CACHE_BANDWIDTH,
    CORE_MB,
    OPERATIONS_PER_SECOND,
    Machine,
    estimate,
    training_seconds,
)
from snn_cloud.cost import prices
from snn_cloud.cost.money import cost_of
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.ledger import CHUNK_EPOCHS
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, Usage
from snn_cloud.neurons.task import EMPTY_BYTES

PAGE = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text()
FEATURES = 64 * 64 * 3
MIB = 2**20
NODE = "cache.r7g.16xlarge"


def parameters(*neurons: int, **fields: Any) -> Parameters:
    names = [f"layer{number}" for number in range(1, len(neurons) + 1)]
    activations = dict.fromkeys(names, "relu") | {names[-1]: "sigmoid"}
    network = {"layers": len(neurons), "neurons": dict(zip(names, neurons)), "activations": activations}
    return Parameters.load({"epochs": 3_000, "learning_rate": 0.0075, **network, **fields})


def itsacat(**fields: Any) -> Parameters:
    return parameters(20, 7, 5, 1, **fields)


FOUR = {"batch_size": 53, "strategy": "average"}
MEASURED = {
    "batch, warm": Run(
        "", parameters=itsacat(), started_at=1.0, ended_at=1.71, epoch=3_000, features=FEATURES, samples=209,
        usage={
            "launch": Usage(1, 59, 1024, 1, 1, 3, 2, 0),
            "trainer": Usage(1, 1_554, 1769, 2, 2, 32, 1, 2),
        },
    ),
    "batch, cold": Run(
        "", parameters=itsacat(), started_at=1.0, ended_at=4.318, epoch=3_000, features=FEATURES, samples=209,
        usage={
            "launch": Usage(1, 2_711, 1024, 1, 1, 3, 2, 0),
            "trainer": Usage(1, 4_618, 1769, 2, 2, 35, 1, 2),
        },
    ),
    "neuron, warm": Run(
        "", parameters=itsacat(**FOUR, granularity="neuron", epochs=3), started_at=1.0, ended_at=5.82, epoch=3,
        features=FEATURES, samples=209,
        usage={
            "launch": Usage(1, 49, 1024, 1, 1, 3, 2, 0),
            "trainer": Usage(1, 4_819, 1769, 2, 2, 13, 1, 2),
            "neuron": Usage(792, 5_119, 512),
        },
    ),
}  # fmt: skip


def money_rows(name: str) -> list[str]:
    run = MEASURED[name]
    cost = cost_of(run, Machine(has_cache=name.startswith("neuron")))
    lines = [
        f"| {line['what']} | {line['quantity']:,.6g} {line['unit']} | {line['price'] * 1e6:.6g} | "
        f"{line['usd'] * 1e6:.1f} |"
        for line in cost["lines"]
    ]
    return [*lines, f"| **together** | | | **{cost['usd'] * 1e6:.1f}** |"]


def estimate_rows() -> list[str]:
    rows = []
    for name, run in MEASURED.items():
        assert run.parameters is not None
        machine = Machine(has_cache=name.startswith("neuron"))
        most = estimate(run.parameters, Size(FEATURES, 209), machine)
        usd = cost_of(run, machine)["usd"]
        assert most["usd"] > usd
        rows.append(f"| {name} | {usd:.6f} | {most['usd']:.6f} | {run.seconds:.1f} | {most['seconds']:.1f} |")
    return rows


def scenario(title: str, chosen: Parameters, samples: int, **machine: Any) -> str:
    """One row: a function is as large as it must be, up to Lambda's largest, if nothing else is said."""
    size = Size(FEATURES, samples)
    work = Workload(chosen, size)
    trainer, neuron = work.trainer_bytes / MIB, work.neuron_bytes(512) / MIB
    sizes = {"trainer_mb": max(1769, min(10_240, round(trainer * 1.1))), "neuron_mb": max(512, round(neuron * 1.1))}
    given = Machine(**{"has_cache": bool(chosen.needs_cache), **sizes, **machine})
    cost = estimate(chosen, size, given)
    epoch, usd = training_seconds(work, given) / chosen.epochs, cost["usd"]
    return (
        f"| {title} | {epoch:.3g} | {work.invocations:,} | {work.cache_bytes / 1e9:.3g} | {trainer:,.0f} "
        f"| {neuron:,.0f} | {cost['seconds'] / 3600:.3g} | {usd:,.{0 if usd > 100 else 4}f} |"
    )


def growth_rows() -> list[str]:
    return [
        scenario("itsacat's: 33 neurons × 209 photos, full batch", itsacat(), 209),
        scenario("× 30 photos", itsacat(), 6_270),
        scenario("× 30 photos, 4 mini-batches", itsacat(batch_size=1_568, strategy="average"), 6_270),
        scenario("× 100 neurons", parameters(2_000, 700, 500, 1), 209),
    ]


def big(**fields: Any) -> Parameters:
    return parameters(700, 200, 99, 1, **fields)


def big_rows() -> list[str]:
    tens, hundreds = ({"batch_size": size, "strategy": "average"} for size in (10_000, 1_000))
    best = {**hundreds, "strategy": "best-batch"}
    fifty = {**hundreds, "granularity": "neuron", "neurons_per_invocation": 50}
    big_cache = {"cache_node_type": NODE}
    return [
        scenario("`batch`, full batch", big(), 100_000),
        scenario("`batch`, average of 10 × 10,000, 10 workers", big(**tens, workers=10), 100_000, **big_cache),
        scenario("`batch`, average of 100 × 1,000, 100 workers", big(**hundreds, workers=100), 100_000, **big_cache),
        scenario("`batch`, best of 100 × 1,000, 100 workers", big(**best, workers=100), 100_000, **big_cache),
        scenario(
            "`layer`, 100 × 1,000, 100 at once", big(**hundreds, granularity="layer"), 100_000,
            neuron_concurrency=100, **big_cache,
        ),
        scenario(
            "`neuron`, 50 an invocation, 100 × 1,000, 512 at once", big(**fifty), 100_000,
            neuron_concurrency=512, **big_cache,
        ),
        scenario(
            "`neuron`, 1 an invocation, 100 × 1,000, 512 at once", big(**hundreds, granularity="neuron"), 100_000,
            neuron_concurrency=512, **big_cache,
        ),
    ]  # fmt: skip


def limit_rows() -> list[str]:
    """Photos of 64×64 at which something ends."""
    launch, trainer, neuron = (mb * MIB - EMPTY_BYTES for mb in (1_024, 1_769, 512))
    largest = 10_240 * MIB - EMPTY_BYTES
    direct = trainer / (9 * FEATURES)
    return [
        f"| weights | LaunchLambda's 1,024 MB hold the first ones four times | {launch / 8 / 4:,.0f} |",
        f"| photos in a data set | the trainer's 1,769 MB, full batch, directly | {direct:,.0f} |",
        f"| photos in a data set | a trainer of 10,240 MB, full batch, directly | {largest / (9 * FEATURES):,.0f} |",
        f"| photos in a data set | `MAX_BYTES` of a file's array, 2 GiB | {2 * 1024 * MIB / FEATURES:,.0f} |",
        f"| photos in a mini-batch | a neuron's 512 MB hold it, bytes and numbers | {neuron / (9 * FEATURES):,.0f} |",
        f"| photos in a set that neurons keep | a sixth of what 512 MB leave free | {neuron / 6 / FEATURES:,.0f} |",
        f"| photos in a mini-batch | Valkey's longest value, 512 MB | {512 * MIB / FEATURES:,.0f} |",
        f"| seconds an epoch may take, 3,000 epochs | 500 continuations of 860 s | {501 * 860 / 3_000:,.0f} |",
    ]


def runs_rows() -> list[str]:
    """How many simultaneous runs a resource carries."""
    size = Size(FEATURES, 209)
    job, neurons = Workload(itsacat(), size), Workload(itsacat(**FOUR, granularity="neuron"), size)
    epochs = 3_000 / training_seconds(job, Machine())
    written = 2 + 1 + 8 * epochs / 1024
    looked = (1 + (8 * (CHUNK_EPOCHS + 2 * epochs)) / 4096) / 2
    moved = neurons.cache_bytes / (training_seconds(neurons, Machine(cache_node_type=NODE)) / 3_000) / 1e6
    rows = [
        ("Lambda, 1,000 at once", "`batch`: 1 trainer", 1.0, 1_000),
        ("Lambda, 1,000 at once", "`neuron`: 1 trainer, 8 neurons", 9.0, 1_000),
        ("DynamoDB, 4,000 write units/s", f"`batch` at {epochs:,.0f} epochs/s", written, 4_000),
        ("DynamoDB, 4,000 write units/s", "`neuron` at 1 epoch/s", 3.0, 4_000),
        ("DynamoDB, 12,000 read units/s", "a task that looks every 2 s", looked, 12_000),
        ("SNS e-mail, 10/s", "one message a second", 1.0, 10),
        ("Airflow, 1,000 triggers a triggerer", "one deferred task", 1.0, 1_000),
    ]
    for node in ("cache.t4g.micro", "cache.r7g.large", NODE):
        sustained = CACHE_BANDWIDTH[node][0] / 1e6
        rows.append((f"`{node}`, {sustained:,.0f} MB/s", "`neuron`, 4 mini-batches", moved, sustained))
    return [
        f"| {what} | {whose} | {each:.1f} | {carries / each:,.{int(carries < each * 10)}f} |"
        for what, whose, each, carries in rows
    ]


@pytest.mark.parametrize("name", MEASURED)
def test_what_runs_cost(name: str) -> None:
    assert "\n".join(money_rows(name)) in PAGE


@pytest.mark.parametrize("rows", [estimate_rows, growth_rows, big_rows, limit_rows, runs_rows])
def test_tables(rows: Any) -> None:
    assert "\n".join(rows()) in PAGE


def test_the_goal_of_a_cent() -> None:
    for name in ("batch, warm", "batch, cold"):
        assert cost_of(MEASURED[name], Machine())["usd"] <= 0.01


def test_the_constants_are_the_ones_in_use() -> None:
    assert f"{OPERATIONS_PER_SECOND['float64'] / 1e9:.0f} billion operations a second" in PAGE
    assert f"{CORE_MB:,} MB" in PAGE
    assert prices.DATE in PAGE
