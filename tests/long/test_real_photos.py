"""Real photos as they are handed out, a command each, by the recipe that is chosen for them; scikit-learn beside it."""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier
from typer.testing import CliRunner

from snn_cli.main import app
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_data.dataset import load_dataset

SHARED = Path(__file__).parents[3] / "shared" / "datasets"
SEEDS = (1, 2, 3)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "cifar10.tar.xz").exists(), reason="the archives are not beside the project"),
]


def snn(stack: StackOutputs, *words: str) -> Any:
    """What a command prints as JSON."""
    environment = {**os.environ, "SNN_STACK_NAME": stack.stack_name, "COLUMNS": "200"}
    ended = CliRunner().invoke(app, [*words], env=environment)
    assert ended.exit_code == 0, f"{ended.stdout}\n{ended.stderr}"
    return json.loads(ended.stdout) if "--json" in words else None


def learned(stack: StackOutputs, name: str, *words: str) -> tuple[Any, float]:
    """The run that a command trains, and its accuracy on the test set."""
    run = snn(stack, "train", "--name", name, "--json", *words)
    assert run["state"] == "COMPLETED"
    return run, snn(stack, "evaluate", name, "--json")["accuracy"]


def test_mnist_from_folders_of_png_files(stack: StackOutputs) -> None:
    reached = []
    for seed in SEEDS:
        archive = str(SHARED / "mnist.tar.xz")
        run, accuracy = learned(stack, f"mnist-{seed}", "--dataset", archive, "--seed", str(seed))
        assert run["epochs_run"] <= 10
        reached.append(accuracy)
        print(f"MNIST, seed {seed}: {accuracy:.4f}, {run['epochs_run']} epochs, {run['seconds']:.1f} s")  # noqa: T201
    assert np.mean(reached) >= 0.982


def test_cifar_10_from_folders_of_jpeg_files(stack: StackOutputs) -> None:
    run, accuracy = learned(stack, "cifar", "--dataset", str(SHARED / "cifar10.tar.xz"))
    print(f"CIFAR-10: {accuracy:.4f}, {run['epochs_run']} epochs, {run['seconds']:.1f} s")  # noqa: T201
    assert accuracy >= 0.55


def test_cats_and_dogs_beside_scikit_learn(stack: StackOutputs, clients: Clients, tmp_path: Path) -> None:
    """A training takes, from its launch to its end, at most twice as long as MLPClassifier."""
    ours, seconds, theirs, their_seconds = [], [], [], []
    ledger = Ledger(clients.dynamodb, stack.table)
    with tarfile.open(SHARED / "cifar10.tar.xz") as archive:
        archive.extractall(tmp_path, filter=lambda one, to: one if "/train/" in f"{one.name}/" else None)
    with contextlib.chdir(tmp_path):
        snn(stack, "dataset", "make", "cifar10/train", "pets.h5", "--only", "cat,dog")
        data = load_dataset("pets.h5")
        assert (data.classes, len(data.train), len(data.test)) == (("cat", "dog"), 8_000, 2_000)
        x, test = (part.stored.reshape(len(part), -1) / 255 for part in (data.train, data.test))
        for seed in SEEDS:
            begun = time.monotonic()
            network = MLPClassifier((128,), early_stopping=True, random_state=seed).fit(x, data.train.y)
            their_seconds.append(time.monotonic() - begun)
            theirs.append(float(network.score(test, data.test.y)))
            told, accuracy = learned(stack, f"pets-{seed}", "--dataset", "pets.h5", "--seed", str(seed))
            ours.append(accuracy)
            run = ledger.get(f"pets-{seed}")
            seconds.append(run.ended_at - run.created_at)
            print(  # noqa: T201
                f"cats and dogs, seed {seed}: ours {accuracy:.4f}, {told['epochs_run']} epochs in {run.seconds:.1f} s, "
                f"{seconds[-1]:.1f} s from launch to end; scikit-learn {theirs[-1]:.4f} in {their_seconds[-1]:.1f} s"
            )
    assert np.mean(ours) >= 0.62
    assert np.mean(seconds) <= 2 * np.mean(their_seconds)
