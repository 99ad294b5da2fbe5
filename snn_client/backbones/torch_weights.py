"""Reads the weights that PyTorch saved, without PyTorch and without running what a stranger put into the file.

`torch.save` writes pickles, and a pickle may name any function that reading it then calls. Here five names are known,
which build tensors of plain numbers; any other ends the reading.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from snn.errors import InvalidInput

MAGIC = 0x1950A86A20F9469CFC6C  # with which files begin that `torch.save` wrote before PyTorch 1.6
PROTOCOL = 1001
DTYPES = {"FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"), "LongStorage": np.dtype("<i8")}
"""Kinds of numbers that weights are stored as, by PyTorch's name for them."""


class InvalidWeights(InvalidInput):
    """A file is not what PyTorch saves, or holds something other than tensors."""


class _Storage(NamedTuple):
    """Numbers that come later in the file, by their key there."""

    key: str
    dtype: np.dtype[Any]
    length: int


class _Tensor(NamedTuple):
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(pickle.Unpickler):
    """Unpickles names of tensors and where their numbers are: nothing else."""

    def __init__(self, file: IO[bytes], source: str) -> None:
        super().__init__(file)
        self._source = source

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise InvalidWeights(f"names {module}.{name}, which weights do not need", source=self._source)

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, *view = pid
        if kind != "storage" or any(view):
            raise InvalidWeights(f"has a {kind!r} that is no plain storage", source=self._source)
        return _Storage(str(key), dtype, int(count))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a `.pth` file of PyTorch's first format, by their names.

    Raises InvalidWeights for a file of another kind, a damaged one, and one that names what no weights need.
    """
    with path.open("rb") as file:
        try:
            if (_plain(file, path), _plain(file, path)) != (MAGIC, PROTOCOL):
                raise InvalidWeights("is no file of weights in PyTorch's first format", source=str(path))
            if not _plain(file, path)["little_endian"]:
                raise InvalidWeights("has its bytes in the other order", source=str(path))
            tensors = _Reader(file, str(path)).load()
            keys = _plain(file, path)
            if not isinstance(tensors, Mapping) or not all(isinstance(each, _Tensor) for each in tensors.values()):
                raise InvalidWeights("holds something other than tensors by name", source=str(path))
            dtypes = {each.storage.key: each.storage.dtype for each in tensors.values()}
            storages = {key: _numbers(file, dtypes[key], path) for key in keys}
            return {name: _view(storages[each.storage.key], each, path) for name, each in tensors.items()}
        except InvalidInput:
            raise
        except Exception as problem:  # a damaged pickle fails in as many ways as there are opcodes
            raise InvalidWeights(f"cannot be read as PyTorch's weights: {problem}", source=str(path)) from None


def _plain(file: IO[bytes], path: Path) -> Any:
    return _Reader(file, str(path)).load()


def _numbers(file: IO[bytes], dtype: np.dtype[Any], path: Path) -> NDArray[Any]:
    count = int(np.frombuffer(file.read(8), "<i8")[0])
    read = file.read(count * dtype.itemsize)
    if count < 0 or len(read) != count * dtype.itemsize:
        raise InvalidWeights("ends before its numbers do", source=str(path))
    return np.frombuffer(read, dtype)


def _view(numbers: NDArray[Any], tensor: _Tensor, path: Path) -> NDArray[Any]:
    steps = list(zip(tensor.shape, tensor.strides, strict=True))
    last = tensor.offset + sum((size - 1) * step for size, step in steps)
    if min([tensor.offset, *(min(size - 1, step) for size, step in steps)]) < 0 or last >= numbers.size:
        raise InvalidWeights("has a tensor that reaches outside its numbers", source=str(path))
    inside = numbers[tensor.offset : last + 1]
    return as_strided(inside, tensor.shape, [step * numbers.itemsize for _, step in steps], writeable=False)
