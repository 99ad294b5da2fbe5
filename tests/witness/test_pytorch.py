"""PyTorch as a witness that none of us wrote: it trains the same jobs, in the benchmark's environment.

Both the network and the oracle of the everyday tests are held to it: every activation, loss, optimizer, schedule and
strategy, 20 steps, weights within 1e-9 in float64 and 2e-4 in float32. `make test-witness` installs PyTorch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from training import Lesson, photos, table

from snn.activations import ACTIVATIONS
from snn.batches import as_inputs
from snn.layers import dropout_mask
from snn.losses import LOSSES
from snn.optimizers import OPTIMIZERS
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # the benchmarks are no part of what is installed

from benchmarks.competitors import Competitors  # noqa: E402

STEPS = 20
MOMENTUM = {"name": "gradient_descent", "momentum": 0.9}
NESTEROV = {"name": "gradient_descent", "momentum": 0.8, "nesterov": True}
BATCHES: dict[str, dict[str, Any]] = {
    "full-batch": {"epochs": STEPS}, "average": {"epochs": STEPS, "batch_size": 7},
    "best-batch": {"epochs": STEPS, "batch_size": 7}, "sgd": {"epochs": STEPS // 4, "batch_size": 7},
}  # fmt: skip
KINDS: dict[str, tuple[Dataset, int]] = {
    "sigmoid": (photos(), 1), "softmax": (table(classes=3), 3), "identity": (table(samples=24), 1),
}  # fmt: skip


def network(output: str, strategy: str = "sgd", hidden: tuple[str, str] = ("relu", "tanh"), **fields: Any) -> Any:
    chosen = oracle.small_network((6, 5, KINDS[output][1]), (*hidden, output), learning_rate=0.02)
    way = {"strategy": strategy, "first_layer": "direct", **BATCHES[strategy]}
    return output, Parameters.load({**chosen, **way, **fields})


def jobs() -> Iterator[tuple[str, Parameters]]:
    """Every entry of every registry, each with every kind of last layer and every strategy it is likely to meet."""
    for output, activation in product(KINDS, ACTIVATIONS):
        yield network(output, hidden=(activation, activation))
    optimizers: list[Any] = [*OPTIMIZERS, MOMENTUM, NESTEROV, {"name": "rmsprop", "momentum": 0.5},
                             {"name": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-5},
                             {"name": "adamw", "weight_decay": 0.3}]  # fmt: skip
    for output, strategy, optimizer in product(KINDS, STRATEGIES, optimizers):
        yield network(output, strategy, optimizer=optimizer)
    schedules: list[Any] = [*SCHEDULES, {"name": "step", "step_size": 2, "gamma": 0.5},
                            {"name": "constant", "warmup": 2.0},
                            {"name": "exponential", "gamma": 0.7, "warmup": 1.5}, {"name": "cosine", "final": 0.2},
                            {"name": "cosine", "final": 0.1, "warmup": 1.0}]  # fmt: skip
    for strategy, schedule in product(STRATEGIES, schedules):
        yield network("softmax", strategy, schedule=schedule, optimizer=MOMENTUM)
    for output, strategy in product(("sigmoid", "softmax"), STRATEGIES):
        classes = max(2, KINDS[output][1])
        yield network(output, strategy, label_smoothing=0.1)
        yield network(output, strategy, class_weights=[0.5, 2.0, 1.0][:classes])
        yield network(output, strategy, class_weights=[0.5, 2.0, 1.0][:classes], label_smoothing=0.2)
        yield network(output, strategy, class_weights="balanced", optimizer="adam")
        yield network(output, strategy, dropout={"layer0": 0.2, "layer1": 0.4}, clip_norm=0.3, optimizer="adam")
    for output, strategy, optimizer in product(
        KINDS, STRATEGIES, ["gradient_descent", MOMENTUM, NESTEROV, "rmsprop", "adam"]
    ):
        yield network(output, strategy, optimizer=optimizer, l2=0.1)
    for output in KINDS:
        yield network(output, "sgd", sub_batches=3, optimizer="adam")
        yield network(output, "sgd", dtype="float32", optimizer="adam", hidden=("gelu", "relu"))
        yield network(output, "full-batch", dtype="float32", optimizer=MOMENTUM)
    for strategy in STRATEGIES:
        yield network(
            "sigmoid",
            strategy,
            augmentation={"mirror": True, "shift": 1, "rotation": 12, "brightness": 0.3},
            optimizer="adam",
        )
        yield network(
            "sigmoid", strategy, input_scaling={"mean": 0.5, "scale": 0.25}, optimizer="adam", dropout=0.2,
            augmentation={"mirror": True},
        )  # fmt: skip
        yield network("softmax", strategy, input_scaling={"mean": -0.5, "scale": 2}, optimizer=MOMENTUM)
        for optimizer in ("gradient_descent", MOMENTUM, NESTEROV):  # in the span of the data
            yield network("sigmoid", strategy, optimizer=optimizer, l2=0.05, first_layer="span")


JOBS = list(jobs())


def name_of(number: int) -> str:
    output, chosen = JOBS[number]
    said = json.loads(chosen.to_json())
    default = json.loads(Parameters.load(oracle.small_network()).to_json())
    own = {
        key: value
        for key, value in said.items()
        if value != default.get(key) and key not in ("epochs", "layers", "neurons")
    }
    return f"{number} {output} {json.dumps(own)}"[:150]


def write_job(file: Path, lesson: Lesson) -> None:
    """Write all that a witness needs: data, first weights, the plan of the steps and what is drawn for them."""
    chosen, job = lesson.parameters, lesson.job
    arrays: dict[str, Any] = {
        "recipe": chosen.to_json(), "X": as_inputs(job.samples.rows, chosen.dtype).T, "y": job.samples.y,
    }  # fmt: skip
    for name, array in job.network.first_params(chosen.seed, chosen.dtype).items():
        arrays[f"first/{name}"] = array
    if chosen.class_weights is not None:
        counts = np.bincount(job.samples.y)
        balanced = len(job.samples) / (len(counts) * counts)
        arrays["class_weights"] = balanced if chosen.class_weights == "balanced" else np.array(chosen.class_weights)
    plan: list[list[list[list[int]]]] = []
    everywhere = np.arange(len(job.samples))
    sizes = (job.network.features, *chosen.neurons_per_layer)
    rates = [job.network.input_dropout, *(layer.dropout for layer in job.network.layers)]
    for number in range(chosen.epochs):
        epoch = lesson.epoch(number)
        plan.append([])
        for step in range(epoch.steps):
            plan[-1].append([])
            for batch in epoch.step(step):
                plan[-1][-1].append(everywhere[batch.places].tolist())
                for layer, rate in enumerate(rates):
                    mask = dropout_mask(rate, batch.draw(chosen.seed, layer), (sizes[layer], batch.size), chosen.dtype)
                    if mask is not None:
                        arrays[f"mask/{number}/{step}/{batch.number}/{layer}"] = mask
                if chosen.augment:
                    arrays[f"augmented/{number}/{step}/{batch.number}"] = as_inputs(
                        job.feed.rows(batch), chosen.dtype
                    ).T.copy()
    np.savez(file, plan=json.dumps(plan), **arrays)


@dataclass
class Found:
    """What each of the three makes of a job."""

    lesson: Lesson
    gradients: dict[str, Any]
    witness: dict[str, Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """All jobs, trained by the network and by PyTorch."""
    competitors = Competitors(ROOT / ".local" / "bench-venv")
    competitors.install()
    assert "torch-float64" not in competitors.missing, competitors.missing
    folder = tmp_path_factory.mktemp("jobs")
    lessons = []
    for number, (output, chosen) in enumerate(JOBS):
        lesson = Lesson(chosen, KINDS[output][0])
        write_job(folder / f"job-{number:04d}.npz", lesson)
        batches = lesson.epoch(0).step(0)
        results = lesson.here.gradients_of(lesson.training.params, batches)
        gradients = {name: slope.copy() for name, slope in chosen.how.combine(batches, results)[1].items()}
        for _ in lesson.steps():
            pass
        lessons.append((lesson, gradients))
    subprocess.run(
        [competitors.venv / "bin/python", ROOT / "benchmarks" / "witness.py", folder],
        check=True,
        stdout=subprocess.PIPE,
    )
    trained = []
    for number, (lesson, gradients) in enumerate(lessons):
        with np.load(folder / f"found-{number:04d}.npz") as file:
            trained.append(Found(lesson, gradients, {name: file[name] for name in file}))
    return trained


def test_the_jobs_have_every_entry_of_every_registry() -> None:
    said = [json.loads(chosen.to_json()) for _, chosen in JOBS]
    assert {one["strategy"] for one in said} == set(STRATEGIES)
    assert {one["optimizer"]["name"] for one in said} == set(OPTIMIZERS)
    assert {one["schedule"]["name"] for one in said} == set(SCHEDULES)
    assert {one["activations"]["layer1"] for one in said} >= set(ACTIVATIONS)
    assert {one["activations"]["layer3"] for one in said} == {loss.output for loss in LOSSES.values()}


@pytest.mark.parametrize("number", range(len(JOBS)), ids=name_of)
def test_weights_costs_and_gradients_are_pytorchs(found: list[Found], number: int) -> None:
    lesson, witness = found[number].lesson, found[number].witness
    chosen = lesson.parameters
    tolerance = 1e-9 if chosen.dtype == "float64" else 2e-4
    assert lesson.training.steps == STEPS
    start = lesson.job.network.first_params(chosen.seed, chosen.dtype)
    for name, array in lesson.params.items():
        assert np.abs(array - witness[name]).max() < tolerance, name
    moved = max(np.abs(array - start[name]).max() for name, array in lesson.params.items())
    assert moved > 1e-3
    assert np.abs(np.array(lesson.training.history.costs) - witness["costs"]).max() < tolerance
    if chosen.first_layer != "span":
        for name, slope in found[number].gradients.items():
            assert np.abs(slope - witness[f"gradient/{name}"]).max() < tolerance / 100, name


@pytest.mark.parametrize("number", range(len(JOBS)), ids=name_of)
def test_the_oracle_of_the_everyday_tests_is_held_to_pytorch_too(found: list[Found], number: int) -> None:
    output, chosen = JOBS[number]
    params, costs = oracle.train_on(chosen, KINDS[output][0])
    tolerance = 1e-9 if chosen.dtype == "float64" else 2e-4
    for name, array in params.items():
        assert np.abs(array - found[number].witness[name]).max() < tolerance, name
    assert np.abs(np.array(costs) - found[number].witness["costs"]).max() < tolerance
