"""From a grid or a list to runs: nothing missing, nothing twice, nothing that cannot be trained."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import small_network

from snn.errors import InvalidInput, InvalidParameters
from snn_client.sweeps.sweep import MAX_RUNS, expand, trainings
from snn_cloud.aws.places import check_run_id, new_run_id
from snn_cloud.ledger.parameters import Parameters

BASE = small_network(batch_size=8, threshold=0.01, seed=9)


@given(
    rates=st.lists(st.floats(1e-6, 999), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True),
    epochs=st.lists(st.integers(1, 1000), min_size=1, max_size=4, unique=True),
)
def test_a_grid_is_every_value_with_every_other(rates: list[float], seeds: list[int], epochs: list[int]) -> None:
    grid = {"learning_rate": rates, "seed": seeds, "epochs": epochs}
    found = expand(grid, BASE, 0.2)
    assert [one.number for one in found] == list(range(1, len(rates) * len(seeds) * len(epochs) + 1))
    assert [tuple(one.overrides.values()) for one in found] == list(itertools.product(rates, seeds, epochs))
    for one in found:
        assert list(one.overrides) == ["learning_rate", "seed", "epochs"]
        assert one.parameters == Parameters.load({**BASE, **one.overrides})
    assert expand(json.dumps(grid), BASE, 0.2) == found
    assert expand([one.overrides for one in found], BASE, 0.2) == found


def test_what_is_no_list_is_the_same_in_all() -> None:
    neurons = {"layer1": 3, "layer2": 2, "layer3": 1}
    found = expand({"neurons": neurons, "epochs": 7, "seed": [1, 2]}, BASE, 0.2)
    assert [(one.parameters.neurons_per_layer, one.parameters.epochs, one.parameters.seed) for one in found] == [
        ((3, 2, 1), 7, 1),
        ((3, 2, 1), 7, 2),
    ]


def test_layer_sizes_are_layers_neurons_and_activations() -> None:
    first, second = expand({"layer_sizes": [[20, 7, 5, 1], [1]]}, BASE, 0.2)
    assert first.overrides == {"layer_sizes": [20, 7, 5, 1]}
    assert first.parameters.layers == 4
    assert first.parameters.neurons == {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 1}
    assert first.parameters.activation_per_layer == ("relu", "relu", "relu", "sigmoid")
    assert second.parameters.neurons == {"layer1": 1}
    assert second.parameters.activations == {"layer1": "sigmoid"}


def test_null_takes_a_field_away() -> None:
    full, batches = expand([{"batch_size": None, "threshold": None}, {"strategy": "average"}], BASE, 0.2)
    assert (full.parameters.strategy, full.parameters.batch_size, full.parameters.threshold) == (
        "full-batch",
        None,
        None,
    )
    assert (batches.parameters.strategy, batches.parameters.batch_size) == ("average", 8)


def test_of_equal_ones_the_first_is_kept_and_the_others_keep_their_numbers() -> None:
    same = [{"seed": 9}, {"seed": 1}, {}, {"learning_rate": 0.1}, {"seed": 1, "learning_rate": 0.1}, {"seed": 2}]
    assert [one.number for one in expand(same, BASE, 0.2)] == [1, 2, 6]
    assert len(expand({"seed": [1, 1, 2]}, BASE, 0.2)) == 2


@pytest.mark.parametrize(
    ("combinations", "line"),
    [
        ({"learning_rate": [0.1, 0]}, 'combination 2 {"learning_rate": 0}: learning_rate: Input should be greater'),
        ([{"seed": 1}, {"sed": 2}], 'combination 2 {"sed": 2}: sed: is not a parameter (did you mean seed? known are '),
        ({"learning_rate": [None]}, 'combination 1 {"learning_rate": null}: learning_rate: is missing'),
        ({"optimizer": ["adam", "adm"]}, 'combination 2 {"optimizer": "adm"}: optimizer: \'adm\' is no optimizer (did'),
        ({"layer_sizes": [[0, 1]]}, 'combination 1 {"layer_sizes": [0, 1]}: neurons.layer1: Input should be greater'),
        (
            {"layer_sizes": [20, 1]},
            'combination 1 {"layer_sizes": 20}: layer_sizes: 20 is not a list of sizes (write [[',
        ),
        ({"layer_sizes": [[4, 1]], "layers": 2}, ": layers: contradicts layer_sizes (leave out layers or layer_sizes)"),
        ([{"learning_rate": float("nan")}], 'combination 1 {"learning_rate": NaN}: '),
        ([{"learning_rate": {1, 2}}], "combination 1 "),
    ],
)
def test_the_first_that_cannot_be_trained_is_named_with_its_field(combinations: Any, line: str) -> None:
    with pytest.raises(InvalidParameters) as refused:
        expand(combinations, BASE, 0.2)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("nothing", [{}, [], {"seed": []}, "[]", 7, None, ["seed"], "5", {"seed": [1], "epochs": []}])
def test_no_network_is_a_mistake(nothing: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^combinations: contain no network \(give a grid such as"):
        expand(nothing, BASE, 0.2)


def test_text_that_is_no_json_is_a_mistake() -> None:
    with pytest.raises(InvalidInput, match=r"^combinations: is not JSON: "):
        expand("{'seed': [1]}", BASE, 0.2)


# The last would take years, were it made before it is counted.
@pytest.mark.parametrize(
    ("combinations", "validation", "says"),
    [
        ({"seed": list(range(MAX_RUNS + 1))}, 0.2, "257 make 257 runs"),
        ([{"seed": seed} for seed in range(MAX_RUNS // 5 + 1)], 5, "52 make 260 runs"),
        (
            {name: list(range(1000)) for name in ("seed", "epochs", "workers")},
            3,
            "1,000,000,000 make 3,000,000,000 runs",
        ),
    ],
)
def test_too_many_runs_are_counted_not_made(combinations: Any, validation: float, says: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^combinations: {says} \(at most 256 runs"):
        expand(combinations, BASE, validation)


def test_as_many_runs_as_allowed_are_made() -> None:
    assert len(expand({"seed": list(range(MAX_RUNS))}, BASE, 0.2)) == MAX_RUNS
    assert len(expand({"seed": list(range(MAX_RUNS // 2))}, BASE, 2)) == MAX_RUNS // 2


def test_the_plan_has_a_run_for_each_combination_and_fold() -> None:
    found = expand([{"seed": 1}, {"seed": 1}, {"seed": 2}], BASE, 2)
    plan = trainings("sweep", found, ["runs/sweep/input/a.h5", "runs/sweep/input/b.h5"])
    assert [(one["run_id"], one["dataset_key"][-4:], one["combination"], one["overrides"]) for one in plan] == [
        ("sweep-1-f1", "a.h5", 1, {"seed": 1}),
        ("sweep-1-f2", "b.h5", 1, {"seed": 1}),
        ("sweep-3-f1", "a.h5", 3, {"seed": 2}),
        ("sweep-3-f2", "b.h5", 3, {"seed": 2}),
    ]
    assert Parameters.load(plan[2]["parameters"]) == found[1].parameters
    assert json.loads(json.dumps(plan)) == plan


def test_run_ids_of_the_longest_sweep_leave_room_for_a_suffix() -> None:
    sweep_id = new_run_id("a sweep of a DAG with a name " * 9, longest=30)
    found = expand({"seed": list(range(MAX_RUNS))}, BASE, 0.2)
    assert {len(check_run_id(one["run_id"] + "-t99")) for one in trainings(sweep_id, found, ["k"])} <= set(range(64))
    assert sweep_id != new_run_id("a sweep of a DAG with a name " * 8, longest=30)


def test_layer_sizes_end_as_the_base_does_or_in_softmax() -> None:
    sizes = {"layer_sizes": [[4, 1], [4, 3]]}
    assert [one.parameters.activation_per_layer for one in expand(sizes, BASE, 0.2)] == [
        ("relu", "sigmoid"), ("relu", "softmax")
    ]  # fmt: skip
    last = f"layer{BASE['layers']}"
    numbers = {**BASE, "activations": {**BASE["activations"], last: "identity"}}
    assert [one.parameters.activation_per_layer[-1] for one in expand(sizes, numbers, 0.2)] == ["identity", "softmax"]


def test_the_sweeps_own_validation_takes_the_place_of_the_recipes() -> None:
    (one, other) = expand([{"validation": 0.3, "patience": 2}, {"seed": 2}], BASE, 0.2)
    assert (one.parameters.validation, one.parameters.patience) == ("file", 2)
    assert other.parameters.validation is None
    (kept,) = expand({"seed": [1]}, {**BASE, "validation": 0.1}, 5)
    assert kept.parameters.validation == "file"
