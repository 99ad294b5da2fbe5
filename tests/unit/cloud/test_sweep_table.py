"""The table of a sweep: its order, its means and sums, its failures, and its size whatever the sweep."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import small_network

from snn_client.reports.report import to_json
from snn_client.runs.lists import LIMIT
from snn_client.sweeps.sweep import MAX_RUNS, expand, trainings
from snn_client.sweeps.table import Outcome, fit, lines, make_table, rank
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State

SWEEP = {"sweep_id": "s", "validation": 0.2}


def ended(
    number: int, fold: int, accuracy: float | None, *, state: State = State.COMPLETED, usd: float = 0.5, **run: Any
) -> Outcome:
    run_id = f"s-{number}-f{fold}"
    training = {
        "run_id": run_id,
        "combination": number,
        "overrides": {"seed": number},
        "parameters": small_network(seed=number),
    }
    fields = {"epoch": 10, "cost": 0.25, "started_at": 100.0, "ended_at": 102.5, **run}
    return Outcome(training, Run(run_id, state, **fields), accuracy, usd)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=1, max_size=12))
def test_the_best_mean_comes_first_the_steadier_of_equal_ones_and_then_the_one_named_first(
    rights: list[list[int]],
) -> None:
    outcomes = [
        ended(number, fold, right / 8)
        for number, folds in enumerate(rights, start=1)
        for fold, right in enumerate(folds, start=1)
    ]
    rows = rank(outcomes)
    # Sums of eighths are exact, so means of them order as the integers do.
    expected = sorted(
        range(len(rights)), key=lambda place: (-sum(rights[place]), round(float(np.var(rights[place])), 9), place)
    )
    assert [row["combination"] for row in rows] == [place + 1 for place in expected]
    for row in rows:
        accuracies = np.array(rights[row["combination"] - 1]) / 8
        assert row["score"] == pytest.approx(accuracies.mean(), abs=1e-12)
        assert row["std"] == pytest.approx(accuracies.std(), abs=1e-12)


def test_equal_accuracies_in_another_order_are_equal_scores() -> None:
    accuracies = [0.1, 0.7, 0.3, 0.9]
    outcomes = [
        ended(number, fold, accuracy)
        for number in range(1, 20)
        for fold, accuracy in enumerate(random.Random(number).sample(accuracies, 4), start=1)
    ]
    rows = rank(outcomes)
    assert [row["combination"] for row in rows] == list(range(1, 20))
    assert len({row["score"] for row in rows}) == 1


def test_a_row_has_means_over_the_folds_and_sums() -> None:
    (row,) = rank(
        [
            ended(3, 1, 0.75, cost=0.2, epoch=10, usd=0.25),
            ended(3, 2, 1.0, cost=0.4, epoch=15, usd=0.5, ended_at=101.0),
        ]
    )
    assert row == {
        "combination": 3,
        "overrides": {"seed": 3},
        "score": 0.875,
        "std": 0.125,
        "final_cost": pytest.approx(0.3),
        "epochs": 12.5,
        "seconds": 3.5,
        "usd": 0.75,
        "run_ids": ["s-3-f1", "s-3-f2"],
        "failure": "",
        "rung": 1,
        "interval": None,
    }
    assert rank([ended(1, 1, 0.5)])[0]["std"] is None


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (
            ended(2, 2, None, state=State.FAILED, reason="the cost of epoch 3 is nan", cost=float("nan")),
            "run s-2-f2 failed after 10 epochs: the cost of epoch 3 is nan",
        ),
        (
            ended(2, 2, None, state=State.FAILED, reason="max_usd: 0.11 of 0.1 USD spent after 10 epochs (…)"),
            "run s-2-f2 failed after 10 epochs: max_usd: 0.11 of 0.1 USD spent after 10 epochs (…)",
        ),
        (ended(2, 2, None, state=State.CANCELLED), "run s-2-f2 was cancelled after 10 epochs"),
        (ended(2, 2, 0.9, state=State.RUNNING), "run s-2-f2 is still RUNNING"),
        (ended(2, 2, None), "run s-2-f2 was not judged: its task's log says why"),
        (
            Outcome({"run_id": "s-2-f2", "combination": 2, "overrides": {}, "parameters": {}}, None, None, 0.0),
            "run s-2-f2 was not started: its task's log says why",
        ),
    ],
)
def test_one_failed_fold_fails_its_combination_with_the_reason(failed: Outcome, reason: str) -> None:
    table = make_table(SWEEP, [ended(1, 1, 0.1), ended(1, 2, 0.1), ended(2, 1, 1.0), failed])
    assert [row["combination"] for row in table["rows"]] == [1, 2]
    assert (table["rows"][1]["failure"], table["rows"][1]["score"], table["rows"][1]["std"]) == (reason, None, None)
    assert table["rows"][1]["final_cost"] == 0.25
    assert table["failed"] == 1
    assert table["winner"]["combination"] == 1
    assert list(lines(table))[1] == f'failed: combination 2 {{"seed": 2}}: {reason}'
    to_json(table)  # refuses what JSON has no word for, such as NaN


def test_the_winner_is_the_first_row_with_its_parameters() -> None:
    table = make_table(SWEEP, [ended(1, 1, 0.5), ended(2, 1, 0.75), ended(3, 1, 0.25)])
    assert table["winner"] == {
        "combination": 2, "overrides": {"seed": 2}, "score": 0.75, "std": None, "parameters": small_network(seed=2),
    }  # fmt: skip
    assert (table["sweep_id"], table["usd"], table["seconds"], table["failed"]) == ("s", 1.5, 7.5, 0)
    assert next(lines(table)) == (
        '1. score 0.7500, cost 0.250000, 10 epochs, 2.5 s, 0.500000 USD: combination 2 {"seed": 2}'
    )
    spread = make_table(SWEEP, [ended(1, 1, 0.5), ended(1, 2, 0.75)])
    assert next(lines(spread)).startswith("1. score 0.6250 ± 0.1250, cost ")


def test_when_all_fail_nobody_wins() -> None:
    table = make_table(SWEEP, [ended(number, 1, None, state=State.CANCELLED) for number in (1, 2)])
    assert (table["winner"], table["failed"]) == (None, 2)


def test_the_largest_table_fits_and_says_what_is_left_out() -> None:
    sizes = [1_000_000] * 99 + [1]
    rest = {"learning_rate": 0.123456789012345, "epochs": 9_999_999, "threshold": 1e-300, "first_layer": "direct"}
    widest = [{"layer_sizes": [*sizes[:-2], seed + 1, 1], **rest} for seed in range(MAX_RUNS)]
    plan = trainings("x" * 41, expand(widest, small_network(), 0.2), ["k"])
    done = [Outcome(one, Run(one["run_id"], State.COMPLETED, cost=0.1), 0.5, 1 / 3) for one in plan]
    table = make_table(SWEEP, done)
    short = fit(table)
    assert len(to_json(table).encode()) > 3 * LIMIT
    assert len(to_json(short).encode()) <= LIMIT
    assert 0 < len(short["rows"]) == MAX_RUNS - short["rows_left_out"]
    assert short["rows"] == table["rows"][: len(short["rows"])]
    one_more = {**short, "rows": table["rows"][: len(short["rows"]) + 1]}
    assert len(to_json(one_more).encode()) > LIMIT
    assert {name: short[name] for name in ("winner", "usd", "failed")} == {
        name: table[name] for name in ("winner", "usd", "failed")
    }


def test_one_combination_with_most_folds_fits() -> None:
    (widest,) = expand([{"layer_sizes": [1_000_000] * 99 + [1]}], small_network(), MAX_RUNS)
    plan = trainings("x" * 41, [widest], [f"k{fold}" for fold in range(MAX_RUNS)])
    table = make_table(SWEEP, [Outcome(one, Run(one["run_id"], State.COMPLETED, cost=0.1), 0.5, 1 / 3) for one in plan])
    assert fit(table) == table
    assert Parameters.load(table["winner"]["parameters"]) == widest.parameters
    assert json.loads(to_json(table)) == table
