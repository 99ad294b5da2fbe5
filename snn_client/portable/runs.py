"""A run's model as an ONNX file: whole, for whoever asks; for its report, small."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypedDict

from snn.errors import InvalidInput
from snn_client.backbones import catalogue
from snn_client.data.staging import read_source
from snn_client.portable.exporting import needs_onnx, reference_of, to_onnx
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import read_object
from snn_data.files import read_file
from snn_data.model import Model, load_model
from snn_photos.backbone import MAX_BYTES
from snn_photos.reference import BackboneReference

log = logging.getLogger(__name__)

MAX_MODEL = 2_000_000_000
"""Bytes of a model's file that is read from a disk."""


class Value(TypedDict):
    """An input or an output: its type as ONNX names it, and its shape; a dimension that may have any size is a name."""

    name: str
    type: str
    shape: list[int | str]


class Exported(TypedDict):
    """What an ONNX file is: where it lies, its inputs and outputs, and what it says of itself."""

    file: str
    bytes: int
    sha256: str
    inputs: list[Value]
    outputs: list[Value]
    metadata: dict[str, str]


def model_in(clients: Clients, bucket: str, run_id: str) -> Model:
    """Return a run's model. Raises InvalidInput if it has none, or one that cannot be read."""
    uri = f"s3://{bucket}/{places.params(run_id)}"
    return load_model(BytesIO(read_source(clients.s3, uri)), source=uri)


def model_in_file(path: Path) -> Model:
    """Return the model in a file on this machine. Raises InvalidInput."""
    return load_model(BytesIO(read_file(path, MAX_MODEL)), source=str(path))


def export(model: Model, backbone: Callable[[BackboneReference], bytes] | None = None) -> bytes:
    """Return a model as an ONNX file, with its backbone, if it has one, as `backbone` finds it; without, the head.

    Raises InvalidInput, as `to_onnx` does.
    """
    needs_onnx()
    before = backbone(reference_of(model)) if backbone and "backbone" in model.attributes else None
    return to_onnx(model, before)


def backbone_in(clients: Clients, bucket: str, reference: BackboneReference) -> bytes:
    """Return a backbone's ONNX file, as a stack has it; one that is built in is added. Raises InvalidInput."""
    catalogue.keep(clients, bucket, reference)
    return read_object(clients, bucket, places.backbone_model(reference.sha256), most=MAX_BYTES)


def write(content: bytes, output: Path) -> Exported:
    """Write an ONNX file and return what it is; whoever looks at `output` sees the old file or the whole new one."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return _described(content, output)


def for_report(clients: Clients, bucket: str, run_id: str) -> bytes | None:
    """Return what a report keeps of a run's model: the whole, but of one with a backbone the head alone.

    A backbone may have 400 MB, is the same for all runs, and lies in the bucket already; the file names it. None
    without the extra, or if the model cannot be exported: no report fails by that, and the log says why.
    """
    if importlib.util.find_spec("onnx") is None:
        log.info("the report has no model.onnx: the extra `backbones` is not installed here")
        return None
    try:
        return export(model_in(clients, bucket, run_id))
    except InvalidInput as problem:
        log.warning("the report has no model.onnx: %s", problem)
    except Exception:  # whatever a library stumbles over, it is not worth the report
        log.warning("the report has no model.onnx", exc_info=True)
    return None


def _described(content: bytes, output: Path) -> Exported:
    import onnx

    model = onnx.load_model_from_string(content)
    return {
        "file": str(output),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": [_value(each) for each in model.graph.input],
        "outputs": [_value(each) for each in model.graph.output],
        "metadata": {one.key: one.value for one in model.metadata_props},
    }


def _value(info: Any) -> Value:
    from onnx import TensorProto

    kind = info.type.tensor_type
    shape = [each.dim_param or each.dim_value for each in kind.shape.dim]
    return {"name": info.name, "type": TensorProto.DataType.Name(kind.elem_type).lower(), "shape": shape}
