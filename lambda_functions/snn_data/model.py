"""A trained network in a file: `params.h5`, and the checkpoint that a run continues from."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import h5py
import numpy as np
from pydantic import PositiveInt, TypeAdapter

from snn.errors import InvalidModel
from snn.hdf5 import read_array, read_hdf5
from snn.layers import Array
from snn.network import Layer, Weights, activations
from snn.parameters import Activation
from snn.training import Training

# What the attributes hold as JSON text.
T = TypeVar("T")
_FUNCTIONS: TypeAdapter[tuple[Activation, ...]] = TypeAdapter(tuple[Activation, ...])
_IMAGE_SHAPE: TypeAdapter[tuple[int, int, int]] = TypeAdapter(tuple[PositiveInt, PositiveInt, Literal[3]])
_CLASSES: TypeAdapter[tuple[str, str]] = TypeAdapter(tuple[str, str])


@dataclass(frozen=True)
class Model:
    """A network that can judge photos. `attributes` tell where it came from; errors call its file `source`.

    Whether the attributes say what photos it takes shows when it is asked: itsacat's files do not, and a test set can
    be judged all the same.
    """

    weights: Weights
    functions: tuple[Activation, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: str = "params.h5"

    def probabilities(self, X: Array) -> Array:
        """Return the probability of class 1, (1, m), for inputs X (features, m) in 0..1.

        Raises InvalidModel if it does not fit them, or if its weights are so large that no number comes out.
        """
        if X.shape[0] != self.features:
            raise InvalidModel(
                f"reads {self.features} inputs, the photos have {X.shape[0]}",
                field="W1",
                source=self.source,
                mend="use photos of the size it was trained on",
            )
        with np.errstate(over="ignore", invalid="ignore"):
            answers = activations(self.weights, X, self.functions)[-1]
        if not np.isfinite(answers).all():
            raise InvalidModel("gives no numbers, its weights are too large", source=self.source, mend="train it anew")
        return answers

    @property
    def features(self) -> int:
        """Return the number of inputs it reads."""
        return int(self.weights[0].W.shape[1])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return the (height, width, 3) of the photos it was trained on. Raises InvalidModel if the file lacks it."""
        mend = "set the attribute to the [height, width, 3] of the photos it was trained on"
        shape = _attribute(self.attributes, "image_shape", _IMAGE_SHAPE, self.source, mend)
        if math.prod(shape) != self.features:
            raise InvalidModel(
                f"is {shape}, where W1 reads {self.features} inputs", field="image_shape", source=self.source, mend=mend
            )
        return shape

    @property
    def classes(self) -> tuple[str, str]:
        """Return the names of class 0 and class 1. Raises InvalidModel if the file lacks them."""
        mend = 'set the attribute to the names of both, as ["non-cat", "cat"]'
        return _attribute(self.attributes, "classes", _CLASSES, self.source, mend)


def save_model(
    file: Path | str | BinaryIO, weights: Weights, functions: tuple[Activation, ...], attributes: Mapping[str, Any]
) -> None:
    """Write `params.h5`: W1, b1 … WL, bL as float64 at the root, provenance in the root's attributes."""
    with h5py.File(file, "w") as h5:
        _write(h5, weights)
        h5.attrs["activations"] = json.dumps(functions)
        for name, value in attributes.items():
            h5.attrs[name] = value if isinstance(value, (str, int, float)) else json.dumps(value)


def load_model(file: Path | str | BinaryIO, source: str = "params.h5") -> Model:
    """Read `params.h5`. Raises InvalidModel, naming the file and the array, when it does not hold a network.

    A file that does not name its activations (itsacat's own) is taken as ReLU layers under a sigmoid.
    """
    weights, attributes = read_hdf5(file, source, InvalidModel, lambda h5: (_read(h5, source), _attributes(h5)))
    neurons = weights[-1].W.shape[0]
    if neurons != 1:
        mend = "the last layer tells two classes apart with 1"
        raise InvalidModel(f"has {neurons} neurons", field=f"W{len(weights)}", source=source, mend=mend)
    functions: tuple[Activation, ...] = (*[Activation.RELU] * (len(weights) - 1), Activation.SIGMOID)
    if "activations" in attributes:
        mend = f"name relu or sigmoid for each of {len(weights)} layers, sigmoid for the last"
        functions = _attribute(attributes, "activations", _FUNCTIONS, source, mend)
        if len(functions) != len(weights) or functions[-1] is not Activation.SIGMOID:
            named = ", ".join(functions) or "nothing"
            raise InvalidModel(f"names {named}", field="activations", source=source, mend=mend)
    return Model(weights, functions, attributes, source)


def dump_checkpoint(training: Training) -> bytes:
    """Return a training as the bytes of `checkpoint.h5`: the weights, and the costs of the epochs so far."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        _write(h5, training.weights)
        h5.create_dataset("costs", data=np.array(training.costs, dtype=np.float64))
        if training.origin is not None:
            h5.create_dataset("origin", data=training.origin)
    return buffer.getvalue()


def load_checkpoint(data: bytes, source: str = "checkpoint.h5") -> Training:
    """Return the training that `dump_checkpoint` wrote, bit for bit. Raises InvalidModel when it is damaged."""

    def read(h5: h5py.File) -> tuple[Weights, Array, Array | None]:
        weights = _read(h5, source)
        return weights, _numbers(h5, "costs", 1, source), _numbers(h5, "origin", 2, source) if "origin" in h5 else None

    weights, costs, origin = read_hdf5(io.BytesIO(data), source, InvalidModel, read)
    return Training(weights, costs.tolist(), origin)


def _write(h5: h5py.File, weights: Weights) -> None:
    for number, (W, b) in enumerate(weights, start=1):
        h5.create_dataset(f"W{number}", data=W, dtype=np.float64)
        h5.create_dataset(f"b{number}", data=b, dtype=np.float64)


def _attributes(h5: h5py.File) -> dict[str, Any]:
    """Return the root's attributes, those of kinds that nobody asks for as text."""
    return {name: repr(value) if np.asarray(value).dtype.kind in "OV" else value for name, value in h5.attrs.items()}


def _read(h5: h5py.File, source: str) -> Weights:
    """Return the layers that the file holds, each fitting the one below."""
    layers = max(1, sum(1 for name in h5 if re.fullmatch("W[0-9]+", name)))
    weights: Weights = []
    for number in range(1, layers + 1):
        W, b = (_numbers(h5, f"{name}{number}", 2, source) for name in "Wb")
        inputs = weights[-1].W.shape[0] if weights else W.shape[1]
        if W.shape[1] != inputs or b.shape != (W.shape[0], 1) or W.size == 0:
            raise InvalidModel(
                f"is {W.shape} with {b.shape} biases",
                field=f"W{number}",
                source=source,
                mend=f"expected (neurons, {inputs}) and (neurons, 1)",
            )
        weights.append(Layer(W, b))
    return weights


def _numbers(h5: h5py.File, name: str, dimensions: int, source: str) -> Array:
    """Return a data set as float64."""
    array = read_array(h5, name, source, InvalidModel)
    if array.ndim != dimensions or not np.can_cast(array.dtype, np.float64):
        mend = f"make it float64 of {dimensions} dimensions"
        raise InvalidModel(f"is {array.shape} {array.dtype}", field=name, source=source, mend=mend)
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InvalidModel("holds values that are no numbers", field=name, source=source, mend="all must be finite")
    return numbers


def _attribute(attributes: Mapping[str, Any], name: str, kind: TypeAdapter[T], source: str, mend: str) -> T:
    """Return what the JSON text in an attribute says. Raises InvalidModel when there is none or it says no `kind`."""
    if name not in attributes:
        raise InvalidModel("is missing", field=name, source=source, mend=mend)
    try:
        return kind.validate_json(attributes[name], strict=True)
    except (ValueError, TypeError):
        raise InvalidModel(f"is {attributes[name]!r}", field=name, source=source, mend=mend) from None
