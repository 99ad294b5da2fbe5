"""What is kept of training data: small, the same from a file, and refused when it is damaged."""

from __future__ import annotations

import json
from typing import Any

import drift_data
import numpy as np
import pytest
from sklearn.decomposition import PCA

from snn.batches import Groups, Samples
from snn.errors import InvalidInput
from snn_data.columns import Category, Columns, Number
from snn_data.dataset import Dataset
from snn_data.drift.directions import Directions
from snn_data.drift.reference import MOST_BYTES, Reference
from snn_data.drift.report import compare
from snn_data.drift.samples import digests, fresh, independent, spread


def wide_table(rows: int = 400, numbers: int = 900, categories: int = 100) -> Dataset:
    """More columns than any reference has room for, with long names and values."""
    chance = np.random.default_rng(1)
    values = tuple(
        f"value {number} of a very long name that goes on and on and on and on {number}" for number in range(90)
    )
    columns = [Category(f"category {number} {'x' * 80}", values) for number in range(categories)]
    columns += [Number(f"number {number}", 0.0, 1.0) for number in range(numbers)]
    one_hot = np.eye(90)[chance.integers(0, 90, (rows, categories))].reshape(rows, -1)
    x = np.hstack([one_hot, chance.standard_normal((rows, numbers))]).astype(np.float32)
    return drift_data.dataset(x, columns=Columns(tuple(columns)).to_json())


def big(kind: str) -> Dataset:
    chance = np.random.default_rng(2)
    if kind == "photos":
        x = chance.integers(0, 256, (6_000, 8, 8, 3)).astype(np.uint8)
        return drift_data.dataset(x, chance.integers(0, 100, 6_000), tuple(f"class {number}" for number in range(100)))
    if kind == "features":
        return drift_data.dataset(drift_data.features(chance, 3_000, 1_280))
    if kind == "very wide features":
        return drift_data.dataset(chance.standard_normal((200, 20_000)).astype(np.float32))
    if kind == "numbers":
        return drift_data.dataset(chance.standard_normal((20_000, 64)))
    return wide_table() if kind == "wide table" else drift_data.table_dataset(chance, 30_000)


KINDS = ["photos", "features", "very wide features", "numbers", "wide table", "table"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_small_and_the_same_from_a_file(kind: str, record_property: Any) -> None:
    data = big(kind)
    reference = Reference.of(data)
    text = reference.to_json()
    record_property("bytes", len(text))
    assert len(text) <= MOST_BYTES
    again = Reference.from_json(text)
    assert again.to_json() == text
    assert again.digest == reference.digest
    assert Reference.of(data).digest == reference.digest
    report = compare(reference, data)
    assert compare(again, data) == report
    # Among many numbers of few samples the half that directions were found in is not like the other.
    assert report["drifted"] == (kind == "very wide features")


def test_another_data_set_has_another_digest() -> None:
    one, other = (Reference.of(drift_data.table_dataset(np.random.default_rng(seed), 100)) for seed in (1, 2))
    assert one.digest != other.digest
    assert len(one.digest) == 16


def damaged(text: str) -> dict[str, str]:
    given = json.loads(text)

    def but(**changes: Any) -> str:
        return json.dumps({**given, **changes})

    def feature(**changes: Any) -> str:
        return but(features=[{**given["features"][0], **changes}])

    return {
        "no JSON": text[:-20],
        "a list": "[]",
        "another format": but(format=2),
        "no features": but(features=[]),
        "features that are text": but(features="x"),
        "a feature that is text": but(features=["x"]),
        "an unknown kind": feature(kind="smell"),
        "too few counts": feature(counts="AAAA"),
        "counts that are no base 64": feature(counts="?"),
        "counts that are no text": feature(counts=7),
        "a schema that is none": but(schema=[]),
        "directions that are none": but(directions=[1]),
        "directions without axes": but(directions={"middle": "AAAAAA=="}),
    }


WRONG = damaged(Reference.of(drift_data.dataset(np.arange(50.0)[:, None], np.arange(50.0))).to_json())


@pytest.mark.parametrize("what", WRONG)
def test_one_that_is_damaged_is_refused_in_a_line(what: str) -> None:
    with pytest.raises(InvalidInput, match=r"^kept\.json: .*(is damaged|is not JSON)") as refused:
        Reference.from_json(WRONG[what], "kept.json")
    assert "\n" not in str(refused.value)


def test_directions_are_scikit_learn_s_and_distances_are_plain_geometry() -> None:
    rows = drift_data.features(np.random.default_rng(3), 400, 64)
    directions = Directions.of(rows)
    pca = PCA(8).fit(rows)
    np.testing.assert_allclose(np.abs((directions.axes * pca.components_).sum(1)), 1, atol=1e-3)
    numbers = directions.numbers(rows)
    centred = rows - rows.mean(0)
    np.testing.assert_allclose(numbers[:, 0], np.linalg.norm(centred, axis=1), rtol=1e-4)
    left = rows - pca.inverse_transform(pca.transform(rows))
    np.testing.assert_allclose(numbers[:, 1], np.linalg.norm(left, axis=1), rtol=5e-3)
    np.testing.assert_allclose(np.abs(numbers[:, 2:]), np.abs(pca.transform(rows)), atol=2e-2)


def test_with_more_numbers_than_samples_the_directions_are_scikit_learn_s_too() -> None:
    rows = drift_data.features(np.random.default_rng(4), 90, 300)
    axes = Directions.of(rows).axes
    pca = PCA(8).fit(rows)
    np.testing.assert_allclose(np.abs((axes * pca.components_).sum(1)), 1, atol=5e-3)
    assert Directions.of(np.ones((50, 100), np.float32)).axes.shape == (0, 100)


def test_mirror_images_and_groups_count_once() -> None:
    x = np.arange(12.0)[:, None]
    mirrored = Samples(x, np.arange(12), Groups(np.tile(np.arange(6), 2), False))
    np.testing.assert_array_equal(independent(mirrored).y, np.arange(6))
    grouped = Samples(x, np.arange(12), Groups(np.array([3, 3, 1, 1, 1, 2, 2, 9, 9, 9, 9, 9]), False))
    np.testing.assert_array_equal(independent(grouped).y, [0, 2, 5, 7])
    timed = Samples(x, np.arange(12), Groups(np.repeat(np.arange(4), 3), True))
    np.testing.assert_array_equal(independent(timed).y, np.arange(12))
    both = Samples(x, np.arange(12), Groups(np.tile(np.repeat(np.arange(3), 2), 2), True))
    np.testing.assert_array_equal(independent(both).y, np.arange(6))
    one_moment = Samples(x, np.arange(12), Groups(np.zeros(12, np.int64), True))
    assert len(independent(one_moment)) == 12


def test_mirror_images_counted_as_photos_would_cry_wolf() -> None:
    """120 photos of 60: doubled they are no more evidence, and p stays what it is for 60."""
    chance = np.random.default_rng(5)
    x = chance.integers(0, 256, (60, 6, 6, 3)).astype(np.uint8)
    doubled = Samples(np.concatenate([x, x[:, :, ::-1]]), np.zeros(120), Groups(np.tile(np.arange(60), 2), False))
    reference = Reference.of(Dataset(doubled, doubled, ()))
    assert {int(feature.bins.counts.sum()) for feature in reference.features} == {60}
    report = compare(reference, Dataset(doubled, doubled, ()))
    assert {test["new"] for test in report["tests"]} == {60}


def test_what_is_known_already_is_left_out_but_for_what_may_repeat() -> None:
    x = np.random.default_rng(6).integers(0, 256, (10, 4, 4)).astype(np.uint8)
    x[8] = x[9] = 0  # two black photos
    known = digests([Samples(x, np.zeros(10)), Samples(x[:2], np.zeros(2))])
    new = Samples(np.concatenate([x[[1, 8, 3]], 255 - x[:2]]), np.array([1, 8, 3, 50, 51]))
    np.testing.assert_array_equal(fresh(new, known), [1, 3, 4])
    assert fresh(Samples(x[:5], np.zeros(5)), known).size == 0


def test_of_many_samples_some_are_taken_evenly() -> None:
    np.testing.assert_array_equal(spread(3, 5), [0, 1, 2])
    np.testing.assert_array_equal(spread(10, 5), [0, 2, 4, 6, 8])
    assert spread(10_001, 5_000).tolist() == sorted(set(spread(10_001, 5_000).tolist()))
    assert spread(0, 5).size == 0


def test_at_most_5_000_photos_are_looked_at() -> None:
    x = np.random.default_rng(7).integers(0, 256, (6_000, 2, 2)).astype(np.uint8)
    reference = Reference.of(drift_data.dataset(x))
    counts = {feature.name: int(feature.bins.counts.sum()) for feature in reference.features}
    assert counts.pop("labels") == 6_000
    assert set(counts.values()) == {5_000}
