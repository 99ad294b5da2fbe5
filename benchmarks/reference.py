"""The plain NumPy loop that all is measured against: what a competent person writes in an afternoon, in one file.

Full arrays, float64, every W updated in place at every step; the matrix products are BLAS calls and take nearly all of
the time. It shares no line with the project. As a program it trains one job and prints one line of JSON:

    python reference.py JOB.npz EPOCHS [--thrifty] [--seconds LIMIT]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Job:
    """What there is to train: samples X (m, features) in 0..1, labels Y (m,), first weights, and how."""

    X: np.ndarray
    Y: np.ndarray
    W: list[np.ndarray]
    b: list[np.ndarray]
    functions: list[str]
    rate: float
    strategy: str
    threshold: float | None = None
    batch_size: int | None = None
    seed: int = 1

    @classmethod
    def load(cls, file: Path | str) -> Job:
        """Read what `problem.save_job` wrote."""
        with np.load(file) as stored:
            about = json.loads(str(stored["about"]))
            return cls(
                X=stored["train_stored"].reshape(len(stored["train_y"]), -1) / 255.0,
                Y=stored["train_y"].astype(np.float64),
                W=[stored[f"W{i}"] for i in range(about["layers"])],
                b=[stored[f"b{i}"] for i in range(about["layers"])],
                functions=about["functions"],
                rate=about["rate"],
                strategy=about["strategy"],
                threshold=about["threshold"],
                batch_size=about["batch_size"],
                seed=about["seed"],
            )

    def batches(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return an epoch's mini-batches, X (features, k) and Y (1, k): drawn anew, or in the order of the samples."""
        m = len(self.Y)
        size = m if self.strategy == "full-batch" else min(self.batch_size or m, m)
        if self.strategy in ("full-batch", "average"):
            parts: list[Any] = [slice(start, start + size) for start in range(0, m, size)]
        else:
            order = np.random.default_rng([self.seed, 1, epoch]).permutation(m)
            parts = [order[start : start + size] for start in range(0, m, size)]
        return [(self.X[part].T, self.Y[None, part]) for part in parts]


@dataclass
class Timed:
    """What came out: the cost before each epoch's step, and the clock after every epoch."""

    costs: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)


def forward(job: Job, X: np.ndarray) -> list[np.ndarray]:
    """Return the activations of layers 0..L."""
    A = [X]
    for W, b, function in zip(job.W, job.b, job.functions, strict=True):
        Z = W @ A[-1] + b
        A.append(np.maximum(Z, 0.0) if function == "relu" else 1.0 / (1.0 + np.exp(-Z)))
    return A


def cost(A: np.ndarray, Y: np.ndarray) -> float:
    """Return the mean cross-entropy."""
    return float(-np.mean(Y * np.log(A) + (1.0 - Y) * np.log(1.0 - A)))


def backward(job: Job, A: list[np.ndarray], Y: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return dW and db of every layer."""
    m, layers = Y.shape[1], len(job.W)
    dW, db = [np.empty(0)] * layers, [np.empty(0)] * layers
    dZ = A[-1] - Y
    for i in reversed(range(layers)):
        dW[i] = dZ @ A[i].T / m
        db[i] = dZ.sum(axis=1, keepdims=True) / m
        if i:
            dA = job.W[i].T @ dZ
            dZ = dA * (A[i] > 0) if job.functions[i - 1] == "relu" else dA * A[i] * (1.0 - A[i])
    return dW, db


def step(job: Job, dW: list[np.ndarray], db: list[np.ndarray]) -> None:
    """Move the weights, in place."""
    for i in range(len(job.W)):
        job.W[i] -= job.rate * dW[i]
        job.b[i] -= job.rate * db[i]


def full_batch(job: Job, epoch: int) -> float:
    """One step on all data."""
    ((X, Y),) = job.batches(epoch)
    A = forward(job, X)
    step(job, *backward(job, A, Y))
    return cost(A[-1], Y)


def sgd(job: Job, epoch: int) -> float:
    """A step a mini-batch; the cost is the mean as stepped."""
    spent = 0.0
    for X, Y in job.batches(epoch):
        A = forward(job, X)
        spent += cost(A[-1], Y) * Y.shape[1]
        step(job, *backward(job, A, Y))
    return spent / len(job.Y)


def best_batch(job: Job, epoch: int) -> float:
    """Every batch's gradients from the same weights; the full batch with the lowest cost moves them."""
    results, sizes = [], []
    for X, Y in job.batches(epoch):
        A = forward(job, X)
        results.append((cost(A[-1], Y), backward(job, A, Y)))
        sizes.append(Y.shape[1])
    best = min(results[: sizes.count(sizes[0])], key=lambda result: result[0])
    step(job, *best[1])
    return best[0]


def best_batch_thrifty(job: Job, epoch: int) -> float:
    """The same, but the way back is gone for the winner only: less than half the work."""
    batches = job.batches(epoch)
    seen = [forward(job, X) for X, _ in batches]
    costs = [cost(A[-1], Y) for A, (_, Y) in zip(seen, batches, strict=True)]
    sizes = [Y.shape[1] for _, Y in batches]
    best = int(np.argmin(costs[: sizes.count(sizes[0])]))
    step(job, *backward(job, seen[best], batches[best][1]))
    return costs[best]


def average(job: Job, epoch: int) -> float:
    """The batches' gradients, weighted by size, make one step."""
    total = len(job.Y)
    epoch_cost, dW, db = 0.0, [np.zeros_like(W) for W in job.W], [np.zeros_like(b) for b in job.b]
    for X, Y in job.batches(epoch):
        A, share = forward(job, X), Y.shape[1] / total
        epoch_cost += share * cost(A[-1], Y)
        for i, (dWi, dbi) in enumerate(zip(*backward(job, A, Y), strict=True)):
            dW[i] += share * dWi
            db[i] += share * dbi
    step(job, dW, db)
    return epoch_cost


EPOCH: dict[str, Callable[[Job, int], float]] = {
    "full-batch": full_batch,
    "sgd": sgd,
    "best-batch": best_batch,
    "average": average,
    "thrifty": best_batch_thrifty,
}


def train(job: Job, epochs: int, seconds: float = float("inf")) -> Timed:
    """Train until the last epoch, the job's threshold, or the first epoch that ends after `seconds`."""
    timed, epoch = Timed(), EPOCH[job.strategy]
    began = time.perf_counter()
    while len(timed.costs) < epochs:
        timed.costs.append(epoch(job, len(timed.costs)))
        timed.clock.append(time.perf_counter() - began)
        if job.threshold is not None and timed.costs[-1] <= job.threshold:
            break
        if timed.clock[-1] > seconds and len(timed.costs) >= 3:
            break
    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("epochs", type=int)
    parser.add_argument("--thrifty", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    job = Job.load(options.job)
    if options.thrifty:
        job.strategy = "thrifty"
    timed = train(job, options.epochs, options.seconds)
    laps = np.diff([0.0, *timed.clock])
    print(
        json.dumps(
            {
                "seconds": timed.clock[-1],
                "epochs": len(timed.costs),
                "seconds_per_epoch": float(np.median(laps)),
                "costs": timed.costs[:300],
                "final_cost": timed.costs[-1],
                "version": np.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
