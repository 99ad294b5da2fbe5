"""The peers: PyTorch and scikit-learn, as their own tutorials use them, on a job of the benchmark's.

Runs in the benchmark's own environment and imports nothing of the project. Trains one full-batch job from the given
first weights and prints one line of JSON:

    python peers.py JOB.npz EPOCHS torch-float32|torch-float64|scikit-learn
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from typing import Any

from reference import Job

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


def torch_training(job: Job, epochs: int, precision: str) -> dict[str, Any]:
    """Linear and ReLU modules, autograd, torch.optim.SGD; the loss takes logits, as PyTorch recommends."""
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    kind = getattr(torch, precision)
    modules: list[nn.Module] = []
    for number, (W, b) in enumerate(zip(job.W, job.b, strict=True), start=1):
        linear = nn.Linear(W.shape[1], W.shape[0], dtype=kind)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
            linear.bias.copy_(torch.from_numpy(b[:, 0]))
        modules += [linear] if number == len(job.W) else [linear, nn.ReLU()]
    network = nn.Sequential(*modules)
    X, Y = torch.from_numpy(job.X).to(kind), torch.from_numpy(job.Y[:, None]).to(kind)
    loss_of = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=job.rate)
    costs = []
    began = time.perf_counter()
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = loss_of(network(X), Y)
        loss.backward()
        optimizer.step()
        costs.append(loss.item())
    return _answer(time.perf_counter() - began, costs, torch.__version__)


def sklearn_training(job: Job, epochs: int) -> dict[str, Any]:
    """MLPClassifier with plain gradient descent; a warm start is how it takes given first weights."""
    import sklearn
    from sklearn.neural_network import MLPClassifier

    X, y = job.X, job.Y.astype(int)
    network = MLPClassifier(
        hidden_layer_sizes=[W.shape[0] for W in job.W[:-1]],
        activation="relu",
        solver="sgd",
        alpha=0.0,
        batch_size=len(y),
        learning_rate_init=job.rate,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
        n_iter_no_change=10**9,
        max_iter=1,
        warm_start=True,
    )
    warnings.simplefilter("ignore")  # that it has not converged is not the question
    network.fit(X, y)
    network.coefs_ = [W.T.copy() for W in job.W]
    network.intercepts_ = [b[:, 0].copy() for b in job.b]
    network.set_params(max_iter=epochs)
    began = time.perf_counter()
    network.fit(X, y)
    return _answer(time.perf_counter() - began, network.loss_curve_[-epochs:], sklearn.__version__)


def _answer(seconds: float, costs: list[float], version: str) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "epochs": len(costs),
        "seconds_per_epoch": seconds / len(costs),
        "costs": [float(cost) for cost in costs[:300]],
        "final_cost": float(costs[-1]),
        "version": version,
    }


def main() -> None:
    file, epochs, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    job = Job.load(file)
    if kind == "scikit-learn":
        answer = sklearn_training(job, epochs)
    else:
        answer = torch_training(job, epochs, kind.removeprefix("torch-"))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
