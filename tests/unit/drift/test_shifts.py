"""What has changed is found, and called by its name: the finding that weighs most names the cause."""

from __future__ import annotations

from typing import Any

import drift_data
import h5py
import numpy as np
import pytest
from PIL import Image

from snn_data.drift.reference import Reference
from snn_data.drift.report import DriftReport, compare
from snn_data.drift.summary import Summary


@pytest.fixture(scope="module")
def cifar() -> tuple[Any, Reference]:
    """8,000 photos, as (pixels, labels, classes), and what 4,000 others are like."""
    pixels, y, classes = drift_data.photos("cifar10")
    order = np.random.default_rng(1).permutation(len(pixels))
    known, rest = order[:4_000], order[4_000:]
    return (pixels[rest], y[rest], classes), Reference.of(drift_data.dataset(pixels[known], y[known], classes))


@pytest.mark.parametrize(
    ("change", "by", "cause", "moved"),
    [
        ("brightness", 20, "brightness", "higher"),
        ("brightness", -25, "brightness", "lower"),
        ("blur", 0.6, "sharpness", "lower"),
        ("blur", 2.0, "sharpness", "lower"),
        ("noise", 4, "noise", "higher"),
        ("noise", 20, "noise", "higher"),
        ("contrast", 0.7, "contrast", "lower"),
        ("contrast", 1.4, "contrast", "higher"),
        ("saturation", 0.6, "saturation", "lower"),
        ("red", 12, "red", "higher"),
    ],
)
def test_photos_that_were_changed(change: str, by: float, cause: str, moved: str, cifar: Any) -> None:
    """500 of CIFAR-10's, beside 4,000 others that were not."""
    (pixels, y, classes), reference = cifar
    changed = drift_data.CHANGES[change](pixels[:500], by, np.random.default_rng(2))
    report = compare(reference, drift_data.dataset(changed, y[:500], classes))
    first = report["findings"][0]
    assert (report["drifted"], first["name"], first["kind"]) == (True, cause, "photo")
    assert f"is {moved}: its median is about" in first["text"]
    assert "4,000 samples of the training data, 500 new" in first["text"]
    assert first["p_value"] < 1e-6
    assert "labels" not in [finding["name"] for finding in report["findings"]]


def test_another_mix_of_classes(cifar: Any) -> None:
    """Half as many animals: colours move with the classes, and the labels come first."""
    (pixels, y, classes), reference = cifar
    vehicles = np.isin(y, [classes.index(name) for name in ("airplane", "automobile", "ship", "truck")])
    chosen = np.concatenate([np.flatnonzero(vehicles)[:700], np.flatnonzero(~vehicles)[:300]])
    report = compare(reference, drift_data.dataset(pixels[chosen], y[chosen], classes))
    assert report["findings"][0]["name"] == "labels"
    assert "the mix of classes is another" in report["findings"][0]["text"]
    assert len(report["findings"]) > 1


def test_another_camera() -> None:
    """itsacat's 209 photos beside CIFAR-10's, all made 32×32 alike: their looks have changed, not the labels."""
    if not drift_data.ITSACAT.exists():
        pytest.skip("itsacat's data set is not here")
    with h5py.File(drift_data.ITSACAT) as h5:
        theirs = h5["train_set_x"][()]
    small = np.stack([np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in theirs])
    pixels, _, _ = drift_data.photos("cifar10")
    reference = Reference.of(drift_data.dataset(pixels, np.zeros(len(pixels), np.int64), ("cat", "dog")))
    report = compare(reference, drift_data.dataset(small, np.zeros(len(small), np.int64), ("cat", "dog")))
    assert (report["reference"], report["new"], report["drifted"]) == (10_000, 209, True)  # labels count them all
    names = [finding["name"] for finding in report["findings"]]
    assert names[0] == "saturation"
    assert {"noise", "brightness", "blue"} <= set(names)
    assert "labels" not in names


@pytest.mark.parametrize("as_requests", [False, True])
def test_a_column_that_moved_by_less_than_a_third_of_its_spread(as_requests: bool) -> None:
    chance = np.random.default_rng(4)
    known = drift_data.table_dataset(chance, 2_000)
    new = drift_data.table_dataset(chance, 2_000, age=0.3)
    report = compared(known, new, as_requests)
    assert [finding["name"] for finding in report["findings"]] == ["age"]
    assert "age is higher: its median is about 4" in report["findings"][0]["text"]


def compared(known: Any, new: Any, as_requests: bool) -> DriftReport:
    from snn_data.columns import Columns

    reference = Reference.of(known)
    if not as_requests:
        return compare(reference, new)
    summary = Summary(reference)
    summary.add_rows(new.train.stored, Columns.from_json(new.columns, "the model"))
    return compare(reference, summary)


@pytest.mark.parametrize("as_requests", [False, True])
def test_a_value_that_appears(as_requests: bool) -> None:
    chance = np.random.default_rng(5)
    known, new = drift_data.table_dataset(chance, 1_000), drift_data.table_dataset(chance, 300, new_value=0.08)
    report = compared(known, new, as_requests)
    assert [finding["name"] for finding in report["findings"]] == ["colour"]
    assert "colour: values that were not there before are" in report["findings"][0]["text"]
    assert report["findings"][0]["p_value"] < 1e-10


def test_values_that_are_missing_more_often() -> None:
    chance = np.random.default_rng(60)
    known = drift_data.table_dataset(chance, 800)
    report = compare(Reference.of(known), drift_data.table_dataset(chance, 800, missing=0.25))
    assert [finding["name"] for finding in report["findings"]] == ["income: missing"]
    first = report["findings"][0]
    assert first["kind"] == "missing"
    assert first["text"].startswith("income is missing in 2")
    share = float(first["text"].split("it was in ")[1].split("%")[0])
    assert 7 < share < 13  # 10 % of them are


def test_numbers_to_give_that_are_others() -> None:
    chance = np.random.default_rng(7)
    x = chance.standard_normal((900, 3))
    known, new = drift_data.dataset(x[:500], x[:500, 0]), drift_data.dataset(x[500:], x[500:, 0] + 0.6)
    report = compare(Reference.of(known), new)
    assert [finding["name"] for finding in report["findings"]] == ["labels"]


def test_features_of_other_things() -> None:
    chance = np.random.default_rng(8)
    reference = Reference.of(drift_data.dataset(drift_data.features(chance, 1_000)))
    moved = compare(reference, drift_data.dataset(drift_data.features(chance, 500, shift=0.8)))
    assert moved["drifted"]
    assert {finding["kind"] for finding in moved["findings"]} == {"embedding"}
    strange = np.maximum(chance.normal(1, 1, (200, 256)), 0).astype(np.float32)
    report = compare(reference, drift_data.dataset(strange))
    assert report["findings"][0]["name"] == "what no direction tells"
    assert report["findings"][0]["distance"] > 0.95


def test_features_that_go_together_are_all_named_and_none_hides_another() -> None:
    """Ten columns that are the same but for a little noise: all move, all are found."""
    chance = np.random.default_rng(9)
    one = chance.standard_normal((1_000, 1))
    x = one + 0.05 * chance.standard_normal((1_000, 10))
    report = compare(Reference.of(drift_data.dataset(x[:500])), drift_data.dataset(x[500:] + 0.7))
    assert {finding["name"] for finding in report["findings"]} == {f"column {number}" for number in range(10)}


def test_what_weighs_most_comes_first_and_what_is_certain_has_a_corrected_p() -> None:
    chance = np.random.default_rng(10)
    x = chance.standard_normal((1_000, 4))
    report = compare(
        Reference.of(drift_data.dataset(x[:500])), drift_data.dataset(x[500:] + np.array([0, 0.5, 0, 1.0]))
    )
    assert [finding["name"] for finding in report["findings"]] == ["column 3", "column 1"]
    tests = report["tests"]
    assert [test["drifted"] for test in tests] == [True, True, False, False, False]
    raw = sorted(test["p_value"] for test in tests)
    assert tests[0]["adjusted"] == pytest.approx(5 * raw[0])
    assert tests[1]["adjusted"] == pytest.approx(4 * raw[1])
    assert report["alpha"] == 0.001
