"""A small backbone for tests that need one, but not a good one: a convolution, and the means over its map."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from snn_photos.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(height=32, width=32)
FEATURES = 16


def tiny(seed: int = 0) -> bytes:
    """Return an ONNX file: `photos` (m, 3, 32, 32) → `features` (m, 16)."""
    kernels = np.random.default_rng(seed).standard_normal((FEATURES, 3, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["photos", "kernels"], ["map"], strides=[4, 4]),
        helper.make_node("Relu", ["map"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["means"]),
        helper.make_node("Flatten", ["means"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("photos", TensorProto.FLOAT, ["m", 3, 32, 32])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["m", FEATURES])],
        [numpy_helper.from_array(kernels, "kernels")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content
