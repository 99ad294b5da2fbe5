"""How sure a figure is: the 95 % interval beside it.

Of shares of counted samples it is Wilson's (1927), which holds for few samples and near 0 and 1, where the usual one
does not; of all other figures the percentiles of a bootstrap (Efron 1979): the same figure of test sets that are drawn
from this one, with replacement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from snn_client.judging.contents import Interval, Intervals
from snn_client.judging.figures import Floats
from snn_client.judging.weighed import Figure

RESAMPLES = 1_000
"""Test sets that a bootstrap draws; fewer of very many samples, of which each is nearly the same."""

MAX_DRAWS = 200_000_000
MIN_RESAMPLES = 200
AT_ONCE = 4_000_000  # counts that are held at once: 32 MB
SEED = 20_260_101  # the same test set has the same interval, whoever asks
Z95 = 1.959963984540054  # of the normal distribution, 95 % lie within ± so many standard deviations


def wilson(part: float, whole: float) -> Interval | None:
    """Return Wilson's 95 % interval of the share part / whole; None of nothing."""
    if whole <= 0:
        return None
    share, z2 = part / whole, Z95**2
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    half = Z95 / (1 + z2 / whole) * math.sqrt(share * (1 - share) / whole + z2 / (4 * whole**2))
    return {"low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def resamples(samples: int, count: int = RESAMPLES, seed: int = SEED) -> Iterator[Floats]:
    """Yield how often each sample is in each of `count` test sets drawn with replacement, (B, samples), some at a time.

    The draws depend on nothing but samples, count and seed.
    """
    random, at_once = np.random.default_rng(seed), max(1, AT_ONCE // samples)
    for done in range(0, count, at_once):
        rows = min(at_once, count - done)
        drawn = random.integers(samples, size=(rows, samples)) + (np.arange(rows) * samples)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * samples).reshape(rows, samples).astype(np.float64)


def how_many(samples: int) -> int:
    """Return how many test sets to draw."""
    return max(MIN_RESAMPLES, min(RESAMPLES, MAX_DRAWS // samples))


def bootstrap(figures: Mapping[str, Figure], samples: int) -> Intervals:
    """Return the 95 % interval of each figure; None where it is undefined in more than half of the drawn test sets."""
    found: dict[str, list[Floats]] = {name: [] for name in figures}
    for W in resamples(samples, how_many(samples)):
        for name, figure in figures.items():
            found[name].append(figure(W))
    return {name: _percentiles(np.concatenate(values)) for name, values in found.items()}


def _percentiles(values: Floats) -> Interval | None:
    known = values[np.isfinite(values)]
    if 2 * known.size <= values.size:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
