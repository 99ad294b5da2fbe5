"""How likely chance alone gives such a difference: p-values, with nothing but NumPy.

Where they are small they are none too small: a rule that must not cry wolf at 0.001 divided by dozens of tests lives in
the far tail, where the usual approximations promise too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

ENOUGH = 5.0
"""What a cell of a chi-square test must be expected to have in the smaller sample (Cochran 1954)."""

_TERMS = 20_000  # of a sum


def kolmogorov(distance: float, n: int, m: int) -> float:
    """Return the p-value of the distance between two empirical distributions, of n and of m samples.

    The limit 2 Σ (−1)^(k−1) exp(−2 k² λ²), λ = distance · √(nm / (n + m)) (Smirnov 1939). In the tail it is the bound
    of Dvoretzky, Kiefer and Wolfowitz for two samples (Wei and Dudley 2012). Ties only make the truth smaller.
    """
    if not n or not m:
        return 1.0
    squared = distance**2 * n * m / (n + m)
    if squared < 0.04:  # 1 to ten digits
        return 1.0
    k = np.arange(1, 101)
    return float(np.clip(2 * np.sum(np.where(k % 2, 1.0, -1.0) * np.exp(-2 * k**2 * squared)), 0.0, 1.0))


def smallest_distance(p_value: float, n: int, m: int) -> float:
    """Return the smallest distance that has this p-value, at most, with n and m samples; may be more than 1."""
    return math.sqrt(math.log(2 / p_value) / 2 * (n + m) / (n * m)) if n and m else math.inf


def chi_square(statistic: float, freedom: int) -> float:
    """Return the probability that a chi-square of so many degrees of freedom, at least 1, is this large or larger.

    The regularised incomplete gamma function Q(freedom / 2, statistic / 2), a finite sum of logarithms.
    """
    x = statistic / 2
    if x <= 0:
        return 1.0
    half = 0.0 if freedom % 2 == 0 else 0.5
    powers = np.arange(freedom // 2) + half
    terms = np.array([power * math.log(x) - x - math.lgamma(power + 1) for power in powers])
    total = float(np.exp(terms).sum()) if terms.size else 0.0
    return min(1.0, total + (math.erfc(math.sqrt(x)) if half else 0.0))


def hypergeometric(found: int, marked: int, drawn: int, total: int) -> float:
    """Return the two-sided p-value of drawing `found` marked ones, where `marked` of `total` are: Fisher's exact test.

    Twice the smaller tail.
    """
    low, high = max(0, drawn + marked - total), min(marked, drawn)
    if low == high:
        return 1.0

    here = _log_choose(marked, found) + _log_choose(total - marked, drawn - found) - _log_choose(total, drawn)
    # From one term to the next by their quotient, outward from what was found, as far as a float would notice.
    up = np.arange(found, min(high, found + _TERMS), dtype=np.float64)
    down = np.arange(found, max(low, found - _TERMS), -1, dtype=np.float64)
    rest = total - marked - drawn
    more = np.log((marked - up) * (drawn - up)) - np.log((up + 1) * (rest + up + 1))
    less = np.log(down * (rest + down)) - np.log((marked - down + 1) * (drawn - down + 1))
    tails = [float(np.exp(here + np.cumsum(steps)).sum()) for steps in (more, less)]
    return min(1.0, 2 * (math.exp(here) + min(tails)))


def cells(first: Counts, second: Counts) -> float:
    """Return the p-value of two samples counted by the same cells, both samples being subject to chance.

    Twice the smaller of two tests: all cells together by `chi_square`, and each cell by itself by `hypergeometric`,
    times the number of cells. The first finds a change everywhere, the second a value that appears; the second is
    exact, so few samples are no obstacle.
    """
    n, m = int(first.sum()), int(second.sum())
    used = np.flatnonzero(first + second)
    if not n or not m or used.size < 2:
        return 1.0
    each = min(hypergeometric(int(second[one]), int(first[one] + second[one]), m, n + m) for one in used)
    return min(1.0, 2 * min(together(first, second), used.size * each))


def together(first: Counts, second: Counts) -> float:
    """Return the p-value of Pearson's chi-square or the G-test, whichever is larger: they err on different sides.

    Cells that few are expected in are one cell. Where that leaves one cell the answer is 1.
    """
    table = _pooled(np.stack([first, second]).astype(np.float64))
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    pearson = float(((table - expected) ** 2 / expected).sum())
    g = float(2 * np.sum(table * np.log(np.where(table > 0, table / expected, 1.0))))
    return chi_square(min(pearson, g), table.shape[1] - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may each be held to α, so that all of them together err with at most α (Holm 1979).

    Valid however the tests depend on each other.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.zeros(len(order))
    steps = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else 0.0
    return [float(one) for one in adjusted]


def stability(first: Counts, second: Counts) -> float:
    """Return the population stability index of counts, Σ (q − p) ln(q / p); half a sample is added to every cell."""
    p, q = ((one + 0.5) / (one.sum() + 0.5 * one.size) for one in (first, second))
    return float(np.sum((q - p) * np.log(q / p)))


def variation(first: Counts, second: Counts) -> float:
    """Return the total variation distance of counts: the share of samples that would have to be in another cell."""
    if not first.sum() or not second.sum():
        return 0.0
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def _pooled(table: Floats) -> Floats:
    """Return a table (2, cells) whose cells are all expected to have `ENOUGH` in the smaller sample."""
    share = table.sum(1).min() / table.sum()
    column = table.sum(0)
    order = np.argsort(column, kind="stable")
    few = int(np.count_nonzero(column * share < ENOUGH))
    if few:  # the rarest together, and as many more as it takes
        reached = np.flatnonzero(np.cumsum(column[order]) * share >= ENOUGH)
        few = max(few, int(reached[0]) + 1) if reached.size else column.size
    rare, rest = order[:few], np.sort(order[few:])
    return np.column_stack([table[:, rest], table[:, rare].sum(1)]) if few else table


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
