"""The drawings of the notebook `Introduction`: the system, a network, how work is split, and the lease."""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from pictures import BLUE, GREEN, GREY, INK, ORANGE, PALE

Point = tuple[float, float]


def architecture() -> None:
    """Draw who calls whom in a run, and where its data lie."""
    axes = _paper(10, 5.2, 100, 52)
    _box(axes, 1, 6, 17, 40, "", "white", GREY)
    axes.text(9.5, 43.5, "you", ha="center", weight="bold")
    _box(axes, 3, 32, 13, 8, "a DAG in\nAirflow", PALE)
    _box(axes, 3, 20, 13, 8, "the command\nsnn", PALE)
    _box(axes, 3, 8, 13, 8, "an upload\nto S3", PALE)
    _box(axes, 23, 1, 76, 50, "", "white", GREY)
    axes.text(61, 48, "AWS, or the emulator on your machine", ha="center", weight="bold")
    _box(axes, 27, 20, 14, 8, "LaunchLambda", BLUE)
    _box(axes, 52, 20, 14, 8, "TrainerLambda", BLUE)
    for shift in (2.4, 1.2, 0.0):
        _box(axes, 80 + shift, 20 + shift, 14, 8, "NeuronLambda" if not shift else "", BLUE)
    _box(axes, 27, 4, 14, 8, "S3\ndata, models", GREEN)
    _box(axes, 52, 37, 14, 8, "DynamoDB\nthe ledger", GREEN)
    _box(axes, 80, 4, 14, 8, "Valkey\nthe cache", ORANGE)
    _box(axes, 80, 37, 14, 8, "SNS\ne-mails", GREEN)
    _arrow(axes, (16, 34), (27, 26.5), "start a run", (2.5, 2), "left")
    _arrow(axes, (16, 24), (27, 24))
    _arrow(axes, (16, 10), (27, 8), "data", (2, 2), "left")
    _arrow(axes, (32, 12), (32, 20), "announces\nan upload", (-0.5, 0), "right")
    _arrow(axes, (41, 24), (52, 24), "starts", (0, 1))
    _arrow(axes, (66, 24), (80, 24), "a neuron,\na layer", (0, 2), both=True)
    _arrow(axes, (59, 28), (59, 37), "costs, state,\nthe lease", (1, 0), "left", both=True)
    _arrow(axes, (66, 20), (80, 9.5), "arrays", (2, 1.5), "left", both=True)
    _arrow(axes, (87, 12), (87, 20), "arrays", (1, 0), "left", both=True)
    _arrow(axes, (66, 28), (80, 38.5), "progress", (-2.5, 1.5))
    _arrow(axes, (55, 20), (41, 9.5), "photos in,\nmodel out", (2, -2.5), "left", both=True)
    _arrow(axes, (52, 42), (16, 38.5), "watched", (0, 1.5))


def network(sizes: list[int], inputs: int) -> None:
    """Draw layers of neurons under their sizes; each line is a weight. Of many neurons some are drawn."""
    axes = _paper(9, 3.4, 100, 34)
    places: list[list[Point]] = []
    for number, size in enumerate([inputs, *sizes]):
        shown = min(size, 10)
        x = 8 + number * 84 / len(sizes)
        places.append([(x, 19 + (place - (shown - 1) / 2) * 2.5) for place in range(shown)])
        name = "inputs" if number == 0 else f"layer {number}" if number < len(sizes) else f"layer {number}: the answer"
        axes.text(x, 0.5, f"{name}\n{size:,}", ha="center", color=INK)
    for below, above in pairwise(places):
        for one in below:
            for other in above:
                axes.plot(*zip(one, other, strict=True), color=GREY, linewidth=0.25, zorder=1)
    for number, layer in enumerate(places):
        colour = GREEN if number == 0 else ORANGE if number == len(sizes) else BLUE
        xs, ys = zip(*layer, strict=True)
        axes.scatter(xs, ys, s=55, color=colour, zorder=2, edgecolor="white", linewidth=0.6)


def granularities(sizes: list[int]) -> None:
    """Draw what one invocation computes in each granularity: everything inside one frame."""
    _, grid = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    for axes, name in zip(grid, ("neuron", "layer", "batch"), strict=True):
        axes.set(xlim=(-1, 2 * len(sizes) - 1), ylim=(-9.5, 9.5), title=f"granularity {name}")
        axes.set_axis_off()
        for layer, size in enumerate(sizes):
            shown = min(size, 10)
            heights = [(place - (shown - 1) / 2) * 1.8 for place in range(shown)]
            axes.scatter([2 * layer] * shown, heights, s=50, color=BLUE, zorder=3)
            if name == "neuron":
                for height in heights:
                    _frame(axes, 2 * layer - 0.45, height - 0.8, 0.9, 1.6)
            elif name == "layer":
                _frame(axes, 2 * layer - 0.6, min(heights) - 1.1, 1.2, max(heights) - min(heights) + 2.2)
        if name == "batch":
            _frame(axes, -0.8, -9.3, 2 * len(sizes) - 0.4, 18.6)


def strategies() -> None:
    """Draw which steps three mini-batches make in one epoch, on a hill seen from above.

    Each mini-batch pulls to a lowest place of its own; that of all samples lies between them.
    """
    _, grid = plt.subplots(1, 4, figsize=(10.4, 2.6), layout="constrained")
    x, y = np.meshgrid(np.linspace(-3, 2.2, 80), np.linspace(-1.9, 2.1, 80))
    start, rate = np.array([-2.4, 1.5]), 0.55
    lowest = np.array([[1.2, 1.1], [0.6, -1.3], [-1.2, -0.7]])
    middle = lowest.mean(axis=0)
    steps = rate * (lowest - start)
    nearest = int(np.argmin(((lowest - start) ** 2).sum(axis=1)))
    for axes, name in zip(grid, ("full-batch", "sgd", "average", "best-batch"), strict=True):
        hill = (x - middle[0]) ** 2 + (y - middle[1]) ** 2
        axes.contour(x, y, hill, levels=[0.15, 0.8, 2, 4, 7], colors=[GREY], linewidths=0.7, alpha=0.6)
        axes.set_title(name)
        axes.set_aspect("equal")
        axes.set_axis_off()
        at = start
        for number, (place, step) in enumerate(zip(lowest, steps, strict=True)):
            if name == "sgd":
                _arrow(axes, tuple(at), tuple(at + rate * (place - at)), colour=ORANGE)
                at = at + rate * (place - at)
            elif name != "full-batch":
                taken = name == "best-batch" and number == nearest
                _arrow(axes, tuple(start), tuple(start + step), colour=ORANGE if taken else GREY)
            if name != "full-batch":
                end = at + ((0.25, 0.1), (0.25, 0.1), (-0.1, -0.3))[number] if name == "sgd" else start + 1.14 * step
                axes.text(*end, str(number + 1), fontsize=8, ha="center", va="center")
        if name in ("full-batch", "average"):
            _arrow(axes, tuple(start), tuple(start + rate * (middle - start)), colour=ORANGE)
        axes.scatter(start[0], start[1], color=INK, s=25, zorder=5)


def lease() -> None:
    """Draw how a second trainer takes over from one that hangs, by its own clock alone."""
    axes = _paper(10, 4.4, 100, 46)
    for x, name, colour in ((14, "trainer A", BLUE), (50, "the ledger", GREEN), (86, "trainer B", ORANGE)):
        _box(axes, x - 8, 40, 16, 5, name, colour)
        axes.plot([x, x], [1, 40], color=colour, linewidth=1.2)
    _arrow(axes, (14, 36), (50, 36), "take, if nobody has it", (0, 1))
    axes.text(51, 35.4, "fence 1", fontsize=8)
    for y in (31, 27.5, 24):
        _arrow(axes, (14, y), (50, y), "costs, if fence = 1" if y == 31 else "", (0, 1))
    for y, beat in ((31, 1), (27.5, 2), (24, 3)):
        axes.text(51, y - 0.6, f"beat {beat}", fontsize=8)
    _arrow(axes, (86, 29), (58, 29), "beat moves: B waits", (0, 1))
    axes.text(12.5, 16, "A hangs", ha="right", color=GREY, style="italic")
    axes.plot([14, 14], [11, 22], color="white", linewidth=3)
    axes.plot([14, 14], [11, 22], color=GREY, linewidth=1, linestyle=":")
    _arrow(axes, (86, 20), (58, 20), "beat 3 …", (0, 1))
    _arrow(axes, (86, 12), (58, 12), "still beat 3 after 20 s of B's clock: take", (0, 1))
    axes.text(51, 11.4, "fence 2", fontsize=8)
    _arrow(axes, (14, 7.5), (50, 7.5), "A wakes up: costs, if fence = 1", (0, 1), colour=GREY)
    axes.text(51, 6.9, "refused: A leaves", fontsize=8)
    _arrow(axes, (86, 2.5), (58, 2.5), "costs, if fence = 2", (0, 1))


def _paper(width: float, height: float, right: float, top: float) -> Axes:
    _, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set(xlim=(0, right), ylim=(0, top))
    axes.set_axis_off()
    return axes


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str, edge: str = "white"
) -> None:
    style = "round,pad=0,rounding_size=1"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor=edge))
    ink = INK if colour in (PALE, "white") else "white"
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=ink, fontsize=9)


def _arrow(
    axes: Axes,
    start: tuple[float, ...],
    end: tuple[float, ...],
    text: str = "",
    shift: Point = (0, 1),
    align: str = "center",
    *,
    both: bool = False,
    colour: str = INK,
) -> None:
    style = {"arrowstyle": "<|-|>" if both else "-|>", "color": colour, "shrinkA": 2, "shrinkB": 2, "linewidth": 1.2}
    axes.annotate("", xy=(end[0], end[1]), xytext=(start[0], start[1]), arrowprops=style)
    x, y = (start[0] + end[0]) / 2 + shift[0], (start[1] + end[1]) / 2 + shift[1]
    axes.text(x, y, text, ha=align, va="bottom" if align == "center" else "center", fontsize=8, color=INK)


def _frame(axes: Axes, x: float, y: float, width: float, height: float) -> None:
    style = "round,pad=0,rounding_size=0.3"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=PALE, edgecolor=ORANGE, zorder=2))
