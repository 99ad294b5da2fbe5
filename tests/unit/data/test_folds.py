"""Photos held out of the training set: parts that make up the whole, with every class's share, and no test photo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn.batches import Groups, Samples
from snn.errors import InvalidInput
from snn_client.data.folds import held_out, hold_out, number_of_parts
from snn_data.dataset import Dataset

SEEDS = st.integers(0, 2**63 - 1)


def labels(zeros: int, ones: int) -> np.ndarray:
    """Labels of a file in which the classes are mixed, (m,) as a data set has them."""
    return np.random.default_rng(zeros + ones).permutation(np.repeat([0, 1], [zeros, ones]))


def samples(y: np.ndarray) -> Samples:
    return Samples(np.zeros((len(y), 1)), y)


@settings(max_examples=60, deadline=None)
@given(zeros=st.integers(10, 60), ones=st.integers(10, 60), folds=st.integers(2, 10), seed=SEEDS)
def test_every_photo_is_in_exactly_one_fold_and_every_fold_has_the_classes_shares(
    zeros: int, ones: int, folds: int, seed: int
) -> None:
    truth = labels(zeros, ones)
    parts = held_out(samples(truth), folds, seed, 2)
    assert len(parts) == folds
    assert sorted(np.concatenate(parts).tolist()) == list(range(zeros + ones))
    for label, count in ((0, zeros), (1, ones)):
        in_folds = [int((truth[part] == label).sum()) for part in parts]
        assert set(in_folds) <= {count // folds, -(-count // folds)}
    assert all(np.array_equal(one, other) for one, other in zip(parts, held_out(samples(truth), folds, seed, 2)))


@settings(max_examples=60, deadline=None)
@given(zeros=st.integers(20, 90), ones=st.integers(20, 90), share=st.floats(0.1, 0.9), seed=SEEDS)
def test_a_share_has_the_classes_shares(zeros: int, ones: int, share: float, seed: int) -> None:
    truth = labels(zeros, ones)
    (part,) = held_out(samples(truth), share, seed, 2)
    assert len(set(part.tolist())) == part.size
    assert abs(part.size - share * (zeros + ones)) < 1
    for label, count in ((0, zeros), (1, ones)):
        held = int((truth[part] == label).sum())
        assert 0 < held < count
        assert abs(held - count * part.size / (zeros + ones)) < 1
    assert np.array_equal(part, held_out(samples(truth), share, seed, 2)[0])


def test_the_seed_decides() -> None:
    truth = labels(40, 40)
    for validation in (0.25, 4):
        drawn = {
            tuple(sorted(held_out(samples(truth), validation, seed, 2)[0].tolist()))
            for seed in (1, 2, 2**32 + 1, 2**63 - 1)
        }
        assert len(drawn) == 4


@pytest.mark.parametrize("validation", [0, 1, 1.5, 2.5, -0.2, -3, True, float("nan"), float("inf"), "many", None])
def test_anything_else_is_no_way_to_validate(validation: object) -> None:
    with pytest.raises(InvalidInput, match=r"validation: .* is not a valid validation .*between 0 and 1.*2 or more"):
        number_of_parts(validation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("validation", "parts"), [(0.2, 1), (2, 2), (5.0, 5)])
def test_the_number_of_parts(validation: float, parts: int) -> None:
    assert number_of_parts(validation) == parts
    assert len(held_out(samples(labels(9, 8)), validation, 1, 2)) == parts


@pytest.mark.parametrize(
    ("zeros", "ones", "validation"), [(50, 3, 4), (50, 1, 2), (50, 2, 0.1), (50, 2, 0.9), (3, 3, 0.001), (0, 9, 3)]
)
def test_both_classes_must_be_on_both_sides(zeros: int, ones: int, validation: float) -> None:
    with pytest.raises(InvalidInput, match=f"cannot be held out of {zeros}, {ones} samples of the 2 classes"):
        held_out(samples(labels(zeros, ones)), validation, 1, 2)


def test_a_fold_is_a_data_set_of_training_photos_alone() -> None:
    # Every photo says in its pixels which one it is: training photos 0..29, test photos 100..109.
    def photos(numbers: range) -> np.ndarray:
        return np.repeat(np.array(numbers, dtype=np.uint8), 2 * 2 * 3).reshape(-1, 2, 2, 3)

    def numbers(pixels: np.ndarray) -> list[int]:
        assert pixels.dtype == np.uint8
        return pixels[:, 0, 0, 0].tolist()

    train_y = labels(15, 15)
    train, test = Samples(photos(range(30)), train_y), Samples(photos(range(100, 110)), labels(5, 5))
    for part in held_out(train, 3, 7, 2):
        fold = hold_out(Dataset(train, test, ("no", "yes")), part)
        assert numbers(fold.test.stored) == sorted(part.tolist())
        assert numbers(fold.train.stored) == sorted(set(range(30)) - set(part.tolist()))
        assert fold.train.y.tolist() == train_y[numbers(fold.train.stored)].tolist()
        assert fold.test.y.tolist() == train_y[numbers(fold.test.stored)].tolist()
        assert fold.classes == ("no", "yes")
        assert fold.validation is fold.test


def test_many_classes_and_numbers_can_be_held_out_too() -> None:
    y = np.arange(90) % 3
    for validation in (5, 0.2):
        for part in held_out(samples(y), validation, 1, 3):
            assert np.bincount(y[part]).tolist() == [6, 6, 6]
    numbers = held_out(samples(np.linspace(0, 1, 20)), 4, 1, 0)
    assert sorted(np.concatenate(numbers).tolist()) == list(range(20))
    assert [len(part) for part in numbers] == [5] * 4
    with pytest.raises(InvalidInput, match=r"5 cannot be held out of 3 samples \(every class"):
        held_out(samples(np.linspace(0, 1, 3)), 5, 1, 0)


def of_patients(classes: bool = True) -> Samples:
    """120 samples of 30 patients, as a data set has them: mixed."""
    random = np.random.default_rng(5)
    patients = random.permutation(np.repeat(np.arange(30), 4))
    y = random.integers(0, 2, 120) if classes else random.normal(size=120)
    return Samples(np.zeros((120, 1)), y, Groups(patients))


@pytest.mark.parametrize("classes", [2, 0])
@pytest.mark.parametrize("validation", [0.2, 5])
def test_a_patient_is_never_on_both_sides(classes: int, validation: float) -> None:
    samples = of_patients(bool(classes))
    assert samples.groups is not None
    parts = held_out(samples, validation, 3, classes)
    assert len(parts) == number_of_parts(validation)
    for part in parts:
        rest = np.setdiff1d(np.arange(120), part)
        assert not set(samples.groups.numbers[part]) & set(samples.groups.numbers[rest])
        assert 16 <= len(part) <= 32
    if len(parts) > 1:
        assert sorted(np.concatenate(parts).tolist()) == list(range(120))


def test_folds_of_times_are_stretches_and_a_share_is_the_latest() -> None:
    times = np.random.default_rng(2).permutation(np.repeat(np.arange(25), 4))
    samples = Samples(np.zeros((100, 1)), np.arange(100.0), Groups(times, in_time=True))
    assert [set(times[part].tolist()) for part in held_out(samples, 5, 0, 0)] == [
        set(range(first, first + 5)) for first in range(0, 25, 5)
    ]
    (latest,) = held_out(samples, 0.2, 0, 0)
    assert sorted(times[latest].tolist()) == sorted(np.repeat(np.arange(20, 25), 4).tolist())


def test_more_folds_than_patients_are_refused() -> None:
    samples = Samples(np.zeros((40, 1)), np.arange(40) % 2, Groups(np.arange(40) // 10))
    with pytest.raises(InvalidInput, match=r"^validation: 5 cannot be held out") as refused:
        held_out(samples, 5, 0, 2)
    assert refused.value.hint.endswith("and what belongs together stays together")
