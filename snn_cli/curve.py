"""The cost of every epoch as a curve of braille dots, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

BINS = 512  # kept at least, once there are as many epochs; a terminal has fewer columns of dots
LABEL = 9  # characters for the costs at the left
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of one braille character: 4 rows, 2 columns
EMPTY = (math.inf, -math.inf)


class Curve:
    """The costs of a run of any length in bounded memory: the lowest and the highest of every few epochs."""

    def __init__(self) -> None:
        self.epochs = 0
        self._bins: list[tuple[float, float]] = []
        self._epochs_per_bin = 1

    def add(self, costs: Iterable[float]) -> None:
        """Add the costs of the epochs that follow. One that is no finite number leaves a gap."""
        for cost in costs:
            if self.epochs % self._epochs_per_bin == 0:
                if len(self._bins) == 2 * BINS:
                    self._bins = [_both(*two) for two in zip(self._bins[::2], self._bins[1::2], strict=True)]
                    self._epochs_per_bin *= 2
                self._bins.append(EMPTY)
            point = (cost, cost) if math.isfinite(cost) else EMPTY
            self._bins[-1] = _both(self._bins[-1], point)
            self.epochs += 1

    def lines(self, width: int, height: int) -> list[str]:
        """Return the curve in `height` lines, costs at the left, and one more with the epochs; [] if there is none.

        No line has more than `width` characters, of which each has 2 × 4 dots.
        """
        columns = 2 * (width - LABEL)
        low, high = min((EMPTY, *self._bins))[0], max(each[1] for each in (EMPTY, *self._bins))
        if columns < 2 or height < 1 or low > high:
            return []
        rows = 4 * height
        cells = [[0] * (width - LABEL) for _ in range(height)]
        for column, (bottom, top) in enumerate(_connected(self._spread(columns))):
            if bottom > top:
                continue
            first, last = (round((high - cost) / ((high - low) or 1) * (rows - 1)) for cost in (top, bottom))
            for row in range(first, last + 1):
                cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
        labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
        drawn = ["".join(chr(0x2800 + dots) for dots in line).rstrip("\u2800") for line in cells]
        curve = [f"{labels.get(row, ''):>{LABEL - 2}} │{line}" for row, line in enumerate(drawn)]
        axis, last_epoch = " " * LABEL + "epoch 1", f"{self.epochs:,}"
        return [*curve, f"{axis}{last_epoch:>{max(width - len(axis), 0)}}"[:width]]

    def _spread(self, columns: int) -> list[tuple[float, float]]:
        """Return the bins for so many columns: several make one column, or one makes several."""
        edges = [column * len(self._bins) / columns for column in range(columns + 1)]
        spread = []
        for start, end in pairwise(edges):
            merged = EMPTY
            for each in self._bins[math.floor(start) : max(math.ceil(end), math.floor(start) + 1)]:
                merged = _both(merged, each)
            spread.append(merged)
        return spread


def _both(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])


def _connected(columns: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the columns, each drawn out towards the one before it, so that no steep part of the curve has holes."""
    joined = columns[:1]
    for (before_low, before_high), (low, high) in pairwise(columns):
        empty = low > high or before_low > before_high
        joined.append((low, high) if empty else (min(low, before_high), max(high, before_low)))
    return joined
