"""What the notebooks show: source code, tables, photos, weights, curves. Each function displays one thing."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
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


def source(*names: str) -> None:
    """Show the source of functions, classes and tables of this project, each under its full name."""
    for name in names:
        markdown(source_of(name))


def source_of(name: str) -> str:
    """Return the name and the source, as Markdown, of something in a module, such as "snn.layers.Dense.forward"."""
    module, *rest = name.split(".")
    while rest and hasattr(import_module(module), "__path__"):  # a package: what follows is a package or a module
        module, rest = f"{module}.{rest[0]}", rest[1:]
    text = inspect.getsource(import_module(module))
    found: ast.AST = ast.parse(text)
    for step in rest:
        found = next(node for node in ast.iter_child_nodes(found) if step in _names(node))
    assert isinstance(found, ast.stmt)
    above = [decorator.lineno for decorator in getattr(found, "decorator_list", ())]
    lines = text.splitlines()[min([found.lineno, *above]) - 1 : found.end_lineno]
    code = textwrap.dedent("\n".join(lines))
    return f"`{name}`\n```python\n{code}\n```"


def _names(node: ast.AST) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def markdown(text: str) -> None:
    """Show text as Markdown."""
    display(Markdown(text))  # type: ignore[no-untyped-call]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Show a table of plain text, as HTML and as text; all columns but the first are set to the right.

    A header of empty cells is left out. (As Markdown it would be a table to some readers only.)
    """
    lines = [[str(cell) for cell in line] for line in ([header] if any(header) else []) + [*rows]]
    body = []
    for number, line in enumerate(lines):
        tag = "th" if number == 0 and any(header) else "td"
        sides = ["left"] + ["right"] * (len(line) - 1)
        cells = zip(line, sides, strict=True)
        row = "".join(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>' for cell, side in cells)
        body.append(f"<tr>{row}</tr>")
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    text = "\n".join("  ".join([line[0].ljust(first), *map(str.rjust, line[1:], others)]).rstrip() for line in lines)
    html = '<table class="docutils">\n' + "\n".join(body) + "\n</table>"
    display({"text/html": html, "text/plain": text}, raw=True)  # type: ignore[no-untyped-call]


def photos(pixels: Sequence[NDArray[np.uint8]], titles: Sequence[str], columns: int = 10, width: float = 10.0) -> None:
    """Show photos side by side, in the pixels that the network sees; those without colours are grey."""
    for axes, picture, title in zip(_grid(len(pixels), columns, width), pixels, titles, strict=True):
        shown = picture[..., 0] if picture.shape[2:] == (1,) else picture
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=8)


def weights(W: NDArray[np.float64], shape: tuple[int, ...], titles: Sequence[str], columns: int = 10) -> None:
    """Show each row of a first layer's weights, or of their slopes, as the picture it looks for.

    `shape` is that of a photo; the colours of a pixel are added up. Red raises the neuron's sum where the photo is
    bright, blue lowers it.
    """
    pictures = W.reshape(-1, *shape[:2], W.shape[1] // (shape[0] * shape[1])).sum(axis=3)
    for axes, picture, title in zip(_grid(len(W), columns, 10.0), pictures, titles, strict=True):
        most = float(np.abs(picture).max()) or 1.0
        axes.imshow(picture, cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(title, fontsize=8)


def neuron(pixels: NDArray[np.uint8], w: NDArray[np.float64], b: float) -> None:
    """Show how one neuron weighs one photo, and the sum z that it comes to."""
    colours = (*pixels.shape[:2], -1)
    photo, seen = pixels.reshape(colours), w.reshape(colours)
    products = seen * photo / 255
    titles = ["the photo x", "the weights w", "w·x, pixel by pixel"]
    for axes, picture, title in zip(_grid(3, 3, 6.0), (photo, seen, products), titles, strict=True):
        most = float(np.abs(picture.sum(axis=2)).max())
        if picture is photo:
            axes.imshow(photo if photo.shape[2] == 3 else photo[..., 0], cmap="gray", vmin=0, vmax=255)
        else:
            axes.imshow(picture.sum(axis=2), cmap=DIVERGING, vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(title, fontsize=8)
    plt.gcf().suptitle(f"all added up, and b = {b:.3g} added: z = {products.sum() + b:.3f}", y=0.02, fontsize=9)


def activations(layers: Mapping[str, NDArray[np.float64]], y: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Show layers' activations (neurons, samples) as stripes: a row a neuron, a column a photo, class 0 to the left."""
    order, ones = np.argsort(y, kind="stable"), int(y.sum())
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


def curves(costs: Mapping[str, Sequence[float]], both_scales: bool = False, best: int | None = None) -> None:
    """Show costs by epoch, on a linear scale and, if wanted, on a logarithmic one beside it.

    `best` is an epoch to mark: the one that validated best.
    """
    _, grid = plt.subplots(
        1, 1 + both_scales, figsize=(10 if both_scales else 6, 3.2), squeeze=False, layout="constrained"
    )
    for axes, scale in zip(grid[0], ("linear", "log"), strict=False):
        for (name, values), colour in zip(costs.items(), COLOURS, strict=False):
            style = "o" if len(values) == 1 else "-"
            axes.plot(values, style, label=name, color=colour, linewidth=1.4, markersize=4)
        if best is not None:
            axes.axvline(best, color=GREY, linestyle="--", linewidth=1, label=f"best epoch, {best}")
        axes.set(xlabel="epoch", ylabel="cost", yscale=scale)
        if scale == "log":
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axes.grid(alpha=0.25)
        if len(costs) > 1:
            axes.legend(frameon=False)


def lines(x: NDArray[np.float64], functions: Mapping[str, NDArray[np.float64]], labels: tuple[str, str]) -> None:
    """Show functions of x side by side, all on one scale."""
    width = min(3.4, 10.5 / len(functions))
    size = (width * len(functions), min(2.4, width + 0.4))
    _, grid = plt.subplots(1, len(functions), figsize=size, squeeze=False, layout="constrained", sharey=True)
    for axes, (name, values), colour in zip(grid[0], functions.items(), cycle(COLOURS), strict=False):
        axes.plot(x, values, color=colour, linewidth=1.6)
        axes.set(title=name, xlabel=labels[0])
        axes.grid(alpha=0.25)
    grid[0, 0].set_ylabel(labels[1])


def pairs(x: NDArray[np.float64], y: NDArray[np.float64], labels: tuple[str, str]) -> None:
    """Show numbers that should be equal: on the line they are."""
    _, axes = plt.subplots(figsize=(3.8, 3.4), layout="constrained")
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    axes.plot(ends, ends, color=GREY, linewidth=1)
    axes.scatter(x, y, s=14, color=BLUE, zorder=3)
    axes.set(xlabel=labels[0], ylabel=labels[1])


def shares(curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], labels: tuple[str, str]) -> None:
    """Show curves of shares by shares, x and y of each, in a square."""
    _, axes = plt.subplots(figsize=(3.8, 3.4), layout="constrained")
    for (name, (x, y)), colour in zip(curves.items(), cycle(COLOURS), strict=False):
        axes.plot(x, y, color=colour, label=name)
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(frameon=False)


def bars(values: Mapping[str, float], label: str, logarithmic: bool = False, form: str = "{:,.3g}") -> None:
    """Show named numbers as horizontal bars."""
    _, axes = plt.subplots(figsize=(8, 0.45 * len(values) + 0.7), layout="constrained")
    drawn = axes.barh(list(values), list(values.values()), color=BLUE)
    axes.bar_label(drawn, [f" {form.format(value)}" for value in values.values()])
    axes.set_xlabel(label)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter("{x:,.6g}")
    axes.margins(x=0.15)


def confusion(cells: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Show a confusion matrix: a row for what the samples are, a column for what the network said."""
    number = len(cells)
    side = min(3.4, 0.8 * number + 1.4) if number < 4 else min(8.0, 0.45 * number + 1.8)
    _, axes = plt.subplots(figsize=(side + 0.8, side), layout="constrained")
    axes.imshow(cells, cmap="Blues", vmin=0, vmax=max(1, int(cells.max())))
    short = {(0, 0): "TN", (0, 1): "FP", (1, 0): "FN", (1, 1): "TP"} if number == 2 else {}
    for row, column in np.ndindex(*cells.shape) if number <= 20 else ():
        ink = "white" if cells[row, column] > cells.max() / 2 else INK
        size = 18 if number == 2 else 12 if number < 6 else 8
        axes.text(column, row, str(cells[row, column]), ha="center", va="center", fontsize=size, color=ink)
        axes.text(column, row + 0.27, short.get((row, column), ""), ha="center", va="center", fontsize=8, color=ink)
    if number <= 20:
        axes.set_xticks(range(number), classes, rotation=0 if number < 4 else 90)
        axes.set_yticks(range(number), classes, rotation=90 if number < 4 else 0, va="center")
    axes.set(xlabel="what the network said", ylabel="what the samples are")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def answers(groups: Mapping[str, NDArray[np.float64]], label: str, boundary: float | None = None) -> None:
    """Show how the probabilities of two groups of samples spread, and the boundary between two answers."""
    _, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    bins, colours = np.linspace(0, 1, 21).tolist(), [ORANGE, BLUE]
    axes.hist(list(groups.values()), bins=bins, color=colours, label=list(groups), stacked=True)
    if boundary is not None:
        axes.axvline(boundary, color=INK, linestyle="--", linewidth=1)
    axes.set(xlabel=label, ylabel="samples", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _grid(number: int, columns: int, width: float) -> list[Axes]:
    """Return axes without ticks for so many pictures."""
    columns = max(1, min(columns, number))
    rows = max(1, -(-number // columns))
    side = min(width / columns, 2.0)
    _, grid = plt.subplots(rows, columns, figsize=(side * columns, (side + 0.25) * rows), squeeze=False, layout="tight")
    for axes in grid.ravel():
        axes.set_axis_off()
    return list(grid.ravel()[:number])
