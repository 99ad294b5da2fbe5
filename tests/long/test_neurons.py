"""Every neuron an invocation, for long: what itsacat fails at in its first epoch.

On itsacat's photos when they are there (../shared), otherwise on the faces; always its network and mini-batches.
"""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import oracle
import pytest

from snn_cli.datasets import build_faces
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset

SHARED = Path(__file__).parents[3] / "shared" / "datasets" / "datasets.h5"
NEURONS = 20 + 7 + 5 + 1


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    if SHARED.exists():
        return SHARED
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture(scope="session")
def job(photos):
    """Four mini-batches of itsacat's network, and what an independent training makes of them in 20 epochs."""
    dataset = load_dataset(photos)
    network = oracle.small_network((20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid"), epochs=20)
    size = -(-len(dataset.train) // 4)
    chosen = Parameters.load({**network, "learning_rate": 0.0075, "batch_size": size, "granularity": "neuron"})
    assert len(oracle.batches_of(chosen, len(dataset.train), 0)[0]) == 4
    return chosen, oracle.train_on(chosen, dataset)


@pytest.mark.parametrize("turn", range(5))
def test_twenty_epochs_in_a_row(clients, stack, photos, job, turn):
    chosen, (params, costs) = job
    run_id = runs.new_run_id(f"long {turn}")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.upload_file(str(photos), stack.bucket, key)
    runs.launch(clients, stack, run_id, key, chosen)
    run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.2, limit_seconds=300)
    seen = Ledger(clients.dynamodb, stack.table).progress(run_id)[1]
    assert [row.epoch for row in seen] == list(range(20))
    assert [row.cost for row in seen] == pytest.approx(costs, abs=1e-10)
    assert run.usage["neuron"].invocations == 2 * NEURONS * 4 * 20
    assert (run.usage["trainer"].invocations, run.continuations) == (1, 0)
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run_id))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        assert set(h5) == set(params)
        for name, array in params.items():
            assert np.abs(h5[name][()] - array).max() < 1e-10
