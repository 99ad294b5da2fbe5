"""What is said of suspicious data, and that nothing is said of good ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.tree import DecisionTreeClassifier

from snn.batches import Samples
from snn.errors import InvalidDataset
from snn_client.data.judging import Finding, check, judge
from snn_client.tables import leaks
from snn_data.columns import Category, Columns, Number
from snn_data.dataset import Dataset, load_dataset, save_dataset

ITSACAT = Path(__file__).parents[4] / "shared" / "datasets" / "datasets.h5"


def dataset(
    train: NDArray[np.generic],
    test: NDArray[np.generic],
    labels: tuple[NDArray[np.generic], NDArray[np.generic]] | None = None,
    classes: tuple[str, ...] = ("no", "yes"),
    validation: NDArray[np.generic] | None = None,
) -> Dataset:
    def samples(stored: NDArray[np.generic], y: NDArray[np.generic] | None = None) -> Samples:
        return Samples(stored, np.arange(len(stored)) % 2 if y is None else y)

    y = labels or (None, None)
    held = None if validation is None else samples(validation)
    return Dataset(samples(train, y[0]), samples(test, y[1]), classes, held)


def photos(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 4, 3)).astype(np.uint8)


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)


def both_ways(data: Dataset, folder: Path) -> list[Finding]:
    """Judge it in memory and as a file, which must say the same."""
    held = (data.validation.stored, data.validation.y) if data.validation else (None, None)
    x = data.train.stored, data.train.y, data.test.stored, data.test.y
    save_dataset(folder / "data.h5", *x, data.classes, *held, columns=data.columns)
    found = judge(data)
    assert judge(folder / "data.h5") == found
    return found


@pytest.mark.parametrize("make", [photos, rows])
def test_nothing_is_said_of_good_data(make: object, tmp_path: Path) -> None:
    assert both_ways(dataset(make(60, 1), make(40, 2), validation=make(30, 3)), tmp_path) == []  # type: ignore[operator]


@pytest.mark.parametrize("make", [photos, rows])
def test_the_same_sample_in_two_parts(make: object, tmp_path: Path) -> None:
    train, test, validation = make(60, 1), make(40, 2), make(30, 3)  # type: ignore[operator]
    test[7], test[8], validation[0] = train[31], train[31], train[2]
    found = both_ways(dataset(train, test, validation=validation), tmp_path)
    assert found == [
        {
            "kind": "same sample",
            "text": "2 of 40 samples of the test part are in the training part too, 1 of them with another label "
            "(rows 31 and 7; 31 and 8): what is learned by heart looks as if it were understood",
        },
        {
            "kind": "same sample",
            "text": "1 of 30 samples of the validation part are in the training part too (rows 2 and 0): what is "
            "learned by heart looks as if it were understood",
        },
    ]


def test_classes_that_are_mixed_in_another_way(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [137, 72]), np.repeat([0, 1], [17, 33])
    (found,) = both_ways(dataset(photos(209, 1), photos(50, 2), labels), tmp_path)
    assert found["kind"] == "label shift"
    assert "(no 66% and 34%, yes 34% and 66%)" in found["text"]


@pytest.mark.parametrize("seed", range(20))
def test_a_random_split_is_no_shift(seed: int) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat([0, 1], [700, 300]))
    assert judge(dataset(photos(800, 1), photos(200, 2), (y[:800], y[800:]))) == []


def test_with_many_samples_a_small_difference_is_none(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [5_000, 5_000]), np.repeat([0, 1], [4_500, 5_500])
    data = dataset(np.arange(80_000.0).reshape(-1, 8), -1 - np.arange(80_000.0).reshape(-1, 8), labels)
    assert both_ways(data, tmp_path) == []


def test_classes_with_few_samples(tmp_path: Path) -> None:
    names = tuple("abcdefgh")
    counts = np.array([30, 3, 40, 9, 10, 1, 2, 4])
    y = np.repeat(np.arange(8), counts)
    (one, two) = both_ways(dataset(photos(99, 1), photos(99, 2), (y, y), names), tmp_path)
    assert one["text"] == (
        "the training part has few samples: 3 of b; 9 of d; 1 of f; 2 of g; 4 of h; fewer than 10 say little"
    )
    assert two["text"].startswith("the test part has few samples: ")


def test_numbers_have_no_classes(tmp_path: Path) -> None:
    data = dataset(rows(60, 1), rows(9, 2), (np.arange(60.0), np.arange(9.0)), ())
    (found,) = both_ways(data, tmp_path)
    assert found == {"kind": "few samples", "text": "the test part has few samples: 9; fewer than 10 say little"}


def test_features_that_never_change(tmp_path: Path) -> None:
    train = rows(60, 1)
    train[:, [1, 4]] = 3, 0
    (found,) = both_ways(dataset(train, rows(40, 2)), tmp_path)
    assert found == {
        "kind": "constant",
        "text": "2 of 6 features are the same in all training samples: columns 1; 4",
    }


def numbered(train: NDArray[np.generic], test: NDArray[np.generic], classes: int = 2, seed: int = 5) -> Dataset:
    """A data set whose labels the features do not tell, unless a test makes one of them do so."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, len(train)), random.integers(0, classes, len(test))
    return dataset(train, test, labels, tuple(f"class {k}" for k in range(classes)))


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_feature_that_alone_gives_the_class(wrong: int, tmp_path: Path) -> None:
    data = numbered(rows(300, 1), rows(200, 2))
    for samples in (data.train, data.test):
        samples.stored[:, 4] = np.abs(samples.stored[:, 4]) * (2 * samples.y - 1)
    data.test.stored[:wrong, 4] *= -1
    (found,) = both_ways(data, tmp_path)
    share = "99.5%" if wrong else "100.0%"
    assert found == {
        "kind": "leak",
        "text": f"alone gives the class of nearly every test sample: column 4 ({share}); what is known only once the "
        "label is has to be left out",
    }


def test_a_feature_that_nearly_gives_the_class_is_a_good_feature(tmp_path: Path) -> None:
    data = numbered(rows(300, 1), rows(200, 2))
    for samples in (data.train, data.test):
        samples.stored[:, 4] = np.abs(samples.stored[:, 4]) * (2 * samples.y - 1)
    data.test.stored[:10, 4] *= -1
    assert both_ways(data, tmp_path) == []


def test_columns_of_a_table_are_suspects_by_their_names(tmp_path: Path) -> None:
    """A number that is no order, and a category of which each value tells a class but none tells all of them."""
    data = numbered(rows(300, 1), rows(200, 2), classes=3)
    for samples in (data.train, data.test):
        code = samples.y + 3 * (np.arange(len(samples.y)) % 2)
        samples.stored[:, 0] = np.array([5, 1, 3, 2, 4, 0])[code]
        samples.stored[:, 2:5] = samples.y[:, None] == [2, 0, 1]
    number = [Number(name, 2.5, 1.7) for name in ("code", "age", "weight")]
    text = Columns((*number[:2], Category("ward", ("b", "c", "a")), number[2])).to_json()
    named = Dataset(data.train, data.test, data.classes, None, "", text)
    (found,) = both_ways(named, tmp_path)
    assert "alone each give the class of nearly every test sample: code (100.0%); ward (100.0%);" in found["text"]


def test_a_number_that_only_another_unit_tells_is_a_leak(tmp_path: Path) -> None:
    train, test = rows(300, 1), rows(200, 2)
    labels = np.exp(3 * train[:, 1].astype(float)), np.exp(3 * test[:, 1].astype(float))
    (found,) = both_ways(dataset(train, test, labels, ()), tmp_path)
    assert found["kind"] == "leak"
    assert found["text"].startswith("alone gives nearly all of what is to be predicted: column 1 (100.0%); ")
    noise = np.random.default_rng(0).normal(size=(2, 300))
    labels = train[:, 1] + 0.3 * noise[0], test[:, 1] + 0.3 * noise[1, :200]
    assert both_ways(dataset(train, test, labels, ()), tmp_path) == []


def test_among_many_features_of_few_samples_one_gives_the_class_by_accident() -> None:
    """Twelve samples to test by, 5,000 features: that one of them is right twelve times is no news."""
    random = np.random.default_rng(0)
    y = np.arange(12) % 2
    x = random.normal(size=(12, 5_000)) * (2 * random.integers(0, 2, (12, 5_000)) - 1)
    x[:, 7] = y
    train = leaks.Looked(x, y)
    assert leaks.suspects(train, train, 2) == []
    few = leaks.Looked(x[:, 5:9], y)
    assert len(leaks.suspects(few, few, 2)) == 4


def test_rows_are_looked_at_from_the_first_to_the_last() -> None:
    assert leaks.some_rows(2_000, 8) == slice(0, 2_000, 1)
    assert len(range(*leaks.some_rows(60_001, 8).indices(60_001))) == 1_936
    assert len(range(*leaks.some_rows(60_000, 400_000).indices(60_000))) <= 167
    data = numbered(rows(5_000, 1), rows(4_500, 2))
    for samples in (data.train, data.test):
        samples.stored[:, 0] = samples.y
    assert [one["kind"] for one in judge(data)] == ["leak"]


@pytest.mark.parametrize("load", [load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine])
def test_no_feature_of_known_data_is_a_suspect(load: Any) -> None:
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    test, train = order[: len(y) // 4], order[len(y) // 4 :]
    classes = 0 if load is load_diabetes else int(y.max()) + 1
    assert leaks.suspects(leaks.Looked(x[train], y[train]), leaks.Looked(x[test], y[test]), classes) == []


def test_more_samples_than_are_looked_at_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = rows(500, 1), rows(300, 2)
    test[299], train[:, 2] = train[499], 1
    test[299] = train[499]
    monkeypatch.setattr("snn_data.dataset.BLOCK_BYTES", 7 * 24)
    kinds = [found["kind"] for found in both_ways(dataset(train, test), tmp_path)]
    assert kinds == ["same sample", "constant"]


def test_an_error_if_asked(tmp_path: Path) -> None:
    data, told = dataset(rows(60, 1), rows(9, 2), (np.arange(60.0), np.arange(9.0)), ()), list[str]()
    assert check(data, False, "x.h5", told.append) == judge(data)
    assert told == ["the test part has few samples: 9; fewer than 10 say little"]
    with pytest.raises(
        InvalidDataset, match=r"^x\.h5: the test part has few samples: 9; .* \(correct the data, or be less"
    ):
        check(data, True, "x.h5", told.append)


@pytest.mark.skipif(not ITSACAT.exists(), reason="itsacat's datasets.h5 is not beside the project")
def test_itsacat_s_cats_are_a_poor_yardstick() -> None:
    same, shift = judge(load_dataset(ITSACAT))
    assert same["text"].startswith("1 of 50 samples of the test part are in the training part too (rows ")
    assert "(non-cat 66% and 34%, cat 34% and 66%)" in shift["text"]


def test_what_a_suspect_gives_is_what_scikit_learns_tree_makes_of_it() -> None:
    random = np.random.default_rng(5)
    codes = random.integers(0, 12, (900, 3)).astype(np.float32)
    y = ((codes[:, 1] % 2 == 0) ^ (random.random(900) < 0.004)).astype(np.int64)
    train, test = (leaks.Looked(codes[part], y[part]) for part in (slice(600), slice(600, None)))
    (found,) = leaks.suspects(train, test, 2)
    tree = DecisionTreeClassifier(random_state=0).fit(train.x[:, [1]], train.y)
    assert (found.name, found.share) == ("column 1", tree.score(test.x[:, [1]], test.y))
    assert 0.98 < found.share < 1
