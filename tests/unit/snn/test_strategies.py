"""What a step makes of its batches' results."""

from __future__ import annotations

import numpy as np

from snn.batches import Batch
from snn.strategies import Result, best


def batches(*sizes: int) -> list[Batch]:
    return [Batch(number, slice(0, size), size, float(size)) for number, size in enumerate(sizes)]


def results(*costs: float) -> list[Result]:
    return [(cost, lambda number=number: {"W1": np.array([[number]])}) for number, cost in enumerate(costs)]  # type: ignore[misc]


def test_the_cheapest_batch_wins_and_of_equals_the_first() -> None:
    assert best(batches(4, 4, 4), results(0.3, 0.1, 0.1)) == (0.1, {"W1": np.array([[1]])})


def test_a_last_batch_that_is_smaller_does_not_compete() -> None:
    cost, slopes = best(batches(64, 64, 64, 17), results(0.3, 0.2, 0.4, 0.0004))
    assert (cost, slopes["W1"].item()) == (0.2, 1)


def test_one_that_is_alone_wins() -> None:
    assert best(batches(17), results(0.5))[0] == 0.5
