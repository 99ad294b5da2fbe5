"""Columns of tables: compared in the table's own units, however each data set has scaled and spelled them."""

from __future__ import annotations

from typing import Any

import drift_data
import numpy as np
import pytest
from scipy import stats

from snn_data.columns import Columns
from snn_data.drift.features import Measured, of_table
from snn_data.drift.reference import Reference
from snn_data.drift.report import compare


def measured(columns: dict[str, Any]) -> dict[str, Measured]:
    x, told = drift_data.encoded(columns)
    return {one.name: one for one in of_table(x, Columns.from_json(told, "test"))}


def test_p_values_are_those_of_scipy_on_the_table_before_it_was_scaled() -> None:
    """Each data set has a mean and a scale of its own, and float32 has rounded; ties are ties all the same."""
    for seed in range(40):
        chance = np.random.default_rng([1, seed])
        known, new = drift_data.table(chance, 180), drift_data.table(chance, 120, age=0.3 * (seed % 3))
        reference = Reference.of(
            drift_data.dataset(*drift_data.encoded(known)[:1], columns=drift_data.encoded(known)[1])
        )
        x, told = drift_data.encoded(new)
        tests = {test["name"]: test for test in compare(reference, drift_data.dataset(x, columns=told))["tests"]}
        for name in ("age", "income", "children", "stars", "defects"):
            first, second = (column[name][~np.isnan(column[name])] for column in (known, new))
            expected = stats.ks_2samp(first, second, method="asymp").statistic
            assert tests[name]["distance"] == pytest.approx(expected, abs=1e-9), name
            assert (tests[name]["reference"], tests[name]["new"]) == (first.size, second.size)
        shares = [(known["colour"] == "red").mean(), (new["colour"] == "red").mean()]
        assert tests["colour"]["distance"] >= abs(shares[0] - shares[1]) - 1e-9


def test_missing_values_are_counted_and_are_no_numbers() -> None:
    income = np.array([1.5, np.nan, 2.5, np.nan, 9.0, 4.0])
    found = measured({"income": income})
    np.testing.assert_allclose(np.sort(found["income"].numbers), [1.5, 2.5, 4.0, 9.0], rtol=1e-6)
    np.testing.assert_array_equal(found["income: missing"].counts, [4, 2, 0])


def test_a_value_that_is_the_mean_is_not_missing_where_it_may_be_one() -> None:
    """The mean of -1, 0 and 1 is a 0 of the table; in another data set it is 0.01, and nothing has changed."""
    whole = measured({"x": np.tile([-1.0, 0.0, 1.0], 30)})
    np.testing.assert_array_equal(whole["x: missing"].counts, [90, 0, 0])
    tenths = measured({"x": np.tile([0.1, 0.2, 0.3], 30)})
    np.testing.assert_array_equal(tenths["x: missing"].counts, [90, 0, 0])
    constant = measured({"x": np.full(20, 7.5)})
    np.testing.assert_array_equal(constant["x: missing"].counts, [20, 0, 0])
    np.testing.assert_array_equal(constant["x"].numbers, np.full(20, 7.5))


def test_a_category_that_only_one_of_the_data_sets_knows() -> None:
    chance = np.random.default_rng(2)
    known = {"pet": chance.choice(np.array(["cat", "dog"], dtype=object), 400)}
    new = {"pet": chance.choice(np.array(["ant", "cat", "dog"], dtype=object), 400)}
    report = compared(known, new)
    assert [finding["name"] for finding in report["findings"]] == ["pet"]
    assert report["findings"][0]["level"] == "warning"
    assert report["findings"][0]["distance"] == pytest.approx((new["pet"] == "ant").mean(), abs=0.03)
    gone = compared(new, known)
    assert "pet: ant is 0.0%, it was 3" in gone["findings"][0]["text"]


def compared(known: dict[str, Any], new: dict[str, Any]) -> Any:
    (x, first), (z, second) = drift_data.encoded(known), drift_data.encoded(new)
    return compare(Reference.of(drift_data.dataset(x, columns=first)), drift_data.dataset(z, columns=second))


def test_columns_that_came_went_or_hold_something_else_are_errors_and_the_others_are_compared() -> None:
    chance = np.random.default_rng(3)
    known = drift_data.table(chance, 500)
    new = drift_data.table(chance, 500, age=1.0)
    new["height"] = new.pop("children")
    new["stars"] = np.array([str(int(one)) for one in new["stars"]], dtype=object)
    report = compared(known, new)
    errors = {finding["name"]: finding["text"] for finding in report["findings"] if finding["level"] == "error"}
    assert errors == {
        "stars": "stars holds categories now, in the training data it held numbers",
        "columns": "column height is new",
    } | {"columns": errors["columns"]}
    texts = [finding["text"] for finding in report["findings"]]
    assert "column children is gone" in texts
    assert "column height is new" in texts
    assert [finding["name"] for finding in report["findings"] if finding["level"] == "warning"] == ["age"]
    assert {test["name"] for test in report["tests"]} >= {"age", "income", "defects", "colour", "member", "labels"}


def test_columns_in_another_order_are_the_same_table() -> None:
    chance = np.random.default_rng(4)
    known, new = drift_data.table(chance, 500), drift_data.table(chance, 500)
    assert compared(known, dict(reversed(new.items())))["findings"] == []


def test_years_and_money_keep_their_digits() -> None:
    """Whole numbers far from zero: 2,001 and 2,002 are two values after float32 and back."""
    chance = np.random.default_rng(5)
    years, cents = chance.integers(1990, 2026, 800).astype(float), chance.integers(10**6, 10**6 + 50, 800) / 100
    report = compared({"year": years[:400], "price": cents[:400]}, {"year": years[400:], "price": cents[400:]})
    for test in report["tests"]:
        if test["name"] in ("year", "price"):
            column = years if test["name"] == "year" else cents
            expected = stats.ks_2samp(column[:400], column[400:], method="asymp").statistic
            assert test["distance"] == pytest.approx(expected, abs=1e-9)
