"""Named arrays of numbers in HDF5 files that anyone may have made: those of a model and of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidModel
from snn.network import Params
from snn_data.hdf5 import read_array


def write_arrays(h5: h5py.Group, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays under their names."""
    for name, array in arrays.items():
        h5.create_dataset(name, data=array)


def read_network(h5: h5py.Group, source: str) -> Params:
    """Return W1, b1 … WL, bL, each fitting the one below, all in one type. Raises InvalidModel."""
    layers = max(1, sum(1 for name in h5 if re.fullmatch("W[0-9]+", name)))
    params: Params = {}
    inputs: int | None = None
    for number in range(1, layers + 1):
        W, b = (numbers(h5, f"{name}{number}", 2, source) for name in "Wb")
        inputs = W.shape[1] if inputs is None else inputs
        if W.shape[1] != inputs or b.shape != (W.shape[0], 1) or W.size == 0:
            raise InvalidModel(
                f"is {W.shape} with {b.shape} biases",
                field=f"W{number}",
                source=source,
                hint=f"expected (neurons, {inputs}) and (neurons, 1)",
            )
        params[f"W{number}"], params[f"b{number}"] = W, b
        inputs = W.shape[0]
    dtype = np.result_type(*params.values())
    return {name: array.astype(dtype, copy=False) for name, array in params.items()}


def numbers(h5: h5py.Group, name: str, dimensions: int, source: str) -> NDArray[Any]:
    """Return an array as float32, if it is that, or float64. Raises InvalidModel for one that holds no numbers."""
    array = read_array(h5, name, source, InvalidModel)
    if array.ndim != dimensions or not np.can_cast(array.dtype, np.float64):
        hint = f"make it float64 of {dimensions} dimensions"
        raise InvalidModel(f"is {array.shape} {array.dtype}", field=name, source=source, hint=hint)
    result = array.astype(np.float32 if array.dtype == np.float32 else np.float64)
    if not np.isfinite(result).all():
        raise InvalidModel("holds values that are not numbers", field=name, source=source, hint="all must be finite")
    return result
