"""The geometry of the cost curve: what to draw where, in parts per thousand of the plot and percent for its labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from snn_client.reports.formats import is_number, short, significant

MAX_POINTS = 2_000
HOVER_COLUMNS = 100
LOG_HELPS_FROM = 20.0
"""When the largest cost is this many times the smallest, a linear axis hides most of the training."""

LABEL_HEIGHT = 8.0
"""Of a label beside the plot, in percent of the plot's height on a phone."""

Curve = Sequence[float | None]
"""A figure of epochs 0, 1, …; one that is missing, or no number, leaves a gap that a straight line bridges."""


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
class Line:
    """A curve as SVG path data in a box of 1000×1000; where it ends, and how high there is room to say so."""

    path: str
    end_x: float
    end: Tick
    label_at: float


@dataclass(frozen=True)
class Scale:
    """The curves on one kind of y axis. `lines` are horizontal; `best_at` is the height of the best epoch's mark."""

    name: str
    ticks: list[Tick]
    lines: list[Tick]
    cost: Line
    validation: Line | None
    best_at: float


@dataclass(frozen=True)
class Chart:
    """A cost curve: its x axis and one or two scales, the better one first. `best` marks the epoch that was best."""

    x_ticks: list[Tick]
    scales: list[Scale]
    hovers: list[Hover]
    best: Tick | None


def cost_chart(
    curves: Mapping[str, Curve], lines: Sequence[tuple[float, str]] = (), best_epoch: int | None = None
) -> Chart:
    """Lay out the curves, of which "cost" and "validation_cost" are drawn, and horizontal `lines` (cost, label).

    All curves tell their figures where they are pointed at. At least one cost is a number.
    """
    costs, validation = curves["cost"], curves.get("validation_cost", ())
    points, validated = downsample(costs), downsample(validation)
    drawn = [value for _, value in (*points, *validated)]
    low, high = min(drawn), max(drawn)
    # A line belongs into the picture unless it would squeeze the curves.
    near = [(value, label) for value, label in lines if low / 3 <= value <= high * 1.5]
    last = max(points[-1][0], validated[-1][0] if validated else 0)
    best = best_epoch if best_epoch is not None and 0 <= best_epoch <= last else None
    marked = next((curve[best] for curve in (validation, costs) if best is not None and best < len(curve)), None)

    def x(epoch: float) -> float:
        return 1000 * epoch / last if last else 500.0

    def scale(name: str) -> Scale:
        ticks, y = _axis(name == "log", [*drawn, *(value for value, _ in near)])
        cost, validation_line = _lines([points, validated], x, y)
        return Scale(
            name,
            [Tick(y(mark) / 10, short(mark)) for mark in ticks],
            [Tick(y(value) / 10, label) for value, label in near],
            cost,
            validation_line,
            y(marked) / 10 if marked is not None and is_number(marked) else 50.0,
        )

    log_helps = low > 0 and high / low >= LOG_HELPS_FROM
    return Chart(
        x_ticks=[Tick(x(epoch) / 10, f"{epoch:,.0f}") for epoch in nice_ticks(0, last) if epoch in range(last + 1)],
        scales=[scale(name) for name in (("log", "linear") if log_helps else ("linear",))],
        hovers=_hovers(curves, last + 1),
        best=None if best is None else Tick(x(best) / 10, f"best: epoch {best:,}"),
    )


def _axis(logarithmic: bool, values: Sequence[float]) -> tuple[list[float], Callable[[float], float]]:
    """Return an axis' marks, and the function that gives a value's height on it, from the top."""
    if logarithmic:
        marks = [mark for mark in log_ticks(min(values), max(values)) if mark > 0]
        low, high = math.log10(min([*values, marks[0]])), math.log10(max([*values, marks[-1]]))
    else:
        marks = nice_ticks(min(0, *values), max(values) or 1)
        low, high = marks[0], marks[-1]

    def y(value: float) -> float:
        return 1000 * (1 - ((math.log10(value) if logarithmic else value) - low) / (high - low))

    return marks, y


def _lines(
    curves: Sequence[Sequence[tuple[int, float]]], x: Callable[[float], float], y: Callable[[float], float]
) -> tuple[Line, Line | None]:
    """Return the curves of costs and of validation, if there is one, with room between the labels at their ends."""
    curves = [points for points in curves if points]
    ends = [Tick(y(points[-1][1]) / 10, significant(points[-1][1], 3)) for points in curves]
    places = [end.at for end in ends]
    if len(ends) > 1 and abs(places[0] - places[1]) < LABEL_HEIGHT:
        middle, upper = sum(places) / 2, places.index(min(places))
        places = [middle + LABEL_HEIGHT / 2] * 2
        places[upper] -= LABEL_HEIGHT
    paths = ["M" + "L".join(f"{x(epoch):.1f} {y(value):.1f}" for epoch, value in points) for points in curves]
    ends_x = [x(points[-1][0]) / 10 for points in curves]
    cost, *validation = (Line(*line) for line in zip(paths, ends_x, ends, places, strict=True))
    return cost, validation[0] if validation else None


def curve_name(name: str) -> str:
    """Return what people call a curve."""
    return name.replace("_", " ").replace("r2", "R²")


def downsample(curve: Curve) -> list[tuple[int, float]]:
    """Return (epoch, value) of all epochs, or of at most `MAX_POINTS` that keep every dip and peak visible."""
    points = [(epoch, value) for epoch, value in enumerate(curve) if value is not None and is_number(value)]
    if len(points) <= MAX_POINTS:
        return points

    def value_at(place: int) -> float:
        return points[place][1]

    # The lowest and the highest of each stretch, and the two ends.
    stretches = MAX_POINTS // 2 - 1
    kept = {0, len(points) - 1}
    for number in range(stretches):
        stretch = range(number * len(points) // stretches, (number + 1) * len(points) // stretches)
        kept |= {min(stretch, key=value_at), max(stretch, key=value_at)}
    return [points[place] for place in sorted(kept)]


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten from at or below `low` to at or above `high`."""
    span = (high - low) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / about))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if span / (magnitude * factor) <= about)
    first, past = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, past + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, and their 2- and 5-fold where there are few, that embrace `low` to `high` (both > 0)."""
    first, past = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if past - first <= 3 else (1,)
    # One decade more at both ends: a logarithm is rounded, and may miss a power of ten by a hair.
    marks = [float(f"{factor}e{decade}") for decade in range(first - 1, past + 2) for factor in factors]
    inside = [mark for mark in marks if low <= mark <= high]
    below, above = max(m for m in marks if m <= low), min(m for m in marks if m >= high)
    return sorted({below, *inside, above})


def _hovers(curves: Mapping[str, Curve], epochs: int) -> list[Hover]:
    columns = min(epochs, HOVER_COLUMNS)
    width = 1000 / columns
    hovers = []
    for column in range(columns):
        epoch = round(column * (epochs - 1) / (columns - 1)) if columns > 1 else 0
        there = [(name, curve[epoch]) for name, curve in curves.items() if epoch < len(curve)]
        figures = [f"{curve_name(name)} {value:.6g}" for name, value in there if value is not None]
        hovers.append(Hover(round(column * width, 2), round(width, 2), f"epoch {epoch:,}: {', '.join(figures)}"))
    return hovers
