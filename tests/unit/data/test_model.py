import dataclasses
import io
import json
import re

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from snn.batches import Samples
from snn.errors import InvalidModel
from snn_data.model import AT_ONCE, load_model, save_model

RANDOM = np.random.default_rng(8)
PARAMS = {
    "W1": RANDOM.standard_normal((3, 12)),
    "b1": RANDOM.standard_normal((3, 1)),
    "W2": RANDOM.standard_normal((1, 3)),
    "b2": RANDOM.standard_normal((1, 1)),
}


def saved(activations=("sigmoid", "sigmoid"), params=PARAMS, **attributes):
    buffer = io.BytesIO()
    about = {"run_id": "r1", "image_shape": (2, 2, 3), "classes": ("no", "yes")}
    save_model(buffer, params, activations, about | attributes)
    return buffer


def test_the_file_is_as_the_contract_says():
    with h5py.File(saved()) as h5:
        assert sorted(h5) == ["W1", "W2", "b1", "b2"]
        assert (h5["W1"].shape, h5["b1"].shape, h5["W1"].dtype) == ((3, 12), (3, 1), np.float64)
        assert np.array_equal(h5["W2"][()], PARAMS["W2"])
        assert h5.attrs["run_id"] == "r1"


def test_a_model_reads_back_and_judges():
    model = load_model(saved())
    X = RANDOM.random((12, 5))
    W1, b1, W2, b2 = PARAMS.values()

    def g(Z):
        return 1 / (1 + np.exp(-Z))

    assert model.answers(X) == pytest.approx(g(W2 @ g(W1 @ X + b1) + b2), abs=1e-15)
    assert model.shape == (2, 2, 3)
    assert model.classes == ("no", "yes")
    with pytest.raises(InvalidModel, match="reads 12 inputs, but the samples have 13"):
        model.answers(np.zeros((13, 1)))


def test_itsacats_own_file_without_attributes_is_relu_under_a_sigmoid():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        for name, array in PARAMS.items():
            h5[name] = array
    model = load_model(buffer, "itsacat.h5")
    assert model.activations == ("relu", "sigmoid")
    X = RANDOM.random((12, 5))
    W1, b1, W2, b2 = PARAMS.values()
    assert model.answers(X) == pytest.approx(1 / (1 + np.exp(-(W2 @ np.maximum(W1 @ X + b1, 0) + b2))), abs=1e-15)
    # What classifying photos needs besides is not in it.
    for asked, field, hint in (
        ("shape", "image_shape", r"the \[height, width, 3\] of the photos"), ("classes", "classes", "the names of all")
    ):  # fmt: skip
        with pytest.raises(InvalidModel, match=rf"^itsacat\.h5: {field}: is missing \(set the attribute to {hint}"):
            getattr(model, asked)


def test_weights_out_of_all_proportion_give_a_line_and_no_nan():
    model = load_model(changed([("W1", np.full((3, 12), 1e308)), ("W2", [[1.0, -1.0, 1.0]]), ("b1", np.zeros((3, 1)))]))
    model = dataclasses.replace(model, activations=("relu", "sigmoid"))
    with pytest.raises(InvalidModel, match=r"^params\.h5: gives no finite numbers"):
        model.answers(np.ones((12, 1)))


def group(h5, name):
    h5.create_group(name)


def dangling_link(h5, name):
    h5[name] = h5py.SoftLink("/nowhere")


def link(h5, name):
    h5[name] = h5py.SoftLink("/b1")


def empty(h5, name):
    h5.create_dataset(name, dtype=np.float64)  # no shape at all, which HDF5 calls a null dataspace


def changed(changes):
    """A saved model with some data sets replaced: by an array, by what a function makes there, or by None, nothing."""
    buffer = saved()
    with h5py.File(buffer, "a") as h5:
        for name, value in changes:
            if h5.get(name, getlink=True) is not None:
                del h5[name]
            if callable(value):
                value(h5, name)
            elif value is not None:
                h5[name] = value
    return buffer


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("W1", None, r"W1: is missing \(the file holds W2, b1, b2\)"),
        ("W1", group, "W1: is not a plain data set"),
        ("W1", link, "W1: is a link"),
        ("W1", empty, r"W1: is \(\) object \(make it float64 of 2 dimensions\)"),
        ("W1", np.float64(1), r"W1: is \(\) float64"),
        ("W1", PARAMS["W1"] + 1j, r"W1: is \(3, 12\) complex128"),
        ("W1", np.zeros((3, 12), "S4"), r"W1: is \(3, 12\) \|S4"),
        ("W1", np.zeros((3, 0)), r"W1: is \(3, 0\) with \(3, 1\) biases"),
        ("W1", np.full((3, 12), np.nan), r"W1: holds values that are not numbers \(all must be finite\)"),
        ("b1", np.full((3, 1), np.inf), "b1: holds values that are not numbers"),
        ("b1", np.zeros(3), r"b1: is \(3,\) float64"),
        (
            "b1",
            np.zeros((4, 1)),
            r"W1: is \(3, 12\) with \(4, 1\) biases \(expected \(neurons, 12\)",
        ),
        ("b2", None, "b2: is missing"),
        ("W2", None, "activations: names sigmoid, sigmoid "),
        ("W2", np.ones((2, 3)), r"W2: is \(2, 3\) with \(1, 1\) biases"),
        ("W2", dangling_link, "W2: is a link"),
        ("W2", np.zeros((1, 4)), r"W2: is \(1, 4\) with \(1, 1\) biases \(expected \(neurons, 3\)"),
        ("W3", np.zeros((1, 1)), "b3: is missing"),
    ],
)
def test_a_damaged_model_is_refused(name, value, says):
    with pytest.raises(InvalidModel, match=f"^params.h5: {says}"):
        load_model(changed([(name, value)]))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "activations",
            '["relu", "softsign"]',
            "activations: names relu, softsign [(]name one of identity, relu, .* for each of 2 layers, and identity, ",
        ),
        ("activations", '["sigmoid"]', "activations: names sigmoid "),
        ("activations", '["sigmoid", "relu"]', "activations: names sigmoid, relu "),
        ("activations", '["softmax", "sigmoid"]', "activations: names softmax, sigmoid "),
        ("activations", '["relu", "softmax"]', "W2: has 1 neurons [(]a last layer of softmax has two or more"),
        ("activations", "[]", "activations: names nothing "),
        ("activations", 7, "activations: is np.int64"),
        ("image_shape", "[2, 2]", "image_shape: is "),
        ("image_shape", "[3, 2, 2]", "image_shape: is "),
        ("image_shape", "[4, 2, 3]", r"image_shape: is \(4, 2, 3\), but W1 reads 12 inputs"),
        ("classes", '["cat"]', "classes: is "),
        ("classes", '["cat", "dog", "cow"]', "classes: is 3 names for 2 classes"),
        ("classes", [0, 1], r"classes: is array\(\[0, 1\]\)"),
    ],
)
def test_an_attribute_that_says_something_else_is_refused(name, value, says):
    buffer = saved()
    with h5py.File(buffer, "a") as h5:
        h5.attrs[name] = value
    with pytest.raises(InvalidModel, match=f"^params.h5: {says}"):
        _ = [getattr(load_model(buffer), asked) for asked in ("shape", "classes")]


ARRAYS = some.arrays(
    st.sampled_from(["f8", "f4", ">f8", "g", "i8", "u1", "?", "c16", "S3", [("a", "f8")]]),
    st.sampled_from([(3, 12), (1, 3), (3, 1), (1, 1), (1, 12)]) | some.array_shapes(min_dims=0, max_dims=3, min_side=0),
)
ODD = st.sampled_from([None, group, link, dangling_link, empty]) | ARRAYS
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
JSON = st.recursive(st.none() | st.integers() | TEXT | st.sampled_from(["relu", "sigmoid"]), st.lists, max_leaves=4)
ATTRIBUTES = JSON.map(json.dumps) | TEXT | st.integers(-9, 9) | st.binary(min_size=1).map(np.void) | ARRAYS


def refusal(ask):
    """The line that says why not, or nothing."""
    try:
        ask()
    except InvalidModel as refused:
        return str(refused)
    return ""


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["W1", "b1", "W2", "b2", "W3", "x"]), ODD), max_size=2),
    st.dictionaries(st.sampled_from(["activations", "image_shape", "classes", "x"]), ATTRIBUTES, max_size=2),
)
def test_any_file_is_a_model_or_one_line(changes, attributes):
    buffer = changed(changes)
    with h5py.File(buffer, "a") as h5:
        for name, value in attributes.items():
            h5.attrs[name] = value

    def judge():
        model = load_model(buffer, "odd.h5")
        assert model.answers(np.ones((model.features, 2))).shape == (1, 2)
        height, width, channels = model.shape
        assert height * width * channels == 12
        assert channels in (1, 3)
        assert [type(name) for name in model.classes] in ([str, str], [])

    assert re.fullmatch(r"|odd\.h5: .{10,}", refusal(judge))


@settings(deadline=None)
@given(st.data())
def test_a_file_cut_short_is_refused(data):
    whole = saved().getvalue()
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_model(io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))]))


def test_what_is_no_model_is_refused():
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_model(io.BytesIO(b"not a model"))


def test_a_model_of_many_classes_and_one_of_numbers():
    K = {**PARAMS, "W2": RANDOM.standard_normal((4, 3)), "b2": RANDOM.standard_normal((4, 1))}
    names = ("a", "b", "c", "d")
    model, X = load_model(saved(("tanh", "softmax"), K, classes=names)), RANDOM.random((12, 5))
    logits = K["W2"] @ np.tanh(K["W1"] @ X + K["b1"]) + K["b2"]
    assert model.answers(X) == pytest.approx(np.exp(logits) / np.exp(logits).sum(axis=0), abs=1e-14)
    assert (model.classes, model.of_classes) == (names, True)
    number = load_model(saved(("tanh", "identity")))
    assert number.answers(X) == pytest.approx(PARAMS["W2"] @ np.tanh(PARAMS["W1"] @ X + PARAMS["b1"]) + PARAMS["b2"])
    assert (number.classes, number.of_classes) == ((), False)


def test_a_model_of_features_says_so():
    model = load_model(saved(features=12))
    assert model.shape == (12,)


def test_samples_are_judged_as_they_are_stored_whatever_their_number():
    stored = np.random.default_rng(0).integers(0, 256, (AT_ONCE + 3, 2, 2, 3), dtype=np.uint8)
    model = load_model(saved())
    answers = model.judge(Samples(stored, np.zeros(len(stored))))
    assert answers.shape == (1, AT_ONCE + 3)
    assert answers == pytest.approx(model.answers(stored.reshape(len(stored), -1).T / 255), abs=1e-15)


def test_float32_stays_float32():
    model = load_model(saved(params={name: array.astype(np.float32) for name, array in PARAMS.items()}))
    assert {array.dtype for array in model.params.values()} == {np.dtype(np.float32)}
    assert model.answers(np.ones((12, 2))).dtype == np.float32
    mixed = load_model(changed([("W1", PARAMS["W1"].astype(np.float32))]))
    assert {array.dtype for array in mixed.params.values()} == {np.dtype(np.float64)}


def test_the_names_of_a_thousand_classes_fit_into_an_attribute():
    names = tuple(f"{k:04d} " + "ü" * 150 for k in range(1000))
    K = {**PARAMS, "W2": np.ones((1000, 3)), "b2": np.ones((1000, 1))}
    assert load_model(saved(("relu", "softmax"), K, classes=names)).classes == names
