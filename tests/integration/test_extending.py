"""An activation and an optimizer of one's own: a line and a class in one file each, in a copy of this project."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import oracle
import pytest

from snn_cli.local.emulator import Emulator
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset

ROOT = Path(__file__).parents[2]
SOFTSIGN = """
ACTIVATIONS["softsign"] = Activation(lambda Z: Z / (1 + np.abs(Z)), lambda A: (1 - np.abs(A)) ** 2)
"""
LION = '''

@dataclass(frozen=True)
class Lion:
    """Steps of one length, in the sign of the momentum."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    linear: ClassVar[bool] = False
    memory: ClassVar[tuple[str, ...]] = ("mean",)

    def step(self, w: Array, g: Array, rate: float, count: int, *memory: Array) -> None:
        """Move weights w by their gradients g."""
        (m,) = memory
        w -= rate * np.sign(self.beta_1 * m + (1 - self.beta_1) * g)
        m *= self.beta_2
        m += (1 - self.beta_2) * g


OPTIMIZERS["lion"] = Lion
'''
SAID = oracle.small_network(
    (5, 4, 1), ("softsign", "softsign", "sigmoid"), granularity="neuron", optimizer={"name": "lion", "beta_2": 0.95}
)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Any:
    """A copy of the packages with an entry more in two files; what runs a Python program with it."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("lambda_functions", "snn_cli", "plugins", "cloudformation"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, more in (("activations.py", SOFTSIGN), ("optimizers.py", LION)):
        with (copy / "lambda_functions" / "snn" / name).open("a") as file:
            file.write(more)
    folders = os.pathsep.join(str(copy / name) for name in ("lambda_functions", "plugins", "."))

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": folders, "AIRFLOW_HOME": str(copy / "airflow")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_schema_form_and_page_know_them(extended: Any) -> None:
    schema = json.loads(extended("-m", "snn_cli.main", "parameters"))
    assert "softsign" in schema["properties"]["activations"]["additionalProperties"]["enum"]
    objects = [one for one in schema["properties"]["optimizer"]["anyOf"] if one.get("type") == "object"]
    lion = next(one for one in objects if one["properties"]["name"]["const"] == "lion")
    assert lion["properties"]["beta_2"]["default"] == 0.99
    form = extended("-c", "from snn_operators.form import training_form as f; print(f()['optimizer'].schema)")
    assert "'lion': 'lion: Steps of one length, in the sign of the momentum.'" in form
    page = extended("-m", "snn_cli.parameters_page")
    assert "| `softsign` | 1 |" in page
    assert "| `lion` | Steps of one length, in the sign of the momentum. | `beta_1` 0.9, `beta_2` 0.99 |" in page


def test_a_stack_of_the_copy_trains_with_them_by_neurons(
    extended: Any, clients: Clients, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasets.h5").write_bytes(data)
    (tmp_path / "parameters.json").write_text(json.dumps(SAID))
    stack = ("--stack", "snn-extended")
    deployed = json.loads(extended("-m", "snn_cli.main", "deploy", *stack, "--with-cache", "--yes", "--json"))
    said = ("--dataset", str(tmp_path / "datasets.h5"), "--parameters", str(tmp_path / "parameters.json"))
    extended("-m", "snn_cli.main", "train", *stack, *said, "--name", "extended")
    body = clients.s3.get_object(Bucket=deployed["bucket"], Key=places.params("extended"))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        found = {name: h5[name][()] for name in h5}

    monkeypatch.setitem(oracle.G, "softsign", (lambda Z: Z / (1 + np.abs(Z)), lambda Z: (1 + np.abs(Z)) ** -2.0))
    monkeypatch.setattr(oracle, "move", by_lion)
    plain = {**SAID, "activations": dict.fromkeys(SAID["activations"], "sigmoid"), "optimizer": "adam"}
    chosen = Parameters.load(plain).model_copy(update={"activations": SAID["activations"]})
    wanted, _ = oracle.train_on(chosen, load_dataset(tmp_path / "datasets.h5"))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.abs(found[name] - array).max() < 1e-12, name
    assert np.abs(found["W1"] - oracle.first_weights(chosen, 27)[0][0]).max() > 0.1


def by_lion(ps: Any, gs: Any, state: Any, chosen: Parameters, t: int, rate: float) -> Any:
    """Lion (Chen et al., arXiv:2302.06675), without decay."""
    m = state.setdefault("m", [np.zeros_like(p) for p in ps])
    moved = [p - rate * np.sign(0.9 * one + 0.1 * g) for p, one, g in zip(ps, m, gs, strict=True)]
    state["m"] = [0.95 * one + 0.05 * g for one, g in zip(m, gs, strict=True)]
    return moved
