"""An ONNX graph that is written node after node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET, IR_VERSION = 17, 8
"""The oldest that has all we need, so that most runtimes read it; onnxruntime does since 1.12 (2022)."""

ML, ML_OPSET = "ai.onnx.ml", 3

BATCH = "m"
"""The name of the dimension that may have any size: the number of samples."""


class Graph:
    """Nodes, constants, inputs and outputs; each method returns the name of what it adds.

    Whatever is computed is of `dtype`, float32 or float64, unless a node says otherwise.
    """

    def __init__(self, dtype: Any, opset: int = OPSET, ir_version: int = IR_VERSION) -> None:
        self.dtype = np.dtype(dtype)
        self._opset, self._ir_version = opset, ir_version
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._domains = dict[str, int]()

    def input(self, name: str, dtype: Any, shape: Sequence[int], about: str = "", batch: int | str = BATCH) -> str:
        """Add an input: `shape` is that of a sample, `batch` how many there are, `about` what it must be."""
        from onnx import helper

        self._inputs.append(helper.make_tensor_value_info(name, _kind(dtype), [batch, *shape], about))
        return name

    def output(self, value: str, name: str, dtype: Any, shape: Sequence[int], batch: int | str = BATCH) -> None:
        """Give a value that was computed out under a name; `shape` is that of a sample."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _kind(dtype), [batch, *shape]))

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        """Add numbers, of the graph's type if no other is named."""
        from onnx import numpy_helper

        name = name or f"constant_{len(self._constants)}"
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(value, dtype or self.dtype)).reshape(np.shape(value))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operation: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        from onnx import helper

        name = f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], name, domain=domain, **attributes))
        if domain == ML:
            self._domains[ML] = ML_OPSET
        return name

    def cast(self, value: str, dtype: Any = None) -> str:
        """Convert a value, to the graph's type if no other is named."""
        return self.node("Cast", value, to=_kind(dtype or self.dtype))

    def model(self, name: str, about: str, metadata: Mapping[str, str]) -> ModelProto:
        """Return the whole as a model, with what it says of itself."""
        from onnx import helper

        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)
        domains = {"": self._opset, **self._domains}
        model = helper.make_model(
            graph,
            producer_name="snn",
            doc_string=about,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
            ir_version=self._ir_version,
        )
        helper.set_model_props(model, dict(metadata))
        return model


def _kind(dtype: Any) -> int:
    """Return ONNX's number of a type; text is `str`."""
    from onnx import TensorProto, helper

    return int(TensorProto.STRING if dtype is str else helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
