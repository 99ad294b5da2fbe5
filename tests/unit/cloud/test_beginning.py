"""A training that begins with another model's weights: the same network, or one line that says what differs."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from oracle import small_network
from training import Lesson, photos, table, trained

from snn.errors import InvalidParameters
from snn.training import Training
from snn_cloud.launch.beginning import begin_with
from snn_cloud.ledger.parameters import Parameters
from snn_data.model import save_model

KEY = "runs/old-1/params.h5"


def recipe(**fields: Any) -> Parameters:
    return Parameters.load(small_network(**{"epochs": 4, "initial_weights": KEY, **fields}))


def model(lesson: Lesson) -> bytes:
    file = io.BytesIO()
    save_model(file, lesson.params, lesson.parameters.activation_per_layer, {})
    return file.getvalue()


def first(chosen: Parameters, features: int) -> Any:
    return chosen.network(features).first_params(chosen.seed, chosen.dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_goes_on_where_the_other_one_ended(dtype: str) -> None:
    """Four epochs of one training and four of another that begins there are eight of one, bit for bit."""
    data = photos()
    old = trained(recipe(dtype=dtype, first_layer="direct"), data)
    begun = begin_with(model(old), first(recipe(dtype=dtype), data.features), recipe(dtype=dtype))
    assert {name: array.dtype for name, array in begun.items()} == dict.fromkeys(begun, np.dtype(dtype))
    new = Lesson(recipe(dtype=dtype, first_layer="direct"), data, Training(begun))
    for _ in new.steps():
        pass
    whole = trained(recipe(dtype=dtype, first_layer="direct", epochs=8), data)
    assert all(np.array_equal(new.params[name], array) for name, array in whole.params.items())
    assert new.training.history.costs == whole.training.history.costs[4:]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_the_recipe_scales_is_gone_on_from_in_that_scale(dtype: str) -> None:
    """A model answers in its labels' units and reads inputs as they are: neither may be scaled twice."""
    data, near = table(), {"float64": 1e-9, "float32": 1e-4}[dtype]
    how: dict[str, Any] = {
        "sizes": (5, 4, 1), "functions": ("tanh", "tanh", "identity"), "dtype": dtype, "learning_rate": 0.01,
        "input_scaling": {"mean": 0.4, "scale": 0.3}, "target_scaling": {"mean": 120.0, "scale": 35.0},
    }  # fmt: skip
    old, whole = trained(recipe(**how), data), trained(recipe(**how, epochs=8), data)
    begun = begin_with(model(old), first(recipe(**how), data.features), recipe(**how))
    new = Lesson(recipe(**how), data, Training(begun))
    for _ in new.steps():
        pass
    for name, array in whole.params.items():
        np.testing.assert_allclose(new.params[name], array, rtol=near, atol=near * float(np.abs(array).max()))
    costs = new.training.history.costs
    assert costs == pytest.approx(whole.training.history.costs[4:], rel=100 * near)
    assert costs[0] < 0.99 * whole.training.history.costs[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"sizes": (6, 4, 1)},
            "27 inputs and 5-4-1 neurons, relu sigmoid sigmoid; the recipe's has 27 inputs and 6-4-1,",
        ),
        ({"functions": ("tanh", "sigmoid", "sigmoid")}, "the recipe's has 27 inputs and 5-4-1, tanh sigmoid sigmoid"),
    ],
)
def test_another_network_is_refused_in_one_line(change: Any, says: str) -> None:
    old = model(trained(Parameters.load(small_network(epochs=1)), photos()))
    chosen = recipe(**change)
    with pytest.raises(InvalidParameters, match=rf"^initial_weights: {KEY} is a network of ") as refused:
        begin_with(old, first(chosen, 27), chosen)
    assert says in str(refused.value)
    assert refused.value.hint == "train the same network, or leave it out"


def test_other_data_are_refused() -> None:
    old = model(trained(Parameters.load(small_network(epochs=1)), photos()))
    with pytest.raises(InvalidParameters, match="the recipe's has 30 inputs"):
        begin_with(old, first(recipe(), table().features), recipe())


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidParameters, match=r"^initial_weights: runs/old-1/params\.h5: "):
        begin_with(b"meow", first(recipe(), 27), recipe())


@pytest.mark.parametrize(
    "key", ["../params.h5", "s3://other/params.h5", "runs/A/params.h5", "runs/a/checkpoint.h5", ""]
)
def test_only_a_runs_model_can_be_named(key: str) -> None:
    with pytest.raises(InvalidParameters, match=r"^parameters\.json: initial_weights: "):
        recipe(initial_weights=key)
