"""What the notebooks show: source code, tables, photos, weights, curves. Each function displays one thing."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from numpy.typing import NDArray

INK, BLUE, ORANGE, GREEN, GREY, PALE = "#22313f", "#2f6fb0", "#d9822b", "#3b8f5a", "#8a949e", "#e9eff5"
COLOURS = (BLUE, ORANGE, GREEN, GREY)
DIVERGING = "RdBu_r"  # blue below zero, white at zero, red above

plt.rcParams.update(
    {
        "figure.dpi": 90,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 10,
        "text.color": INK,
    }
)


def source(*functions: Callable[..., Any]) -> None:
    """Show the source of functions as the Lambda functions run it, each under its full name."""
    for function in functions:
        markdown(source_of(function))


def source_of(function: Callable[..., Any]) -> str:
    """Return a function's full name and its source, as Markdown."""
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    return f"`{function.__module__}.{function.__qualname__}`\n```python\n{code}\n```"


def markdown(text: str) -> None:
    """Show text as Markdown."""
    display(Markdown(text))  # type: ignore[no-untyped-call]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Show a table; all columns but the first are to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    markdown("\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines))


def photos(pixels: Sequence[NDArray[np.uint8]], titles: Sequence[str], columns: int = 10, width: float = 10.0) -> None:
    """Show photos (height, width, 3) side by side, in the pixels that the network sees."""
    for axes, picture, title in zip(_grid(len(pixels), columns, width), pixels, titles, strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title, fontsize=8)


def weights(
    W: NDArray[np.float64], image_shape: tuple[int, int, int], titles: Sequence[str], columns: int = 10
) -> None:
    """Show each row of a first layer's weights, or of their slopes, as the picture it looks for.

    The three colours of a pixel are added up. Red raises the neuron's sum where the photo is bright, blue lowers it.
    """
    pictures = W.reshape(-1, *image_shape).sum(axis=3)
    for axes, picture, title in zip(_grid(len(W), columns, 10.0), pictures, titles, strict=True):
        most = float(np.abs(picture).max()) or 1.0
        axes.imshow(picture, cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(title, fontsize=8)


def neuron(pixels: NDArray[np.uint8], w: NDArray[np.float64], b: float) -> None:
    """Show how one neuron weighs one photo (height, width, 3), and the sum z that it comes to."""
    products = w.reshape(pixels.shape) * pixels / 255
    weighed, seen = products.sum(axis=2), w.reshape(pixels.shape).sum(axis=2)
    titles = ["the photo x", "the weights w", "w·x, pixel by pixel"]
    for axes, picture, title in zip(_grid(3, 3, 6.0), (pixels, seen, weighed), titles, strict=True):
        most = float(np.abs(picture).max())
        axes.imshow(picture, cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(title, fontsize=8)
    plt.gcf().suptitle(f"all added up, and b = {b:.3g} added: z = {products.sum() + b:.3f}", y=0.02, fontsize=9)


def activations(layers: Mapping[str, NDArray[np.float64]], Y: NDArray[np.float64], classes: tuple[str, str]) -> None:
    """Show layers' activations (neurons, samples) as stripes: a row a neuron, a column a photo, class 0 to the left."""
    order, ones = np.argsort(Y[0], kind="stable"), int(Y.sum())
    heights = [max(1.2, 0.35 * len(A)) for A in layers.values()]
    figure, grid = plt.subplots(
        len(layers), 1, figsize=(10, sum(heights) + 0.6), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axes, (name, A) in zip(grid[:, 0], layers.items(), strict=True):
        stripes = axes.imshow(A[:, order], aspect="auto", cmap="viridis", interpolation="nearest")
        axes.axvline(A.shape[1] - ones - 0.5, color="white", linewidth=1.5)
        axes.set_yticks(range(len(A)), [str(neuron) for neuron in range(len(A))])
        axes.set(title=name, ylabel="neuron")
        figure.colorbar(stripes, ax=axes, fraction=0.03, pad=0.01)
    grid[-1, 0].set_xlabel(f"photos: {classes[0]} to the left of the line, {classes[1]} to the right")


def curves(costs: Mapping[str, Sequence[float]], both_scales: bool = False, dots_every: int = 0) -> None:
    """Show costs by epoch, on a linear scale and, if wanted, on a logarithmic one beside it.

    With `dots_every` all curves but the first are dots, one every so many epochs, to show them where they coincide.
    """
    _, grid = plt.subplots(
        1, 1 + both_scales, figsize=(10 if both_scales else 6, 3.2), squeeze=False, layout="constrained"
    )
    for axes, scale in zip(grid[0], ("linear", "log"), strict=False):
        for number, ((name, values), colour) in enumerate(zip(costs.items(), COLOURS, strict=False)):
            every = dots_every if number else 0
            style = "o" if every or len(values) == 1 else "-"
            axes.plot(values, style, label=name, color=colour, linewidth=1.4, markersize=4, markevery=every or None)
        axes.set(xlabel="epoch", ylabel="cost", yscale=scale)
        axes.grid(alpha=0.25)
        if len(costs) > 1:
            axes.legend(frameon=False)


def lines(x: NDArray[np.float64], functions: Mapping[str, NDArray[np.float64]], labels: tuple[str, str]) -> None:
    """Show functions of x side by side."""
    _, grid = plt.subplots(1, len(functions), figsize=(3.4 * len(functions), 2.4), squeeze=False, layout="constrained")
    for axes, (name, values), colour in zip(grid[0], functions.items(), COLOURS, strict=False):
        axes.plot(x, values, color=colour, linewidth=1.6)
        axes.set(title=name, xlabel=labels[0], ylabel=labels[1])
        axes.grid(alpha=0.25)


def pairs(x: NDArray[np.float64], y: NDArray[np.float64], labels: tuple[str, str]) -> None:
    """Show numbers that should be equal: on the line they are."""
    _, axes = plt.subplots(figsize=(3.8, 3.4), layout="constrained")
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    axes.plot(ends, ends, color=GREY, linewidth=1)
    axes.scatter(x, y, s=14, color=BLUE, zorder=3)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.ticklabel_format(scilimits=(-2, 3))


def bars(values: Mapping[str, float], label: str, logarithmic: bool = False, form: str = "{:,.3g}") -> None:
    """Show named numbers as horizontal bars."""
    _, axes = plt.subplots(figsize=(8, 0.45 * len(values) + 0.7), layout="constrained")
    drawn = axes.barh(list(values), list(values.values()), color=BLUE)
    axes.bar_label(drawn, [f" {form.format(value)}" for value in values.values()])
    axes.set_xlabel(label)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.15)


def confusion(counts: Mapping[str, int], classes: tuple[str, str]) -> None:
    """Show a confusion matrix {tn, fp, fn, tp}: a row for what the photos are, a column for what the network said."""
    cells = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    _, axes = plt.subplots(figsize=(4.2, 3.4), layout="constrained")
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=max(1, int(cells.max())))
    for (row, column), name in zip(np.ndindex(2, 2), ("tn", "fp", "fn", "tp"), strict=True):
        ink = "white" if cells[row, column] > cells.max() / 2 else INK
        axes.text(column, row - 0.08, str(cells[row, column]), ha="center", va="center", fontsize=18, color=ink)
        axes.text(column, row + 0.22, name.upper(), ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks([0, 1], classes)
    axes.set_yticks([0, 1], classes, rotation=90, va="center")
    axes.set(xlabel="what the network said", ylabel="what the photos are")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def answers(probabilities: NDArray[np.float64], Y: NDArray[np.float64], classes: tuple[str, str]) -> None:
    """Show how the probabilities (samples,) of each class spread, and the boundary between the answers."""
    _, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    both = [probabilities[Y.ravel() == label] for label in (0, 1)]
    axes.hist(both, bins=np.linspace(0, 1, 21).tolist(), color=[ORANGE, BLUE], label=list(classes), stacked=True)
    axes.axvline(0.5, color=INK, linestyle="--", linewidth=1)
    axes.set(xlabel=f"probability of {classes[1]}", ylabel="photos", xlim=(0, 1))
    axes.legend(framealpha=1, edgecolor="white", title="the photo is", loc="upper center")


def _grid(number: int, columns: int, width: float) -> list[Axes]:
    """Return axes without ticks for so many pictures."""
    columns = max(1, min(columns, number))
    rows = max(1, -(-number // columns))
    side = min(width / columns, 2.0)
    _, grid = plt.subplots(rows, columns, figsize=(side * columns, (side + 0.25) * rows), squeeze=False, layout="tight")
    for axes in grid.ravel():
        axes.set_axis_off()
    return list(grid.ravel()[:number])
