"""How gradients update the weights. To add an optimizer, add one class and one entry to OPTIMIZERS.

Formulas and defaults are PyTorch's, names Keras' and scikit-learn's. All work element by element, so they are given the
weights in pieces that a processor's cache holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import numpy as np
from annotated_types import Ge, Gt, Lt

from snn.activations import Array
from snn.network import Params

Decay = Annotated[float, Ge(0), Lt(1)]
Small = Annotated[float, Gt(0), Lt(1)]
PIECE = 2**15  # numbers; measured: from 2^14 to 2^17 within a tenth


class Optimizer(Protocol):
    """A rule for one step. Its fields are what parameters.json may say of it.

    `memory` names what it remembers of each weight, from 0 on. `linear` says that a step is a weighted sum of gradients
    and weights: only then may the first layer be trained in the span of the data.
    """

    linear: ClassVar[bool] = False

    @property
    def memory(self) -> tuple[str, ...]:
        """Return the names of what is remembered."""

    def step(self, w: Array, g: Array, rate: float, count: int, *memory: Array) -> None:
        """Move weights w by their gradients g, in place, in the training's step `count`, from 1."""


@dataclass(frozen=True)
class GradientDescent:
    """Steps down the gradient, optionally with momentum.

    v ← momentum·v + g; w ← w - rate·v, or, with Nesterov's momentum, w - rate·(g + momentum·v).
    """

    momentum: Decay = 0.0
    nesterov: bool = False
    linear: ClassVar[bool] = True

    @property
    def memory(self) -> tuple[str, ...]:
        """Return the names of what is remembered."""
        return ("velocity",) if self.momentum else ()

    def step(self, w: Array, g: Array, rate: float, count: int, *memory: Array) -> None:
        """Move weights w by their gradients g."""
        for velocity in memory:
            velocity *= self.momentum
            velocity += g
            g = g + self.momentum * velocity if self.nesterov else velocity
        w -= rate * g


@dataclass(frozen=True)
class RMSprop:
    """Steps scaled, weight by weight, by the size of recent gradients.

    s ← rho·s + (1 - rho)·g²; d = g/(√s + epsilon); v ← momentum·v + d; w ← w - rate·v (Hinton, 2012).
    """

    rho: Decay = 0.99
    momentum: Decay = 0.0
    epsilon: Small = 1e-8
    linear: ClassVar[bool] = False

    @property
    def memory(self) -> tuple[str, ...]:
        """Return the names of what is remembered."""
        return ("squares", "velocity") if self.momentum else ("squares",)

    def step(self, w: Array, g: Array, rate: float, count: int, *memory: Array) -> None:
        """Move weights w by their gradients g."""
        squares = memory[0]
        squares *= self.rho
        squares += (1 - self.rho) * g * g
        g = g / (np.sqrt(squares) + self.epsilon)
        for velocity in memory[1:]:
            velocity *= self.momentum
            velocity += g
            g = velocity
        w -= rate * g


@dataclass(frozen=True)
class Adam:
    """Momentum, with steps scaled, weight by weight, by the size of recent gradients.

    m ← β₁·m + (1 - β₁)·g; s ← β₂·s + (1 - β₂)·g²; w ← w - rate·m̂/(√ŝ + ε) with m̂ = m/(1 - β₁ᵗ), ŝ = s/(1 - β₂ᵗ)
    (Kingma and Ba, arXiv:1412.6980). What is remembered is m/(1 - β₁) and s/(1 - β₂), which spares two passes.
    """

    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Small = 1e-8
    linear: ClassVar[bool] = False
    memory: ClassVar[tuple[str, ...]] = ("mean", "squares")

    def step(self, w: Array, g: Array, rate: float, count: int, *memory: Array) -> None:
        """Move weights w by their gradients g."""
        m, s = memory
        m *= self.beta_1
        m += g
        s *= self.beta_2
        s += g * g
        scale = ((1 - self.beta_2) / (1 - self.beta_2**count)) ** 0.5
        step = rate * (1 - self.beta_1) / (1 - self.beta_1**count)
        w -= (step / scale) * m / (np.sqrt(s) + self.epsilon / scale)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay.

    Before the step w ← w - rate·weight_decay·w (Loshchilov and Hutter, arXiv:1711.05101).
    """

    weight_decay: Annotated[float, Ge(0), Lt(1_000)] = 0.01

    def step(self, w: Array, g: Array, rate: float, count: int, *memory: Array) -> None:
        """Move weights w by their gradients g."""
        w *= 1 - rate * self.weight_decay
        super().step(w, g, rate, count, *memory)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "gradient_descent": GradientDescent,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


def move(
    optimizer: Optimizer, params: Params, gradients: Params, memory: Mapping[str, Params], rate: float, count: int,
    l2: float = 0.0,
) -> None:  # fmt: skip
    """Take one step, in place. `l2`, the slope of ½·l2·ΣW², is added to the gradients of all but the biases."""
    for name, weights in params.items():
        arrays = [weights, gradients[name], *(memory[kind][name] for kind in optimizer.memory)]
        decay = 0.0 if name.startswith("b") else l2
        flat = [array.reshape(-1) for array in arrays]
        for start in range(0, weights.size, PIECE):
            w, g, *remembered = (array[start : start + PIECE] for array in flat)
            optimizer.step(w, g + decay * w if decay else g, rate, count, *remembered)


def clip(gradients: Params, most: float) -> None:
    """Scale all gradients down together to a norm of at most `most`, as PyTorch's
    `clip_grad_norm_` does."""
    squares = [float(np.vdot(gradients[name], gradients[name])) for name in sorted(gradients)]
    norm = sum(squares) ** 0.5
    if norm > most:
        for slope in gradients.values():
            slope *= most / (norm + 1e-6)
