"""Models of every kind to export, and onnxruntime, which says what their ONNX files answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from snn.network import Network
from snn_client.portable.exporting import to_onnx
from snn_data.model import Model

SAMPLES = 1_000


def a_model(
    activations: Sequence[str],
    sizes: Sequence[int],
    features: int = 30,
    dtype: Any = np.float64,
    *,
    scale: float = 1.0,
    seed: int = 0,
    **attributes: Any,
) -> Model:
    """Return a model with first weights, `scale` times as large, and biases of about 1."""
    random = np.random.default_rng(seed)
    params = Network.of(features, sizes, activations).first_params(seed, dtype)
    for name, array in params.items():
        drawn = random.standard_normal(array.shape) if name[0] == "b" else array * scale
        params[name] = drawn.astype(dtype)
    told: dict[str, Any] = {"run_id": "run-1"}
    if activations[-1] != "identity":
        told["classes"] = json.dumps([f"class {number}" for number in range(max(2, sizes[-1]))])
    if "image_shape" not in attributes:
        told["features"] = features
    return Model(params, tuple(activations), told | attributes)


def in_float64(model: Model) -> Model:
    """Return the same model, computed in float64: what float32 is an approximation of."""
    params = {name: array.astype(np.float64) for name, array in model.params.items()}
    return Model(params, model.activations, model.attributes)


class Ran:
    """A model's ONNX file: checked by ONNX's own checker and strict shape inference, then run by onnxruntime."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.proto = onnx.load_model_from_string(content)
        onnx.checker.check_model(self.proto, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(self.proto, check_type=True, strict_mode=True, data_prop=True)
        shapes = {each.name: each.type.tensor_type for each in inferred.graph.value_info}
        assert shapes
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.metadata: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.inputs = {each.name: (each.type, each.shape) for each in self.session.get_inputs()}
        self.outputs = {each.name: (each.type, each.shape) for each in self.session.get_outputs()}

    @classmethod
    def of(cls, model: Model, backbone: bytes | None = None) -> Ran:
        """Export a model and load what came of it."""
        return cls(to_onnx(model, backbone))

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return all outputs by name."""
        return dict(zip(self.outputs, self.session.run(list(self.outputs), inputs), strict=True))


def said(model: Model, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return outputs of an ONNX file as `Model.answers` has them: (o, m)."""
    if not model.of_classes:
        return outputs["value"][None, :]
    found = outputs["probabilities"].T
    return found[1:] if model.activations[-1] == "sigmoid" else found
