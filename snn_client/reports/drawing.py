"""What the page draws of a test set beside its matrix: curves, calibration, residuals, and a matrix of many classes.

All are figures in a box of 100×100, y down, as SVG has it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn_client.judging.contents import Points
from snn_client.reports.formats import percent, short
from snn_client.reports.metrics import TestSet

MAX_HEAT = 400
"""Classes of a matrix that is drawn, a dot a cell; of more not even a dot can be seen."""


class Dot(NamedTuple):
    """A point of a plot, as large as its part of the samples; what it tells when it is pointed at."""

    x: float
    y: float
    radius: float
    text: str


class Plot(NamedTuple):
    """A small plot of shares by shares: curve, dots, and a dashed line for what guessing, or perfection, gives."""

    key: str
    title: str
    x_name: str
    y_name: str
    path: str
    dots: list[Dot]
    line: str
    meaning: str


class Bars(NamedTuple):
    """A histogram: a bar's left edge, width and height of 100, and what it tells when it is pointed at."""

    bars: list[tuple[float, float, float, str]]
    low: str
    high: str
    zero: float | None
    """Where 0 is, if it is between them."""


class Heat(NamedTuple):
    """A matrix of many classes as a picture; `rows` tell of each class what its row shows."""

    picture: str
    size: int
    rows: list[str]

    @property
    def ticks(self) -> list[tuple[int, float]]:
        """Return the numbers of some classes, evenly spread, and where in the picture they are, in percent."""
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if self.size / step <= 14)
        return [(label, 100 * (label + 0.5) / self.size) for label in range(0, self.size, step)]


def plots(test_set: TestSet) -> list[Plot]:
    """Return the curves that a test set has."""
    found: list[Plot] = []
    curves = test_set.get("curves") if "per_class" not in test_set and "r2" not in test_set else None
    if curves is not None:
        roc, recall = curves["roc"], curves["precision_recall"]
        if roc is not None:
            found.append(
                Plot(
                    "roc", "ROC curve", "false positive rate", "sensitivity", _path(roc), [], "M0 100L100 0",
                    "The nearer to the upper left corner, the better; the dashed line is guessing.",
                )
            )  # fmt: skip
        if recall is not None:
            found.append(
                Plot(
                    "precision-recall", "Precision and recall", "sensitivity (recall)", "precision", _path(recall), [],
                    "", "The nearer to the upper right corner, the better.",
                )
            )  # fmt: skip
    calibration = None if "r2" in test_set else test_set.get("calibration")
    if calibration is not None and calibration["bins"]:
        most = max(one["samples"] for one in calibration["bins"])
        dots = [
            Dot(
                100 * one["predicted"], 100 - 100 * one["share"], 1.4 + 2.6 * math.sqrt(one["samples"] / most),
                f"said {percent(one['predicted'])}, was so in {percent(one['share'])} of {one['samples']:,}",
            )
            for one in calibration["bins"]
        ]  # fmt: skip
        path = "M" + "L".join(f"{dot.x:.1f} {dot.y:.1f}" for dot in dots)
        meaning = (
            f"On the dashed line probabilities can be taken at their word; on average they are off by "
            f"{percent(calibration['error'])}."
        )
        found.append(
            Plot("calibration", "Calibration", "said", "was so", path, dots, "M0 100L100 0", meaning)
        )  # fmt: skip
    return found


def histogram(test_set: TestSet) -> Bars | None:
    """Return the residuals of numbers."""
    residuals = test_set.get("residuals") if "r2" in test_set else None
    if residuals is None:
        return None
    edges, counts, most = residuals["edges"], residuals["counts"], max(residuals["counts"]) or 1
    low, high = edges[0], edges[-1]
    width = 100 / len(counts)
    bars = [
        (place * width, width, 100 * count / most, f"{short(edges[place])} to {short(edges[place + 1])}: {count:,}")
        for place, count in enumerate(counts)
    ]
    return Bars(bars, f"{low:.4g}", f"{high:.4g}", -100 * low / (high - low) if low < 0 < high else None)


def heat(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Heat:
    """Return a confusion matrix as a picture, a cell a dot: the deeper its colour, the larger its part of the row."""
    counts: NDArray[Any] = np.asarray(matrix, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = np.zeros((*counts.shape, 4), dtype=np.uint8)
    right = np.eye(len(counts), dtype=bool)
    # Few of a hundred cells in a row are large: by the root the small ones are seen too.
    pixels[..., 3] = np.where(counts > 0, 40 + 215 * np.sqrt(shares), 0).astype(np.uint8)
    pixels[right, :3], pixels[~right, :3] = (15, 118, 110), (194, 65, 12)
    buffer = BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG", optimize=True)
    rows = [_row(counts[label], label, classes) for label in range(len(counts))]
    return Heat(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", len(counts), rows)


def _row(counts: NDArray[Any], label: int, classes: Sequence[str]) -> str:
    """Return in words what a row of the matrix shows."""
    whole = int(counts.sum())
    if not whole:
        return f"{classes[label]}: no samples"
    wrong = counts.copy()
    wrong[label] = 0
    said = f"{classes[label]}: {percent(counts[label] / whole)} of {whole:,} right"
    if not wrong.any():
        return said
    most = int(wrong.argmax())
    return f"{said}; most often called {classes[most]} ({int(wrong[most]):,})"


def _path(points: Points) -> str:
    return "M" + "L".join(f"{100 * x:.1f} {100 - 100 * y:.1f}" for x, y in zip(points["x"], points["y"], strict=True))
