"""What the neurons of a network do with samples: how often they fire, what excites them, what they add up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn.activations import Array
from snn.layers import gradients, slope_below
from snn.losses import Targets
from snn.network import Network, Params, walk

SATURATED = 0.99
"""Size of a tanh's activation from which on its slope is nearly 0; of a sigmoid's, stretched to -1 … 1 as tanh's is."""


class Outputs(NamedTuple):
    """What a layer gives for samples: weighted sums Z and activations A, both (neurons, m)."""

    Z: Array
    A: Array


class Condition(NamedTuple):
    """How a neuron is: on how many of the samples it fires, whether on none, and whether it is stuck at its ends."""

    fires: int
    samples: int
    dead: bool
    saturated: bool


class Term(NamedTuple):
    """A summand of a neuron's weighted sum: the place of its input, the weight, the input, and their product."""

    place: int
    weight: float
    input: float
    product: float


def outputs_of(network: Network, params: Params, X: Array) -> list[Outputs]:
    """Return what layers 1..L give for inputs X (features, m); of the last one, A are the network's answers."""
    found, A = list[Outputs](), X
    for number, layer in enumerate(network.layers, start=1):
        Z = layer.sums(params[f"W{number}"], params[f"b{number}"], A)
        last = number == len(network.layers)
        A = network.loss.answers(Z) if last else layer.forward(Z.copy())[0]
        found.append(Outputs(Z, A))
    return found


class Slopes(NamedTuple):
    """The cost of samples, its slope in the parameters, and in the inputs X (features, m)."""

    cost: float
    params: Params
    inputs: Array


def slopes_of(network: Network, params: Params, X: Array, targets: Targets) -> Slopes:
    """Return the mean cost of all samples X and its slopes: nothing left out, nothing augmented, without L2."""
    walker = _Plain(network, params, lambda Z: targets.cost(Z, slice(None)))
    cost, back = walk(len(network.layers), walker, X)
    return Slopes(cost, back(), walker.inputs)


def logit_slopes(network: Network, params: Params, X: Array, output: int) -> Array:
    """Return the slope of a logit in the inputs, (features, m).

    In a network of ReLU this is exact as far as no neuron changes sides: logit = Σ slope·x + what the biases add.
    """

    def cost(Z: Array) -> tuple[float, Array]:
        dZ = np.zeros_like(Z)
        dZ[output] = 1
        return float(Z[output].sum()), dZ

    walker = _Plain(network, params, cost)
    _, back = walk(len(network.layers), walker, X)
    back()
    return walker.inputs


class _Plain:
    """Walks all samples at once through a network that leaves nothing out."""

    def __init__(self, network: Network, params: Params, cost: Callable[[Array], tuple[float, Array]]) -> None:
        self._layers, self._params, self.cost = network.layers, params, cost
        self.inputs: Array = np.empty((0, 0))

    def forward(self, layer: int, A_prev: Array) -> tuple[Array, Array]:
        """Return a layer's outputs, and what its way back will need."""
        dense = self._layers[layer - 1]
        return dense.forward(dense.sums(self._params[f"W{layer}"], self._params[f"b{layer}"], A_prev))

    def backward(self, layer: int, dZ: Array, kept: Array, A_prev: Array) -> tuple[Array, Params]:
        """Return a layer's own dZ and gradients."""
        if layer < len(self._layers):
            dZ = self._layers[layer - 1].error(slope_below(self._params[f"W{layer + 1}"], dZ), kept)
        if layer == 1:
            self.inputs = slope_below(self._params["W1"], dZ)
        dW, db = gradients(dZ, A_prev)
        return dZ, {f"W{layer}": dW, f"b{layer}": db}


def conditions(outputs: Outputs, activation: str) -> list[Condition]:
    """Return how each neuron of a layer is. One fires where its activation is above 0; a sigmoid's, above one half."""
    A = outputs.A
    middle = 0.5 if activation == "sigmoid" else 0.0
    fires = (middle < A).sum(axis=1)
    stuck: Any = np.zeros(len(A), bool)
    if activation in ("sigmoid", "tanh"):
        far = np.abs(2 * A - 1) if activation == "sigmoid" else np.abs(A)
        stuck = (far > SATURATED).all(axis=1)
    dead = fires == 0 if activation == "relu" else np.zeros(len(A), bool)
    samples = A.shape[1]
    return [
        Condition(int(count), samples, bool(is_dead), bool(is_stuck))
        for count, is_dead, is_stuck in zip(fires, dead, stuck, strict=True)
    ]


def answering(outputs: Outputs) -> list[Condition]:
    """Return on how many samples each neuron of the last layer says yes: its class is the most probable.

    One alone says yes above one half, or, if it gives a number, above 0. It is neither dead nor saturated: with the
    cost that belongs to it, it learns from every answer that is wrong.
    """
    A = outputs.A
    if len(A) > 1:
        says = np.bincount(A.argmax(axis=0), minlength=len(A))
    else:
        probability = bool((A >= 0).all() and (A <= 1).all())
        says = np.array([(A[0] > (0.5 if probability else 0.0)).sum()])
    return [Condition(int(count), A.shape[1], False, False) for count in says]


def most_and_least(A: Array, y: NDArray[np.int64], classes: int, count: int) -> list[tuple[list[int], list[int]]]:
    """Return for each class the places of the samples that excite a neuron most, and least.

    A are its activations (m,), y (m,) the samples' classes.
    """
    found = []
    for label in range(classes):
        places = np.flatnonzero(y == label)
        order = places[np.argsort(-A[places], kind="stable")]
        found.append((order[:count].tolist(), order[::-1][:count].tolist()))
    return found


def histogram(A: Array, bins: int = 30) -> tuple[list[float], list[int]]:
    """Return the edges (bins + 1) and the counts (bins) of a neuron's activations (m,)."""
    counts, edges = np.histogram(A, bins)
    return edges.tolist(), counts.tolist()


def formula(W: Array, b: Array, inputs: Array, neuron: int, terms: int) -> tuple[list[Term], float, float, float]:
    """Return the largest terms of z = Σ w·x + b for one sample's inputs (n,), the sum of the others, b and z."""
    products = W[neuron] * inputs
    order = np.argsort(-np.abs(products), kind="stable")[:terms]
    largest = [
        Term(int(place), float(W[neuron, place]), float(inputs[place]), float(products[place])) for place in order
    ]
    rest = float(products.sum() - products[order].sum())
    bias = float(b[neuron, 0])
    return largest, rest, bias, float(products.sum()) + bias


def norms_of(W: Array) -> Array:
    """Return the length of each row; a third of the time of NumPy's norm, which squares into an array of its own."""
    norms: Array = np.sqrt(np.einsum("ij,ij->i", W, W))
    return norms


def update_ratio(before: Params, after: Params, layer: int) -> list[float]:
    """Return for each neuron of a layer ‖ΔW‖ / ‖W‖ of a step: about 0.001 is healthy, by a rule of thumb."""
    name = f"W{layer}"
    moved, size = norms_of(after[name] - before[name]), norms_of(before[name])
    return [float(ratio) for ratio in np.where(size > 0, moved / np.where(size > 0, size, 1), 0.0)]
