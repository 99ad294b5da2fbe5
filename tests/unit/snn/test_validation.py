"""What is held out to validate by, what it finds, and when a training stops by it: held to scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit
from training import Lesson, photos, table, trained

from snn.batches import Groups, Samples
from snn.errors import InvalidInput
from snn.losses import LOSSES
from snn.training import Stop
from snn.validation import METRIC_NAMES, held_out, held_per_class, hold_out, metric
from snn_cloud.ledger.parameters import Parameters
from snn_data.model import Model


def samples(y: np.ndarray[Any, Any]) -> Samples:
    return Samples(np.arange(len(y), dtype=np.float64)[:, None], y)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(4, 60), min_size=1, max_size=6), share=st.floats(0.05, 0.95), seed=st.integers(0, 2**40)
)
def test_as_many_of_each_class_are_held_out_as_scikit_learn_holds_out(
    counts: list[int], share: float, seed: int
) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    try:
        rest, held = hold_out(samples(y), share, seed, len(counts))
    except InvalidInput:
        held_count = int(np.ceil(share * len(y)))
        assert min(held_count, len(y) - held_count) < 2 * len(counts) or min(counts) * min(share, 1 - share) < 2
        return
    assert sorted([*rest.rows[:, 0], *held.rows[:, 0]]) == list(range(len(y)))
    for part in (rest, held):  # in the order of the file, each with its own label
        assert part.rows[:, 0].tolist() == sorted(part.rows[:, 0])
        assert part.y.tolist() == y[part.rows[:, 0].astype(int)].tolist()
    splitter = StratifiedShuffleSplit(1, test_size=share, random_state=0)
    ((_, theirs),) = splitter.split(y, y) if len(counts) > 1 else [(None, np.arange(int(np.ceil(share * len(y)))))]
    ours, wanted = np.bincount(held.y, minlength=len(counts)), np.bincount(y[theirs], minlength=len(counts))
    assert len(held) == len(theirs)
    assert np.abs(ours - wanted).max() <= 1  # of equal remainders scikit-learn draws which class gets the sample
    assert np.abs(ours - np.array(counts) * len(held) / len(y)).max() < 1


def test_the_seed_decides_who_is_held_out() -> None:
    y = np.arange(100) % 3
    held = {tuple(hold_out(samples(y), 0.2, seed, 3)[1].rows[:, 0]) for seed in (1, 2, 3, 1)}
    assert len(held) == 3
    numbers = hold_out(samples(np.linspace(0, 1, 50)), 0.2, 1, 0)
    assert [len(part) for part in numbers] == [40, 10]


@pytest.mark.parametrize(("counts", "share", "says"), [
    ([50, 1], 0.2, "cannot be held out of the 1 samples of class 1"), ([3, 3], 0.01, "of class"),
    ([3, 3], 0.99, "of class"), ([1], 0.5, "cannot be held out of the 1 samples: one side would have none"),
])  # fmt: skip
def test_every_class_is_on_both_sides_or_it_is_refused(counts: list[int], share: float, says: str) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(InvalidInput, match=f"validation: .*{says}"):
        held_per_class(y if len(counts) > 1 else y.astype(float), share, len(counts) if len(counts) > 1 else 0)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_metrics_are_scikit_learns(data: st.DataObject) -> None:
    m = data.draw(st.integers(2, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    y, numbers = random.integers(0, 4, m), random.standard_normal(m)
    K = random.random((4, m))
    assert metric(LOSSES["categorical_crossentropy"], K, y) == accuracy_score(y, K.argmax(axis=0))
    P = random.random((1, m))
    assert metric(LOSSES["binary_crossentropy"], P, y % 2) == accuracy_score(y % 2, P[0] > 0.5)
    said = numbers + random.standard_normal(m)
    assert metric(LOSSES["mean_squared_error"], said[None, :], numbers) == pytest.approx(r2_score(numbers, said))


@pytest.mark.parametrize("path", ["direct", "span"])
@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "identity"])
@pytest.mark.parametrize("asked", [0.25, "file"])
def test_what_validation_finds_is_what_the_model_of_that_epoch_gives(kind: str, path: str, asked: Any) -> None:
    data = {"sigmoid": photos(), "softmax": table(samples=40, classes=3), "identity": table(samples=40)}[kind]
    last = 3 if kind == "softmax" else 1
    if asked == "file":
        data = type(data)(data.train, data.test, data.classes, data.train.part(np.arange(9)))
    network = oracle.small_network((5, 4, last), ("relu", "tanh", kind), learning_rate=0.05)
    chosen = Parameters.load({**network, "epochs": 6, "validation": asked, "first_layer": path, "dropout": 0.2,
                              "restore_best_weights": False})  # fmt: skip
    lesson = Lesson(chosen, data)
    held = data.validation if asked == "file" else hold_out(data.train, asked, chosen.seed, len(data.classes))[1]
    assert held is not None
    assert len(lesson.job.samples) == len(data.train) - (0 if asked == "file" else len(held))
    for epoch, _ in enumerate(lesson.steps()):
        params = lesson.job.first.network(lesson.training.params)
        answers = Model(params, chosen.activation_per_layer).judge(held)
        history = lesson.training.history
        if kind == "identity":
            cost, score = float(np.mean((answers[0] - held.y) ** 2)), r2_score(held.y, answers[0])
        else:
            rows = np.vstack([1 - answers, answers]) if len(answers) == 1 else answers
            cost = log_loss(held.y, rows.T, labels=range(len(rows)))
            score = accuracy_score(held.y, rows.argmax(axis=0))
        assert history.validation_costs[epoch] == pytest.approx(cost, abs=1e-10)
        assert history.validation_metrics[epoch] == pytest.approx(score, abs=1e-10)
    assert METRIC_NAMES == {True: "accuracy", False: "r2"}


def overfitting(**fields: Any) -> Parameters:
    """A network that learns noise by heart: its validation cost falls, then rises."""
    network = oracle.small_network((30, 1), ("tanh", "sigmoid"), learning_rate=0.3)
    return Parameters.load({**network, "epochs": 200, "validation": 0.4, **fields})


def test_patience_ends_a_training_and_the_best_epoch_is_its_model() -> None:
    data = photos(samples=40, height=2, width=2)
    endless = trained(overfitting(), data).training.history.validation_costs
    best = int(np.argmin(endless))
    assert 0 < best < 150
    for patience in (1, 5, 20):
        chosen = overfitting(patience=patience)
        lesson = trained(chosen, data)
        costs, training = lesson.training.history.validation_costs, lesson.training
        assert training.stopped_by(chosen) is Stop.PATIENCE
        assert costs == endless[: len(costs)]
        assert training.best_epoch == int(np.argmin(costs)) == len(costs) - 1 - patience
        stopped_there = trained(overfitting(epochs=training.best_epoch + 1), data)
        for name, array in stopped_there.params.items():
            assert np.array_equal(array, lesson.params[name])
        last = trained(overfitting(patience=patience, restore_best_weights=False), data)
        assert any(not np.array_equal(last.params[name], lesson.params[name]) for name in lesson.params)
        assert last.training.history.validation_costs == costs


def test_what_is_better_by_less_than_min_delta_is_not_better() -> None:
    data = photos(samples=40, height=2, width=2)
    chosen = overfitting(patience=3, min_delta=0.01)
    training = trained(chosen, data).training
    costs, best, kept = training.history.validation_costs, float("inf"), -1
    for epoch, cost in enumerate(costs):
        if cost < best - 0.01:
            best, kept = cost, epoch
    assert training.best_epoch == kept
    assert len(costs) == kept + 1 + 3
    assert len(costs) < len(trained(overfitting(patience=3), data).training.history.validation_costs)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=20, max_size=60), share=st.floats(0.1, 0.5), seed=st.integers(0, 999))
def test_no_group_is_parted_and_the_classes_have_about_their_shares(sizes: list[int], share: float, seed: int) -> None:
    numbers = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = np.random.default_rng(seed + 1).integers(0, 2, len(numbers))
    assume(min(np.bincount(y, minlength=2)) >= 10)
    held = held_out(y, Groups(numbers), share, seed, 2)
    assert not set(numbers[held]) & set(numbers[~held])
    for label in (0, 1):
        wanted = share * (y == label).sum()
        assert abs((y[held] == label).sum() - wanted) <= max(3, 0.5 * wanted)
    assert np.array_equal(held, held_out(y, Groups(numbers), share, seed, 2))


def test_of_times_the_latest_are_held_out_and_none_is_parted() -> None:
    times = np.array([3, 1, 2, 2, 5, 4, 4, 1])
    samples = Samples(np.arange(8.0)[:, None], np.arange(8.0), Groups(times, in_time=True))
    training, held = hold_out(samples, 0.25, 0, 0)
    assert held.y.tolist() == [4.0, 5.0, 6.0]  # two were wanted, and the second of them is of time 4
    assert training.groups is not None
    assert training.groups.numbers.tolist() == [3, 1, 2, 2, 1]
    assert training.groups.in_time


@pytest.mark.parametrize(
    ("y", "groups", "says"),
    [
        ([0, 0, 1, 1], Groups(np.array([1, 1, 1, 1])), "by group: one side would have no sample of some class"),
        ([0, 0, 1, 1], Groups(np.array([1, 1, 2, 2])), "by group: one side would have no sample of some class"),
        ([0, 0, 1, 1], Groups(np.array([1, 2, 3, 4]), in_time=True), "by time: one side would have no sample of some"),
        ([0.5, 0.1, 2.0], Groups(np.array([7, 7, 7]), in_time=True), "by time: one side would have no sample"),
    ],
)
def test_groups_that_leave_one_side_without_a_class_are_refused(y: list[float], groups: Groups, says: str) -> None:
    classes = 2 if isinstance(y[0], int) else 0
    with pytest.raises(InvalidInput, match=rf"^validation: 0\.25 cannot be held out {says}"):
        held_out(np.array(y), groups, 0.25, 0, classes)


def test_whole_groups_come_as_near_to_each_classes_share_as_scikit_learns_best_fold() -> None:
    ours, theirs = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        numbers = random.permutation(np.repeat(np.arange(40), random.integers(1, 9, 40)))
        y = (random.random(len(numbers)) < 0.2 + 0.6 * (numbers % 2)).astype(np.int64)  # groups are not alike
        wanted = 0.2 * np.bincount(y)

        def off(held: np.ndarray[Any, Any], y: Any = y, wanted: Any = wanted) -> float:
            return float(np.abs(np.bincount(y[held], minlength=2) - wanted).sum())

        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(y, y, numbers)
        theirs.append(min(off(held) for _, held in folds))
        ours.append(off(held_out(y, Groups(numbers), 0.2, seed, 2)))
    assert np.mean(ours) <= np.mean(theirs)
