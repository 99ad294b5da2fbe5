"""Kept epochs: the exact state of a training after some of its epochs, for whoever wants to see how it learned.

Which epochs depends on their number alone: 0 to 10, then each about a tenth above the one before. An `epochs.h5` has a
group for each, named by how many epochs were completed: `params`, `memory/<what the optimizer remembers>`, as in a
checkpoint, and the attribute `steps`. The file that has epoch 0 of a training in the span of the data has its `origin`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from snn.errors import InvalidModel
from snn.network import Params
from snn.training import Training
from snn_data.arrays import numbers, write_arrays
from snn_data.hdf5 import read_hdf5

GROWTH = 1.1


def grid() -> Iterator[int]:
    """Yield the epochs that are kept, by how many are completed: 0, 1, 2 … 10, 11, 13, 15 …"""
    epoch = 0
    while True:
        yield epoch
        epoch = max(epoch + 1, math.ceil(round(epoch * GROWTH, 6)))


def kept_from(epoch: int) -> tuple[int, int]:
    """Return the first epoch of the grid that is not before this one, and how many of the grid are before it."""
    for before, kept in enumerate(grid()):
        if kept >= epoch:
            return kept, before
    raise AssertionError("the grid has no end")


@dataclass(frozen=True)
class KeptEpoch:
    """The state after so many epochs. `origin` is W1 as it was at first, where the training is in the span."""

    epoch: int
    steps: int
    params: Params
    memory: dict[str, Params]
    origin: np.ndarray | None = None

    @classmethod
    def of(cls, training: Training) -> KeptEpoch:
        """Return a copy of a training's state between two epochs."""
        memory = {kind: _copied(arrays) for kind, arrays in training.memory.items()}
        origin = training.origin if training.epoch == 0 else None  # nobody changes that
        return cls(training.epoch, training.steps, _copied(training.params), memory, origin)


def state_bytes(training: Training) -> int:
    """Return what one kept epoch of a training takes."""
    kept = [training.params, *training.memory.values()]
    return sum(array.nbytes for arrays in kept for array in arrays.values())


def dump_epochs(epochs: Sequence[KeptEpoch]) -> bytes:
    """Return kept epochs as the bytes of an `epochs.h5`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        for kept in epochs:
            group = h5.create_group(str(kept.epoch))
            group.attrs["steps"] = kept.steps
            write_arrays(group.create_group("params"), kept.params)
            for kind, arrays in kept.memory.items():
                write_arrays(group.create_group(f"memory/{kind}"), arrays)
            if kept.origin is not None:
                group.create_dataset("origin", data=kept.origin)
    return buffer.getvalue()


def load_epoch(content: bytes, epoch: int, source: str = "epochs.h5") -> KeptEpoch:
    """Return one epoch of an `epochs.h5`, bit for bit as it was. Raises InvalidModel if it is damaged or not there."""

    def read(h5: h5py.File) -> KeptEpoch:
        group = h5.get(str(epoch))
        if not isinstance(group, h5py.Group) or "steps" not in group.attrs:
            raise InvalidModel(f"has no epoch {epoch}", source=source, hint="name one that is kept")
        memory = group.get("memory")
        kinds = list(memory) if isinstance(memory, h5py.Group) else []
        origin = numbers(group, "origin", 2, source) if "origin" in group else None
        remembered = {kind: _read(group, f"memory/{kind}", source) for kind in kinds}
        return KeptEpoch(epoch, int(group.attrs["steps"]), _read(group, "params", source), remembered, origin)

    return read_hdf5(io.BytesIO(content), source, InvalidModel, read)


def _read(h5: h5py.Group, name: str, source: str) -> Params:
    group = h5.get(name)
    if not isinstance(group, h5py.Group):
        raise InvalidModel("is missing", field=name, source=source, hint="look at another epoch")
    found = {each: numbers(group, each, 2, source) for each in group}
    return dict(sorted(found.items(), key=lambda item: (int(item[0][1:]), "WCsb".index(item[0][0]))))


def _copied(arrays: Params) -> Params:
    return {name: array.copy() for name, array in arrays.items()}
