"""A training in a file, `checkpoint.h5`: all that is needed to go on from there, as arrays of names.

Groups: `params`, `memory/<what the optimizer remembers>`, `best`. Data sets: `costs`, `validation_costs`,
`validation_metrics`, `origin`. Attributes: `format` and the counters. A file without `format` is of a version before
there was one: it has the parameters, `costs` and `origin` at its root.
"""

from __future__ import annotations

import io
import re
from typing import Any

import h5py
import numpy as np

from snn.errors import InvalidModel
from snn.network import Params
from snn.training import History, Training
from snn_data.arrays import numbers, read_network, write_arrays
from snn_data.hdf5 import read_hdf5

FORMAT = 2
COUNTERS = ("steps", "step", "best_epoch")
SUMS = ("cost_sum", "weight_sum")
CURVES = ("costs", "validation_costs", "validation_metrics")
_NAME = re.compile(r"[WbCs][0-9]{1,3}")


def dump_checkpoint(training: Training) -> bytes:
    """Return a training as the bytes of `checkpoint.h5`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        h5.attrs["format"] = FORMAT
        for name in (*COUNTERS, *SUMS):
            h5.attrs[name] = getattr(training, name)
        write_arrays(h5, {name: np.array(getattr(training.history, name), dtype=np.float64) for name in CURVES})
        write_arrays(h5.create_group("params"), training.params)
        memory = h5.create_group("memory")
        for kind, arrays in training.memory.items():
            write_arrays(memory.create_group(kind), arrays)
        if training.best is not None:
            write_arrays(h5.create_group("best"), training.best)
        if training.origin is not None:
            h5.create_dataset("origin", data=training.origin)
    return buffer.getvalue()


def load_checkpoint(data: bytes, source: str = "checkpoint.h5", in_batches: bool = False) -> Training:
    """Return the training that `dump_checkpoint` wrote, bit for bit.

    Raises InvalidModel when it is damaged, and when an older version wrote it for a training `in_batches`: that
    shuffled them once for the whole run, which nobody can go on with.
    """
    return read_hdf5(io.BytesIO(data), source, InvalidModel, lambda h5: _read(h5, source, in_batches))


def _read(h5: h5py.File, source: str, in_batches: bool) -> Training:
    history = History(**{name: numbers(h5, name, 1, source).tolist() if name in h5 else [] for name in CURVES})
    origin = numbers(h5, "origin", 2, source) if "origin" in h5 else None
    if "format" not in h5.attrs:
        if in_batches:
            raise InvalidModel(
                "was started by an older version, which shuffled its mini-batches once instead of every epoch",
                source=source,
                hint="start a new run",
            )
        return _older(h5, source, history, origin)
    counters: dict[str, Any] = {}
    for name in ("format", *COUNTERS, *SUMS):
        kind = float if name in SUMS else int
        try:
            counters[name] = kind(h5.attrs[name])
        except (KeyError, TypeError, ValueError, OverflowError):
            hint = "start a new run"
            raise InvalidModel("is missing or not a number", field=name, source=source, hint=hint) from None
    if counters.pop("format") != FORMAT:
        hint = "deploy the stack again with the newest version"
        raise InvalidModel("was written by a newer version", field="format", source=source, hint=hint)
    memory = {kind: _params(h5, f"memory/{kind}", source) for kind in _group(h5, "memory", source)}
    best = _params(h5, "best", source) if "best" in h5 else None
    return Training(_params(h5, "params", source), memory, history, origin, best=best, **counters)


def _older(h5: h5py.File, source: str, history: History, origin: Any) -> Training:
    params = read_network(h5, source)
    if origin is not None:
        params = {"C1": params.pop("W1"), "s1": np.ones((1, 1)), **params}
    return Training(params, history=history, origin=origin, steps=len(history.costs))


def _params(h5: h5py.File, name: str, source: str) -> Params:
    group = _group(h5, name, source)
    odd = [name for name in group if not _NAME.fullmatch(name)]
    if odd or not len(group):
        named = f"{name}/{odd[0][:50]}" if odd else name
        raise InvalidModel("is not part of a checkpoint", field=named, source=source, hint="start a new run")
    found = {each: numbers(group, each, 2, source) for each in sorted(group)}
    # In the order in which a training has them, which decides in which order they are summed up.
    return dict(sorted(found.items(), key=lambda item: (int(item[0][1:]), "WCsb".index(item[0][0]))))


def _group(h5: h5py.File, name: str, source: str) -> h5py.Group:
    group = h5.get(name)
    if not isinstance(group, h5py.Group) or not isinstance(h5.get(name, getlink=True), h5py.HardLink):
        raise InvalidModel("is missing", field=name, source=source, hint="start a new run")
    return group
