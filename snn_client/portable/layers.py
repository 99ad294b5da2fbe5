"""A network's layers as ONNX nodes, and what is made of the last one's sums. Samples are rows here: (m, features).

The operators are those that onnxruntime computes in both float32 and float64; it has no Elu, Gelu or Erf in float64,
and its LeakyRelu takes its slope in float32. So activations are written out, by the formulas of `snn.activations`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from snn.activations import ERF
from snn.errors import InvalidModel
from snn_client.portable.graph import Graph
from snn_data.model import Model


def _leaky_relu(graph: Graph, Z: str) -> str:
    return graph.node("Max", Z, graph.node("Mul", Z, graph.constant(0.01)))


def _elu(graph: Graph, Z: str) -> str:
    """For Z < 0, exp(Z) - 1 = 2t / (1 - t) with t = tanh(Z/2): exact near 0 too, where exp(Z) - 1 cancels."""
    half = graph.node("Mul", graph.node("Min", Z, graph.constant(0)), graph.constant(0.5))
    t = graph.node("Tanh", half)
    below = graph.node("Div", graph.node("Add", t, t), graph.node("Sub", graph.constant(1), t))
    return graph.node("Where", graph.node("Greater", Z, graph.constant(0)), Z, below)


def _gelu(graph: Graph, Z: str) -> str:
    x = graph.node("Mul", Z, graph.constant(math.sqrt(0.5)))
    erf = graph.node("Erf", x) if graph.dtype == np.float32 else _erf(graph, x)
    return graph.node("Mul", Z, graph.node("Mul", graph.node("Add", erf, graph.constant(1)), graph.constant(0.5)))


def _erf(graph: Graph, x: str) -> str:
    """The error function by its Taylor series around the nearest 64th, as `snn.activations.normal_cdf` has it."""
    size = graph.node("Min", graph.node("Abs", x), graph.constant(6))
    nearest = graph.node("Round", graph.node("Mul", size, graph.constant(64)))
    h = graph.node("Sub", size, graph.node("Div", nearest, graph.constant(64)))
    place = graph.cast(nearest, np.int64)
    terms = [graph.node("Gather", graph.constant(term), place) for term in ERF]
    erf = terms[-1]
    for term in terms[-2::-1]:
        erf = graph.node("Add", graph.node("Mul", erf, h), term)
    return graph.node("Mul", erf, graph.node("Sign", x))


ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "identity": lambda graph, Z: Z,
    "relu": lambda graph, Z: graph.node("Relu", Z),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "tanh": lambda graph, Z: graph.node("Tanh", Z),
    "sigmoid": lambda graph, Z: graph.node("Sigmoid", Z),
}
"""`function(graph, Z)` adds an activation and returns its output: an entry for each of `snn.activations`."""


def add_layers(graph: Graph, model: Model, X: str) -> str:
    """Add all layers over inputs X (m, features); return the last one's weighted sums (m, o).

    Raises InvalidModel for an activation that is none of ACTIVATIONS.
    """
    A = X
    for number, activation in enumerate((*model.activations[:-1], "identity"), start=1):
        if activation not in ACTIVATIONS:
            hint = f"known: {', '.join(ACTIVATIONS)}; add it to snn_client/portable/layers.py"
            raise InvalidModel(
                f"{activation} has no form in ONNX yet", field="activations", source=model.source, hint=hint
            )
        W = graph.constant(model.params[f"W{number}"], name=f"W{number}")
        b = graph.constant(model.params[f"b{number}"][:, 0], name=f"b{number}")
        A = ACTIVATIONS[activation](graph, graph.node("Gemm", A, W, b, transB=1))
    return A


def add_answers(graph: Graph, model: Model, Z: str, batch: int | str) -> None:
    """Add the outputs, of the last layer's sums Z (m, o).

    Of a model of classes they are `probabilities` (m, K), of all classes in their order, and `label` (m,), the number
    of the class that it says; of another `value` (m,), the number.
    """
    if not model.of_classes:
        graph.output(_one_each(graph, Z), "value", graph.dtype, [], batch)
        return
    if model.activations[-1] == "sigmoid":
        one = graph.node("Sigmoid", Z)
        probabilities = graph.node("Concat", graph.node("Sub", graph.constant(1), one), one, axis=1)
    else:
        probabilities = graph.node("Softmax", Z, axis=1)
        one = graph.node("Gather", probabilities, graph.constant([1], np.int64), axis=1)
    classes = len(model.classes)
    if classes == 2:  # as snn.decision has it: compared in float64, and exactly on the threshold is class 0
        above = graph.node("Greater", graph.cast(one, np.float64), graph.constant(model.threshold, np.float64))
        label = _one_each(graph, graph.cast(above, np.int64))
    else:
        label = graph.node("ArgMax", probabilities, axis=1, keepdims=0)
    graph.output(probabilities, "probabilities", graph.dtype, [classes], batch)
    graph.output(label, "label", np.int64, [], batch)


def _one_each(graph: Graph, column: str) -> str:
    """Return (m,) of (m, 1)."""
    return graph.node("Reshape", column, graph.constant([-1], np.int64))
