"""What a stranger feeds: photos as bytes, rows of a table as they stand, pictures for a backbone; what is refused."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from backbones import FEATURES, PREPROCESSING, tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from portable import SAMPLES, Ran, a_model, said

from snn.batches import Samples
from snn.decision import predicted_classes
from snn.errors import InvalidInput, InvalidModel
from snn_client.data.tables import rows_in
from snn_client.portable.exporting import to_onnx
from snn_client.portable.inputs import ColumnInput
from snn_data.columns import MISSING, Category, Columns, Number
from snn_data.model import Model, load_model, save_model
from snn_photos.backbone import Backbone
from snn_photos.preprocessing import InvalidBackbone, Preprocessing
from snn_photos.reading import Reading
from snn_photos.reference import BackboneReference

RANDOM = np.random.default_rng(11)
FLOATS = [np.float32, np.float64]

# ---- photos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("last", ["sigmoid", "softmax", "identity"])
def test_photos_are_fed_as_bytes(channels: int, last: str, dtype: Any) -> None:
    shape = (12, 10, channels)
    features = int(np.prod(shape))
    model = a_model(
        ["relu", last], [9, 4 if last == "softmax" else 1], features, dtype, image_shape=json.dumps(shape),
        photos=Reading("crop").to_text(),
    )  # fmt: skip
    photos = RANDOM.integers(0, 256, (SAMPLES, *shape), np.uint8)
    photos[0], photos[1] = 0, 255
    ran = Ran.of(model)
    assert ran.inputs == {"photos": ("tensor(uint8)", ["m", *shape])}
    found = said(model, ran(photos=photos))
    wanted = model.judge(Samples(photos, np.zeros(SAMPLES)))
    assert np.abs(found - wanted).max() <= (1e-6 if dtype == np.float32 else 1e-13)
    assert np.ptp(wanted) > 0.1
    assert json.loads(ran.metadata["image_shape"]) == list(shape)
    assert "by crop (bilinear)" in ran.metadata["input"]
    assert f"(m, 12, 10, {channels}), uint8" in ran.metadata["input"]


def test_what_a_stranger_must_know_stands_in_the_file() -> None:
    model = a_model(["relu", "sigmoid"], [5, 1], 12, image_shape="[2, 2, 3]", classes='["no", "käse"]', threshold=0.25)
    ran = Ran.of(model)
    assert {**ran.metadata, "input": ""} == {
        "run_id": "run-1",
        "snn_version": version("serverless-neural-network-airflow"),
        "kind": "two classes",
        "classes": '["no", "käse"]',
        "threshold": "0.25",
        "image_shape": "[2, 2, 3]",
        "photos": Reading().to_text(),
        "input": "",
    }
    assert ran.session.get_modelmeta().producer_name == "snn"
    number = Ran.of(a_model(["relu", "identity"], [5, 1]))
    assert number.metadata["kind"] == "number"
    assert not {"classes", "threshold"} & set(number.metadata)
    assert Ran.of(a_model(["softmax"], [3])).metadata["kind"] == "classes"
    assert {one.domain: one.version for one in ran.proto.opset_import} == {"": 17}


def test_a_model_from_its_own_file_is_exported_as_the_one_in_memory() -> None:
    model = a_model(["gelu", "softmax"], [8, 3])
    file = io.BytesIO()
    save_model(file, model.params, model.activations, model.attributes)
    content = to_onnx(load_model(file))
    assert content == to_onnx(model) == to_onnx(model)


# ---- tables ----------------------------------------------------------------------------------------------------------

COLUMNS = Columns(
    (
        Number("age", 38.5, 13.25),
        Category("work class", ("Private", "State-gov", None)),
        Category("3rd", ("a", "b")),
        Number("hours-per-week", 40.0, 10.0),
        Number("hours_per_week", -2.0, 7.0),
        Category("probabilities", ("0.5", "3", "né")),
    )
)


def a_table(samples: int) -> dict[str, list[str]]:
    """Return a table as it stands in a CSV file: values missing in several ways, and some that no training part had."""

    def any_of(*values: str) -> list[str]:
        return [values[place] for place in RANDOM.integers(0, len(values), samples)]

    def numbers(mean: float, scale: float) -> list[str]:
        drawn = RANDOM.normal(mean, scale, samples)
        return ["" if RANDOM.random() < 0.1 else repr(float(number)) for number in drawn]

    return {
        "age": numbers(38.5, 13.25),
        "work class": any_of("Private", "State-gov", "?", "", "Never seen", "NA"),
        "3rd": any_of("a", "b", "c", "NaN", ""),
        "hours-per-week": numbers(40, 10),
        "not asked for": any_of("x"),
        "hours_per_week": numbers(-2, 7),
        "probabilities": any_of("0.5", "3", "né", "4", "?"),
    }


def as_csv(table: Mapping[str, Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue().encode()


def fed(table: Mapping[str, Sequence[str]], inputs: Sequence[ColumnInput]) -> dict[str, Any]:
    """Return a table as a model's metadata says that it is fed."""
    given: dict[str, Any] = {}
    for one in inputs:
        texts = table[one["column"]]
        if one["type"] == "string":
            given[one["input"]] = np.array(texts, object)[:, None]
        else:
            assert one["type"] == "float64, NaN: missing"
            given[one["input"]] = np.array([float(text or "nan") for text in texts])[:, None]
    return given


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("last", ["sigmoid", "softmax", "identity"])
def test_a_table_is_fed_as_it_stands(last: str, dtype: Any) -> None:
    activations, sizes = ["tanh", last], [9, 3 if last == "softmax" else 1]
    model = a_model(activations, sizes, COLUMNS.features, dtype, columns=COLUMNS.to_json())
    ran = Ran.of(model)
    inputs = json.loads(ran.metadata["inputs"])
    assert [(one["input"], one["column"], one.get("values")) for one in inputs] == [
        ("age", "age", None),
        ("work_class", "work class", ["Private", "State-gov", None]),
        ("_3rd", "3rd", ["a", "b"]),
        ("hours_per_week", "hours-per-week", None),
        ("hours_per_week_2", "hours_per_week", None),
        ("probabilities_2", "probabilities", ["0.5", "3", "né"]),
    ]
    number, text = ("tensor(double)", ["m", 1]), ("tensor(string)", ["m", 1])
    assert list(ran.inputs.values()) == [number, text, text, number, number, text]

    table = a_table(SAMPLES)
    encoded = np.vstack(list(rows_in(as_csv(table), COLUMNS, "rows.csv")))
    assert set(encoded[:, 1:4].sum(axis=1)) == {0, 1}  # values of the training part, and others
    wanted = model.answers(encoded.T)
    outputs = ran(**fed(table, inputs))
    found = said(model, outputs)
    assert np.abs(found - wanted).max() <= (1e-6 if dtype == np.float32 else 1e-13)
    assert np.ptp(wanted) > 0.1
    if last != "identity":
        assert outputs["label"].tolist() == predicted_classes(found, model.threshold).tolist()
    assert {one.domain: one.version for one in ran.proto.opset_import} == {"": 17, "ai.onnx.ml": 3}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)),
            st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=5).map(str.strip)), min_size=1,
                     max_size=8, unique=True),
        ),
        min_size=1, max_size=6,
    ),
    st.lists(st.text(max_size=6), min_size=6, max_size=6, unique=True),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_columns_of_any_kind_and_name(kinds: list[Any], names: list[str], seed: int) -> None:
    columns = Columns(
        tuple(
            Number(name, *kind) if isinstance(kind, tuple) else Category(name, tuple(kind))
            for name, kind in zip(names, kinds, strict=False)
        )
    )
    model = a_model(["identity"], [1], columns.features, columns=columns.to_json(), seed=seed)
    ran = Ran.of(model)
    random = np.random.default_rng(seed)
    rows: list[list[Any]] = []
    for _ in range(20):
        row: list[Any] = []
        for column in columns.columns:
            if isinstance(column, Number):
                row.append(None if random.random() < 0.2 else float(random.normal(column.mean, column.scale)))
            else:
                row.append(random.choice(np.array([*column.values, *MISSING[:4], "something else", None], object)))
        rows.append(row)
    given = {
        one["input"]: np.array([[np.nan if cell is None else cell] for cell in cells])
        if one["type"] != "string"
        else np.array([[cell or ""] for cell in cells], object)
        for one, cells in zip(json.loads(ran.metadata["inputs"]), zip(*rows, strict=True), strict=True)
    }
    # What a null means is told to a graph by "": where "" is a value of its own, and null another, it is the value.
    both = [
        [
            "" if cell is None and isinstance(column, Category) and "" in column.values else cell
            for cell, column in zip(row, columns.columns, strict=True)
        ]
        for row in rows
    ]
    wanted = model.answers(columns.encode_rows(both, "rows").T)[0]
    assert ran(**given)["value"] == pytest.approx(wanted, rel=1e-12, abs=1e-9)


# ---- backbones -------------------------------------------------------------------------------------------------------


def reference(content: bytes, preprocessing: Preprocessing = PREPROCESSING, features: int = FEATURES) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    return BackboneReference(name="tiny", sha256=sha256, features=features, preprocessing=preprocessing).to_json()


def head(content: bytes, last: str = "softmax", dtype: Any = np.float32, scale: float = 1.0, **told: Any) -> Model:
    return a_model(
        ["relu", last], [20, 3 if last == "softmax" else 1], FEATURES, dtype, scale=scale,
        backbone=reference(content), **told,
    )  # fmt: skip


def pictures_of(samples: int, preprocessing: Preprocessing = PREPROCESSING) -> np.ndarray[Any, Any]:
    photos = RANDOM.integers(0, 256, (samples, 40, 36, 3), np.uint8)
    return np.stack([preprocessing.apply(Image.fromarray(photo)) for photo in photos])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("last", ["sigmoid", "softmax", "identity"])
def test_a_backbone_and_its_head_are_one_file(last: str, dtype: Any) -> None:
    content = tiny()
    model, backbone = head(content, last, dtype), Backbone(content, PREPROCESSING, "tiny")
    ran = Ran.of(model, content)
    assert ran.inputs == {"pictures": ("tensor(float)", ["m", 3, 32, 32])}
    pictures = pictures_of(SAMPLES)
    wanted = model.answers(np.stack([backbone.see(picture) for picture in pictures]).T)
    outputs = ran(pictures=pictures)
    assert np.abs(said(model, outputs) - wanted).max() <= 1e-6
    assert np.ptp(wanted) > 0.05
    assert json.loads(ran.metadata["backbone"]) == json.loads(model.attributes["backbone"])
    assert "resized to 32×32 (bilinear, by Pillow)" in ran.metadata["input"]
    assert ran.metadata["run_id"] == "run-1"


def test_the_head_alone_takes_features_and_points_to_its_backbone() -> None:
    content = tiny()
    model = head(content, dtype=np.float64)
    ran = Ran.of(model)
    assert ran.inputs == {"features": ("tensor(float)", ["m", FEATURES])}
    features = RANDOM.standard_normal((SAMPLES, FEATURES)).astype(np.float32)
    assert np.abs(said(model, ran(features=features)) - model.answers(features.T)).max() < 1e-13
    assert json.loads(ran.metadata["backbone"])["sha256"] == json.loads(model.attributes["backbone"])["sha256"]
    assert len(ran.content) < len(to_onnx(model, content))


def other(opset: int, ir_version: int, batch: Any = "N", old: bool = False) -> bytes:
    """Return a backbone as others write them: other opset, other names, one picture at once, a map of one pixel."""
    weights = helper.make_tensor(
        "softmax", TensorProto.FLOAT, [FEATURES, 3, 4, 4], RANDOM.standard_normal(FEATURES * 48)
    )
    nodes = [
        helper.make_node("Conv", ["label", "softmax"], ["gemm_1"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["gemm_1"], ["probabilities"]),
    ]
    given = [helper.make_tensor_value_info("label", TensorProto.FLOAT, [batch, 3, 32, 32])]
    if old:
        given.append(helper.make_tensor_value_info("softmax", TensorProto.FLOAT, [FEATURES, 3, 4, 4]))
    gives = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, FEATURES, 1, 1])]
    graph = helper.make_graph(nodes, "other", given, gives, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    helper.set_model_props(model, {"run_id": "somebody else's", "author": "a stranger"})
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize(
    ("opset", "ir_version", "old"), [(9, 3, True), (11, 6, False), (13, 7, False), (21, 10, False), (23, 11, False)]
)
@pytest.mark.parametrize("batch", ["N", 1])
def test_backbones_of_other_opsets_names_and_batches(opset: int, ir_version: int, old: bool, batch: Any) -> None:
    content = other(opset, ir_version, batch, old)
    model, backbone = head(content), Backbone(content, PREPROCESSING, "other")
    ran = Ran.of(model, content)
    assert ran.inputs["pictures"][1][0] == ("m" if batch == "N" else 1)
    assert ran.metadata["run_id"] == "run-1"
    pictures = pictures_of(40)
    wanted = model.answers(np.stack([backbone.see(picture) for picture in pictures]).T)
    parts = [pictures] if batch == "N" else [picture[None] for picture in pictures]
    found = np.hstack([said(model, ran(pictures=part)) for part in parts])
    assert np.abs(found - wanted).max() <= 1e-6


def test_another_backbone_than_the_model_s_is_refused() -> None:
    with pytest.raises(InvalidBackbone, match="tiny: is not the one that the model learned from"):
        to_onnx(head(tiny()), tiny(1))


def test_a_backbone_that_is_no_onnx_file_is_refused() -> None:
    with pytest.raises(InvalidBackbone, match=r"tiny: cannot be read: .*export it again"):
        to_onnx(head(b"no network"), b"no network")


def test_a_model_without_a_backbone_takes_none() -> None:
    with pytest.raises(InvalidInput, match="backbone"):
        to_onnx(a_model(["sigmoid"], [1]), tiny())


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_a_file_that_does_not_say_what_it_reads_is_refused() -> None:
    model = a_model(["sigmoid"], [1])
    lost = Model(model.params, model.activations, {"classes": '["a", "b"]'}, "s3://b/params.h5")
    with pytest.raises(InvalidModel, match=r"s3://b/params\.h5: image_shape: is missing"):
        to_onnx(lost)
    unnamed = Model(model.params, model.activations, {"features": 30}, "s3://b/params.h5")
    with pytest.raises(InvalidModel, match=r"s3://b/params\.h5: classes: is missing"):
        to_onnx(unnamed)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    with pytest.raises(InvalidInput, match=r"needs the package onnx.*\[backbones\]"):
        to_onnx(a_model(["sigmoid"], [1]))


def test_an_activation_that_has_no_form_yet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from snn.activations import ACTIVATIONS, Activation

    monkeypatch.setitem(ACTIVATIONS, "cube", Activation(lambda Z: Z**3, lambda A: A))
    with pytest.raises(InvalidModel, match="activations: cube has no form in ONNX yet"):
        to_onnx(a_model(["cube", "sigmoid"], [2, 1]))
