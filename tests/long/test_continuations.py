"""A run longer than its invocations may live equals one that was never interrupted, bit for bit."""

from __future__ import annotations

import h5py
import numpy as np
import oracle
import pytest

from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import save_dataset


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 1_500, "first_layer": "direct"},
        {"epochs": 25_000, "first_layer": "span", "batch_size": 50},
        {"epochs": 25, "granularity": "neuron", "batch_size": 50},
        {
            "epochs": 120,
            "batch_size": 10,
            "strategy": "sgd",
            "optimizer": "adam",
            "dropout": 0.2,
            "augmentation": {"mirror": True, "shift": 2},
            "validation": 0.1,
            "learning_rate": 0.001,
        },
    ],
    ids=["direct", "span", "neuron", "sgd"],
)
def test_invocations_of_half_a_second(clients, stack, tmp_path, fields):
    pixels, labels = oracle.photos_and_labels(samples=200, height=48, width=48)
    save_dataset(tmp_path / "d.h5", pixels, labels, pixels[:6], labels[:6], ("no", "yes"))
    stored = []
    for seconds in (0.0, 0.5):
        run_id = runs.new_run_id(f"continued {fields} {seconds}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.upload_file(str(tmp_path / "d.h5"), stack.bucket, key)
        chosen = Parameters.load(oracle.small_network((20, 7, 1), ("relu", "relu", "sigmoid"), **fields))
        runs.launch(clients, stack, run_id, key, chosen, trainer_seconds=seconds)
        run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.5, limit_seconds=300)
        clients.s3.download_file(stack.bucket, places.params(run_id), str(tmp_path / "p.h5"))
        with h5py.File(tmp_path / "p.h5") as h5:
            stored.append({name: h5[name][()] for name in h5})
    assert run.continuations >= 5
    assert run.usage["trainer"].invocations == run.continuations + 1
    assert all(np.array_equal(stored[0][name], stored[1][name]) for name in stored[0])
