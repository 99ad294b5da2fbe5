"""PyTorch's autograd as a witness for what the microscope says of slopes: in parameters, and in inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

from snn.activations import ACTIVATIONS
from snn_client.microscope.neurons import logit_slopes, slopes_of
from snn_cloud.ledger.parameters import Parameters

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # the benchmarks are no part of what is installed

from benchmarks.competitors import Competitors  # noqa: E402

KINDS = {"sigmoid": (1, 2), "softmax": (4, 4), "identity": (1, 0)}
"""Of the last layer: its neurons and the classes."""

TORCH = """
import json, sys
import torch
torch.set_default_dtype(torch.float64)
F = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda z: z,
     "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.01), "elu": torch.nn.functional.elu,
     "gelu": torch.nn.functional.gelu}
told = []
for job in json.load(sys.stdin):
    params = {name: torch.tensor(value, requires_grad=True) for name, value in job["params"].items()}
    X, y = torch.tensor(job["X"], requires_grad=True), torch.tensor(job["y"])
    A = X
    for number, name in enumerate(job["activations"], start=1):
        Z = params[f"W{number}"] @ A + params[f"b{number}"]
        A = F[name](Z) if number < len(job["activations"]) else Z
    kind = job["activations"][-1]
    if kind == "sigmoid":
        cost = torch.nn.functional.binary_cross_entropy_with_logits(Z[0], y.double())
    elif kind == "softmax":
        cost = torch.nn.functional.cross_entropy(Z.T, y.long())
    else:
        cost = torch.nn.functional.mse_loss(Z[0], y.double())
    cost.backward()
    found = {name: value.grad.tolist() for name, value in params.items()}
    found |= {"cost": float(cost.detach()), "X": X.grad.tolist()}
    X2 = torch.tensor(job["X"], requires_grad=True)
    A = X2
    for number, name in enumerate(job["activations"], start=1):
        Z = params[f"W{number}"].detach() @ A + params[f"b{number}"].detach()
        A = F[name](Z) if number < len(job["activations"]) else Z
    Z[job["output"]].sum().backward()
    found["logit"] = X2.grad.tolist()
    told.append(found)
print(json.dumps(told))
"""


def job(kind: str, activation: str) -> tuple[Parameters, dict[str, Any]]:
    random = np.random.default_rng(len(kind) + len(activation))
    neurons, classes = KINDS[kind]
    chosen = Parameters.load(oracle.small_network((6, 5, neurons), (activation, activation, kind)))
    params = {name: array + 0.1 * random.standard_normal(array.shape)
              for name, array in chosen.network(7).first_params(1).items()}  # fmt: skip
    y = random.integers(0, classes, 12) if classes else random.standard_normal(12)
    return chosen, {
        "activations": chosen.activation_per_layer, "output": neurons - 1,
        "X": random.standard_normal((7, 12)).tolist(),
        "params": {name: array.tolist() for name, array in params.items()}, "y": y.tolist(),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_autograds(kind: str) -> None:
    jobs = [job(kind, activation) for activation in ACTIVATIONS]
    competitors = Competitors(ROOT / ".local" / "bench-venv")
    competitors.install()
    assert "torch-float64" not in competitors.missing, competitors.missing
    answer = subprocess.run(
        [competitors.venv / "bin/python", "-c", TORCH],
        input=json.dumps([one for _, one in jobs]),
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(answer.stdout)
    assert len(told) == len(ACTIVATIONS) >= 3
    for (chosen, asked), witness in zip(jobs, told, strict=True):
        network, X = chosen.network(7), np.array(asked["X"])
        params = {name: np.array(value) for name, value in asked["params"].items()}
        found = slopes_of(network, params, X, chosen.targets(np.array(asked["y"])))
        assert found.cost == pytest.approx(witness["cost"], rel=1e-10)
        for name, slopes in {**found.params, "X": found.inputs}.items():
            what = f"{asked['activations']} {name}"
            np.testing.assert_allclose(slopes, witness[name], rtol=1e-9, atol=1e-12, err_msg=what)
        logit = logit_slopes(network, params, X, asked["output"])
        np.testing.assert_allclose(logit, witness["logit"], rtol=1e-9, atol=1e-12)
