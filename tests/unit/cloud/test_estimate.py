"""The workload and the estimate against cases computed by hand: 10 features, 6 photos, layers of 3, 2 and 1."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from snn_client.runs.estimate import CACHE_BANDWIDTH, Machine, estimate, forecast, neuron_seconds, training_seconds
from snn_client.stack.options import StackOptions
from snn_cloud.cost import kept
from snn_cloud.cost.prices import CACHE_NODE_HOUR
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Usage
from snn_data.invocations import INVOCATION_BYTES
from snn_data.kept import grid

NETWORK = {
    "epochs": 100,
    "layers": 3,
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "sigmoid"},
    "neurons": {"layer1": 3, "layer2": 2, "layer3": 1},
    "learning_rate": 0.1,
}
SIZE = Size(features=10, samples=6)
WEIGHTS = 44  # 3·11 + 2·4 + 1·3
MICRO = 0.064e9 / 8, 5e9 / 8


def workload(**fields: Any) -> Workload:
    return Workload(Parameters.load({**NETWORK, **fields}), SIZE)


def test_operations_are_counted_by_layer() -> None:
    # directly 4·3·10·6 = 720; in the span 2·3·6² = 216; the others 6·2·3·6 = 216 and 6·1·2·6 = 72
    assert workload(first_layer="direct").operations == 720 + 216 + 72
    assert workload(first_layer="direct").setup_operations == 0
    assert workload(first_layer="span").operations == 216 + 216 + 72
    assert workload(first_layer="span").setup_operations == 2 * 10 * 36 + 720


@pytest.mark.parametrize(
    ("fields", "tasks", "invocations"),
    [
        ({"granularity": "neuron"}, [3, 2, 1], 2 * 6),
        ({"granularity": "neuron", "batch_size": 3}, [3, 2, 1], 2 * 2 * 6),
        ({"granularity": "neuron", "batch_size": 4, "neurons_per_invocation": 2}, [2, 1, 1], 2 * 2 * 4),
        ({"granularity": "layer", "batch_size": 1}, [1, 1, 1], 2 * 6 * 3),
        ({"batch_size": 3}, [0, 0, 0], 0),
    ],
)
def test_invocations_are_those_of_every_batch_there_and_back(
    fields: dict[str, Any], tasks: list[int], invocations: int
) -> None:
    assert (workload(**fields).tasks, workload(**fields).invocations) == (tasks, invocations)


def test_bytes_through_the_cache() -> None:
    # 38 weights, 8 of them above the first layer. Published 38 + 8; for each of two batches read 38 by rows and 8 by
    # columns, gradients of 38 written and read: 46 + 2·(38 + 8 + 76) = 290 numbers.
    # A photo: 7·6 (A written, read, shared, and its slice read; dZ written, read, shared); 2·(2·3 + 1·2) = 16 for A of
    # the layer below, read by each invocation in both directions; 3·2 + 2·1 = 8 for dZ of the layer above.
    assert workload(granularity="neuron", batch_size=3).cache_bytes == 8 * (290 + 6 * (42 + 16 + 8)) == 5_488
    # Gradients 8 + 3·10 + 6 biases = 44 numbers of both batches, written by one and read by the other; or the best's.
    both = {"batch_size": 3, "workers": 2, "first_layer": "direct"}
    assert workload(**both, strategy="average").cache_bytes == 8 * 2 * 44 * 2
    assert workload(**both, strategy="best-batch").cache_bytes == 8 * 1 * 44 * 2
    # In the span a batch has 3·3 numbers in layer 1, in the columns of its own photos, and the same 14 above.
    both["first_layer"] = "span"
    assert workload(**both, strategy="average").cache_bytes == 8 * 2 * (9 + 14) * 2
    assert workload(batch_size=3).cache_bytes == 0


def test_memory() -> None:
    def trainer(**fields: Any) -> int:
        return workload(**fields).trainer_bytes - 90_000_000

    # 60 bytes of photos; what 6 neurons give and get back, three times, for all 6 photos or a mini-batch of them
    stored, outputs = 60, 3 * 8 * 6
    assert trainer(first_layer="direct") == stored + outputs * 6 + 60 * 8
    assert trainer(first_layer="span") == stored + outputs * 6 + 8 * (36 + (20 + 6) * 6)
    assert trainer(first_layer="span", batch_size=3) == stored + outputs * 3 + 8 * (36 + (20 + 6) * 6)
    shared = {"first_layer": "direct", "batch_size": 3, "workers": 2}
    assert trainer(**shared, strategy="average") == stored + outputs * 3 + 30 * 8  # half of it is the other's
    assert trainer(**shared) == stored + outputs * 3 + 30 * (8 + 1)  # drawn anew: one, as bytes and as numbers
    assert trainer(batch_size=3, dtype="float32", optimizer="adam", strategy="sgd") == stored + 3 * 4 * 6 * 3 + 30 * 5
    assert trainer(granularity="neuron", batch_size=3) == stored + outputs * 3
    table = Workload(
        Parameters.load({**NETWORK, "validation": 0.5, "first_layer": "direct"}), Size(10, 3, itemsize=8, others=9)
    )
    assert table.trainer_bytes == 90_000_000 + 8 * 10 * (3 + 9) + outputs * 3 + 8 * 10 * 9 + 30 * 8


def test_neurons_keep_the_set_if_it_is_at_most_half_of_what_they_keep() -> None:
    neurons = workload(granularity="neuron", batch_size=3)
    # 60 bytes of photos kept, 30 numbers of a mini-batch; one neuron's weights are 10, above it 3 beside 3·3 inputs
    assert neurons.neuron_bytes(512) == 90_000_000 + max(60 + 30 * 8 + 2 * 80, 3 * (60 + 80), 3 * 8 * (3 + 9))
    grouped = workload(granularity="layer", batch_size=1)
    assert grouped.neuron_bytes(512) == 90_000_000 + max(60 + 10 * 8 + 2 * 240, 3 * (60 + 240)) == 90_000_900
    large = Workload(Parameters.load({**NETWORK, "granularity": "neuron", "batch_size": 3}), Size(10, 10_000_000))
    assert large.neuron_bytes(512) == 90_000_000 + max(30 + 30 * 8 + 2 * 80, 3 * (30 + 80), 3 * 8 * (3 + 9))
    changed = workload(granularity="neuron", batch_size=3, augmentation={"mirror": True})
    assert changed.neuron_bytes(512) == large.neuron_bytes(512)
    assert workload(batch_size=3).neuron_bytes(512) == 0


def test_steps_and_what_they_share() -> None:
    by_sgd = workload(batch_size=4, strategy="sgd", sub_batches=3, workers=3, first_layer="direct")
    assert (by_sgd.batches, by_sgd.steps, by_sgd.shared, by_sgd.workers) == (2, 2, 6, 3)
    average = workload(batch_size=4, strategy="average", workers=3)
    assert (average.batches, average.steps, average.shared, average.workers) == (2, 1, 2, 2)
    assert workload(first_layer="direct").trained == WEIGHTS
    assert workload(first_layer="span").trained == WEIGHTS - 3 * 10 + 3 * 6
    # Gradients of 6 parts: 44 numbers each, written by one and read by two others.
    assert by_sgd.cache_bytes == 8 * 6 * 44 * 3
    neurons = workload(granularity="neuron", batch_size=3, strategy="sgd")
    assert neurons.cache_bytes == 5_488 + 8 * 46  # the weights are published at both steps


@pytest.mark.parametrize(("fields", "copies"), [
    ({}, 4), ({"optimizer": "adam"}, 8), ({"optimizer": "rmsprop", "validation": 0.1}, 8),
    ({"optimizer": {"name": "gradient_descent", "momentum": 0.5}}, 6),
])  # fmt: skip
def test_weights_are_held_as_often_as_the_optimizer_and_the_best_ones_ask(fields: dict[str, Any], copies: int) -> None:
    assert workload(**fields).weight_copies == copies


def test_seconds_of_batches() -> None:
    # 3 layers × 60 µs, 1,008 operations at 10 billion a second, 8 ns for each of 44 weights
    assert training_seconds(workload(first_layer="direct"), Machine()) == pytest.approx(
        100 * (180e-6 + 1008 / 10e9 + WEIGHTS * 8e-9)
    )
    # three batches, two workers: one of them has two of the three; 3 ms to meet; 1,008·2/3 operations
    work = workload(first_layer="direct", batch_size=2, workers=2, strategy="average")
    epoch = 2 * 180e-6 + 672 / 10e9 + 0.003 + work.cache_bytes / MICRO[1] + WEIGHTS * 8e-9
    assert training_seconds(work, Machine()) == pytest.approx(100 * epoch)


def test_seconds_of_neurons() -> None:
    work, part = workload(granularity="neuron", batch_size=3), 10e9 * 512 / 1769
    # 6, 4 and 2 invocations, four at a time: 2 + 1 + 1 waves, there and back; the longest arithmetic is layer 1's:
    # (2·3·10 + 3·2)·3 photos / 3 invocations = 66
    epoch = 8 * (0.035 + 66 / part) + 5_488 / MICRO[1]
    assert training_seconds(work, Machine(neuron_concurrency=4)) == pytest.approx(100 * epoch)
    # billed: 24 invocations of 5 ms, and the arithmetic of 12·66 + 8·(2·2·3 + 2·1)·3/2 + 4·2·2·1·3/1
    assert neuron_seconds(work, Machine()) == pytest.approx(24 * 0.005 + (12 * 66 + 8 * 21 + 4 * 12) / part)


def test_after_five_minutes_the_cache_no_longer_bursts() -> None:
    work = workload(granularity="neuron", batch_size=3, epochs=10_000)
    fast = 6 * (0.035 + 66 / (10e9 * 512 / 1769)) + 5_488 / MICRO[1]
    slow = fast - 5_488 / MICRO[1] + 5_488 / MICRO[0]
    assert training_seconds(work, Machine()) == pytest.approx(300 + (10_000 - 300 / fast) * slow)


def test_a_batch_run_is_forecast_to_the_last_request() -> None:
    parameters = Parameters.load({**NETWORK, "first_layer": "direct"})
    run = forecast(parameters, SIZE, Machine())
    # 0.018 s of epochs and 4 s around them, of 1.2 µs reading; three flushes of 3 units, a unit for 800 bytes of costs,
    # and the item twice at 2. 33 states of 44 numbers are stored once, in 0.1 s and at 35 MB a second.
    assert run.usage == {
        "launch": Usage(1, 3_000, 1024, s3_puts=1, s3_gets=1, write_units=4, read_units=2),
        "trainer": Usage(1, 4_118, 1769, s3_puts=5, s3_gets=2, write_units=9 + 1 + 4, read_units=1, publishes=3),
        "neuron": Usage(),
    }
    cost = estimate(parameters, SIZE, Machine())
    millionths = (
        2 * 0.2 + (3 + 1769 / 1024 * 4.118) * 13.3334 + 6 * 5 + 3 * 0.4 + 18 * 0.625 + 3 * 0.125 + 3 * 0.5 + 0.5
    )  # fmt: skip
    assert cost["usd"] * 1e6 == pytest.approx(millionths)
    assert sum(line["usd"] for line in cost["lines"]) == pytest.approx(cost["usd"])
    assert (cost["epochs"], cost["granularity"], cost["seconds"]) == (
        100,
        "batch",
        pytest.approx(4.118046 + 33 * 352 / 35e6, abs=1e-6),
    )


def test_a_long_run_pays_for_every_continuation() -> None:
    # 10 million epochs of 180.45 µs are 1,804.5 s: three trainers of 860 s; a write a second and a checkpoint every 20
    run = forecast(Parameters.load({**NETWORK, "epochs": 10_000_000, "first_layer": "direct"}), SIZE, Machine())
    trainer = run.usage["trainer"]
    assert (trainer.invocations, run.continuations, trainer.milliseconds) == (3, 2, 1_804_528 + 3 * 4_000 + 13_702)
    # 153 states: 15 times by the pauses of each of three trainers and at each of 92 checkpoints, together 137
    assert (trainer.s3_puts, trainer.s3_gets) == (4 + 90 + 2 + 137, 6)
    assert trainer.write_units == 3 * (1_805 + 2) + 78_125 + 2 * (6 + 92)


def test_kept_epochs_are_counted() -> None:
    work = workload(first_layer="direct", optimizer="adam", strategy="sgd", batch_size=3)
    assert kept.state_bytes(work) == 8 * 3 * WEIGHTS
    assert kept.state_bytes(workload(first_layer="span")) == 8 * (WEIGHTS - 3 * 10 + 3 * 6)
    # 31 of the grid below 100, the last epoch, and one more of a run that is resumed
    assert kept.states(work, 100) == len(list(takewhile(lambda epoch: epoch < 100, grid()))) + 2 == 33
    assert kept.states(workload(keep_epochs=False), 100) == 0
    assert (kept.waiting_bytes(work), kept.waiting_bytes(workload(keep_epochs=False))) == (3 * 33 * 1_056, 0)
    # A run of 40 s stores after 1, 3, 7, 15 and 31 s, at two checkpoints, and at its end; no more often than there are
    # states; three trainers of 40 s each.
    assert kept.puts(work, 100, 40.0, 2, 1) == 8
    assert kept.puts(work, 2, 40.0, 2, 1) == 4
    assert kept.puts(work, 100, 120.0, 0, 3) == 18
    assert kept.puts(workload(keep_epochs=False), 100, 40.0, 2, 1) == 0
    neurons = workload(granularity="neuron", batch_size=3)
    assert kept.recorded_bytes(neurons) == 24 * INVOCATION_BYTES
    assert kept.file_bytes(neurons, 100) == 33 * (8 * WEIGHTS + 24 * kept.ROW_BYTES)


def test_what_a_large_network_keeps_is_bounded() -> None:
    large = Parameters.load(
        {**NETWORK, "neurons": {"layer1": 1_000, "layer2": 100, "layer3": 1}, "first_layer": "direct"}
    )
    work = Workload(large, Size(10_000, 6))  # 80 MB a state
    assert (kept.stride(work), kept.states(work, 100), kept.waiting_bytes(work)) == (32, 3, 0)
    assert kept.puts(work, 100, 1_000.0, 50, 2) == 3


def test_the_sizes_taken_are_those_of_the_template() -> None:
    template = (Path(__file__).parents[3] / "cloudformation" / "training.yaml").read_text()
    machine, options = Machine(), StackOptions()
    sizes = [machine.launch_mb, machine.trainer_mb, machine.neuron_mb]
    assert [int(size) for size in re.findall(r'Lambda: {Size: "(\d+)"}', template)] == sizes
    assert machine.neuron_concurrency == options.neuron_concurrency
    assert machine.cache_node_type == options.cache_node_type
    assert CACHE_BANDWIDTH.keys() == CACHE_NODE_HOUR.keys()
