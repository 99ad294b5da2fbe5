"""The bins of a reference: exact where values are few, cautious where they are many, the same from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from snn_data.drift.bins import Numbers, Values, count_numbers, distance


def samples(kind: str, random: Any, size: int) -> Any:
    return {
        "smooth": lambda: random.standard_normal(size),
        "zeros": lambda: np.where(random.random(size) < 0.6, 0.0, random.exponential(1, size)),
        "whole": lambda: random.poisson(3, size).astype(float),
        "tails": lambda: random.standard_cauchy(size) * 1e6,
    }[kind]()


@pytest.mark.parametrize("kind", ["smooth", "zeros", "whole", "tails"])
def test_of_many_values_the_distance_is_never_above_the_true_one_and_hardly_below(kind: str) -> None:
    short = []
    for seed in range(100):
        random = np.random.default_rng([seed, 1])
        first, second = samples(kind, random, 5_000), samples(kind, random, 800) + random.choice([0.0, 0.2])
        bins = Numbers.of(first, 400)
        assert bins.cuts.size <= 610
        true = stats.ks_2samp(first, second, method="asymp").statistic
        found = distance(bins.counts, bins.count(second))
        assert found <= true + 1e-12
        short.append(true - found)
    assert max(short) < 0.008
    assert np.mean(short) < 0.003


def test_counts_are_numpy_s_histogram() -> None:
    random = np.random.default_rng(2)
    bins = Numbers.of(random.standard_normal(3_000), 100)
    values = random.standard_normal(1_000) * 2
    edges = np.concatenate([[-np.inf], bins.cuts, [np.inf]])
    np.testing.assert_array_equal(bins.count(values), np.histogram(values, edges)[0])
    coarse = bins.coarsened(bins.count(values))
    np.testing.assert_array_equal(coarse, bins.count_coarse(values))
    assert coarse.sum() == 1_000
    assert 10 <= coarse.size <= 13
    shares = bins.coarsened(bins.counts) / 3_000  # deciles, but for what lies outside of all samples
    assert abs(shares[1:-1] - 0.1).max() < 0.011


def test_a_number_at_a_cut_lies_below_it() -> None:
    np.testing.assert_array_equal(count_numbers(np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0])), [2, 1, 1])


def test_numbers_that_rounding_has_parted_are_one() -> None:
    first = np.array([3.0, 3.0 + 1e-7, 3.0 - 1e-7, 5.0] * 50)
    second = np.array([3.0 + 2e-7, 3.0, 3.0, 5.0 - 1e-7] * 50)
    close = Numbers.of(first, 100, lambda at: np.full_like(at, 1e-6))
    assert close.cuts.size == 4
    assert distance(close.counts, close.count(second)) == 0
    assert stats.ks_2samp(first, second).statistic > 0.2  # what it would be otherwise


def test_a_constant_that_moves_is_seen_however_little() -> None:
    bins = Numbers.of(np.full(50, 5.0), 100)
    assert distance(bins.counts, bins.count(np.full(50, 5.0))) == 0
    assert distance(bins.counts, bins.count(np.full(50, 5.001))) == 1
    assert distance(bins.counts, bins.count(np.full(50, 4.9))) == 1


def test_a_reference_of_whole_numbers_notices_halves() -> None:
    random = np.random.default_rng(3)
    bins = Numbers.of(random.integers(0, 6, 1_000).astype(float), 400)
    halves = random.integers(0, 6, 1_000) + 0.4
    true = stats.ks_2samp(random.integers(0, 6, 1_000), halves, method="asymp").statistic
    assert distance(bins.counts, bins.count(halves)) == pytest.approx(true, abs=0.05)
    assert true > 0.1


def test_the_middle_is_about_the_median() -> None:
    random = np.random.default_rng(4)
    bins = Numbers.of(random.standard_normal(2_000), 400)
    values = random.standard_normal(1_000) + 0.3
    assert bins.middle(bins.count(values)) == pytest.approx(np.median(values), abs=0.02)
    assert bins.middle(bins.count_coarse(values)) == pytest.approx(np.median(values), abs=0.2)


def test_of_very_many_values_the_frequent_ones_are_counted() -> None:
    names = [f"v{number}" for number in range(500)]
    counts = np.append(np.arange(500), 7)
    values = Values.of(names, counts, 60)
    assert values.names == tuple(names[440:])
    assert values.counts[-1] == sum(range(440)) + 7
    assert values.counts.sum() == counts.sum()
    seen = values.count(["v499", "v3", "unheard"], np.array([5, 6, 7, 8]))
    assert (seen[-2], seen[-1], seen.sum()) == (5, 21, 26)
    assert (values.name(0), values.name(60)) == ("v440", "any other value")
