"""EfficientNet-Lite0: the features that PyTorch's network gives, a graph without batch normalisation, its folding."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from PIL import Image

from snn_cli.datasets import sample_images
from snn_client.backbones import efficientnet_lite0
from snn_client.backbones.efficientnet_lite0 import BUILDER, EPSILON, OPSET, _Graph
from snn_photos.backbone import Backbone
from snn_photos.preprocessing import Preprocessing

REFERENCE = Path(__file__).parents[4] / "shared" / "datasets" / "efficientnet-lite0-reference.npz"
Made = tuple[bytes, Preprocessing]
Numbers = NDArray[Any]
Photos = dict[str, Image.Image]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Return scikit-image's photos: a cat, coffee, a rocket and others."""
    files = sample_images(tmp_path_factory.mktemp("photos"))
    return {file.stem: Image.open(file).convert("RGB") for file in files}


@pytest.mark.skipif(not REFERENCE.exists(), reason=f"{REFERENCE} is not here: features by PyTorch's own network")
def test_features_are_those_of_pytorch_s_network(efficientnet: Made) -> None:
    with np.load(REFERENCE) as reference:
        photos, wanted = reference["photos"], reference["features_224"]
    assert (photos.shape, wanted.shape) == ((4, 64, 64, 3), (4, 1_280))
    backbone = Backbone(*efficientnet, "efficientnet-lite0")
    found = np.stack([backbone.of(Image.fromarray(photo)) for photo in photos])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert np.abs(wanted).max() > 4  # as much as makes 1e-4 little
    for place in range(4):  # each photo's own
        others = np.delete(wanted, place, axis=0)
        assert np.abs(others - found[place]).max(axis=1).min() > 1


def test_the_graph_is_49_convolutions_and_no_normalisation(efficientnet: Made) -> None:
    content, preprocessing = efficientnet
    model = onnx.load_from_string(content)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators == {"Conv": 49, "Clip": 33, "Add": 9, "GlobalAveragePool": 1, "Flatten": 1}
    assert "BatchNormalization" not in operators
    (given,), (features,) = model.graph.input, model.graph.output
    assert [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim] == ["m", 3, 224, 224]
    assert [each.dim_param or each.dim_value for each in features.type.tensor_type.shape.dim] == ["m", 1_280]
    assert (given.name, features.name) == ("photos", "features")
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (9, [("", 17)])
    weights = {each.name: int(np.prod(each.dims, dtype=int)) for each in model.graph.initializer}
    assert sum(name.endswith(".weight") for name in weights) == 49
    # The literature's 4,652,008 less the classifier, and a bias for each channel instead of a scale and a shift.
    channels = sum(count for name, count in weights.items() if name.endswith(".bias"))
    assert sum(weights.values()) - len(("zero", "six")) == 4_652_008 - 1_281_000 - channels == 3_350_000
    assert {each.data_type for each in model.graph.initializer} == {TensorProto.FLOAT}
    assert preprocessing == Preprocessing(height=224, width=224, resize="bicubic", mean=127.0, scale=128.0)


def test_a_backbone_of_1_280_features_that_are_means_of_what_is_cut_to_6(efficientnet: Made, photos: Photos) -> None:
    backbone = Backbone(*efficientnet, "efficientnet-lite0")
    assert backbone.features == 1_280
    found = np.stack([backbone.of(photos[name]) for name in ("cat", "coffee", "rocket")])
    assert (found.shape, found.dtype) == ((3, 1_280), np.dtype(np.float32))
    assert found.min() >= 0
    assert 1 < found.max() <= 6
    directions = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert (directions @ directions.T)[~np.eye(3, dtype=bool)].max() < 0.8
    np.testing.assert_array_equal(found[1], backbone.of(photos["coffee"]))


def test_a_cat_is_nearer_to_itself_in_the_mirror_than_to_coffee(efficientnet: Made, photos: Photos) -> None:
    """So it is the trained network, and not any of this form."""
    backbone = Backbone(*efficientnet, "efficientnet-lite0")
    turned = photos["cat"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one, other, coffee = (backbone.of(photo) for photo in (photos["cat"], turned, photos["coffee"]))

    def cosine(a: Numbers, b: Numbers) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(one, other) > 0.9
    assert cosine(one, coffee) < 0.5


def test_another_runtime_computes_the_same_features(efficientnet: Made, photos: Photos) -> None:
    """ONNX's own reference implementation, in NumPy."""
    content, preprocessing = efficientnet
    inputs = preprocessing.apply(photos["cat"])[None]
    wanted: Any = ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"photos": inputs})
    found = Backbone(content, preprocessing, "efficientnet-lite0").of(photos["cat"])
    np.testing.assert_allclose(found, wanted[0][0], rtol=0, atol=5e-5)


def test_the_file_is_the_one_that_was_made_before(efficientnet: Made) -> None:
    """Models name it by this hash. Whoever changes the file changes BUILDER, under which it is kept."""
    known = {"1": "971f8053fa7534697ff6ff12d42cdf4629f63caf16e5f0057c7fc76f91b3e1de"}
    assert hashlib.sha256(efficientnet[0]).hexdigest() == known[BUILDER]


# ---- folding ---------------------------------------------------------------------------------------------------------

# side of the map, kernel, stride: what TensorFlow pads before and after. It is uneven where it cannot be even.
PADDED = {
    (8, 3, 1): (1, 1),
    (8, 5, 1): (2, 2),
    (8, 3, 2): (0, 1),
    (8, 5, 2): (1, 2),
    (7, 3, 2): (1, 1),
    (7, 5, 2): (2, 2),
    (7, 1, 1): (0, 0),
    (8, 1, 2): (0, 0),
}


def convolved(x: Numbers, kernels: Numbers, side: int, stride: int, groups: int) -> Numbers:
    """Return the convolution (m, out, h, w) of maps (m, in, side, side), number by number."""
    size = kernels.shape[-1]
    before, after = PADDED[side, size, stride]
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    steps = (padded.shape[2] - size) // stride + 1
    found = np.zeros((len(x), len(kernels), steps, steps))
    read, made = x.shape[1] // groups, len(kernels) // groups
    for out, kernel in enumerate(kernels):
        first = out // made * read
        for row in range(steps):
            for column in range(steps):
                top, left = row * stride, column * stride
                window = padded[:, first : first + read, top : top + size, left : left + size]
                found[:, out, row, column] = (window * kernel).sum(axis=(1, 2, 3))
    return found


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("side", "size", "stride"), PADDED)
def test_a_folded_convolution_is_a_convolution_and_batch_normalisation(
    side: int, size: int, stride: int, depthwise: bool, relu: bool
) -> None:
    random = np.random.default_rng(side * size * stride)
    read, made = (6, 6) if depthwise else (4, 5)
    kernels = random.normal(size=(made, 1 if depthwise else read, size, size)).astype(np.float32)
    norm = {
        "weight": random.normal(1, 0.5, made),
        "bias": random.normal(0, 2, made),
        "running_mean": random.normal(0, 3, made),
        "running_var": random.uniform(1e-5, 2, made),  # so little that the epsilon matters
    }
    norm["running_var"][0] = 0
    weights = {"conv.weight": kernels, **{f"bn.{name}": each.astype(np.float32) for name, each in norm.items()}}
    graph = _Graph(weights)
    output = graph.convolution("x", "conv", "bn", side, stride, depthwise=depthwise, relu=relu)
    shape: list[str | int | None] = ["m", read, side, side]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = random.normal(size=(2, read, side, side)).astype(np.float32)
    (found,) = session.run(None, {"x": x})

    scale, shift, mean, variance = (
        norm[name][:, None, None] for name in ("weight", "bias", "running_mean", "running_var")
    )
    wanted = convolved(x.astype(float), kernels.astype(float), side, stride, read if depthwise else 1)
    wanted = (wanted - mean) / np.sqrt(variance + 1e-3) * scale + shift
    if relu:
        wanted = np.minimum(np.maximum(wanted, 0), 6)
        assert {0.0, 6.0} <= set(np.unique(wanted))
    assert found.shape == wanted.shape == (2, made, -(-side // stride), -(-side // stride))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-4)
    assert EPSILON == 1e-3
    assert [node.op_type for node in graph.nodes] == (["Conv", "Clip"] if relu else ["Conv"])


def test_a_weight_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match=r"_conv_stem\.weight"):
        efficientnet_lite0.make({})
