"""One sample's way through a network: what every neuron made of it, the answer, and what spoke for that."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from snn.activations import Array
from snn.decision import predicted_classes
from snn.network import Network, Params
from snn_client.microscope.neurons import logit_slopes, outputs_of
from snn_client.microscope.pictures import Pixels, diverging, png

MOST_NEURONS = 2_000  # of a layer that are told
MOST_INPUTS = 20  # that spoke most for an answer and against it


class Spoke(TypedDict):
    """An input that spoke for an answer (above 0) or against it: by slope · input, a part of the logit."""

    place: int
    name: str
    input: float
    part: float


class Way(TypedDict):
    """A sample's way. `layers` have the activations of their first neurons, `probabilities` are those of the classes.

    `predicted` is the class with its name; of a network that gives a number, `value` is that. `logit` is the last
    layer's sum for what was predicted (of two classes with one neuron: for class 1), `slope_sum` what the inputs add to
    it, and `rest` what the biases do: together they are the logit, exactly, where all hidden layers are ReLU.
    `picture` is the sample as the network saw it, `spoke_picture` what each of its pixels added, both PNG as base64.
    """

    layers: list[list[float]]
    neurons: list[int]
    predicted: int | None
    class_name: str
    value: float | None
    probabilities: list[float]
    threshold: float
    truth: float | None
    truth_name: str
    wrong: bool | None
    logit: float
    slope_sum: float
    rest: float
    spoke: list[Spoke]
    picture: str
    spoke_picture: str
    unlike: bool | None


def way_of(
    network: Network, params: Params, x: Array, classes: Sequence[str], threshold: float,
    names: Sequence[str], truth: float | None = None, pixels: Pixels | None = None,
) -> Way:  # fmt: skip
    """Return the way of one sample x (features, 1); `pixels` (h, w, 3) or (h, w, 1) are what it looks like.

    `names` are those of the inputs; of pixels they are made here.
    """
    found = outputs_of(network, params, x)
    said = found[-1].A
    predicted = int(predicted_classes(said, threshold)[0]) if classes else None
    output, sign = logit_of_answer(predicted, len(said))
    slopes = logit_slopes(network, params, x, output)[:, 0]
    parts = sign * slopes * x[:, 0]
    logit = float(found[-1].Z[output, 0])
    slope_sum = float(slopes @ x[:, 0])
    probabilities = [1 - float(said[0, 0]), float(said[0, 0])] if len(said) == 1 else [float(p) for p in said[:, 0]]
    wrong = None if truth is None or predicted is None else predicted != int(truth)
    return {
        "layers": [outputs.A[:MOST_NEURONS, 0].tolist() for outputs in found],
        "neurons": [len(outputs.A) for outputs in found],
        "predicted": predicted,
        "class_name": classes[predicted] if predicted is not None else "",
        "value": None if classes else float(said[0, 0]),
        "probabilities": probabilities if classes else [],
        "threshold": threshold,
        "truth": truth,
        "truth_name": classes[int(truth)] if classes and truth is not None else "",
        "wrong": wrong,
        "logit": logit, "slope_sum": slope_sum, "rest": logit - slope_sum,
        "spoke": _strongest(parts, x[:, 0], names, pixels),
        "picture": encoded(_in_colour(pixels)) if pixels is not None else "",
        "spoke_picture": encoded(spoke_image(parts, pixels)) if pixels is not None and pixels.size == len(x) else "",
        "unlike": None,
    }  # fmt: skip


def logit_of_answer(predicted: int | None, neurons: int) -> tuple[int, float]:
    """Return the neuron of the last layer whose logit an answer rests on, and the sign of what spoke for the answer.

    For one neuron that says no, what spoke for its answer is what lowered its sum.
    """
    if neurons > 1:
        return predicted or 0, 1.0
    return 0, -1.0 if predicted == 0 else 1.0


def spoke_image(parts: Array, pixels: Pixels) -> Pixels:
    """Return what each pixel added, all its channels together: orange for the answer, blue against it."""
    summed = parts.reshape(*pixels.shape[:2], -1).sum(axis=2)
    most = float(np.abs(summed).max())
    return diverging(summed / most if most > 0 else summed)


def encoded(pixels: Pixels) -> str:
    """Return pixels as the base64 of a PNG file."""
    return base64.b64encode(png(pixels)).decode()


def pixel_name(place: int, shape: Sequence[int]) -> str:
    """Return what an input of a photo is called: its row and column, and of colours its channel."""
    width, channels = shape[1], shape[2] if len(shape) == 3 else 1
    row, rest = divmod(place, width * channels)
    colour = f" {('red', 'green', 'blue')[rest % channels]}" if channels == 3 else ""
    return f"row {row}, column {rest // channels}{colour}"


def _in_colour(pixels: Pixels) -> Pixels:
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2) if grey else pixels


def _name(names: Sequence[str], place: int) -> str:
    return names[place] if place < len(names) else f"input {place}"


def _strongest(parts: Array, inputs: Array, names: Sequence[str], pixels: Pixels | None) -> list[Spoke]:
    order = np.argsort(-np.abs(parts), kind="stable")[:MOST_INPUTS]
    shape = pixels.shape if pixels is not None and pixels.size == len(parts) else None
    return [
        {
            "place": int(place),
            "name": pixel_name(int(place), shape) if shape else _name(names, int(place)),
            "input": float(inputs[place]),
            "part": float(parts[place]),
        }
        for place in order
    ]
