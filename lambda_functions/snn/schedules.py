"""How the learning rate changes. To add a schedule, add one class and one entry to SCHEDULES."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A constant rate, after an optional warm-up.

    All others begin here; fields are what parameters.json may say of a schedule. Over the first `warmup` epochs the
    rate grows in a straight line, by the same amount at every step.
    """

    warmup: Annotated[float, Ge(0)] = 0.0
    needs_epochs: ClassVar[bool] = False

    def factor(self, time: float, epochs: int) -> float:
        """Return the factor of `learning_rate` at a time counted in epochs, fractions included, of so many epochs."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """Lowers the rate every few epochs.

    gamma^⌊time/step_size⌋, as PyTorch's StepLR.
    """

    step_size: Annotated[int, Gt(0)] = 10
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1

    def factor(self, time: float, epochs: int) -> float:
        """Return the factor at a time."""
        return self.gamma ** math.floor(time / self.step_size)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Lowers the rate a little with every step.

    gamma^time: at whole epochs what PyTorch's ExponentialLR has, and smooth in between.
    """

    gamma: Annotated[float, Gt(0), Le(1)] = 0.95

    def factor(self, time: float, epochs: int) -> float:
        """Return the factor at a time."""
        return float(self.gamma**time)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Lowers the rate to nearly zero by the last epoch, slowly at both ends.

    From 1 after the warm-up to `final` at the end, along half a cosine (Loshchilov and Hutter, arXiv:1608.03983).
    """

    final: Annotated[float, Ge(0), Le(1)] = 0.0
    needs_epochs: ClassVar[bool] = True

    def factor(self, time: float, epochs: int) -> float:
        """Return the factor at a time."""
        share = min(1.0, max(0.0, time - self.warmup) / max(epochs - self.warmup, 1e-9))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Schedule,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
}


def rate_at(schedule: Schedule, learning_rate: float, step: int, steps: int, epochs: int) -> float:
    """Return the learning rate of a training's step, counted from 0, where an epoch has so many steps."""
    warm = min(1.0, (step + 1) / (schedule.warmup * steps)) if schedule.warmup else 1.0
    return learning_rate * warm * schedule.factor(step / steps, epochs)
