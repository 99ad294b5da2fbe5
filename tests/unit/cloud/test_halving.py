"""Successive halving: which runs go on, from where, and what is saved; and that a pause changes no bit."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import small_network
from training import Lesson, saved, table

from snn.errors import InvalidInput, InvalidParameters
from snn_client.runs.estimate import estimate
from snn_client.sweeps.drawing import spread, sweep_svg
from snn_client.sweeps.halving import FACTOR, RUNGS, climbed, first_rung, next_rung, pause_at
from snn_client.sweeps.sweep import Combination, expand, trainings
from snn_client.sweeps.table import Outcome, lines, make_table, rank
from snn_cloud.cost.workload import Size
from snn_cloud.launch.resuming import check_resumable, load_done
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_data.checkpoint import dump_checkpoint, load_checkpoint
from snn_data.dataset import Dataset, load_dataset

BASE = small_network((4, 1), ("relu", "sigmoid"), epochs=27)


def plan(count: int = 27, folds: int = 1, **fields: Any) -> list[Any]:
    found = expand({"seed": list(range(1, count + 1)), **fields}, BASE, folds if folds > 1 else 0.2)
    return first_rung(trainings("s", found, [f"fold{fold}.h5" for fold in range(folds)]))


def ended(training: Any, score: float | None = None, stop: StoppedBy = StoppedBy.PAUSE, **more: Any) -> Outcome:
    """How a training of a rung ended; without a score it failed."""
    epochs = training["parameters"].get("pause_after") or training["parameters"]["epochs"]
    if stop is StoppedBy.PAUSE and "pause_after" not in training["parameters"]:
        stop = StoppedBy.EPOCHS
    state = State.FAILED if score is None else State.COMPLETED
    run = Run(training["run_id"], state, epoch=epochs, cost=0.5, started_at=1.0, ended_at=2.0, stopped_by=stop)
    return Outcome(training, run, score, 0.25, **more)


@given(st.integers(4, 100_000))
def test_each_rung_has_more_epochs_than_the_one_before_and_the_last_has_all(epochs: int) -> None:
    ends = [pause_at(epochs, rung) or epochs for rung in range(1, RUNGS + 1)]
    assert ends == sorted(set(ends))
    assert ends[-1] == epochs
    assert abs(ends[0] - epochs / FACTOR ** (RUNGS - 1)) <= 0.6  # half an epoch, but for the fewest epochs


def test_fewer_epochs_than_there_are_rungs_for_are_refused() -> None:
    with pytest.raises(
        InvalidParameters, match=r"combination 1: epochs: is 3, too few .* \(give 4 or more, or train wi"
    ):
        plan(2, epochs=3)


def test_the_first_rung_pauses_and_the_best_are_resumed_to_the_next() -> None:
    first = plan()
    assert {one["parameters"]["pause_after"] for one in first} == {3}
    assert {one["parameters"]["epochs"] for one in first} == {27}
    assert {(one["rung"], one["resume_from"]) for one in first} == {(1, "")}
    second = next_rung([ended(one, score=one["combination"] / 100) for one in first])
    assert [one["combination"] for one in second] == list(range(18, 28))
    assert [(one["run_id"], one["resume_from"]) for one in second][:1] == [("s-18-f1-r2", "s-18-f1")]
    assert {one["parameters"]["pause_after"] for one in second} == {9}
    third = next_rung([ended(one, score=one["combination"] / 100) for one in second])
    assert [(one["run_id"], one["resume_from"], one["rung"]) for one in third] == [
        (f"s-{number}-f1-r3", f"s-{number}-f1-r2", 3) for number in (23, 24, 25, 26, 27)
    ]
    assert all("pause_after" not in one["parameters"] for one in third)
    assert next_rung([ended(one, score=0.5) for one in third]) == []
    assert next_rung([]) == []


def test_folds_go_on_together_by_their_mean() -> None:
    first = plan(7, folds=2)
    scores = {1: (0.9, 0.1), 2: (0.6, 0.6), 3: (0.7, 0.4), 4: (0.2, 0.2), 5: (0.1, 0.1), 6: (0.8, 0.5), 7: (0, 1)}
    second = next_rung([ended(one, scores[one["combination"]][int(one["run_id"][-1]) - 1]) for one in first])
    assert [(one["combination"], one["run_id"]) for one in second] == [
        (2, "s-2-f1-r2"), (2, "s-2-f2-r2"), (3, "s-3-f1-r2"), (3, "s-3-f2-r2"), (6, "s-6-f1-r2"), (6, "s-6-f2-r2"),
    ]  # fmt: skip


def test_failures_do_not_go_on_and_take_no_place() -> None:
    first = plan(6)
    outcomes = [ended(one, None if one["combination"] < 4 else 0.5) for one in first]
    assert [one["combination"] for one in next_rung(outcomes)] == [4]
    assert next_rung([ended(one) for one in first]) == []


def test_who_came_to_its_own_end_needs_no_further_rung_and_counts_as_one_of_the_last() -> None:
    first = plan(7)
    by_patience = {7: StoppedBy.PATIENCE, 1: StoppedBy.THRESHOLD}
    outcomes = [
        ended(one, one["combination"] / 10, by_patience.get(one["combination"], StoppedBy.PAUSE)) for one in first
    ]
    second = next_rung(outcomes)
    assert [one["combination"] for one in second] == [5, 6]
    judged = [ended(second[0], 0.55), ended(second[1], 0.65)]
    third = next_rung(judged)
    assert [one["combination"] for one in third] == [6]
    rows = rank(climbed([outcomes, judged, [ended(third[0], 0.68)]]))
    assert [(row["combination"], row["rung"]) for row in rows] == [
        (7, 3), (6, 3), (1, 3), (5, 2), (4, 1), (3, 1), (2, 1)
    ]  # fmt: skip


def test_the_table_has_what_each_combination_cost_in_all_its_rungs_and_those_stopped_early_last() -> None:
    rungs, rung = [], plan(10)
    while rung:
        # The first combination looks best at first, and worst later; a score of an early rung beats none of the last.
        rungs.append([ended(one, 0.99 if len(rungs) == 0 and one["combination"] == 1 else one["combination"] / 20)
                      for one in rung])  # fmt: skip
        rung = next_rung(rungs[-1])
    assert [len(one) for one in rungs] == [10, 4, 2]
    table = make_table({"sweep_id": "s", "validation": 0.2, "combinations": 10, "runs": 10}, climbed(rungs))
    assert [row["combination"] for row in table["rows"]] == [10, 9, 8, 1, 7, 6, 5, 4, 3, 2]
    assert [row["rung"] for row in table["rows"]] == [3, 3, 2, 2, 1, 1, 1, 1, 1, 1]
    assert [row["usd"] for row in table["rows"][1:5]] == [0.75, 0.5, 0.5, 0.25]
    assert [row["epochs"] for row in table["rows"][1:5]] == [27, 9, 9, 3]
    assert table["rows"][0]["run_ids"] == ["s-10-f1", "s-10-f1-r2", "s-10-f1-r3"]
    assert table["usd"] == 10 * 0.25 + 4 * 0.25 + 2 * 0.25
    assert table["winner"] is not None
    assert table["winner"]["parameters"] == {**BASE, **table["winner"]["parameters"], "seed": 10}
    assert "pause_after" not in table["winner"]["parameters"]
    told = list(lines(table))
    assert ["stopped early" in line for line in told] == [False, False, *[True] * 8]


def test_without_halving_nothing_is_early() -> None:
    found = [replace(one) for one in expand({"seed": [1, 2, 3]}, BASE, 0.2)]
    assert isinstance(found[0], Combination)
    outcomes = [ended(one, 0.5, StoppedBy.EPOCHS) for one in trainings("s", found, ["d.h5"])]
    table = make_table({"sweep_id": "s", "validation": 0.2, "combinations": 3, "runs": 3}, climbed([outcomes, [], []]))
    assert not any("early" in line for line in lines(table))
    assert [row["run_ids"] for row in table["rows"]] == [["s-1-f1"], ["s-2-f1"], ["s-3-f1"]]


def test_the_plot_has_a_row_a_combination_with_its_interval_and_escapes_names() -> None:
    interval = {"low": 0.4, "high": 0.6}
    training = {**plan(1)[0], "overrides": {"loss": "<b>&", "seed": 1}}
    table = make_table({"sweep_id": "<s>", "validation": 0.2, "combinations": 2, "runs": 2}, [
        ended(training, 0.5, interval=interval), ended({**plan(2)[1], "overrides": {"seed": 2}}),
    ])  # fmt: skip
    row = table["rows"][0]
    assert row["interval"] == interval
    assert spread(row) == (0.4, 0.6)
    assert spread({**row, "std": 0.02}) == (0.48, 0.52)
    svg = sweep_svg(table)
    assert "&lt;b&gt;&amp;" in svg
    assert "<b>" not in svg
    assert svg.count("<circle") == 1  # the other one failed
    x = 330 + 480 * 0.5
    assert f'cx="{x:.1f}"' in svg
    assert sweep_svg({**table, "rows": []}).startswith("<svg")


# Pausing


def recipe(**fields: Any) -> Parameters:
    sgd = {"strategy": "sgd", "batch_size": 5, "optimizer": "adam", "schedule": "cosine", "validation": 0.2}
    return Parameters.load(small_network((5, 3), ("relu", "softmax"), **{**sgd, "epochs": 9, "seed": 4, **fields}))


def run_until_pause(parameters: Parameters, dataset: Dataset, state: bytes | None = None) -> Lesson:
    """As a trainer works: from a checkpoint's bytes until the job says that it is paused, or its end."""
    lesson = Lesson(parameters, dataset, load_checkpoint(state) if state else None)
    if not lesson.job.paused:
        for _ in lesson.steps():
            if lesson.job.paused:
                break
    return lesson


@pytest.mark.parametrize("fields", [
    {}, {"schedule": "exponential", "dtype": "float32", "dropout": 0.3},
    {"strategy": "full-batch", "batch_size": None, "optimizer": {"name": "gradient_descent", "momentum": 0.9}},
    {"strategy": "best-batch", "optimizer": "gradient_descent", "patience": 50},
])  # fmt: skip
def test_paused_and_resumed_is_never_paused_bit_for_bit(fields: dict[str, Any]) -> None:
    dataset = table(classes=3, samples=40)
    given = recipe(**fields)
    unpaused = run_until_pause(given, dataset)
    state: bytes | None = None
    for pause_after, done in ((1, 1), (3, 3), (None, 9)):
        lesson = run_until_pause(given.model_copy(update={"pause_after": pause_after}), dataset, state)
        assert lesson.training.epoch == done
        state = dump_checkpoint(lesson.training)
    assert lesson.training.history == unpaused.training.history
    for name, array in unpaused.params.items():
        assert np.array_equal(lesson.params[name], array), name
    # `epochs` stays what it was, and with it the schedule: three epochs alone would be another training.
    if fields.get("schedule", "cosine") == "cosine":
        # As they are now: of the best validation it may be the first epoch's.
        alone = run_until_pause(given.model_copy(update={"epochs": 3}), dataset).training.params
        paused = run_until_pause(given.model_copy(update={"pause_after": 3}), dataset).training.params
        assert any(not np.array_equal(alone[name], paused[name]) for name in alone)


def test_a_trainer_that_comes_to_a_paused_run_takes_no_step() -> None:
    dataset = table(classes=3, samples=40)
    state = dump_checkpoint(run_until_pause(recipe(pause_after=2), dataset).training)
    again = run_until_pause(recipe(pause_after=2), dataset, state)
    assert (again.job.paused, again.training.epoch) == (True, 2)


def test_a_paused_run_is_resumed_and_a_completed_one_is_not() -> None:
    older = Run(
        "a", State.COMPLETED, recipe(pause_after=2), "d.h5", "v", checkpoint_version="c", features=30, samples=20
    )
    paused = replace(older, stopped_by=StoppedBy.PAUSE)
    check_resumable(paused, recipe(pause_after=5), "d.h5", "v")
    check_resumable(paused, recipe(), "d.h5", "v")
    for stop in (StoppedBy.EPOCHS, StoppedBy.THRESHOLD, None):
        with pytest.raises(InvalidInput, match=r"run a is COMPLETED \(resume a FAILED, CANCELLED or paused run\)"):
            check_resumable(replace(older, stopped_by=stop), recipe(), "d.h5", "v")
    with pytest.raises(InvalidInput, match=r"parameters\.seed: is 5, but run a had 4"):
        check_resumable(paused, recipe(seed=5), "d.h5", "v")
    state = dump_checkpoint(run_until_pause(recipe(pause_after=2), table(classes=3, samples=40)).training)
    assert load_done(state, paused, recipe(pause_after=3)).epoch == 2
    with pytest.raises(InvalidInput, match=r"parameters.pause_after: is 2, but run a has already done 2 \(choose 3 or"):
        load_done(state, paused, recipe(pause_after=2))


# What it saves, and what it finds


@settings(deadline=None)
@given(st.integers(4, 200))
def test_27_combinations_take_a_third_of_the_epochs(epochs: int) -> None:
    rungs, rung = (
        [],
        first_rung(trainings("s", expand({"seed": list(range(27))}, {**BASE, "epochs": epochs}, 0.2), ["d"])),
    )
    while rung:
        rungs.append([ended(one, 0.5 + one["combination"] / 100) for one in rung])
        rung = next_rung(rungs[-1])
    last = climbed(rungs)
    done = sum(outcome.run.epoch for outcome in last if outcome.run)
    ends = [pause_at(epochs, rung) or epochs for rung in range(1, RUNGS + 1)]
    assert done == 27 * ends[0] + 10 * (ends[1] - ends[0]) + 5 * (ends[2] - ends[1])
    assert done / (27 * epochs) <= (0.35 if epochs >= 50 else 0.4 if epochs > 4 else 0.45)


def test_halving_finds_a_network_as_good_as_the_full_sweeps_best() -> None:
    """27 real trainings and their rungs: within 0.01 of the best at 40 % of the epochs; survivors bit for bit."""
    random = np.random.default_rng(3)
    x = random.standard_normal((3_400, 6))  # many are held out: of a few, the best of 27 is the luckiest
    y = ((x[:, 0] * x[:, 1] + 0.5 * x[:, 2] + 0.3 * random.standard_normal(3_400)) > 0).astype(np.int64)
    held = x[400:], y[400:]
    dataset = load_dataset(io.BytesIO(saved(x[:400], y[:400], *held, classes=("no", "yes"))))
    base = {**small_network((8, 1), ("tanh", "sigmoid")), "epochs": 36, "strategy": "sgd", "batch_size": 40}
    grid = {"learning_rate": [0.003, 0.03, 0.3], "layer_sizes": [[2, 1], [8, 1], [24, 1]],
            "optimizer": ["gradient_descent", "adam", "rmsprop"]}  # fmt: skip
    combinations = expand(grid, base, 0.2)
    assert len(combinations) == 27

    def score(lesson: Lesson) -> float:
        said = lesson.job.network.answers(lesson.params, np.ascontiguousarray(held[0].T))
        return float(((said[0] > 0.5) == held[1]).mean())

    full = {one.number: run_until_pause(one.parameters, dataset) for one in combinations}
    best = max(map(score, full.values()))
    states: dict[str, bytes] = {}
    rungs, rung, epochs = [], first_rung(trainings("s", combinations, ["d.h5"])), 0
    while rung:
        outcomes = []
        for training in rung:
            begun = states.get(training["resume_from"])
            lesson = run_until_pause(Parameters.load(training["parameters"]), dataset, begun)
            epochs += lesson.training.epoch - (load_checkpoint(begun).epoch if begun else 0)
            states[training["run_id"]] = dump_checkpoint(lesson.training)
            outcomes.append(ended(training, score(lesson)))
            if training["rung"] == RUNGS:
                unpaused = full[training["combination"]].params
                assert all(np.array_equal(array, unpaused[name]) for name, array in lesson.params.items())
        rungs.append(outcomes)
        rung = next_rung(outcomes)
    assert [len(each) for each in rungs] == [27, 10, 5]
    table_ = make_table({"sweep_id": "s", "validation": 0.2, "combinations": 27, "runs": 27}, climbed(rungs))
    assert table_["winner"] is not None
    assert table_["winner"]["score"] >= best - 0.01
    assert epochs / (27 * 36) <= 0.40


@pytest.mark.parametrize(
    ("samples", "features", "epochs", "limit"),
    [(60_000, 784, 30, 0.41), (50_000, 3_072, 90, 0.40), (209, 12_288, 3_000, 0.40)],
)
def test_what_27_combinations_cost_by_the_estimate(samples: int, features: int, epochs: int, limit: float) -> None:
    """Each rung's run pays for its own start, reading and kept epochs; of trainings of seconds that is most of it."""
    sizes = (256, 128, 10)
    fields: Any = {"strategy": "sgd", "batch_size": 128, "optimizer": "adam", "dtype": "float32"}

    def usd(some_epochs: int) -> float:
        chosen = Parameters.load(small_network(sizes, ("relu", "relu", "softmax"), **{**fields, "epochs": some_epochs}))
        return float(estimate(chosen, Size(features, samples))["usd"])

    ends = [0, *(pause_at(epochs, rung) or epochs for rung in range(1, RUNGS + 1))]
    halved = sum(runs * usd(end - begin) for runs, begin, end in zip((27, 10, 5), ends, ends[1:], strict=False))
    assert 0.3 < halved / (27 * usd(epochs)) <= limit
