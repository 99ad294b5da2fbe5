"""Curves of any length as points: held to plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from snn_client.look import curves
from snn_client.look.curves import points, sparkline, speed, starts, width_for
from snn_cloud.ledger.ledger import Curves, Mark

RANDOM = np.random.default_rng(4)


def some(epochs: int, validated: bool = True, marks: list[Mark] | None = None) -> Curves:
    held = RANDOM.random((2, epochs)) if validated else np.empty((2, 0))
    return Curves(0, RANDOM.random(epochs), held[0], held[1], marks or [])


def seen(found: Curves, **how: Any) -> Any:
    return points(found, began=100.0, rate=lambda epoch: float(epoch), **how)


@pytest.mark.parametrize("axis", ["linear", "log"])
@pytest.mark.parametrize("epochs", [1, 2, 1_999, 2_000, 2_001, 4_001, 123_457])
def test_points_are_means_and_ends_of_their_epochs(axis: Any, epochs: int) -> None:
    found = some(epochs)
    shown = seen(found, axis=axis)
    ends = [0, *shown["epochs"]]
    assert ends[-1] == epochs
    assert len(shown["epochs"]) <= curves.MOST_POINTS
    assert shown["rate"] == [end - 1 for end in ends[1:]]
    for name, curve in (("cost", found.costs), ("validation_metric", found.validation_metrics)):
        parts = [curve[begin:end] for begin, end in pairwise(ends)]
        np.testing.assert_allclose(shown[name]["mean"], [part.mean() for part in parts], rtol=1e-12)
        if max(map(len, parts)) > 1:
            assert shown[name]["least"] == [part.min() for part in parts]
            assert shown[name]["greatest"] == [part.max() for part in parts]
        else:
            assert (shown[name]["least"], shown[name]["greatest"]) == ([], [])


def test_no_spike_is_lost() -> None:
    found = some(500_000, validated=False)
    found.costs[123_456] = 99.0
    assert max(seen(found)["cost"]["greatest"]) == 99.0
    assert seen(found)["validation_cost"] == {"mean": [], "least": [], "greatest": []}


def test_who_has_points_gets_the_new_ones_and_all_when_they_grow_wider() -> None:
    found = some(2_000)
    whole = seen(found)
    assert (whole["width"], whole["first"], len(whole["epochs"])) == (1, 0, 2_000)
    later = Curves(0, *(np.append(curve, 0.5) for curve in found[1:4]), [])
    assert seen(later, width=1, first=1_999)["first"] == 0  # 2,001 epochs are points of two
    assert seen(later)["width"] == 2
    more = Curves(0, *(np.append(curve, [0.5, 0.25]) for curve in later[1:4]), [])
    added = seen(more, width=2, first=1_000)
    assert (added["first"], added["epochs"]) == (1_000, [2_002, 2_003])
    np.testing.assert_allclose(added["cost"]["mean"], [0.5, 0.25])
    joined = [*seen(later)["cost"]["mean"][: added["first"]], *added["cost"]["mean"]]
    assert joined == seen(more)["cost"]["mean"]


def test_a_span_is_shown_as_closely_as_it_can_be() -> None:
    found = some(1_000_000, validated=False)
    shown = seen(found, span=(500_000, 501_000))
    assert (shown["width"], shown["epochs"][0], shown["epochs"][-1]) == (1, 500_001, 501_000)
    assert shown["cost"]["mean"] == found.costs[500_000:501_000].tolist()
    assert seen(found, span=(999_999, 2_000_000))["epochs"] == [1_000_000]


def test_a_logarithmic_axis_has_a_point_for_each_of_the_first_epochs_and_its_points_never_move() -> None:
    few, many = starts("log", 0, 1_000), starts("log", 0, 1_000_000)
    assert few[:50].tolist() == list(range(50))
    assert np.array_equal(many[: len(few)], few)
    wide = np.diff(many)
    assert (wide[many[:-1] < 50] == 1).all()
    assert (wide / (many[:-1] + 1))[many[:-1] > 1_000].max() < 0.012
    assert [width_for(n) for n in (1, 2_000, 2_001, 4_001, 1_000_000)] == [1, 1, 2, 4, 512]


def test_time_and_money_grow_evenly_between_two_writes() -> None:
    marks = [Mark(9, 110.0, 1.0), Mark(19, 130.0, 2.0)]
    shown = seen(some(20, marks=marks))
    assert shown["seconds"][4] == pytest.approx(5.0)
    assert shown["seconds"][9] == pytest.approx(10.0)
    assert shown["seconds"][14] == pytest.approx(20.0)
    assert shown["usd"][19] == pytest.approx(2.0)
    assert seen(some(3))["seconds"] == [None] * 3
    assert speed(marks, now=131.0) == pytest.approx(0.5)
    assert speed(marks[:1], now=131.0) is None
    assert speed([*marks, Mark(20, 200.0, 3.0)], now=201.0) == pytest.approx(1 / 70)


def test_a_sparkline_begins_and_ends_as_the_curve() -> None:
    costs = RANDOM.random(10_000)
    drawn = sparkline(costs)
    assert len(drawn) <= 60
    assert (drawn[0], drawn[-1]) == (costs[0], costs[-1])
    assert sparkline(costs[:3]) == costs[:3].tolist()


def test_epochs_that_a_run_was_resumed_with_have_no_time_of_it() -> None:
    marks = [Mark(14, 110.0, 1.0, first=10), Mark(19, 120.0, 2.0, first=15)]
    shown = seen(some(20, marks=marks))
    assert shown["seconds"][:10] == [None] * 10
    assert shown["usd"][:10] == [None] * 10
    assert shown["seconds"][10] == pytest.approx(2.0)
    assert shown["seconds"][14] == pytest.approx(10.0)
    assert shown["usd"][19] == pytest.approx(2.0)


def test_the_speed_of_long_epochs_is_that_between_the_last_two_writes() -> None:
    marks = [Mark(0, 100.0, 0.0), Mark(1, 160.0, 0.0, first=1), Mark(2, 200.0, 0.0, first=2)]
    assert speed(marks, now=201.0) == pytest.approx(1 / 40)
    assert speed(marks, now=239.0) == pytest.approx(1 / 40)
