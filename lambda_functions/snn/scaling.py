"""Inputs and targets that are scaled while a network learns, folded into its weights when it is kept.

A layer of scaled inputs, W·(x - mean)/scale + b, is one of other weights for inputs as they are; so is one whose sums
are scaled targets. A kept network has neither: it reads samples and gives numbers in their own units.
"""

from __future__ import annotations

from typing import NamedTuple

from snn.network import Params


class Scaling(NamedTuple):
    """What numbers are while they are learned, or learned from: (x - mean) / scale."""

    mean: float
    scale: float


def in_own_units(params: Params, inputs: Scaling | None = None, targets: Scaling | None = None) -> Params:
    """Return a network for inputs, and with answers, as they are, of one that learned from scaled ones."""
    if inputs:
        W1 = params["W1"] / inputs.scale
        params = {**params, "W1": W1, "b1": params["b1"] - W1.sum(axis=1, keepdims=True) * inputs.mean}
    if targets:
        W, b = _last(params)
        params = {**params, W: params[W] * targets.scale, b: params[b] * targets.scale + targets.mean}
    return params


def in_scaled_units(params: Params, inputs: Scaling | None = None, targets: Scaling | None = None) -> Params:
    """Return a network to go on learning, of one with inputs and answers as they are: `in_own_units` undoes it."""
    if targets:
        W, b = _last(params)
        params = {**params, W: params[W] / targets.scale, b: (params[b] - targets.mean) / targets.scale}
    if inputs:
        W1 = params["W1"]
        b1 = params["b1"] + W1.sum(axis=1, keepdims=True) * inputs.mean
        params = {**params, "W1": W1 * inputs.scale, "b1": b1}
    return params


def _last(params: Params) -> tuple[str, str]:
    layers = len(params) // 2
    return f"W{layers}", f"b{layers}"
