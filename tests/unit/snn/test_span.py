"""The first layer in the span of the data against the direct way, on real photos: exact, for every strategy."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from training import trained

from snn.batches import Samples
from snn.span import BLOCK, Gram
from snn_cli.datasets import build_faces
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset

SHARED = Path(__file__).parents[4] / "shared" / "datasets" / "datasets.h5"
MOMENTUM = {"optimizer": {"name": "gradient_descent", "momentum": 0.9, "nesterov": True}, "l2": 0.01}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    if SHARED.exists():
        return load_dataset(SHARED)
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    build_faces(path)
    return load_dataset(path)


@pytest.mark.parametrize("fields", [
    {}, {"batch_size": 64}, {"batch_size": 64, "strategy": "average"}, {"batch_size": 64, "strategy": "sgd"},
    {"batch_size": 64, "strategy": "sgd", "learning_rate": 0.001, **MOMENTUM}, {"learning_rate": 0.001, **MOMENTUM},
    {"validation": 0.2, "dropout": {"layer1": 0.2}},
], ids=["full-batch", "best-batch", "average", "sgd", "sgd momentum", "momentum", "dropout"])  # fmt: skip
def test_weights_and_costs_are_the_same_after_100_epochs(photos, fields):
    network = oracle.small_network((20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid"), epochs=100, learning_rate=0.0075)
    direct, span = (
        trained(Parameters.load({**network, **fields, "first_layer": path}), photos) for path in ("direct", "span")
    )
    one, other = direct.training.history, span.training.history
    assert len(one.costs) == 100
    assert np.abs(np.array(one.costs) - other.costs).max() < 1e-6
    assert one.validation_costs == pytest.approx(other.validation_costs, abs=1e-6)
    assert direct.params.keys() == span.params.keys()
    for name, array in direct.params.items():
        assert np.abs(array - span.params[name]).max() < 1e-10, name
    assert "C1" in span.training.params
    start = direct.job.network.first_params(1)
    assert np.abs(direct.params["W1"] - start["W1"]).max() > 1e-4


def test_float32_in_the_span_is_float32_and_near(photos):
    network = oracle.small_network((20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid"), epochs=20, learning_rate=0.0075)
    found = {
        path: trained(Parameters.load({**network, "first_layer": path, "dtype": "float32"}), photos)
        for path in ("direct", "span")
    }
    for name, array in found["direct"].params.items():
        assert array.dtype == found["span"].params[name].dtype == np.float32
        assert np.abs(array - found["span"].params[name]).max() < 2e-5


def test_the_gram_matrix_is_made_in_blocks_and_exact():
    random = np.random.default_rng(0)
    stored = random.integers(0, 256, (7, 2 * BLOCK + 5), dtype=np.uint8).reshape(7, 1, -1)
    samples, others = Samples(stored, np.zeros(7)), Samples(stored[:3] // 2, np.zeros(3))
    X, X_others = samples.inputs(), others.inputs()
    gram = Gram(samples)
    assert np.abs(gram.matrix - X.T @ X).max() < 1e-9
    assert gram.matrix is gram.matrix
    assert np.abs(gram.with_others(others) - X.T @ X_others).max() < 1e-9
    W, C = random.standard_normal((2, X.shape[0])), random.standard_normal((2, 7))
    assert np.abs(gram.times(W, others) - W @ X_others).max() < 1e-9
    assert np.abs(gram.combine(C) - C @ X.T).max() < 1e-12
