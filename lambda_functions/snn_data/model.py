"""A trained network in a file, `params.h5`: its weights at the root, all else in the root's attributes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

import h5py
import numpy as np
from annotated_types import MinLen
from pydantic import PositiveInt, TypeAdapter

from snn.activations import ACTIVATIONS, Array
from snn.batches import Samples
from snn.decision import DEFAULT
from snn.errors import InvalidModel
from snn.losses import LOSSES
from snn.network import Network, Params
from snn_data.arrays import read_network, write_arrays
from snn_data.hdf5 import read_hdf5

# What the attributes hold as JSON text.
T = TypeVar("T")
_NAMES: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])
_SHAPE: TypeAdapter[tuple[int, ...]] = TypeAdapter(Annotated[tuple[PositiveInt, ...], MinLen(1)])
_CLASSES: TypeAdapter[tuple[str, ...]] = TypeAdapter(Annotated[tuple[str, ...], MinLen(2)])

AT_ONCE = 4096  # samples that are judged together


@dataclass(frozen=True)
class Model:
    """A network that can judge samples. `attributes` tell where it came from; errors call its file `source`.

    Whether the attributes say what photos it takes shows when it is asked: itsacat's files do not, and a test set can
    be judged all the same.
    """

    params: Params
    activations: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: str = "params.h5"

    @cached_property
    def network(self) -> Network:
        """Return the network that the parameters belong to."""
        sizes = [len(self.params[f"W{number}"]) for number in range(1, len(self.activations) + 1)]
        return Network.of(self.features, sizes, self.activations)

    @property
    def threshold(self) -> float:
        """Return the probability above which it says class 1, of two classes; one half if the file does not say.

        Raises InvalidModel if the file says what is no probability.
        """
        given = self.attributes.get("threshold", DEFAULT)
        if not isinstance(given, (int, float)) or not 0 <= given <= 1:
            raise InvalidModel(
                f"is {given!r}", field="threshold", source=self.source, hint="set the attribute to a number in 0..1"
            )
        return float(given)

    @property
    def features(self) -> int:
        """Return how many numbers of a sample it reads."""
        return int(self.params["W1"].shape[1])

    @property
    def of_classes(self) -> bool:
        """Return whether it tells classes apart; else it gives a number."""
        return self.network.loss.of_classes

    def answers(self, X: Array) -> Array:
        """Return what it says to inputs X (features, m): the probability of class 1 (1, m), those of K classes (K, m),
        or a number (1, m).

        Raises InvalidModel if it does not fit them, or if its weights are so large that no number comes out.
        """
        if X.shape[0] != self.features:
            raise InvalidModel(
                f"reads {self.features} inputs, but the samples have {X.shape[0]}",
                field="W1",
                source=self.source,
                hint="use samples of the size it was trained on",
            )
        with np.errstate(over="ignore", invalid="ignore"):
            said = self.network.answers(self.params, X.astype(self.params["W1"].dtype, copy=False))
        if not np.isfinite(said).all():
            raise InvalidModel(
                "gives no finite numbers: its weights are too large", source=self.source, hint="train it again"
            )
        return said

    def judge(self, samples: Samples) -> Array:
        """Return the answers to samples, some thousand at a time. Raises InvalidModel as `answers` does."""
        dtype = self.params["W1"].dtype
        parts = range(0, len(samples), AT_ONCE)
        return np.hstack([self.answers(samples.inputs(slice(start, start + AT_ONCE), dtype)) for start in parts])

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the samples it was trained on: (height, width, 3), (height, width, 1) or (features,).

        Raises InvalidModel if the file lacks it.
        """
        if "features" in self.attributes:
            return (self.features,)
        hint = "set the attribute to the [height, width, 3] of the photos it was trained on"
        shape = _attribute(self.attributes, "image_shape", _SHAPE, self.source, hint)
        if math.prod(shape) != self.features or len(shape) != 3 or shape[2] not in (1, 3):
            raise InvalidModel(
                f"is {shape}, but W1 reads {self.features} inputs", field="image_shape", source=self.source, hint=hint
            )
        return shape

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Return the names of classes 0, 1 …; none if it gives a number. Raises InvalidModel if the file lacks them."""
        if not self.of_classes:
            return ()
        wanted = max(2, self.network.layers[-1].size)
        hint = 'set the attribute to the names of all, as ["non-cat", "cat"]'
        classes = _attribute(self.attributes, "classes", _CLASSES, self.source, hint)
        if len(classes) != wanted:
            problem = f"is {len(classes)} names for {wanted} classes"
            raise InvalidModel(problem, field="classes", source=self.source, hint=hint)
        return classes


def save_model(
    file: Path | str | BinaryIO, params: Params, activations: Sequence[str], attributes: Mapping[str, Any]
) -> None:
    """Write `params.h5`: W1, b1 … WL, bL at the root, provenance in the root's attributes."""
    with h5py.File(file, "w") as h5:
        write_arrays(h5, {f"{name}{i}": params[f"{name}{i}"] for i in range(1, len(activations) + 1) for name in "Wb"})
        h5.attrs["activations"] = json.dumps(activations)
        for name, value in attributes.items():
            h5.attrs[name] = value if isinstance(value, (str, int, float)) else json.dumps(value)


def load_model(file: Path | str | BinaryIO, source: str = "params.h5") -> Model:
    """Read `params.h5`. Raises InvalidModel, naming the file and the array, when it does not hold a network.

    A file that does not name its activations (itsacat's own) is taken as ReLU layers under a sigmoid.
    """
    params, attributes = read_hdf5(file, source, InvalidModel, lambda h5: (read_network(h5, source), _attributes(h5)))
    layers = len(params) // 2
    activations: tuple[str, ...] = (*["relu"] * (layers - 1), "sigmoid")
    outputs = {loss.output for loss in LOSSES.values()}
    if "activations" in attributes:
        hint = (
            f"name one of {', '.join(ACTIVATIONS)} for each of {layers} layers, and {', '.join(sorted(outputs))} for "
            "the last"
        )
        activations = _attribute(attributes, "activations", _NAMES, source, hint)
        if len(activations) != layers or activations[-1] not in outputs or set(activations[:-1]) - set(ACTIVATIONS):
            named = ", ".join(activations) or "nothing"
            raise InvalidModel(f"names {named}", field="activations", source=source, hint=hint)
    neurons = len(params[f"W{layers}"])
    if (neurons < 2) if activations[-1] == "softmax" else (neurons != 1):
        raise InvalidModel(
            f"has {neurons} neurons",
            field=f"W{layers}",
            source=source,
            hint=f"a last layer of {activations[-1]} has {'two or more' if activations[-1] == 'softmax' else '1'}",
        )
    return Model(params, activations, attributes, source)


def load_attributes(file: Path | str | BinaryIO, source: str = "params.h5") -> Mapping[str, Any]:
    """Read what a `params.h5` says of itself, without its weights. Raises InvalidModel."""
    return read_hdf5(file, source, InvalidModel, _attributes)


def _attributes(h5: h5py.File) -> dict[str, Any]:
    """Return the root's attributes, those of kinds that nobody asks for as text."""
    return {name: repr(value) if np.asarray(value).dtype.kind in "OV" else value for name, value in h5.attrs.items()}


def _attribute(attributes: Mapping[str, Any], name: str, kind: TypeAdapter[T], source: str, hint: str) -> T:
    """Return what the JSON text in an attribute says. Raises InvalidModel when there is none or it says no `kind`."""
    if name not in attributes:
        raise InvalidModel("is missing", field=name, source=source, hint=hint)
    try:
        return kind.validate_json(attributes[name], strict=True)
    except (ValueError, TypeError):
        raise InvalidModel(f"is {attributes[name]!r}", field=name, source=source, hint=hint) from None
