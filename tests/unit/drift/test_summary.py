"""What an endpoint was asked: counts that add up to the same, wherever they were made."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import drift_data
import numpy as np
import pytest
from scipy import stats

from snn.errors import InvalidImage, InvalidInput
from snn_data.columns import Columns
from snn_data.drift import chance
from snn_data.drift.reference import Reference
from snn_data.drift.report import compare
from snn_data.drift.summary import Summary


def table() -> tuple[Reference, Any]:
    random = np.random.default_rng(1)
    known = drift_data.table_dataset(random, 800)
    # Requests are scaled as the model does it.
    raw = drift_data.table(random, 400, age=0.5)
    model = Columns.from_json(known.columns, "the model")
    rows = model.encode_rows(
        [dict(zip(raw, row)) for row in zip(*(none(column) for column in raw.values()))], "requests"
    )
    return Reference.of(known), lambda summary, some: summary.add_rows(rows[some], model)


def none(column: Any) -> list[Any]:
    return [None if one != one else one for one in column.tolist()]


def photos() -> tuple[Reference, Any]:
    pixels, y, classes = drift_data.photos("faces")
    order = np.random.default_rng(2).permutation(200)
    reference = Reference.of(drift_data.dataset(pixels[order[:100]], y[order[:100]], classes))
    asked = np.repeat(drift_data.CHANGES["brightness"](pixels[order[100:]], 40, None), 4, axis=0)
    return reference, lambda summary, some: summary.add_photos(asked[some][..., None])


def features() -> tuple[Reference, Any]:
    random = np.random.default_rng(3)
    reference = Reference.of(drift_data.dataset(drift_data.features(random, 600)))
    rows = drift_data.features(random, 400, shift=1.0)
    return reference, lambda summary, some: summary.add_rows(rows[some])


KINDS = {"table": table, "photos": photos, "features": features}


@pytest.mark.parametrize("kind", KINDS)
def test_eight_parts_together_are_the_whole(kind: str) -> None:
    """Added as summaries, and as counters of a database that each part was added to."""
    reference, add = KINDS[kind]()
    whole = Summary(reference)
    add(whole, slice(None))
    assert whole.samples == 400
    parts = [Summary(reference) for _ in range(8)]
    for number, part in enumerate(parts):
        add(part, slice(50 * number, 50 * (number + 1)))
    together = parts[0]
    for part in parts[1:]:
        together = together + part
    assert together.increments() == whole.increments()
    stored = Counter[str]()
    for part in parts:
        stored.update(part.increments())
    item: dict[str, Any] = {
        "model": "cats",
        "day": "2026-12-01",
        **{name: Decimal(count) for name, count in stored.items()},
    }
    read = Summary.of_counts(Reference.from_json(reference.to_json()), item)
    assert read.samples == 400
    assert read.increments() == whole.increments()
    assert compare(reference, read) == compare(reference, whole)
    assert compare(reference, whole)["drifted"]


def test_a_request_at_a_time_is_the_same() -> None:
    reference, _ = photos()
    pixels, _, _ = drift_data.photos("faces")
    at_once, one_by_one = Summary(reference), Summary(reference)
    at_once.add_photos(pixels[:20, ..., None])
    for photo in pixels[:20, ..., None]:
        one_by_one.add_photos(photo)
    assert one_by_one.increments() == at_once.increments()
    assert one_by_one.samples == 20


def test_counts_are_numpy_s_histograms_and_p_is_scipy_s() -> None:
    random = np.random.default_rng(4)
    known, asked = random.standard_normal((1_000, 2)), random.standard_normal((700, 2)) * [1, 1.6]
    reference = Reference.of(drift_data.dataset(known))
    summary = Summary(reference)
    summary.add_rows(asked)
    tests = {test["name"]: test for test in compare(reference, summary)["tests"]}
    assert set(tests) == {"column 0", "column 1"}
    for feature in reference.features[1:]:
        at = int(feature.name[-1])
        edges = np.concatenate([[-np.inf], feature.bins.cuts[feature.bins.coarse], [np.inf]])
        counts = [np.histogram(x[:, at], edges)[0].astype(np.int64) for x in (known, asked)]
        table = np.stack(counts)[:, sum(counts) > 0]
        both = [stats.chi2_contingency(table, lambda_=how).pvalue for how in ("pearson", "log-likelihood")]
        if (table.sum(0) * 0.4 > chance.ENOUGH).all():
            assert tests[feature.name]["p_value"] == pytest.approx(min(1, 2 * max(both)), rel=1e-6)
        assert tests[feature.name]["psi"] == pytest.approx(chance.stability(*table))
    # Spread, not moved: what chi-square sees and a median does not.
    assert tests["column 1"]["drifted"]
    assert not tests["column 0"]["drifted"]


def test_a_model_with_a_backbone_has_photos_and_features_counted() -> None:
    random = np.random.default_rng(5)
    pictures = random.integers(0, 256, (100, 8, 8, 3)).astype(np.uint8)
    known = drift_data.dataset(drift_data.features(random, 400), pictures=pictures)
    reference = Reference.of(known)
    assert {feature.kind for feature in reference.features} == {"labels", "embedding", "photo"}
    summary = Summary(reference)
    summary.add_photos(pictures)
    summary.add_rows(drift_data.features(random, 100), of_photos=True)
    report = compare(reference, summary)
    assert summary.samples == 100
    assert not report["drifted"]
    assert {test["new"] for test in report["tests"]} == {100}
    assert {test["kind"] for test in report["tests"]} == {"embedding", "photo"}


def test_keys_are_few_enough_for_an_item_and_short() -> None:
    reference, add = photos()
    summary = Summary(reference)
    add(summary, slice(None))
    names = summary.increments()
    assert len(names) < 80
    assert max(map(len, names)) <= 7
    assert all(type(count) is int and count > 0 for count in names.values())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"f99_0": 1}, "the counters: f99_0: is no bin of this reference"),
        ({"f0_99": 1}, "the counters: f0_99: is no bin of this reference"),
        ({"f0_0": -1}, "the counters: f0_0: is -1"),
        ({"f0_0": Decimal("1.5")}, "the counters: f0_0: is Decimal"),
        ({"samples": "7"}, "the counters: samples: is '7'"),
    ],
)
def test_counters_that_are_wrong_are_named(counts: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Summary.of_counts(photos()[0], counts)


def test_what_does_not_fit_is_refused_and_nothing_is_counted() -> None:
    reference, _ = features()
    summary = Summary(reference)
    for rows in (np.zeros((3, 5)), np.zeros((2, 2, 256))):
        with pytest.raises(InvalidInput, match=r"features: are .* \(give \(samples, 256\)\)"):
            summary.add_rows(rows)
    with pytest.raises(InvalidInput, match="hold what is no number"):
        summary.add_rows(np.full((1, 256), np.nan))
    with pytest.raises(InvalidImage):
        summary.add_photos(np.zeros((2, 4, 4, 3)))
    assert summary.increments() == {}
    with pytest.raises(InvalidInput, match="nothing was counted"):
        compare(reference, summary)
    with pytest.raises(InvalidInput, match="count by different references"):
        summary + Summary(photos()[0])


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_alpha_is_a_probability(alpha: float) -> None:
    reference, add = photos()
    summary = Summary(reference)
    add(summary, slice(None))
    with pytest.raises(InvalidInput, match="alpha: is"):
        compare(reference, summary, alpha)
