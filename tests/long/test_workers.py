"""Several trainers of one run, one of which is killed: the run ends with the weights it would have had."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import oracle
import pytest

from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import save_dataset


def trainers(emulator, stack):
    """The processes of TrainerLambda on this very emulator, oldest first."""
    found, mine = [], f"GATEWAY_PORT={emulator.endpoint_url.rpartition(':')[2]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            began = int((process / "stat").read_text().rsplit(")", 1)[1].split()[19])
        except (OSError, IndexError):
            continue
        if mine in variables and f"AWS_LAMBDA_FUNCTION_NAME={stack.trainer_function}".encode() in variables:
            found.append((began, int(process.name)))
    return [pid for _, pid in sorted(found)]


@pytest.mark.parametrize("victim", [0, -1], ids=["the older", "the younger"])
@pytest.mark.parametrize("strategy", ["average", "sgd"])
def test_a_trainer_killed_in_the_middle_changes_no_bit(clients, emulator, stack, tmp_path, victim, strategy):
    pixels, labels = oracle.photos_and_labels(samples=600, height=16, width=16)
    save_dataset(tmp_path / "d.h5", pixels, labels, pixels[:6], labels[:6], ("no", "yes"))
    fields = {"epochs": 6_000, "batch_size": 150, "strategy": "average", "first_layer": "direct"}
    if strategy == "sgd":
        fields = {"epochs": 1_500, "batch_size": 150, "strategy": "sgd", "sub_batches": 2, "optimizer": "adam",
                  "dropout": 0.2, "learning_rate": 0.0001}  # fmt: skip
    ledger, stored = Ledger(clients.dynamodb, stack.table), []
    for workers in (1, 2):
        run_id = runs.new_run_id(f"killed {strategy} {victim} {workers}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.upload_file(str(tmp_path / "d.h5"), stack.bucket, key)
        runs.launch(clients, stack, run_id, key, Parameters.load(oracle.small_network(**fields, workers=workers)))
        if workers == 2:
            limit = time.monotonic() + 60
            while ledger.get(run_id).epoch < 100 and time.monotonic() < limit:
                time.sleep(0.1)
            running = trainers(emulator, stack)
            assert len(running) >= 2
            os.kill(running[victim], signal.SIGKILL)
        run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.5, limit_seconds=240)
        clients.s3.download_file(stack.bucket, places.params(run_id), str(tmp_path / "p.h5"))
        with h5py.File(tmp_path / "p.h5") as h5:
            stored.append({name: h5[name][()] for name in h5})
    assert run.fence >= 2
    assert all(np.array_equal(stored[0][name], stored[1][name]) for name in stored[0])
