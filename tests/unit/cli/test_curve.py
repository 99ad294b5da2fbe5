"""The cost curve in the terminal: every dot where the numbers say."""

from __future__ import annotations

import math

import pytest

from snn_cli.curve import BINS, LABEL, Curve


def drawn(costs: list[float], width: int, height: int) -> list[str]:
    curve = Curve()
    curve.add(costs)
    return curve.lines(width, height)


def dots(lines: list[str], width: int) -> set[tuple[int, int]]:
    """Return (column, row) of every dot of a drawing, counted from the upper left."""
    places = {
        0x01: (0, 0),
        0x02: (0, 1),
        0x04: (0, 2),
        0x40: (0, 3),
        0x08: (1, 0),
        0x10: (1, 1),
        0x20: (1, 2),
        0x80: (1, 3),
    }
    return {
        (2 * column + dx, 4 * row + dy)
        for row, line in enumerate(lines[:-1])
        for column, character in enumerate(line[LABEL:])
        for bit, (dx, dy) in places.items()
        if (ord(character) - 0x2800) & bit
    }


def test_a_straight_fall_is_the_diagonal() -> None:
    lines = drawn([8.0 - epoch for epoch in range(8)], LABEL + 4, 2)
    assert dots(lines, LABEL + 4) == {(0, 0)} | {(x, y) for x in range(1, 8) for y in (x - 1, x)}
    assert lines[0].startswith("      8 │")
    assert lines[1].startswith("      1 │")
    assert lines[2] == "         epoch 1"[: LABEL + 4]


def test_the_axis_names_the_first_and_the_last_epoch() -> None:
    lines = drawn([1.0] * 2_000, 40, 3)
    assert lines[-1] == "         epoch 1" + "2,000".rjust(24)
    assert max(map(len, lines)) == 40


def test_a_steep_fall_has_no_holes_and_a_spike_among_thousands_is_seen() -> None:
    steep = dots(drawn([1.0] * 10 + [0.0] * 10, LABEL + 10, 4), LABEL + 10)
    assert {y for x, y in steep if x == 10} == set(range(16))
    spike = [0.1] * 5_000
    spike[2_500] = 0.9
    found = dots(drawn(spike, LABEL + 20, 4), LABEL + 20)
    assert {x for x, y in found if y == 0} <= {19, 20, 21}
    assert any(y == 0 for _, y in found)


def test_a_number_that_is_none_leaves_a_gap() -> None:
    lines = drawn([1.0, math.nan, math.inf, 0.5], LABEL + 4, 2)
    assert {x for x, _ in dots(lines, LABEL + 4)} == {0, 1, 6, 7}


@pytest.mark.parametrize(
    ("costs", "width", "height"), [([], 40, 5), ([math.nan], 40, 5), ([1.0], LABEL, 5), ([1.0], 40, 0)]
)
def test_where_there_is_nothing_or_no_room_nothing_is_drawn(costs: list[float], width: int, height: int) -> None:
    assert drawn(costs, width, height) == []


def test_memory_is_bounded_and_the_curve_the_same() -> None:
    curve, costs = Curve(), [1 / (epoch + 1) for epoch in range(20 * BINS)]
    for start in range(0, len(costs), 37):
        curve.add(costs[start : start + 37])
    assert len(curve._bins) <= 2 * BINS
    assert curve.epochs == len(costs)
    assert min(low for low, _ in curve._bins) == costs[-1]
    assert max(high for _, high in curve._bins) == costs[0]
    highs = [high for _, high in curve._bins]
    assert highs == sorted(highs, reverse=True)
    assert curve.lines(60, 5)[0].startswith("      1 │")
