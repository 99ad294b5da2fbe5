"""The peers on what the field trains: PyTorch and scikit-learn on a job with mini-batches, Adam and many classes.

Runs in the benchmark's own environment and imports nothing of the project. PyTorch takes the job's first weights and
draws its mini-batches by the job's rule; scikit-learn draws its own. Prints one line of JSON:

    python classify.py JOB.npz torch|scikit-learn|numpy [--seed N] [--own-draws]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


@dataclass
class Job:
    """Samples as they are stored, first weights, and the recipe."""

    about: dict[str, Any]
    recipe: dict[str, Any]
    train: np.ndarray
    train_y: np.ndarray
    test: np.ndarray
    test_y: np.ndarray
    W: list[np.ndarray]
    b: list[np.ndarray]

    @classmethod
    def load(cls, file: Path | str) -> Job:
        """Read what `problem.save_job` wrote."""
        with np.load(file) as stored:
            about = json.loads(str(stored["about"]))
            arrays = [stored[name] for name in ("train_stored", "train_y", "test_stored", "test_y")]
            layers = range(about["layers"])
            return cls(
                about, about["recipe"], *arrays, [stored[f"W{i}"] for i in layers], [stored[f"b{i}"] for i in layers]
            )

    def as_numbers(self, stored: np.ndarray) -> np.ndarray:
        """Return samples as rows of the recipe's numbers."""
        rows = stored.reshape(len(stored), -1).astype(self.recipe["dtype"])
        return rows / 255 if stored.dtype == np.uint8 else rows


def order(job: Job, seed: int, epoch: int, own: bool) -> np.ndarray:
    """Return the order of an epoch's samples: the job's, or one of this seed."""
    stream = [seed, 77, epoch] if own else [job.recipe["seed"], 1, epoch]
    return np.random.default_rng(stream).permutation(len(job.train_y))


def augmented(photos: Any, asked: dict[str, Any], generator: Any) -> Any:
    """Return photos (m, h, w[, c]), a tensor, mirrored and shifted as asked, by draws of PyTorch's own."""
    import torch

    if asked.get("mirror"):
        chosen = torch.rand(len(photos), generator=generator) < 0.5
        photos = torch.where(chosen.view(-1, *[1] * (photos.dim() - 1)), photos.flip(2), photos)
    if most := asked.get("shift"):
        moves = torch.randint(-most, most + 1, (len(photos), 2), generator=generator)
        height, width = photos.shape[1:3]
        rows = (torch.arange(height)[None, :] - moves[:, :1]).clamp(0, height - 1)
        columns = (torch.arange(width)[None, :] - moves[:, 1:]).clamp(0, width - 1)
        photos = photos[torch.arange(len(photos))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return photos


def torch_training(job: Job, seed: int, own: bool) -> dict[str, Any]:
    """Modules, autograd and an optimizer, as PyTorch's own tutorials train; data in memory as float tensors."""
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    generator = torch.Generator().manual_seed(seed)
    recipe, kind = job.recipe, getattr(torch, job.recipe["dtype"])
    network = _network(job, seed, own)
    optimizer, options = None, dict(recipe["optimizer"])
    name, rate = options.pop("name"), recipe["learning_rate"]
    if name == "gradient_descent":
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, **options)
    else:
        settings: dict[str, Any] = {"betas": (options["beta_1"], options["beta_2"]), "eps": options["epsilon"]}
        if name == "adamw":
            settings["weight_decay"] = options["weight_decay"]
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](
            network.parameters(), lr=rate, **settings
        )
    m, epochs, strategy = len(job.train_y), recipe["epochs"], recipe["strategy"]
    size = min(recipe.get("batch_size") or m, m)
    steps = math.ceil(m / size) if strategy == "sgd" else 1
    schedule = recipe["schedule"]
    if schedule["name"] not in ("constant", "cosine"):
        raise ValueError(f"no such schedule here: {schedule['name']}")

    def factor(t: int) -> float:
        warmup = schedule["warmup"] * steps
        warm = min(1.0, (t + 1) / warmup) if warmup else 1.0
        if schedule["name"] == "constant":
            return warm
        share = max(0.0, t - warmup) / (epochs * steps - warmup)
        return warm * (schedule["final"] + (1 - schedule["final"]) * (1 + math.cos(math.pi * share)) / 2)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    binary = job.about["functions"][-1] == "sigmoid"
    loss_of = nn.BCEWithLogitsLoss() if binary else nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"])
    y = torch.from_numpy(job.train_y)
    y = y[:, None].to(kind) if binary else y
    changed = any(recipe["augmentation"].values())
    began = time.perf_counter()
    photos = torch.from_numpy(job.train) if changed else None
    X = None if changed else torch.from_numpy(job.as_numbers(job.train))
    costs, clock = [], []
    network.train()
    for epoch in range(epochs):
        places = (
            torch.from_numpy(order(job, seed, epoch, own)) if strategy in ("sgd", "best-batch") else torch.arange(m)
        )
        cuts = [places[start : start + size] for start in range(0, m, size)]
        if strategy == "best-batch":
            with torch.no_grad():
                tried = [loss_of(network(X[cut]), y[cut]).item() for cut in cuts if len(cut) == len(cuts[0])]
            cuts = [cuts[int(np.argmin(tried))]]
        spent = seen = 0.0
        for cut in cuts:
            inputs = (
                augmented(photos[cut], recipe["augmentation"], generator).flatten(1).to(kind) / 255
                if changed
                else X[cut]
            )
            optimizer.zero_grad()
            loss = loss_of(network(inputs), y[cut])
            loss.backward()
            optimizer.step()
            scheduler.step()
            spent, seen = spent + loss.item() * len(cut), seen + len(cut)
        costs.append(spent / seen)
        clock.append(time.perf_counter() - began)
        if recipe.get("threshold") is not None and costs[-1] <= recipe["threshold"]:
            break
    network.eval()
    with torch.no_grad():
        found = {
            part: _accuracy(job, part, network(torch.from_numpy(job.as_numbers(getattr(job, part)))))
            for part in ("train", "test")
        }
    return _answer(clock, costs, found, torch.__version__)


def _network(job: Job, seed: int, own: bool) -> Any:
    """Return the job's network: with its own first weights, or, drawn by PyTorch, with others of the same rule."""
    import torch
    from torch import nn

    kinds = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "elu": nn.ELU}
    rates, layers = job.recipe["dropout"], job.about["layers"]
    rates = rates if isinstance(rates, dict) else {f"layer{i}": rates for i in range(1, layers)}
    generator, modules = torch.Generator().manual_seed(seed), []
    if rates.get("layer0"):
        modules.append(nn.Dropout(rates["layer0"]))
    for number, (W, b) in enumerate(zip(job.W, job.b, strict=True), start=1):
        linear = nn.Linear(W.shape[1], W.shape[0], dtype=getattr(torch, job.recipe["dtype"]))
        function = job.about["functions"][number - 1]
        gain = 2 if number < layers and function in ("relu", "gelu", "elu") else 1
        with torch.no_grad():
            drawn = torch.randn(W.shape, generator=generator, dtype=torch.float64) * math.sqrt(gain / W.shape[1])
            linear.weight.copy_(drawn if own else torch.from_numpy(W))
            linear.bias.copy_(torch.from_numpy(b[:, 0]))
        modules.append(linear)
        if number < layers:
            modules.append(kinds[function]())
            if rates.get(f"layer{number}"):
                modules.append(nn.Dropout(rates[f"layer{number}"]))
    return nn.Sequential(*modules)


def _accuracy(job: Job, part: str, logits: Any) -> float:
    said = logits.argmax(dim=1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
    return float((said.numpy() == getattr(job, f"{part}_y")).mean())


def sklearn_training(job: Job, seed: int, own: bool) -> dict[str, Any]:
    """MLPClassifier with Adam, the same layers, mini-batches and epochs, stopping switched off."""
    import sklearn
    from sklearn.neural_network import MLPClassifier

    recipe = job.recipe
    network = MLPClassifier(
        hidden_layer_sizes=[len(W) for W in job.W[:-1]],
        activation={"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}[job.about["functions"][0]],
        solver="adam",
        alpha=0.0,
        batch_size=recipe["batch_size"],
        learning_rate_init=recipe["learning_rate"],
        max_iter=recipe["epochs"],
        n_iter_no_change=10**9,
        tol=0.0,
        random_state=seed,
    )
    warnings.simplefilter("ignore")  # that it has not converged is not the question
    began = time.perf_counter()
    X = job.as_numbers(job.train)
    network.fit(X, job.train_y)
    clock = [time.perf_counter() - began]
    found = {
        part: float(network.score(job.as_numbers(getattr(job, part)), getattr(job, f"{part}_y")))
        for part in ("train", "test")
    }
    return {**_answer(clock, network.loss_curve_, found, sklearn.__version__), "epochs": network.n_iter_}


def _answer(clock: list[float], costs: Any, found: dict[str, float], version: str) -> dict[str, Any]:
    laps = np.diff([0.0, *clock])
    return {
        "seconds": clock[-1],
        "epochs": len(clock),
        "seconds_per_epoch": float(np.median(laps)),
        "costs": [float(cost) for cost in costs[:300]],
        "final_cost": float(costs[-1]),
        "train_accuracy": found["train"],
        "test_accuracy": found["test"],
        "version": version,
    }


KINDS = {"torch": torch_training, "scikit-learn": sklearn_training}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--own-draws", action="store_true", help="first weights and mini-batches of this seed, not the job's"
    )
    options = parser.parse_args()
    print(json.dumps(KINDS[options.kind](Job.load(options.job), options.seed, options.own_draws)))


if __name__ == "__main__":
    main()
