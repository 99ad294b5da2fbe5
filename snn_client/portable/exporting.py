"""A model as one ONNX file: what becomes of its inputs, its backbone if it has one, the network, and its answers."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from snn.errors import InvalidInput, InvalidModel
from snn_client.portable.graph import BATCH, IR_VERSION, OPSET, Graph
from snn_client.portable.inputs import add_inputs
from snn_client.portable.layers import add_answers, add_layers
from snn_data.model import Model
from snn_photos.reference import BackboneReference

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_BYTES = 2**31 - 1
"""Of a file of Protocol Buffers, which ONNX is."""


def needs_onnx() -> None:
    """Raise InvalidInput unless the package onnx, of the extra `backbones`, is installed here."""
    if importlib.util.find_spec("onnx") is None:
        hint = "install the extra: pip install 'serverless-neural-network-airflow[backbones]'"
        raise InvalidInput("needs the package onnx, which is not installed here", source="export", hint=hint)


def to_onnx(model: Model, backbone: bytes | None = None) -> bytes:
    """Return a model as an ONNX file; of one that learned features, with `backbone`, its ONNX file, before it.

    Without `backbone` such a model takes the features. The file's `metadata_props` say what a stranger has to know:
    `run_id`, `kind`, `classes`, `threshold`, `input`, `inputs`, `backbone`, `snn_version`.

    Raises InvalidInput without the package onnx, InvalidModel for a model whose file does not say what it reads or what
    its classes are, InvalidBackbone for a backbone that is not the model's or cannot be put before it.
    """
    needs_onnx()
    if backbone is None:
        return _to_bytes(_head(model, OPSET, IR_VERSION, BATCH), model)
    from snn_client.portable.backbone import opened, put_before

    first = opened(backbone, reference_of(model))
    head = _head(model, first.opset, first.model.ir_version, first.batch)
    return _to_bytes(put_before(first, head), model)


def reference_of(model: Model) -> BackboneReference:
    """Return what names the backbone whose features a model learned. Raises InvalidInput if it learned none."""
    return BackboneReference.load(str(model.attributes.get("backbone", "")), model.source)


def _head(model: Model, opset: int, ir_version: int, batch: int | str) -> ModelProto:
    graph = Graph(model.params["W1"].dtype, opset, ir_version)
    taken = add_inputs(graph, model, batch)
    add_answers(graph, model, add_layers(graph, model, taken.X), batch)
    return graph.model("snn", _about(model), {**_metadata(model), "input": taken.about, **taken.metadata})


def _metadata(model: Model) -> dict[str, str]:
    found = {
        "run_id": str(model.attributes.get("run_id", "")),
        "snn_version": version("serverless-neural-network-airflow"),
        "kind": _kind(model),
    }
    if model.of_classes:
        found["classes"] = json.dumps(model.classes, ensure_ascii=False)
    if len(model.classes) == 2:
        found["threshold"] = repr(model.threshold)
    if "backbone" in model.attributes:
        found["backbone"] = reference_of(model).to_json()
    return found


def _kind(model: Model) -> str:
    if not model.of_classes:
        return "number"
    return "two classes" if len(model.classes) == 2 else "classes"


def _about(model: Model) -> str:
    gives = "probabilities of the classes, and the label" if model.of_classes else "a number, the value"
    return f"run {model.attributes.get('run_id', 'unknown')}: {gives}; see metadata_props"


def _to_bytes(model: ModelProto, source: Model) -> bytes:
    if model.ByteSize() > MAX_BYTES:
        raise InvalidModel(
            f"has {model.ByteSize() / 1e9:.1f} GB as ONNX, which takes 2", source=source.source, hint="train in float32"
        )
    content: bytes = model.SerializeToString(deterministic=True)
    return content
