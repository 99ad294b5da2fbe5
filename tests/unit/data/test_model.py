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

from snn.errors import InvalidModel
from snn.model import dump_checkpoint, load_checkpoint, load_model, save_model
from snn.network import Layer
from snn.parameters import Activation
from snn.training import Training

RANDOM = np.random.default_rng(8)
WEIGHTS = [
    Layer(RANDOM.standard_normal((3, 12)), RANDOM.standard_normal((3, 1))),
    Layer(RANDOM.standard_normal((1, 3)), RANDOM.standard_normal((1, 1))),
]


def saved():
    buffer = io.BytesIO()
    functions = (Activation.SIGMOID, Activation.SIGMOID)
    save_model(buffer, WEIGHTS, functions, {"run_id": "r1", "image_shape": (2, 2, 3), "classes": ("no", "yes")})
    return buffer


def test_the_file_is_as_the_contract_says():
    with h5py.File(saved()) as h5:
        assert sorted(h5) == ["W1", "W2", "b1", "b2"]
        assert (h5["W1"].shape, h5["b1"].shape, h5["W1"].dtype) == ((3, 12), (3, 1), np.float64)
        assert np.array_equal(h5["W2"][()], WEIGHTS[1].W)
        assert h5.attrs["run_id"] == "r1"


def test_a_model_reads_back_and_judges():
    model = load_model(saved())
    X = RANDOM.random((12, 5))
    (W1, b1), (W2, b2) = WEIGHTS

    def g(Z):
        return 1 / (1 + np.exp(-Z))

    assert model.probabilities(X) == pytest.approx(g(W2 @ g(W1 @ X + b1) + b2), abs=1e-15)
    assert model.image_shape == (2, 2, 3)
    assert model.classes == ("no", "yes")
    with pytest.raises(InvalidModel, match="reads 12 inputs, the photos have 13"):
        model.probabilities(np.zeros((13, 1)))


def test_itsacats_own_file_without_attributes_is_relu_under_a_sigmoid():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        for number, (W, b) in enumerate(WEIGHTS, start=1):
            h5[f"W{number}"], h5[f"b{number}"] = W, b
    model = load_model(buffer, "itsacat.h5")
    assert model.functions == (Activation.RELU, Activation.SIGMOID)
    X = RANDOM.random((12, 5))
    (W1, b1), (W2, b2) = WEIGHTS
    assert model.probabilities(X) == pytest.approx(1 / (1 + np.exp(-(W2 @ np.maximum(W1 @ X + b1, 0) + b2))), abs=1e-15)
    # What classifying photos needs besides is not in it.
    for asked, mend in (("image_shape", r"the \[height, width, 3\] of the photos"), ("classes", "the names of both")):
        with pytest.raises(InvalidModel, match=rf"^itsacat\.h5: {asked}: is missing \(set the attribute to {mend}"):
            getattr(model, asked)


def test_a_checkpoint_reads_back_bit_for_bit():
    training = Training(WEIGHTS, [0.7, 1 / 3, 5e-324])
    again = load_checkpoint(dump_checkpoint(training))
    assert again.costs == training.costs
    for one, two in zip(again.weights, WEIGHTS, strict=True):
        assert one.W.tobytes() == two.W.tobytes()
        assert one.b.tobytes() == two.b.tobytes()
    assert load_checkpoint(dump_checkpoint(Training(WEIGHTS))).epoch == 0
    assert dump_checkpoint(training) == dump_checkpoint(again)


def test_weights_out_of_all_proportion_give_a_line_and_no_nan():
    model = load_model(changed([("W1", np.full((3, 12), 1e308)), ("W2", [[1.0, -1.0, 1.0]]), ("b1", np.zeros((3, 1)))]))
    model = dataclasses.replace(model, functions=(Activation.RELU, Activation.SIGMOID))
    with pytest.raises(InvalidModel, match=r"^params\.h5: gives no numbers"):
        model.probabilities(np.ones((12, 1)))


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
        ("W1", group, "W1: is no plain data set"),
        ("W1", link, "W1: is a link"),
        ("W1", empty, r"W1: is \(\) object \(make it float64 of 2 dimensions\)"),
        ("W1", np.float64(1), r"W1: is \(\) float64"),
        ("W1", WEIGHTS[0].W + 1j, r"W1: is \(3, 12\) complex128"),
        ("W1", np.zeros((3, 12), "S4"), r"W1: is \(3, 12\) \|S4"),
        ("W1", np.zeros((3, 0)), r"W1: is \(3, 0\) with \(3, 1\) biases"),
        ("W1", np.full((3, 12), np.nan), r"W1: holds values that are no numbers \(all must be finite\)"),
        ("b1", np.full((3, 1), np.inf), "b1: holds values that are no numbers"),
        ("b1", np.zeros(3), r"b1: is \(3,\) float64"),
        (
            "b1",
            np.zeros((4, 1)),
            r"W1: is \(3, 12\) with \(4, 1\) biases \(expected \(neurons, 12\)",
        ),
        ("b2", None, "b2: is missing"),
        ("W2", None, "W1: has 3 neurons"),
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
            '["relu", "softmax"]',
            "activations: is .*softmax.* [(]name relu or sigmoid for each of 2 layers",
        ),
        ("activations", '["sigmoid"]', "activations: names sigmoid "),
        ("activations", '["sigmoid", "relu"]', "activations: names sigmoid, relu "),
        ("activations", "[]", "activations: names nothing "),
        ("activations", 7, "activations: is np.int64"),
        ("image_shape", "[2, 2]", "image_shape: is "),
        ("image_shape", "[2, 2, 1]", "image_shape: is "),
        ("image_shape", "[4, 2, 3]", r"image_shape: is \(4, 2, 3\), where W1 reads 12 inputs"),
        ("classes", '["cat"]', "classes: is "),
        ("classes", [0, 1], r"classes: is array\(\[0, 1\]\)"),
    ],
)
def test_an_attribute_that_says_something_else_is_refused(name, value, says):
    buffer = saved()
    with h5py.File(buffer, "a") as h5:
        h5.attrs[name] = value
    with pytest.raises(InvalidModel, match=f"^params.h5: {says}"):
        _ = [getattr(load_model(buffer), asked) for asked in ("image_shape", "classes")]


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
        assert model.probabilities(np.ones((model.features, 2))).shape == (1, 2)
        height, width, channels = model.image_shape
        assert (height * width, channels) == (4, 3)
        assert [type(name) for name in model.classes] == [str, str]

    assert re.fullmatch(r"|odd\.h5: .{10,}", refusal(judge))


@settings(deadline=None)
@given(st.data())
def test_a_file_cut_short_is_refused(data):
    whole = saved().getvalue()
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_model(io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))]))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("costs", group, "costs: is no plain data set"),
        ("costs", 0.5, r"costs: is \(\) float64"),
        ("origin", np.zeros(3), r"origin: is \(3,\)"),
    ],
)
def test_a_damaged_checkpoint_is_refused(name, value, says):
    buffer = io.BytesIO(dump_checkpoint(Training(WEIGHTS, [0.5])))
    with h5py.File(buffer, "a") as h5:
        h5.pop(name, None)
        value(h5, name) if callable(value) else h5.create_dataset(name, data=value)
    with pytest.raises(InvalidModel, match=f"^checkpoint.h5: {says}"):
        load_checkpoint(buffer.getvalue())


def test_what_is_no_model_is_refused():
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_model(io.BytesIO(b"not a model"))
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_checkpoint(dump_checkpoint(Training(WEIGHTS))[:100])
