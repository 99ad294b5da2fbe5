"""P-values held to SciPy's on hundreds of random pairs; where they differ on purpose, never below."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from snn_data.drift import chance
from snn_data.drift.bins import Numbers, distance

SIZES = [5, 12, 40, 100, 333, 1000]


def pair(seed: int, ties: bool = False) -> tuple[Any, Any]:
    """Two samples of any sizes, some from the same distribution, some not; with ties whole numbers."""
    random = np.random.default_rng([seed, ties])
    n, m = random.choice(SIZES, 2)
    first, second = random.standard_normal(n), random.normal(random.choice([0, 0, 0.3, 1]), random.uniform(0.7, 1.5), m)
    return (np.round(first * 2), np.round(second * 2)) if ties else (first, second)


@pytest.mark.parametrize("ties", [False, True])
def test_the_distance_is_scipy_s_and_p_is_smirnov_s_limit(ties: bool) -> None:
    seen = []
    for seed in range(300):
        first, second = pair(seed, ties)
        bins = Numbers.of(first, 4 * max(SIZES))
        found = distance(bins.counts, bins.count(second))
        by_scipy = stats.ks_2samp(first, second, method="asymp")
        assert found == pytest.approx(by_scipy.statistic, abs=1e-12)
        p_value = chance.kolmogorov(found, first.size, second.size)
        scaled = found * np.sqrt(first.size * second.size / (first.size + second.size))
        assert p_value == pytest.approx(stats.kstwobign.sf(scaled), rel=1e-9, abs=1e-300)
        seen.append(p_value)
    assert min(seen) < 1e-20
    assert 0.2 < np.mean(np.array(seen) > 0.05) < 0.8  # both kinds of pairs


def test_the_limit_is_not_below_the_exact_p_value_where_it_matters() -> None:
    """The exact one, of samples without ties, where SciPy can count all paths; below 0.05."""
    small = 0
    for seed in range(300):
        first, second = pair(seed)
        exact = stats.ks_2samp(first, second, method="exact")
        p_value = chance.kolmogorov(float(exact.statistic), first.size, second.size)
        if exact.pvalue < 0.05:
            assert p_value >= exact.pvalue * 0.999
            small += 1
        if min(first.size, second.size) >= 100 and 1e-8 < exact.pvalue < 0.5:
            assert p_value <= exact.pvalue * 1.6  # not needlessly above
    assert small > 60


def test_ties_make_ks_cautious_not_rash() -> None:
    """Of 4,000 pairs of five values each, all alike, no more than 1 in 100 has p ≤ 0.01."""
    random = np.random.default_rng(5)
    rash = 0
    for _ in range(4_000):
        first, second = random.integers(0, 5, (2, 200)).astype(np.float64)
        bins = Numbers.of(first, 400)
        rash += chance.kolmogorov(distance(bins.counts, bins.count(second)), 200, 200) <= 0.01
    assert rash <= 40


def test_the_smallest_distance_that_is_found_has_that_p_value() -> None:
    for n, m, p_value in ((500, 500, 1e-4), (100, 5_000, 1e-5), (30, 30, 1e-3)):
        found = chance.smallest_distance(p_value, n, m)
        assert chance.kolmogorov(found, n, m) == pytest.approx(p_value, rel=1e-6)
        assert chance.kolmogorov(found * 0.99, n, m) > p_value


def test_chi_square_is_scipy_s() -> None:
    random = np.random.default_rng(3)
    for freedom in [1, 2, 3, 4, 7, 10, 33, 60, 501]:
        for statistic in [0.0, *random.uniform(0, 6 * freedom, 30), 300.0]:
            expected = stats.chi2.sf(statistic, freedom)
            assert chance.chi_square(float(statistic), freedom) == pytest.approx(expected, rel=1e-9, abs=1e-290)


def test_fisher_s_test_is_twice_the_tail_that_scipy_counts() -> None:
    random = np.random.default_rng(4)
    for _ in range(300):
        total = int(random.integers(5, 3_000))
        marked, drawn = (int(one) for one in random.integers(1, total, 2))
        found = int(stats.hypergeom(total, marked, drawn).rvs(random_state=random))
        law = stats.hypergeom(total, marked, drawn)
        expected = min(1.0, 2 * min(law.cdf(found), law.sf(found - 1)))
        assert chance.hypergeometric(found, marked, drawn, total) == pytest.approx(expected, rel=1e-7, abs=1e-300)
    assert chance.hypergeometric(10, 10, 50, 1_050) == pytest.approx(2 * stats.hypergeom(1_050, 10, 50).sf(9), rel=1e-9)


def test_pearson_and_g_are_scipy_s() -> None:
    random = np.random.default_rng(6)
    for _ in range(300):
        cells = int(random.integers(2, 15))
        shares = random.dirichlet(np.full(cells, 5.0))
        other = shares if random.random() < 0.5 else random.dirichlet(np.full(cells, 5.0))
        n, m = random.integers(1_000, 5_000, 2)
        table = np.stack([random.multinomial(n, shares), random.multinomial(m, other)])
        if (table.sum(0) * min(n, m) / (n + m)).min() < chance.ENOUGH:
            continue
        both = [stats.chi2_contingency(table, correction=False, lambda_=how).pvalue
                for how in ("pearson", "log-likelihood")]  # fmt: skip
        assert chance.together(*table) == pytest.approx(max(both), rel=1e-9, abs=1e-290)


@pytest.mark.parametrize(("n", "m", "cells"), [(500, 500, 10), (2_000, 40, 10), (200, 60, 50), (5_000, 5_000, 3)])
def test_of_counts_that_are_alike_no_more_have_a_small_p_than_should(n: int, m: int, cells: int) -> None:
    """3,000 pairs each, rare values among them; the allowance is three deviations of the count of alarms."""
    random = np.random.default_rng([8, n, m])
    shares = random.dirichlet(np.full(cells, 0.7))
    draws = 3_000
    firsts, seconds = (random.multinomial(size, shares, draws).astype(np.int64) for size in (n, m))
    found = np.array([chance.cells(first, second) for first, second in zip(firsts, seconds)])
    for level in (0.01, 0.001):
        expected = level * draws
        assert (found <= level).sum() <= expected + 3 * np.sqrt(expected)


def test_a_value_that_appears_in_a_few_samples_is_certain() -> None:
    before, now = np.array([500, 300, 200, 0]), np.array([22, 12, 6, 10])
    assert chance.cells(before, now) < 1e-9
    assert chance.together(before, now) > 1e-3  # which is why each cell is tested by itself, too


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """A hypothesis falls if every set of hypotheses that it is in does, each set by Bonferroni: counted out."""
    random = np.random.default_rng(9)
    for _ in range(200):
        p_values = list(random.uniform(0, 1, int(random.integers(1, 7))) ** 3)
        closed = [
            max(
                min(1.0, size * min(p_values[each] for each in some))
                for size in range(1, len(p_values) + 1)
                for some in combinations(range(len(p_values)), size)
                if one in some
            )
            for one in range(len(p_values))
        ]
        assert chance.holm(p_values) == pytest.approx(closed)
    assert chance.holm([]) == []


def test_the_stability_index_and_the_variation_by_hand() -> None:
    p, q = np.array([600, 400]), np.array([300, 700])
    shares = [(p + 0.5) / 1_001, (q + 0.5) / 1_001]
    expected = sum((b - a) * np.log(b / a) for a, b in zip(*shares))
    assert chance.stability(p, q) == pytest.approx(expected)
    assert expected == pytest.approx(0.3753, abs=2e-3)  # 0.3 ln 2 + 0.3 ln 1.75
    assert chance.variation(p, q) == pytest.approx(0.3)
    assert chance.variation(p, np.array([0, 0])) == 0


def test_no_samples_are_no_evidence() -> None:
    assert chance.kolmogorov(1.0, 0, 5) == 1
    assert chance.cells(np.array([3, 4]), np.array([0, 0])) == 1
    assert chance.cells(np.array([3, 0]), np.array([9, 0])) == 1
