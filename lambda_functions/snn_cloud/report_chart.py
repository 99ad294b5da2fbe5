"""The geometry of the cost curve: what to draw where, in parts per thousand of the plot and percent for its labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_POINTS = 2_000
HOVER_COLUMNS = 100
LOG_HELPS_FROM = 20.0
"""When the largest cost is so many times the smallest, a linear axis hides most of the training."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its place in percent from the left or from the top, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Hover:
    """A column of the plot that tells its value when pointed at: left edge and width in ‰."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Scale:
    """The curve on one kind of y axis. `path` is SVG path data in a box of 1000×1000."""

    name: str
    path: str
    ticks: list[Tick]
    lines: list[Tick]
    end: Tick


@dataclass(frozen=True)
class Chart:
    """A cost curve: its x axis and one or two scales, the better one first."""

    x_ticks: list[Tick]
    scales: list[Scale]
    hovers: list[Hover]
    end_x: float


def cost_chart(costs: Sequence[float], lines: Sequence[tuple[float, str]] = ()) -> Chart:
    """Lay out the costs of epochs 0, 1, … and horizontal `lines` (cost, label); at least one cost."""
    points = downsample(costs)
    last = len(costs) - 1

    def x(epoch: float) -> float:
        return 1000 * epoch / last if last else 500.0

    def scale(name: str) -> Scale:
        logarithmic = name == "log"
        values = [cost for _, cost in points]
        # A line belongs into the picture unless it would squeeze the curve.
        near = [(value, label) for value, label in lines if min(values) / 3 <= value <= max(values) * 1.5]
        values += [value for value, _ in near]
        if logarithmic:
            marks = [mark for mark in log_ticks(min(values), max(values)) if mark > 0]
            low, high = math.log10(min([*values, marks[0]])), math.log10(max([*values, marks[-1]]))
        else:
            marks = nice_ticks(0, max(values) or 1)
            low, high = 0.0, marks[-1]

        def y(value: float) -> float:
            return 1000 * (1 - ((math.log10(value) if logarithmic else value) - low) / (high - low))

        path = "M" + "L".join(f"{x(epoch):.1f} {y(cost):.1f}" for epoch, cost in points)
        return Scale(
            name,
            path,
            [Tick(y(mark) / 10, f"{mark:g}") for mark in marks],
            [Tick(y(value) / 10, label) for value, label in near],
            Tick(y(costs[-1]) / 10, f"{costs[-1]:.3g}"),
        )

    log_helps = min(costs) > 0 and max(costs) / min(costs) >= LOG_HELPS_FROM
    return Chart(
        x_ticks=[Tick(x(epoch) / 10, f"{epoch:,.0f}") for epoch in nice_ticks(0, last) if epoch in range(last + 1)],
        scales=[scale(name) for name in (("log", "linear") if log_helps else ("linear",))],
        hovers=_hovers(costs),
        end_x=x(last) / 10,
    )


def downsample(costs: Sequence[float]) -> list[tuple[int, float]]:
    """Return (epoch, cost) of all epochs, or of at most `MOST_POINTS` that keep every dip and peak visible."""
    if len(costs) <= MOST_POINTS:
        return list(enumerate(costs))
    # The lowest and the highest of each stretch, and the two ends.
    stretches = MOST_POINTS // 2 - 1
    kept = {0, len(costs) - 1}
    for number in range(stretches):
        stretch = range(number * len(costs) // stretches, (number + 1) * len(costs) // stretches)
        kept |= {min(stretch, key=costs.__getitem__), max(stretch, key=costs.__getitem__)}
    return [(epoch, costs[epoch]) for epoch in sorted(kept)]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten from at or below `low` to at or above `high`."""
    span = (high - low) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / about))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if span / (magnitude * factor) <= about)
    first, past = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, past + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, and their 2- and 5-fold where there are few, that embrace `low` to `high` (both > 0)."""
    first, past = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if past - first <= 3 else (1,)
    # One decade more at both ends: a logarithm is rounded, and may miss a power of ten by a hair.
    marks = [float(f"{factor}e{decade}") for decade in range(first - 1, past + 2) for factor in factors]
    inside = [mark for mark in marks if low <= mark <= high]
    below, above = max(m for m in marks if m <= low), min(m for m in marks if m >= high)
    return sorted({below, *inside, above})


def _hovers(costs: Sequence[float]) -> list[Hover]:
    columns = min(len(costs), HOVER_COLUMNS)
    width = 1000 / columns
    hovers = []
    for column in range(columns):
        epoch = round(column * (len(costs) - 1) / (columns - 1)) if columns > 1 else 0
        hovers.append(Hover(round(column * width, 2), round(width, 2), f"epoch {epoch:,}: cost {costs[epoch]:.6g}"))
    return hovers
