"""An ONNX file gives what the model gives, says onnxruntime: every kind of answer, activation, type, size and input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portable import SAMPLES, Ran, a_model, in_float64, said

from snn.activations import ACTIVATIONS
from snn.decision import predicted_classes
from snn.losses import LOSSES
from snn_client.portable import layers
from snn_data.model import Model

LAST = {"sigmoid": 1, "softmax": 7, "identity": 1}
EXACT = 1e-6
"""What the export promises of probabilities, and of values as a share of the largest."""


def inputs_of(model: Model, spread: float = 1.0, samples: int = SAMPLES) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(samples)
    return (random.standard_normal((samples, model.features)) * spread).astype(model.params["W1"].dtype)


def off(model: Model, X: np.ndarray[Any, Any], ran: Ran | None = None) -> float:
    """Return how far the file's answers to X (m, features) are from the model's, having asserted all else of them."""
    ran = ran or Ran.of(model)
    outputs, wanted = ran(features=X), model.answers(X.T)
    found = said(model, outputs)
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert np.isfinite(found).all()
    if model.of_classes:
        assert set(outputs) == {"probabilities", "label"}
        assert outputs["probabilities"].shape == (len(X), len(model.classes))
        assert outputs["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)
        # Whoever reads the file's probabilities decides as it does, bit for bit.
        assert outputs["label"].tolist() == predicted_classes(found, model.threshold).tolist()
        return float(np.abs(found.astype(np.float64) - wanted).max())
    assert set(outputs) == {"value"}
    return float(np.abs(found.astype(np.float64) - wanted).max() / max(1.0, float(np.abs(wanted).max())))


def allowed(model: Model, X: np.ndarray[Any, Any]) -> float:
    """Return 1e-6, or what float32 itself leaves open: eight times how far its answers are from those in float64.

    Whoever adds in another order gets other last digits; neither NumPy's nor onnxruntime's are the right ones.
    """
    if model.params["W1"].dtype == np.float64:
        return EXACT
    exact = in_float64(model).answers(X.T.astype(np.float64))
    rounding = float(np.abs(model.answers(X.T) - exact).max())
    return max(EXACT, 8 * rounding / (1.0 if model.of_classes else max(1.0, float(np.abs(exact).max()))))


def test_every_activation_and_every_last_layer_has_its_form() -> None:
    assert set(layers.ACTIVATIONS) == set(ACTIVATIONS)
    assert set(LAST) == {loss.output for loss in LOSSES.values()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_they_are_equal_within_a_millionth(activation: str, last: str, dtype: Any) -> None:
    model = a_model([activation, activation, last], [20, 7, LAST[last]], dtype=dtype)
    X = inputs_of(model)
    assert np.ptp(model.answers(X.T)) > 0.03  # they do differ
    assert off(model, X) <= (EXACT if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_wide_and_deep_networks(activation: str, last: str, dtype: Any) -> None:
    """Eight layers of 256 neurons over 784 inputs, where float32 rounds away the sixth digit by itself."""
    model = a_model([activation] * 8 + [last], [256] * 8 + [LAST[last]], 784, dtype)
    X = inputs_of(model)
    most = allowed(model, X)
    assert most < 3e-5
    assert off(model, X) <= (most if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_inputs(activation: str, last: str, dtype: Any) -> None:
    """Weights and inputs so large that sigmoids saturate, and that exp of a logit would overflow."""
    model = a_model([activation, activation, last], [20, 7, LAST[last]], dtype=dtype, scale=5)
    X = inputs_of(model, 100)
    if activation not in ("tanh", "sigmoid"):
        logits = model.network.logits(
            model.params, model.network.layers[0].sums(model.params["W1"], model.params["b1"], X.T)
        )
        assert np.abs(logits).max() > 1_000
    if last == "sigmoid" and activation not in ("tanh", "sigmoid"):
        p = model.answers(X.T)
        assert p.min() < 1e-30
        assert p.max() == 1
    assert off(model, X) <= (allowed(model, X) if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_around_zero_and_at_infinity_an_activation_loses_nothing(dtype: Any) -> None:
    """One neuron that passes its input on, so that an output is the activation alone: also where exp(x) - 1 cancels."""
    one, none = np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
    spread = np.logspace(-30, 4, 400)
    X = np.concatenate([-spread, [0], spread]).astype(dtype)[:, None]
    for activation in ACTIVATIONS:
        model = Model({"W1": one, "b1": none, "W2": one, "b2": none}, (activation, "identity"), {"features": 1})
        found, wanted = Ran.of(model)(features=X)["value"], model.answers(X.T)[0]
        digits = 3e-7 if dtype == np.float32 else 1e-14
        # Absolute for what saturates at 1 or is cut to 0 below what float32 has next to 1.
        close = np.abs(found - wanted) <= digits * np.maximum(np.abs(wanted), 0.2 if activation != "elu" else 0)
        assert close.all(), (activation, X[~close, 0][:5], found[~close][:5], wanted[~close][:5])


def test_two_classes_of_a_softmax_are_decided_by_the_threshold_too() -> None:
    model = a_model(["relu", "softmax"], [20, 2])
    model = Model(model.params, model.activations, {**model.attributes, "threshold": 0.8})
    X = inputs_of(model)
    outputs = Ran.of(model)(features=X)
    assert outputs["label"].tolist() == predicted_classes(model.answers(X.T), 0.8).tolist()
    assert outputs["label"].tolist() != outputs["probabilities"].argmax(axis=1).tolist()


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_exactly_on_the_threshold_is_class_0(threshold: float) -> None:
    weights = {"W1": np.ones((1, 1)), "b1": np.zeros((1, 1))}
    about = {"features": 1, "classes": '["no", "yes"]', "threshold": threshold}
    model = Model(weights, ("sigmoid",), about)
    X = np.array([[-800.0], [-1], [0], [1], [800]])
    outputs = Ran.of(model)(features=X)
    assert outputs["probabilities"][:, 1].tolist()[::2] == [0, 0.5, 1]
    assert outputs["label"].tolist() == {0.0: [0, 1, 1, 1, 1], 0.5: [0, 0, 0, 1, 1], 1.0: [0] * 5}[threshold]


def test_a_batch_may_have_any_size() -> None:
    model = a_model(["tanh", "softmax"], [9, 3])
    ran = Ran.of(model)
    assert ran.inputs == {"features": ("tensor(double)", ["m", 30])}
    assert ran.outputs == {"probabilities": ("tensor(double)", ["m", 3]), "label": ("tensor(int64)", ["m"])}
    for samples in (1, 2, 17, 5_000):
        assert off(model, inputs_of(model, samples=samples), ran) < 1e-13


@st.composite
def recipes(draw: st.DrawFn) -> tuple[Model, float]:
    hidden = draw(st.lists(st.sampled_from(sorted(ACTIVATIONS)), max_size=5))
    last = draw(st.sampled_from(sorted(LAST)))
    sizes = [draw(st.integers(1, 40)) for _ in hidden]
    sizes.append(draw(st.integers(2, 12)) if last == "softmax" else 1)
    features, dtype = draw(st.integers(1, 60)), draw(st.sampled_from([np.float32, np.float64]))
    scale, seed = draw(st.floats(0.1, 4)), draw(st.integers(0, 2**32 - 1))
    model = a_model([*hidden, last], sizes, features, dtype, scale=scale, seed=seed)
    return model, draw(st.floats(0, 30))


@given(recipes())
@settings(max_examples=150, deadline=None)
def test_recipes_that_nobody_thought_of(recipe: tuple[Model, float]) -> None:
    model, spread = recipe
    X = inputs_of(model, spread)
    assert off(model, X) <= (allowed(model, X) if model.params["W1"].dtype == np.float32 else 1e-9)
