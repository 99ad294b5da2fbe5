"""A backbone's ONNX file put before the head that was trained on its features: pictures in, answers out."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from snn_client.portable.graph import BATCH, IR_VERSION
from snn_photos.preprocessing import InvalidBackbone
from snn_photos.reference import BackboneReference

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

LOWEST_OPSET = 13
"""From here on all operators of the head are as in our own opset; an older backbone is converted to it."""


class Opened(NamedTuple):
    """A backbone, read: with its opset, and how many pictures it takes at once (a name: any number)."""

    model: ModelProto
    reference: BackboneReference
    opset: int
    batch: int | str


def opened(content: bytes, reference: BackboneReference) -> Opened:
    """Read a backbone's ONNX file.

    Raises InvalidBackbone if it is not the one that `reference` names, or too old and cannot be converted.
    """
    import onnx

    if hashlib.sha256(content).hexdigest() != reference.sha256:
        raise InvalidBackbone(
            "is not the one that the model learned from", source=reference.name, hint="add that one: snn backbone add"
        )
    try:
        model = onnx.load_model_from_string(content)
        if _opset(model) < LOWEST_OPSET:
            model = onnx.version_converter.convert_version(model, LOWEST_OPSET)
    except Exception as problem:  # the parser and the converter have many ways to say it
        line = " ".join(str(problem).split())[:200]
        hint = f"export it again, with opset {LOWEST_OPSET} or a later one, and add it"
        raise InvalidBackbone(f"cannot be read: {line}", source=reference.name, hint=hint) from None
    model.ir_version = max(model.ir_version, IR_VERSION)
    _only_inputs(model)
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    return Opened(model, reference, _opset(model), first.dim_value if first.HasField("dim_value") else BATCH)


def put_before(backbone: Opened, head: ModelProto) -> ModelProto:
    """Return one model of both, whose input `pictures` is what `Preprocessing.apply` makes of a photo.

    Resizing stays outside: Pillow's filters look at more pixels the smaller a photo gets, and ONNX's Resize agrees with
    none of them. Raises InvalidBackbone if the two cannot be joined.
    """
    from onnx import compose, helper

    network, reference = backbone.model, backbone.reference
    about = _about(reference)
    kept = {prop.key: prop.value for prop in head.metadata_props} | {"input": about}
    for one in network, head:
        one.ClearField("metadata_props")
    opsets = {one.domain: one.version for one in network.opset_import}
    front = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["pictures"], ["seen"])],
            "pictures",
            [_shaped("pictures", backbone, about)],
            [_shaped("seen", backbone, "")],
        ),
        opset_imports=[helper.make_opsetid(domain, number) for domain, number in opsets.items()],
        ir_version=network.ir_version,
    )
    try:
        network = compose.add_prefix(network, "backbone/")
        given, features = network.graph.input[0].name, network.graph.output[0].name
        seeing = compose.merge_models(front, network, io_map=[("seen", given)])
        taken = head.graph.input[0].name
        whole = compose.merge_models(
            seeing, head, io_map=[(features, taken)], name="snn", producer_name="snn", doc_string=head.doc_string
        )
    except ValueError as problem:
        line = " ".join(str(problem).split())[:200]
        hint = "export the head alone: snn export --head"
        raise InvalidBackbone(f"cannot be joined to the head: {line}", source=reference.name, hint=hint) from None
    helper.set_model_props(whole, kept)
    return whole


def _about(reference: BackboneReference) -> str:
    how = reference.preprocessing
    shape = ", ".join(map(str, how.shape))
    crop = "the whole photo, squeezed" if how.crop is None else f"the middle of the photo, {how.crop:g} of it"
    return (
        f"pictures (m, {shape}), float32, {how.layout}, {how.channels}: {crop}, resized to {how.width}×{how.height} "
        f"({how.resize}, by Pillow), then (pixel - {how.mean}) / {how.scale} of pixels in 0..255; the metadata "
        "'backbone' has this as JSON"
    )


def _shaped(name: str, backbone: Opened, about: str) -> ValueInfoProto:
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(
        name, TensorProto.FLOAT, [backbone.batch, *backbone.reference.preprocessing.shape], about
    )


def _only_inputs(model: ModelProto) -> None:
    """Remove weights from the list of inputs, where files of before 2019 have them."""
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _opset(model: ModelProto) -> int:
    return next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)
