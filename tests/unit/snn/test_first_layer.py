"""The first layer in the span of the data against the direct way, on real photos: exact, for every strategy."""

from pathlib import Path

import numpy as np
import oracle
import pytest

from snn.dataset import batches, load_dataset
from snn.first_layer import Gram
from snn.network import initial_weights
from snn.parameters import Parameters
from snn.training import Training, first_layer, on_this_machine, train
from snn_cli.datasets import build_faces

SHARED = Path(__file__).parents[4] / "shared" / "datasets" / "datasets.h5"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    if SHARED.exists():
        return load_dataset(SHARED)
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    build_faces(path)
    return load_dataset(path)


@pytest.mark.parametrize("fields", [{}, {"batch_size": 64}, {"batch_size": 64, "strategy": "average"}],
                         ids=["full-batch", "best-batch", "average"])  # fmt: skip
def test_weights_and_costs_are_the_same_after_300_epochs(photos, fields):
    network = oracle.small_network((20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid"), epochs=300, learning_rate=0.0075)
    trained = {}
    for path in ("direct", "span"):
        chosen = Parameters.load({**network, **fields, "first_layer": path})
        training = Training(initial_weights(chosen, photos.features))
        parts = batches(photos, chosen.batch_size, chosen.seed)
        first, _ = first_layer(training, chosen, Gram(parts), photos.features)
        costs = list(train(training, chosen, parts, on_this_machine(chosen, first)))
        trained[path] = first.network(training.weights), costs
    (direct, direct_costs), (span, span_costs) = trained["direct"], trained["span"]
    assert np.abs(np.array(direct_costs) - span_costs).max() < 1e-6
    for one, two in zip(direct, span, strict=True):
        assert np.abs(one.W - two.W).max() < 1e-10
        assert np.abs(one.b - two.b).max() < 1e-10
    assert np.abs(direct[0].W - initial_weights(chosen, photos.features)[0].W).max() > 1e-4
