"""What neurons do, held to plain arithmetic of its own."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from training import Lesson, photos

from snn.network import Network
from snn_client.microscope.neurons import (
    Outputs,
    answering,
    conditions,
    formula,
    histogram,
    most_and_least,
    outputs_of,
    update_ratio,
)
from snn_cloud.ledger.parameters import Parameters


@pytest.mark.parametrize("functions", [("relu", "sigmoid"), ("tanh", "sigmoid"), ("sigmoid", "sigmoid")])
def test_outputs_are_those_of_a_plain_forward_pass(functions: tuple[str, ...]) -> None:
    chosen = Parameters.load(oracle.small_network((5, 1), functions, epochs=20))
    lesson = Lesson(chosen, photos())
    for _ in lesson.steps():
        pass
    X, params = photos().train.inputs(), lesson.params
    first, last = outputs_of(chosen.network(photos().features), params, X)
    Z = params["W1"] @ X + params["b1"]
    A = {"relu": np.maximum(Z, 0), "tanh": np.tanh(Z), "sigmoid": 1 / (1 + np.exp(-Z))}[functions[0]]
    np.testing.assert_allclose(first.Z, Z, rtol=0, atol=1e-12)
    np.testing.assert_allclose(first.A, A, rtol=0, atol=1e-12)
    p = 1 / (1 + np.exp(-(params["W2"] @ A + params["b2"])))
    np.testing.assert_allclose(last.A, p, rtol=0, atol=1e-12)
    ratio = update_ratio(params, {**params, "W1": params["W1"] * 1.001}, 1)
    np.testing.assert_allclose(ratio, [0.001] * 5, rtol=1e-9)


def test_a_neuron_that_never_fires_is_dead_and_one_at_its_ends_saturated() -> None:
    network = Network.of(2, (3, 1), ("relu", "sigmoid"))
    W = np.array([[1.0, 1], [-1, -1], [1, -1]])
    params = {"W1": W, "b1": np.zeros((3, 1)), "W2": np.array([[100.0, 0, 0]]), "b2": np.full((1, 1), -50.0)}
    X = np.array([[1.0, 2, 3, 4], [1, 1, 5, 1]])
    first, last = outputs_of(network, params, X)
    found = conditions(first, "relu")
    assert [(one.fires, one.dead) for one in found] == [(4, False), (0, True), (2, False)]
    assert {one.samples for one in found} == {4}
    assert conditions(last, "sigmoid") == [(4, 4, False, True)]
    most = most_and_least(first.A[2], np.array([0, 0, 1, 1]), 2, 1)
    assert most == [([1], [0]), ([3], [2])]
    edges, counts = histogram(first.A[0], 4)
    assert (edges[0], edges[-1], sum(counts)) == (2.0, 8.0, 4)


def test_a_formula_adds_up() -> None:
    random = np.random.default_rng(0)
    W, b, x = random.standard_normal((2, 50)), random.standard_normal((2, 1)), random.standard_normal(50)
    terms, rest, bias, z = formula(W, b, x, 1, 5)
    assert z == pytest.approx(float(W[1] @ x + b[1, 0]))
    assert sum(term.product for term in terms) + rest + bias == pytest.approx(z)
    assert [abs(term.product) for term in terms] == sorted(abs(W[1] * x))[::-1][:5]


def test_neurons_that_answer_are_neither_dead_nor_saturated() -> None:
    probabilities = np.array([[0.7, 0.1, 0.2], [0.2, 0.8, 0.3], [0.1, 0.1, 0.5]])
    assert [one.fires for one in answering(Outputs(probabilities, probabilities))] == [1, 1, 1]
    sure = np.array([[0.999, 0.998, 0.001]])
    assert answering(Outputs(sure, sure)) == [(2, 3, False, False)]
    numbers = np.array([[-3.0, 4.0, 0.2, 0.3]])
    assert answering(Outputs(numbers, numbers)) == [(3, 4, False, False)]


def test_a_tanh_is_saturated_at_either_end_and_a_sigmoid_as_a_tanh_is() -> None:
    network = Network.of(1, (2, 1), ("tanh", "sigmoid"))
    params = {"W1": np.array([[9.0], [0.1]]), "b1": np.zeros((2, 1)), "W2": np.ones((1, 2)), "b2": np.zeros((1, 1))}
    X = np.array([[-1.0, 1.0, 2.0]])
    assert [one.saturated for one in conditions(outputs_of(network, params, X)[0], "tanh")] == [True, False]
    A = np.array([[0.999, 0.001], [0.992, 0.999]])
    assert [one.saturated for one in conditions(Outputs(A, A), "sigmoid")] == [True, False]
