"""A trained network in a file: `params.h5`, and the checkpoint that a run continues from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from snn.errors import InvalidModel
from snn.layers import Array
from snn.network import Layer, Weights, activations
from snn.parameters import Activation
from snn.training import Training


@dataclass(frozen=True)
class Model:
    """A network that can judge photos, with where it came from in `attributes`."""

    weights: Weights
    functions: tuple[Activation, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(self, X: Array) -> Array:
        """Return the probability of class 1, (1, m), for inputs X (features, m) in 0..1."""
        features = self.weights[0].W.shape[1]
        if X.shape[0] != features:
            raise InvalidModel(
                f"reads {features} inputs, the photos have {X.shape[0]}",
                field="W1",
                source="params.h5",
                mend="use photos of the size it was trained on",
            )
        return activations(self.weights, X, self.functions)[-1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return the (height, width, 3) of the photos it was trained on."""
        height, width, channels = json.loads(self.attributes["image_shape"])
        return height, width, channels

    @property
    def classes(self) -> tuple[str, str]:
        """Return the names of class 0 and class 1."""
        first, second = json.loads(self.attributes["classes"])
        return first, second


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

    A file without attributes (itsacat's own) is taken as ReLU layers under a sigmoid.
    """
    try:
        with h5py.File(file, "r") as h5:
            weights = _read(h5, source)
            attributes = dict(h5.attrs)
            functions = json.loads(attributes.get("activations", "null"))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InvalidModel(f"cannot be read as HDF5: {error}", source=source) from None
    functions = functions or [Activation.RELU] * (len(weights) - 1) + [Activation.SIGMOID]
    return Model(weights, tuple(Activation(name) for name in functions), attributes)


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
    try:
        with h5py.File(io.BytesIO(data), "r") as h5:
            origin = h5["origin"][()] if "origin" in h5 else None
            return Training(_read(h5, source), h5["costs"][()].tolist(), origin)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InvalidModel(f"cannot be read as HDF5: {error}", source=source) from None


def _write(h5: h5py.File, weights: Weights) -> None:
    for number, (W, b) in enumerate(weights, start=1):
        h5.create_dataset(f"W{number}", data=W, dtype=np.float64)
        h5.create_dataset(f"b{number}", data=b, dtype=np.float64)


def _read(h5: h5py.File, source: str) -> Weights:
    weights: Weights = []
    while (name := f"W{len(weights) + 1}") in h5:
        W, b = (np.asarray(h5[key][()], dtype=np.float64) for key in (name, f"b{len(weights) + 1}"))
        inputs = weights[-1].W.shape[0] if weights else W.shape[-1]
        if W.ndim != 2 or W.shape[1] != inputs or b.shape != (W.shape[0], 1) or not np.isfinite(W).all():
            raise InvalidModel(
                f"is {W.shape} with {b.shape} biases",
                field=name,
                source=source,
                mend=f"expected (neurons, {inputs}) and (neurons, 1), all finite",
            )
        weights.append(Layer(W, b))
    if not weights:
        raise InvalidModel("is missing", field="W1", source=source)
    return weights
