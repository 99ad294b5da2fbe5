"""Counts and rates against cases worked out by hand, and against scikit-learn's own scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    precision_score,
    r2_score,
    recall_score,
    root_mean_squared_error,
)

from snn.decision import predicted_classes
from snn.errors import InvalidInput, InvalidModel
from snn_client.reports.metrics import evaluate


def from_counts(tn: int, fp: int, fn: int, tp: int) -> tuple[list[int], list[float]]:
    return [0] * (tn + fp) + [1] * (fn + tp), [0.1] * tn + [0.9] * fp + [0.2] * fn + [0.8] * tp


def test_seven_rates_of_the_matrix_that_itsacat_published() -> None:
    result = evaluate(*from_counts(tn=12, fp=5, fn=6, tp=27))

    assert result["confusion_matrix"] == {"tn": 12, "fp": 5, "fn": 6, "tp": 27}
    assert result["accuracy"] == pytest.approx(39 / 50)  # 0.78
    assert result["error"] == pytest.approx(11 / 50)
    assert result["sensitivity"] == pytest.approx(27 / 33)
    assert result["specificity"] == pytest.approx(12 / 17)
    assert result["false_positive_rate"] == pytest.approx(5 / 17)
    assert result["precision"] == pytest.approx(27 / 32)
    assert result["f1"] == pytest.approx(54 / 65)


def test_mislabelled_names_place_label_answer_and_probability() -> None:
    result = evaluate([0, 1, 1, 0], [0.7, 0.9, 0.25, 0.1])

    assert result["mislabelled"] == [
        {"index": 0, "label": 0, "predicted": 1, "probability": 0.7},
        {"index": 2, "label": 1, "predicted": 0, "probability": 0.25},
    ]


def test_a_probability_on_the_boundary_is_class_0() -> None:
    assert predicted_classes([[0.5, np.nextafter(0.5, 1)]]).tolist() == [0, 1]


def test_rows_as_the_network_makes_them_are_taken_too() -> None:
    assert evaluate(np.array([[1, 0]]), np.array([[0.9, 0.1]]))["accuracy"] == 1.0


def test_only_class_0_in_the_test_set() -> None:
    result = evaluate([0, 0, 0], [0.1, 0.2, 0.9])

    assert result["accuracy"] == pytest.approx(2 / 3)
    assert result["sensitivity"] is None  # no cat to find
    assert result["specificity"] == pytest.approx(2 / 3)
    assert result["precision"] == 0.0
    assert result["f1"] == 0.0


def test_only_class_0_and_all_right() -> None:
    result = evaluate([0, 0], [0.1, 0.2])

    assert (result["accuracy"], result["specificity"], result["false_positive_rate"]) == (1.0, 1.0, 0.0)
    assert (result["sensitivity"], result["precision"], result["f1"]) == (None, None, None)


def test_a_model_that_always_says_class_0() -> None:
    result = evaluate([0, 1, 1], [0.1, 0.1, 0.1])

    assert (result["sensitivity"], result["precision"], result["f1"]) == (0.0, None, 0.0)


def test_only_class_1_in_the_test_set() -> None:
    result = evaluate([1, 1], [0.9, 0.1])

    assert (result["specificity"], result["false_positive_rate"]) == (None, None)
    assert (result["sensitivity"], result["precision"]) == (0.5, 1.0)
    assert result["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("labels", "probabilities"), [([], []), ([1, 0], [0.5]), ([0, 2], [0.1, 0.2])])
def test_labels_that_cannot_be_judged(labels: list[int], probabilities: list[float]) -> None:
    with pytest.raises(InvalidInput):
        evaluate(labels, probabilities)


@pytest.mark.parametrize("chance", [float("nan"), float("inf"), -0.01, 1.01])
def test_a_diverged_model_is_named_as_such(chance: float) -> None:
    with pytest.raises(InvalidModel, match=r"1 of 2 probabilities are not numbers in 0\.\.1"):
        evaluate([0, 1], [chance, 0.4])


samples = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60)


@settings(deadline=None)
@given(samples)
def test_counts_and_rates_agree_with_each_other_and_with_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    labels, chances = [label for label, _ in pairs], [chance for _, chance in pairs]
    answers = [int(chance > 0.5) for chance in chances]
    result = evaluate(labels, chances)
    counts = result["confusion_matrix"]

    assert counts["tn"] + counts["fp"] + counts["fn"] + counts["tp"] == len(pairs)
    assert counts["fn"] + counts["tp"] == sum(labels)
    assert counts["fp"] + counts["tp"] == sum(answers)
    assert len(result["mislabelled"]) == counts["fp"] + counts["fn"]
    assert all(wrong["label"] != wrong["predicted"] for wrong in result["mislabelled"])
    assert result["accuracy"] + result["error"] == pytest.approx(1)
    if result["specificity"] is not None and result["false_positive_rate"] is not None:
        assert result["specificity"] + result["false_positive_rate"] == pytest.approx(1)

    assert result["accuracy"] == pytest.approx(accuracy_score(labels, answers))
    for ours, theirs in [
        (result["sensitivity"], recall_score(labels, answers, zero_division=np.nan)),
        (result["specificity"], recall_score(labels, answers, pos_label=0, zero_division=np.nan)),
        (result["precision"], precision_score(labels, answers, zero_division=np.nan)),
        (result["f1"], f1_score(labels, answers, zero_division=np.nan)),
    ]:
        assert np.isnan(theirs) if ours is None else ours == pytest.approx(theirs)


@settings(deadline=None)
@given(st.integers(3, 6), st.integers(1, 60), st.integers(0, 10_000))
def test_many_classes_are_scikit_learns(classes: int, m: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, said = random.integers(0, classes, m), random.dirichlet(np.ones(classes), m).T
    names = [f"class {k}" for k in range(classes)]
    result, answers = evaluate(truth, said, names), said.argmax(axis=0)
    assert result["confusion_matrix"] == confusion_matrix(truth, answers, labels=range(classes)).tolist()
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    assert result["error"] == pytest.approx(1 - result["accuracy"])
    for average in ("macro", "weighted"):
        rates = precision_recall_fscore_support(
            truth, answers, labels=range(classes), average=average, zero_division=0
        )[:3]
        assert list(result[average].values()) == pytest.approx(list(rates))
    theirs = precision_recall_fscore_support(truth, answers, labels=range(classes), zero_division=np.nan)
    for k, one in enumerate(result["per_class"]):
        assert (one["class_name"], one["support"]) == (names[k], int((truth == k).sum()))
        for ours, wanted in zip((one["precision"], one["recall"], one["f1"]), (theirs[i][k] for i in range(3))):
            assert np.isnan(wanted) if ours is None else ours == pytest.approx(wanted)
    wrong = np.flatnonzero(truth != answers)
    assert [one["index"] for one in result["mislabelled"]] == wrong.tolist()
    assert [one["probability"] for one in result["mislabelled"]] == said.max(axis=0)[wrong].tolist()


def test_two_classes_by_softmax_are_two_classes() -> None:
    said = np.array([[0.9, 0.2, 0.4], [0.1, 0.8, 0.6]])
    assert evaluate([0, 1, 0], said) == evaluate([0, 1, 0], said[1])


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000))
def test_numbers_are_judged_as_by_scikit_learn(m: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, said = random.standard_normal(m), random.standard_normal((1, m))
    result = evaluate(truth, said, ())
    assert result["mae"] == pytest.approx(mean_absolute_error(truth, said[0]))
    assert result["rmse"] == pytest.approx(root_mean_squared_error(truth, said[0]))
    assert result["r2"] == pytest.approx(r2_score(truth, said[0]))
    assert result["samples"] == m
    furthest = np.argsort(-np.abs(truth - said[0]), kind="stable")[:20]
    assert [one["index"] for one in result["mislabelled"]] == sorted(furthest.tolist())


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidModel, match="some of its answers are not numbers"):
        evaluate([0.5, 1.0], [np.nan, 1.0], ())
