"""ONNX files of strangers: good ones are known by their contents, each bad one is one line that says what to mend."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

from snn.errors import InvalidInput
from snn_client.backbones.catalogue import check, read_backbone
from snn_data import isolated
from snn_photos import backbone as backbones
from snn_photos.backbone import MAX_FEATURES, Backbone
from snn_photos.preprocessing import InvalidBackbone, Preprocessing
from snn_photos.reference import BackboneReference

HEIGHT, WIDTH = 24, 40
PREPROCESSING = Preprocessing(height=HEIGHT, width=WIDTH, mean=127.5, scale=127.5)
LAST = Preprocessing(height=HEIGHT, width=WIDTH, mean=127.5, scale=127.5, layout="NHWC")
KERNELS = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)

node = helper.make_node
Shape = Sequence[int | str] | None


def constant(name: str, numbers: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(numbers), name)


def network(
    nodes: Sequence[NodeProto], shape: Shape = ("m", 3, HEIGHT, WIDTH), kind: int = TensorProto.FLOAT,
    given: Shape = None, given_kind: int = TensorProto.FLOAT, constants: Sequence[TensorProto] = (),
) -> ModelProto:  # fmt: skip
    """Return a network from `x` to `y`."""
    return helper.make_model(
        helper.make_graph(
            list(nodes),
            "small",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", given_kind, given)],
            [constant("kernels", KERNELS), *constants],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )


def pooled(x: str = "x", y: str = "y") -> list[NodeProto]:
    """Return the nodes of a convolution and the means over its map."""
    return [
        node("Conv", [x, "kernels"], ["map"], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["map"], ["pooled"]),
        node("Flatten", ["pooled"], [y], axis=1),
    ]


def good(**options: Any) -> ModelProto:
    return network(pooled(), **options)


def content_of(model: ModelProto) -> bytes:
    content: bytes = model.SerializeToString()
    return content


GOOD = content_of(good())


def photo(seed: int = 1) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70, 3), np.uint8))


def by_numpy(picture: Image.Image) -> NDArray[np.float64]:
    """Return the features of `good`, by its formula."""
    pixels = PREPROCESSING.apply(picture).astype(float)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)))
    sums = np.zeros((3, 3, 3))
    for row in range(3):
        for column in range(3):
            sums[:, row, column] = padded[:, row : row + HEIGHT, column : column + WIDTH].sum(axis=(1, 2))
    means: NDArray[np.float64] = (KERNELS * sums).sum(axis=(1, 2, 3)) / (HEIGHT * WIDTH)
    return means


# ---- good ones -------------------------------------------------------------------------------------------------------


def test_a_good_one_is_named_by_its_contents() -> None:
    reference = check(GOOD, PREPROCESSING, "small", "small.onnx")
    assert reference == BackboneReference(
        name="small", sha256=hashlib.sha256(GOOD).hexdigest(), features=8, preprocessing=PREPROCESSING
    )


GOOD_ONES = {
    "any batch": (good(), PREPROCESSING),
    "one photo": (good(shape=(1, 3, HEIGHT, WIDTH), given=(1, 8)), PREPROCESSING),
    "any size": (good(shape=("m", 3, "h", "w")), PREPROCESSING),
    "nothing said of its shape but the dimensions": (good(shape=("m", "c", "h", "w")), PREPROCESSING),
    "channels last": (
        network([node("Transpose", ["x"], ["turned"], perm=[0, 3, 1, 2]), *pooled("turned")], ("m", HEIGHT, WIDTH, 3)),
        LAST,
    ),
    "a map of one pixel": (network([*pooled()[:1], node("GlobalAveragePool", ["map"], ["y"])]), PREPROCESSING),
}


@pytest.mark.parametrize("kind", GOOD_ONES)
def test_good_ones_give_the_features_of_their_formula(kind: str) -> None:
    model, preprocessing = GOOD_ONES[kind]
    content = content_of(model)
    assert check(content, preprocessing, "small", "small.onnx").features == 8
    backbone = Backbone(content, preprocessing, "small.onnx")
    found = backbone.of(photo())
    assert (found.shape, found.dtype) == ((8,), np.dtype(np.float32))
    np.testing.assert_allclose(found, by_numpy(photo()), rtol=1e-4, atol=1e-5)
    assert np.abs(found - backbone.of(photo(2))).max() > 1e-3
    assert (backbone.sha256, backbone.features) == (hashlib.sha256(content).hexdigest(), 8)


def test_a_photo_s_features_have_the_same_bits_every_time() -> None:
    backbone, other = (Backbone(GOOD, PREPROCESSING, "small.onnx") for _ in range(2))
    first = backbone.of(photo()).tobytes()
    backbone.of(photo(2))
    assert backbone.of(photo()).tobytes() == first == other.of(photo()).tobytes()


# ---- bad ones --------------------------------------------------------------------------------------------------------


def with_a_second_input() -> ModelProto:
    model = network([node("Add", ["x", "more"], ["sum"]), *pooled("sum")])
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["m", 3, HEIGHT, WIDTH]))
    return model


def with_a_second_output() -> ModelProto:
    model = good()
    model.graph.output.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None))
    return model


def with_weights_elsewhere(location: str = "weights.bin") -> ModelProto:
    model = good()
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return model


def of_a_later_opset() -> ModelProto:
    model = good()
    model.opset_import[0].version = 99
    return model


def of_a_later_onnx() -> ModelProto:
    model = good()
    model.ir_version = 99
    return model


def with_an_operator_of_somebody_s() -> ModelProto:
    model = network([node("Glow", ["x"], ["y"], domain="com.example")])
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def varying() -> ModelProto:
    """Give as many features as there are bright pixels, and two."""
    enough = np.zeros((1, 3 * HEIGHT * WIDTH), np.float32)
    enough[0, :2] = 10
    return network(
        [
            node("Flatten", ["x"], ["flat"]),
            node("Add", ["flat", "enough"], ["raised"]),
            node("Greater", ["raised", "half"], ["bright"]),
            node("Squeeze", ["bright", "first"], ["which"]),
            node("Compress", ["flat", "which"], ["y"], axis=1),
        ],
        constants=[
            constant("enough", enough), constant("half", np.float32(0.5)), constant("first", np.array([0], np.int64)),
        ],
    )  # fmt: skip


def black_only() -> ModelProto:
    """Look up a number at a place that is there only for a black picture, and for what a check begins with."""
    return network(
        [
            node("ReduceMax", ["x"], ["most"], axes=[1, 2, 3], keepdims=0),
            node("Mul", ["most", "many"], ["far"]),
            node("Cast", ["far"], ["place"], to=TensorProto.INT64),
            node("Flatten", ["x"], ["flat"]),
            node("Gather", ["flat", "place"], ["number"], axis=1),
            node("Concat", ["number", "number"], ["y"], axis=1),
        ],
        constants=[constant("many", np.float32(1e6))],
    )


HALF = constant("half", KERNELS.astype(np.float16))
NOT_FINITE = [*pooled(y="f"), node("Abs", ["f"], ["a"]), node("Neg", ["a"], ["n"]), node("Log", ["n"], ["y"])]
TOO_MANY = Preprocessing(height=80, width=80)

BAD: dict[str, tuple[ModelProto | bytes, Preprocessing, str]] = {
    "empty": (b"", PREPROCESSING, "is no ONNX file that can be used"),
    "a text": (b"hello, world\n" * 20, PREPROCESSING, "is no ONNX file that can be used"),
    "a photo": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(500), PREPROCESSING, "is no ONNX file that can be used"),
    "a page": (b"<!DOCTYPE html><html>Not found</html>", PREPROCESSING, "is no ONNX file that can be used"),
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n",
        PREPROCESSING,
        "is no ONNX file that can be used",
    ),
    "two inputs": (with_a_second_input(), PREPROCESSING, "has 2 inputs and 1 output, not an image and a vector"),
    "two outputs": (with_a_second_output(), PREPROCESSING, "has 1 input and 2 outputs, not an image and a vector"),
    "float16": (
        network(
            [node("Conv", ["x", "half"], ["map"]), node("GlobalAveragePool", ["map"], ["y"])],
            kind=TensorProto.FLOAT16,
            given_kind=TensorProto.FLOAT16,
            constants=[HALF],
        ),
        PREPROCESSING,
        "its input 'x' is of tensor(float16), not float32",
    ),
    "uint8": (
        network([node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), *pooled("f")], kind=TensorProto.UINT8),
        PREPROCESSING,
        "its input 'x' is of tensor(uint8), not float32",
    ),
    "features of float16": (
        network([*pooled(y="f"), node("Cast", ["f"], ["y"], to=TensorProto.FLOAT16)], given_kind=TensorProto.FLOAT16),
        PREPROCESSING,
        "its output 'y' is of tensor(float16), not float32",
    ),
    "features of int64": (
        network([*pooled(y="f"), node("Cast", ["f"], ["y"], to=TensorProto.INT64)], given_kind=TensorProto.INT64),
        PREPROCESSING,
        "its output 'y' is of tensor(int64), not float32",
    ),
    "three dimensions": (
        network([node("ReduceMean", ["x"], ["y"], axes=[2], keepdims=0)], ("m", 3, HEIGHT)),
        PREPROCESSING,
        "its input 'x' has 3 dimensions, not the four of a batch of images",
    ),
    "two dimensions": (
        network([node("Identity", ["x"], ["y"])], ("m", 100)),
        PREPROCESSING,
        "its input 'x' has 2 dimensions, not the four of a batch of images",
    ),
    "another size": (
        good(shape=("m", 3, 224, 224)),
        PREPROCESSING,
        f"its input 'x' is m×3×224×224, but the JSON beside it makes pictures of m×3×{HEIGHT}×{WIDTH}",
    ),
    "height for width": (
        good(shape=("m", 3, WIDTH, HEIGHT)),
        PREPROCESSING,
        f"its input 'x' is m×3×{WIDTH}×{HEIGHT}, but the JSON beside it makes pictures of m×3×{HEIGHT}×{WIDTH}",
    ),
    "another layout": (
        good(),
        LAST,
        f"its input 'x' is m×3×{HEIGHT}×{WIDTH}, but the JSON beside it makes pictures of m×{HEIGHT}×{WIDTH}×3",
    ),
    "another layout, which it does not say": (good(shape=("m", "a", "b", "c")), LAST, "cannot be run: "),
    "grey": (
        network([node("Identity", ["x"], ["y"])], ("m", 1, HEIGHT, WIDTH)),
        PREPROCESSING,
        f"its input 'x' is m×1×{HEIGHT}×{WIDTH}, but",
    ),
    "four at once": (good(shape=(4, 3, HEIGHT, WIDTH)), PREPROCESSING, "wants 4 pictures at once"),
    "a map": (
        network([node("Conv", ["x", "kernels"], ["y"])]),
        PREPROCESSING,
        "its output 'y' is 1×8×22×38 for a picture",
    ),
    "one number": (
        network([node("ReduceMean", ["x"], ["f"], keepdims=1, axes=[1, 2, 3]), node("Flatten", ["f"], ["y"])]),
        PREPROCESSING,
        "gives 1 feature (",
    ),
    "a number without dimensions": (
        network([node("ReduceMean", ["x"], ["y"], keepdims=0)], given=()),
        PREPROCESSING,
        "its output 'y' is ",
    ),
    "no batch": (
        network([node("ReduceMean", ["x"], ["y"], axes=[0, 2, 3], keepdims=0)]),
        PREPROCESSING,
        "its output 'y' is 3 for a picture, not a vector",
    ),
    "too many features": (
        network([node("Flatten", ["x"], ["y"])], ("m", 3, 80, 80)),
        TOO_MANY,
        "gives 19,200 features (2 to 16,384 can be used)",
    ),
    "the same for all": (
        network([node("Mul", ["x", "zero"], ["none"]), *pooled("none")], constants=[constant("zero", np.float32(0))]),
        PREPROCESSING,
        "gives the same features for any picture",
    ),
    "not finite": (network(NOT_FINITE), PREPROCESSING, "gives features that are not finite"),
    "weights elsewhere": (with_weights_elsewhere(), PREPROCESSING, "weights"),
    "weights outside": (with_weights_elsewhere("../../etc/passwd"), PREPROCESSING, "weights"),
    "an unknown operator": (network([node("Glow", ["x"], ["y"])]), PREPROCESSING, "Glow"),
    "somebody's operator": (with_an_operator_of_somebody_s(), PREPROCESSING, "com.example:Glow"),
    "a later opset": (of_a_later_opset(), PREPROCESSING, "99"),
    "a later ONNX": (of_a_later_onnx(), PREPROCESSING, "99"),
    "more features of some photos": (varying(), PREPROCESSING, "features"),
    "works on black only": (black_only(), PREPROCESSING, "cannot be run: "),
}


def refused(model: ModelProto | bytes, preprocessing: Preprocessing) -> str:
    """Return the one line with which a file is refused: it names the file and, in brackets, how to mend it.

    It is no line of the runtime's: functions and folders of whoever compiled that help nobody.
    """
    content = model if isinstance(model, bytes) else content_of(model)
    with pytest.raises(InvalidBackbone) as raised:
        check(content, preprocessing, "small", "some/small.onnx")
    line = str(raised.value)
    assert line.startswith("some/small.onnx: ")
    assert "\n" not in line
    assert "  " not in line
    assert len(line) < 500
    assert re.findall(r"/onnxruntime_src|\w+\.(?:cc|h):?\d*|\[ONNXRuntimeError\]|std::|\\n", line) == []
    assert raised.value.hint, line
    assert line.endswith(f" ({raised.value.hint})")
    return line.removeprefix("some/small.onnx: ")


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_line_that_says_what_to_mend(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where a runtime looks for weights that are elsewhere
    model, preprocessing, problem = BAD[kind]
    line = refused(model, preprocessing)
    assert problem in line
    assert capfd.readouterr() == ("", "")  # what the runtime has to say, we say


def test_weights_beside_it_are_not_taken_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not go to the stack: what worked here, where they lie in the folder, would not work there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(KERNELS.tobytes())
    assert "weights" in refused(with_weights_elsewhere(), PREPROCESSING)


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends() -> None:
    for length in range(1, len(GOOD), 41):
        with pytest.raises(InvalidBackbone, match=r"^small\.onnx: is no ONNX file that can be used"):
            Backbone(GOOD[:length], PREPROCESSING, "small.onnx")
    for length in (1, 20, len(GOOD) // 2, len(GOOD) - 1):
        assert refused(GOOD[:length], PREPROCESSING).startswith("is no ONNX file that can be used")


def test_a_file_with_wrong_bytes_is_good_or_refused() -> None:
    """Whatever it breaks, it breaks in a child process."""
    random = np.random.default_rng(0)
    outcomes = []
    for _ in range(40):
        damaged = bytearray(GOOD)
        for place in random.integers(0, len(GOOD) - 900, 3):  # before the weights, where any number is one
            damaged[place] = random.integers(256)
        try:
            check(bytes(damaged), PREPROCESSING, "small", "small.onnx")
            outcomes.append("good")
        except InvalidBackbone as problem:
            outcomes.append(str(problem))
    assert outcomes.count("good") < 30
    assert [line for line in outcomes if "\n" in line] == []


def test_a_network_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "SILENT_SECONDS", 1.5)
    body = helper.make_graph(
        [node("Identity", ["going"], ["go"]), node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
        [constant("one", np.float32(1))],
    )
    endless = network(
        [
            node("ReduceMean", ["x"], ["begin"], keepdims=0),
            node("Loop", ["", "true", "begin"], ["end"], body=body),
            node("Flatten", ["x"], ["flat"]),
            node("Add", ["flat", "end"], ["y"]),
        ],
        constants=[constant("true", np.array(True))],
    )
    assert "hangs for 1.5 s" in refused(endless, PREPROCESSING)


def test_a_network_that_wants_a_terabyte_is_refused() -> None:
    huge = network(
        [
            node("ConstantOfShape", ["size"], ["zeros"]),
            node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            node("Flatten", ["x"], ["flat"]),
            node("Add", ["flat", "sum"], ["y"]),
        ],
        constants=[constant("size", np.array([2**38], np.int64))],
    )
    assert refused(huge, PREPROCESSING).startswith("cannot be run: ")


def test_a_file_over_the_limit_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "MAX_BYTES", len(GOOD) - 1)
    with pytest.raises(InvalidBackbone, match=r"^small\.onnx: has .* MB \(at most .* MB: take a smaller "):
        Backbone(GOOD, PREPROCESSING, "small.onnx")
    monkeypatch.setattr(backbones, "MAX_BYTES", len(GOOD))
    assert Backbone(GOOD, PREPROCESSING, "small.onnx").features == 8
    assert MAX_FEATURES == 16_384


@pytest.mark.parametrize("name", ["", "Small", "a b", "a/b", "../a", "-a", "a_b", "a" * 42, "a\n", "ä", "a.onnx"])
def test_a_bad_name_is_refused_before_anything_is_run(name: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        check(b"", PREPROCESSING, name, "small.onnx")
    line = str(raised.value)
    assert line.startswith("name: ")
    assert f"{name!r} is no name for a backbone (" in line
    assert "resnet-18" in line


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a good ONNX file with its JSON beside it."""
    (tmp_path / "small.onnx").write_bytes(GOOD)
    (tmp_path / "small.json").write_text(json.dumps({"height": HEIGHT, "width": WIDTH, "mean": 127.5, "scale": 127.5}))
    return tmp_path / "small.onnx"


def test_a_backbone_is_read_with_the_json_beside_it(files: Path) -> None:
    content, preprocessing = read_backbone(files)
    assert (content, preprocessing) == (GOOD, PREPROCESSING)


def without_model(file: Path) -> None:
    file.unlink()


def without_json(file: Path) -> None:
    file.with_suffix(".json").unlink()


def with_json(text: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.with_suffix(".json").write_text(text)

    return change


def as_folder(suffix: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.with_suffix(suffix).unlink()
        file.with_suffix(suffix).mkdir()

    return change


def as_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def of_600_mb(file: Path) -> None:
    """It is sparse: the disk has none of it."""
    with file.open("r+b") as stream:
        stream.truncate(600_000_000)
    assert file.stat().st_blocks * 512 < 1_000_000


def of_many_settings(file: Path) -> None:
    file.with_suffix(".json").write_text('{"height": 24, "width": 40}' + " " * 100_000)


@pytest.mark.parametrize(
    ("change", "suffix", "problem"),
    [
        (without_model, ".onnx", "there is no such file"),
        (without_json, ".json", "says how photos are prepared, and is missing (write one: {"),
        (with_json("{"), ".json", "is not JSON: "),
        (with_json('{"height": 24}'), ".json", "width: is missing"),
        (with_json('{"height": 24, "width": 40, "std": 1}'), ".json", "std: is not a field (known are height, "),
        (as_folder(".onnx"), ".onnx", "is a directory (name a file in it)"),
        (as_folder(".json"), ".json", "is a directory (name a file in it)"),
        (as_pipe, ".onnx", "is not a regular file (copy it into one)"),
        (of_600_mb, ".onnx", "is larger than 400 MB (give a smaller file)"),
        (of_many_settings, ".json", "is larger than "),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_files_that_cannot_be_read_are_one_line_that_names_the_file(
    files: Path, change: Callable[[Path], None], suffix: str, problem: str
) -> None:
    change(files)
    with pytest.raises(InvalidBackbone) as raised:
        read_backbone(files)
    line = str(raised.value)
    assert line.startswith(f"{files.with_suffix(suffix)}: {problem}"), line
    assert "\n" not in line
    assert raised.value.hint, line
    assert " 0 MB" not in line


def test_the_json_that_is_proposed_is_one(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(GOOD)
    with pytest.raises(InvalidBackbone) as raised:
        read_backbone(tmp_path / "small.onnx")
    (proposed,) = re.findall(r"\{.*\}", raised.value.hint)
    assert Preprocessing.load(proposed, "small.json") == Preprocessing(height=224, width=224, mean=127.5, scale=127.5)
