"""PyTorch as a witness: it trains the very jobs that the project trained, by modules, losses and optimizers of its own.

Runs in the benchmark's environment and imports nothing of the project. Reads the jobs that `tests/witness` wrote (npz
files: first weights, what is drawn, the recipe as JSON) and writes beside each what it found:

    python witness.py FOLDER
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ACTIVATIONS: dict[str, Any] = {
    "identity": nn.Identity, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
}  # fmt: skip


class Masked(nn.Module):
    """Dropout by a mask that was drawn elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.mask: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, masked."""
        return x if self.mask is None else x * self.mask


class Witness:
    """One job: a network of PyTorch's modules with the job's first weights."""

    def __init__(self, job: Any) -> None:
        self.job, self.recipe = job, json.loads(str(job["recipe"]))
        self.kind = getattr(torch, self.recipe["dtype"])
        layers, names = self.recipe["layers"], self.recipe["activations"]
        self.linears, self.masks, modules = [], [Masked()], []
        modules.append(self.masks[0])
        for i in range(1, layers + 1):
            W, b = job[f"first/W{i}"], job[f"first/b{i}"]
            linear = nn.Linear(W.shape[1], W.shape[0], dtype=self.kind)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(W))
                linear.bias.copy_(torch.from_numpy(b[:, 0]))
            self.linears.append(linear)
            modules.append(linear)
            if i < layers:
                self.masks.append(Masked())
                modules += [ACTIVATIONS[names[f"layer{i}"]](), self.masks[-1]]
        self.network = nn.Sequential(*modules)
        self.output = names[f"layer{layers}"]
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        options = dict(self.recipe["optimizer"])
        name, rate, l2 = options.pop("name"), self.recipe["learning_rate"], self.recipe["l2"]
        decay = options.pop("weight_decay", 0.0)
        groups = [
            {"params": [linear.weight for linear in self.linears], "weight_decay": l2},
            {"params": [linear.bias for linear in self.linears], "weight_decay": 0.0},
        ]
        if name == "gradient_descent":
            return torch.optim.SGD(groups, lr=rate, **options)
        if name == "rmsprop":
            return torch.optim.RMSprop(
                groups, lr=rate, alpha=options["rho"], eps=options["epsilon"], momentum=options["momentum"]
            )
        settings = {"betas": (options["beta_1"], options["beta_2"]), "eps": options["epsilon"]}
        if name == "adam":
            return torch.optim.Adam(groups, lr=rate, **settings)
        if l2:
            raise ValueError("AdamW of PyTorch has no second decay")
        return torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=decay, **settings)

    def schedulers(self, steps: int) -> list[Any]:
        """PyTorch's own schedulers where it has one, stepped at every mini-batch; each has an optimizer to itself."""
        schedule, lr = self.recipe["schedule"], torch.optim.lr_scheduler
        name, epochs, warmup = schedule["name"], self.recipe["epochs"], schedule["warmup"]

        def rate() -> torch.optim.Optimizer:
            return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=self.recipe["learning_rate"])

        found: list[Any] = []
        if warmup:
            found.append(lr.LambdaLR(rate(), lambda t: min(1.0, (t + 1) / (warmup * steps))))
        if name == "step":
            found.append(lr.StepLR(rate(), schedule["step_size"] * steps, schedule["gamma"]))
        elif name == "exponential":
            found.append(lr.ExponentialLR(rate(), schedule["gamma"] ** (1 / steps)))
        elif name == "cosine" and not warmup:
            least = schedule["final"] * self.recipe["learning_rate"]
            found.append(lr.CosineAnnealingLR(rate(), epochs * steps, least))
        elif name == "cosine":  # PyTorch's begins at the first step, ours when it is warm
            final, length = schedule["final"], epochs - warmup
            found.append(
                lr.LambdaLR(
                    rate(),
                    lambda t: final + (1 - final) * (1 + math.cos(math.pi * max(0.0, t / steps - warmup) / length)) / 2,
                )
            )
        return found

    def rate(self, schedulers: list[Any]) -> float:
        """The learning rate of a step: the product of what the schedulers say."""
        base = self.recipe["learning_rate"]
        return float(base * math.prod(scheduler.get_last_lr()[0] / base for scheduler in schedulers))

    def loss(self, logits: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """The batch's mean cost, by PyTorch's losses."""
        smoothing = self.recipe["label_smoothing"]
        if self.output == "identity":
            return nn.MSELoss()(logits[:, 0], y)
        if self.output == "softmax":
            return nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing)(logits, y)
        if weights is None and not smoothing:
            return nn.BCEWithLogitsLoss()(logits[:, 0], y.to(self.kind))
        # Two classes with weights or smoothing are two logits, 0 and z, to PyTorch's cross-entropy.
        two = torch.stack([torch.zeros_like(logits[:, 0]), logits[:, 0]], dim=1)
        return functional.cross_entropy(two, y, weight=weights, label_smoothing=smoothing)

    def scaled(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the network learns from."""
        scaling = self.recipe.get("input_scaling")
        return (inputs - scaling["mean"]) / scaling["scale"] if scaling else inputs

    def train(self) -> dict[str, np.ndarray]:
        """Train step by step as the job draws it; return weights, costs and the first step's gradients."""
        X, y = torch.from_numpy(self.job["X"]).to(self.kind), torch.from_numpy(self.job["y"])
        weights = torch.from_numpy(self.job["class_weights"]).to(self.kind) if "class_weights" in self.job else None
        plan = json.loads(str(self.job["plan"]))
        costs, first_gradients = [], {}
        schedulers = self.schedulers(len(plan[0]))
        for epoch, steps in enumerate(plan):
            spent = weighed = 0.0
            for number, batches in enumerate(steps):
                done = []
                for index, places in enumerate(batches):
                    for layer, masked in enumerate(self.masks):
                        name = f"mask/{epoch}/{number}/{index}/{layer}"
                        masked.mask = torch.from_numpy(self.job[name]).T.to(self.kind) if name in self.job else None
                    data = f"augmented/{epoch}/{number}/{index}"
                    inputs = torch.from_numpy(self.job[data]).to(self.kind) if data in self.job else X[places]
                    self.optimizer.zero_grad()
                    loss = self.loss(self.network(self.scaled(inputs)), y[places], weights)
                    loss.backward()
                    weight = float(weights[y[places]].sum()) if weights is not None else float(len(places))
                    done.append((loss.item(), [p.grad.clone() for p in self.network.parameters()], weight))
                full = sum(len(places) == len(batches[0]) for places in batches)
                cost, gradients, weight = self.combined(done, full)
                if not first_gradients:
                    for i in range(len(self.linears)):
                        first_gradients[f"gradient/W{i + 1}"] = gradients[2 * i].numpy().copy()
                        first_gradients[f"gradient/b{i + 1}"] = gradients[2 * i + 1].numpy()[:, None].copy()
                for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
                    parameter.grad = gradient
                if self.recipe.get("clip_norm") is not None:
                    nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe["clip_norm"])
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate(schedulers)
                self.optimizer.step()
                for scheduler in schedulers:
                    scheduler.optimizer.step()
                    scheduler.step()
                spent, weighed = spent + cost * weight, weighed + weight
            costs.append(spent / weighed)
        found = {"costs": np.array(costs), **first_gradients}
        for i, linear in enumerate(self.linears, start=1):
            found[f"W{i}"] = linear.weight.detach().numpy()
            found[f"b{i}"] = linear.bias.detach().numpy()[:, None]
        # W(x - mean)/scale + b is a network of x, whose b is what it gives for x = 0.
        if scaling := self.recipe.get("input_scaling"):
            first = self.linears[0]
            found["b1"] = first(self.scaled(torch.zeros(1, first.in_features, dtype=self.kind))).detach().numpy().T
            found["W1"] = found["W1"] / scaling["scale"]
        return found

    def combined(self, done: list[Any], full: int) -> tuple[float, list[torch.Tensor], float]:
        """What a step makes of its batches, the first of which are full: the cheapest full one, or their mean."""
        if self.recipe["strategy"] == "best-batch":
            cost, gradients, weight = min(done[:full], key=lambda one: one[0])
            return cost, gradients, weight
        total = sum(weight for _, _, weight in done)
        cost = sum(cost * weight for cost, _, weight in done) / total
        gradients = [sum(one[1][i] * (one[2] / total) for one in done) for i in range(len(done[0][1]))]
        return cost, gradients, total


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for file in sorted(folder.glob("job-*.npz")):
        with np.load(file) as job:
            np.savez(folder / file.name.replace("job-", "found-"), **Witness({name: job[name] for name in job}).train())
    print(json.dumps({"torch": torch.__version__}))


if __name__ == "__main__":
    main()
