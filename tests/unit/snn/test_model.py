import io

import h5py
import numpy as np
import pytest

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
    assert load_model(buffer).functions == (Activation.RELU, Activation.SIGMOID)


def test_a_checkpoint_reads_back_bit_for_bit():
    training = Training(WEIGHTS, [0.7, 1 / 3, 5e-324])
    again = load_checkpoint(dump_checkpoint(training))
    assert again.costs == training.costs
    for one, two in zip(again.weights, WEIGHTS, strict=True):
        assert one.W.tobytes() == two.W.tobytes()
        assert one.b.tobytes() == two.b.tobytes()
    assert load_checkpoint(dump_checkpoint(Training(WEIGHTS))).epoch == 0
    assert dump_checkpoint(training) == dump_checkpoint(again)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"W1": None}, "W1: is missing"),
        ({"W2": np.zeros((1, 4))}, r"W2: is \(1, 4\)"),
        ({"b1": np.zeros((3,))}, r"W1: is \(3, 12\) with \(3,\)"),
        ({"W1": np.full((3, 12), np.nan)}, "all finite"),
        ({"b2": None}, "cannot be read"),
    ],
)
def test_a_damaged_model_is_refused(change, says):
    buffer = saved()
    with h5py.File(buffer, "a") as h5:
        for name, value in change.items():
            del h5[name]
            if value is not None:
                h5[name] = value
    with pytest.raises(InvalidModel, match=says):
        load_model(buffer)


def test_what_is_no_model_is_refused():
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_model(io.BytesIO(b"not a model"))
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_checkpoint(dump_checkpoint(Training(WEIGHTS))[:100])
