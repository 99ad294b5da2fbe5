"""Kept epochs: the exact state of a training after some of its epochs, for whoever wants to see how it learned.

Which epochs depends on their number alone: 0 to 11, then each about a tenth above the one before; of a large network
every second of these, or fourth, or eighth. An `epochs.h5` holds some of them, stacked, for a file of a few arrays is
written ten times as fast as one of many: `epochs` (n,), ascending, and `steps` (n,) are the counters of a checkpoint,
`params` and `memory/<what the optimizer remembers>` its arrays with one axis more in front (n, …); W1 as it was at
first, of a training in the span of the data, has the run's checkpoint alone. The attribute `resumed_from` names the run
before, if there was one; `invocations/<epoch>` is what `snn_data.invocations` writes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import h5py
import numpy as np

from snn.activations import Array
from snn.errors import InvalidModel
from snn.network import Params
from snn.training import Training
from snn_data.arrays import numbers
from snn_data.hdf5 import read_hdf5
from snn_data.invocations import INVOCATION_BYTES, EpochInvocations, read_invocations, write_invocations

GROWTH = 1.1


def grid(stride: int = 1) -> Iterator[int]:
    """Yield the epochs that are kept, by how many are completed: 0, 1, 2 … 10, 11, 13, 15 …; or every stride-th."""
    return islice(_grid(), 0, None, stride)


def _grid() -> Iterator[int]:
    epoch = 0
    while True:
        yield epoch
        epoch = max(epoch + 1, math.ceil(round(epoch * GROWTH, 6)))


def kept_from(epoch: int, stride: int = 1) -> int:
    """Return the first epoch of the grid that is not before this one."""
    return next(kept for kept in grid(stride) if kept >= epoch)


def kept_between(first: int, last: int, stride: int = 1) -> list[int]:
    """Return what a file from `first` to `last` has: these two, and what is on the grid between them."""
    inner = []
    for epoch in grid(stride):
        if epoch >= last:
            break
        if epoch > first:
            inner.append(epoch)
    return sorted({first, *inner, last})


def stride_of(state_bytes: int, epochs: int, most_bytes: int) -> int:
    """Return which part of the grid is kept: the least power of 2 with which so many epochs take `most_bytes` at most.

    Where even two states are more, it is one that leaves the first and the last.
    """
    on_grid = len(kept_between(0, max(1, epochs)))
    stride = 1
    while stride < on_grid and -(-on_grid // stride) * state_bytes > most_bytes:
        stride *= 2
    return stride


@dataclass(frozen=True)
class KeptEpoch:
    """The state after so many epochs; of a training in the span of the data without its `origin`.

    `invocations` are those of the epoch that led here, where they were recorded.
    """

    epoch: int
    steps: int
    params: Params
    memory: Mapping[str, Params]
    invocations: EpochInvocations | None = None

    @property
    def nbytes(self) -> int:
        """Return what it takes in memory."""
        called = len(self.invocations.invocations) * INVOCATION_BYTES if self.invocations else 0
        return called + sum(array.nbytes for array in self._arrays())

    @property
    def finite(self) -> bool:
        """Return whether all of it are numbers."""
        return all(np.isfinite(array).all() for array in self._arrays())

    def _arrays(self) -> list[Array]:
        return [array for arrays in (self.params, *self.memory.values()) for array in arrays.values()]

    def copy(self) -> KeptEpoch:
        """Return a state that stays as it is when the training goes on."""
        memory = {kind: _copied(arrays) for kind, arrays in self.memory.items()}
        return KeptEpoch(self.epoch, self.steps, _copied(self.params), memory, self.invocations)


def state_of(training: Training, invocations: EpochInvocations | None = None) -> KeptEpoch:
    """Return a training's state between two epochs: its own arrays, which its next step changes."""
    return KeptEpoch(training.epoch, training.steps, training.params, training.memory, invocations)


def dump_epochs(epochs: Sequence[KeptEpoch], resumed_from: str = "") -> bytes:
    """Return kept epochs of a run, in their order, as the bytes of an `epochs.h5`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        h5.attrs["resumed_from"] = resumed_from
        h5.create_dataset("epochs", data=np.array([kept.epoch for kept in epochs], np.int64))
        h5.create_dataset("steps", data=np.array([kept.steps for kept in epochs], np.int64))
        _stack(h5, "params", [kept.params for kept in epochs])
        # Before its first step a training remembers nothing, which is as good as zeros.
        for kind in {kind: None for kept in epochs for kind in kept.memory}:
            _stack(
                h5, f"memory/{kind}",
                [kept.memory.get(kind) or {n: np.zeros_like(a) for n, a in kept.params.items()} for kept in epochs],
            )  # fmt: skip
        for kept in epochs:
            if kept.invocations is not None:
                write_invocations(h5.create_group(f"invocations/{kept.epoch}"), kept.invocations)
    return buffer.getvalue()


def load_epoch(content: bytes, epoch: int, source: str = "epochs.h5") -> KeptEpoch:
    """Return one epoch of an `epochs.h5`, bit for bit as it was. Raises InvalidModel if it is damaged or not there."""

    def read(h5: h5py.File) -> KeptEpoch:
        epochs, steps = numbers(h5, "epochs", 1, source), numbers(h5, "steps", 1, source)
        place = np.flatnonzero(epochs == epoch)
        if len(place) != 1 or len(steps) != len(epochs):
            raise InvalidModel(f"has no epoch {epoch}", source=source, hint="name one that is kept")
        here = int(place[0])
        recorded = h5.get(f"invocations/{epoch}")
        called = read_invocations(recorded, epoch, source) if isinstance(recorded, h5py.Group) else None
        return KeptEpoch(epoch, int(steps[here]), *_state(h5, here, source), called)

    return read_hdf5(io.BytesIO(content), source, InvalidModel, read)


def load_epochs(content: bytes, source: str = "epochs.h5") -> list[KeptEpoch]:
    """Return all epochs of an `epochs.h5`, without what they invoked, in one reading. Raises InvalidModel."""

    def read(h5: h5py.File) -> list[KeptEpoch]:
        epochs, steps = numbers(h5, "epochs", 1, source), numbers(h5, "steps", 1, source)
        if len(steps) != len(epochs):
            raise InvalidModel("is not one for each epoch", field="steps", source=source, hint="look at another epoch")
        return [
            KeptEpoch(int(epoch), int(steps[place]), *_state(h5, place, source)) for place, epoch in enumerate(epochs)
        ]

    return read_hdf5(io.BytesIO(content), source, InvalidModel, read)


def load_resumed_from(content: bytes, source: str = "epochs.h5") -> str:
    """Return the run that the file's run was resumed from, or nothing."""
    return read_hdf5(io.BytesIO(content), source, InvalidModel, lambda h5: str(h5.attrs.get("resumed_from", "")))


def _stack(h5: h5py.Group, name: str, states: Sequence[Params]) -> None:
    group = h5.create_group(name)
    for each, first in states[0].items():
        one = len(states) == 1  # and then no copy; written one by one, many would take ten times as long
        group.create_dataset(each, data=first[None] if one else np.stack([arrays[each] for arrays in states]))


def _state(h5: h5py.File, place: int, source: str) -> tuple[Params, dict[str, Params]]:
    """Return the parameters at a place, and what the optimizer remembered of them."""
    memory = h5.get("memory")
    kinds = list(memory) if isinstance(memory, h5py.Group) else []
    remembered = {kind: _read(h5, f"memory/{kind}", place, source) for kind in kinds}
    return _read(h5, "params", place, source), remembered


def _read(h5: h5py.Group, name: str, place: int, source: str) -> Params:
    group = h5.get(name)
    if not isinstance(group, h5py.Group) or not len(group):
        raise InvalidModel("is missing", field=name, source=source, hint="look at another epoch")
    found = {each: numbers(group, each, 3, source)[place] for each in group}
    # In the order in which a training has them, which decides in which order they are summed up.
    return dict(sorted(found.items(), key=lambda item: (int(item[0][1:]), "WCsb".index(item[0][0]))))


def _copied(arrays: Params) -> Params:
    return {name: array.copy() for name, array in arrays.items()}
