"""The threshold by a rule: against scikit-learn's precision-recall curve, and by trying all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve

from snn.decision import RULES, choose
from snn.errors import InvalidInput

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 20)), min_size=1, max_size=40).filter(
    lambda found: any(label for label, _ in found)
)
quick = settings(deadline=None, max_examples=60)


def apart(found: list[tuple[int, int]]) -> tuple[Any, Any]:
    return np.array([label for label, _ in found]), np.array([chance / 20 for _, chance in found])


def rates(y: Any, called: Any) -> tuple[float, float]:
    """Precision and recall, by counting."""
    hits = int((called & (y == 1)).sum())
    return hits / int(called.sum()) if called.any() else 0.0, hits / int(y.sum())


def tried(y: Any, p: Any) -> list[tuple[float, float]]:
    return [rates(y, p > cut) for cut in (-1, *np.unique(p))]


def test_a_number_is_itself() -> None:
    assert choose(0.3, np.empty(0), np.empty(0)) == (0.3, "as given")


@quick
@given(pairs)
def test_the_best_f1_is_the_best_of_scikit_learns_curve(found: list[tuple[int, int]]) -> None:
    y, p = apart(found)
    precision, recall, _ = precision_recall_curve(y, p)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    ours = rates(y, p > choose("best_f1", p, y).threshold)
    assert 2 * ours[0] * ours[1] / max(sum(ours), 1e-300) == pytest.approx(best)


@quick
@given(pairs, st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_a_wanted_precision_is_kept_with_the_highest_recall(found: list[tuple[int, int]], wanted: float) -> None:
    y, p = apart(found)
    ours = rates(y, p > choose({"precision": wanted}, p, y).threshold)
    reached = [recall for precision, recall in tried(y, p) if precision >= wanted and recall > 0]
    if reached:
        assert ours[0] >= wanted
        assert ours[1] == max(reached)
    else:
        assert ours[0] == max(precision for precision, _ in tried(y, p))


@quick
@given(pairs, st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_a_wanted_recall_is_kept_with_the_highest_precision(found: list[tuple[int, int]], wanted: float) -> None:
    y, p = apart(found)
    ours = rates(y, p > choose({"recall": wanted}, p, y).threshold)
    assert ours[1] >= wanted
    assert ours[0] == max(precision for precision, recall in tried(y, p) if recall >= wanted)


def test_probabilities_of_0_and_neighbouring_floats_are_told_apart_as_far_as_they_can_be() -> None:
    # Nothing is below 0, so what has it is never called class 1.
    chosen = choose({"recall": 1.0}, np.array([0.0, 0.4, 0.6]), np.array([1, 0, 1]))
    assert chosen.threshold == pytest.approx(0.5)
    upper = np.nextafter(0.5, 1)
    assert choose("best_f1", np.array([0.5, upper]), np.array([0, 1])).threshold == 0.5
    low, high = np.nextafter(0.7, 0), 0.7
    assert low <= choose("best_f1", np.array([low, high]), np.array([0, 1])).threshold < high


def test_it_says_what_it_found() -> None:
    chosen = choose({"precision": 0.9}, np.array([0.1, 0.35, 0.45, 0.9]), np.array([0, 0, 1, 1]))
    assert chosen == (pytest.approx(0.4), "precision 0.9: precision 1.000, recall 1.000 on 4 validation samples")
    assert choose("best_f1", np.array([0.2, 0.8]), np.array([0, 1])).rule.startswith("best f1: precision 1.000, ")


def test_of_equally_good_ones_it_is_that_nearest_to_one_half() -> None:
    # Calling the highest one or both of the higher ones class 1: F1 2/3 either way.
    y, p = np.array([0, 1, 0, 1]), np.array([0.05, 0.1, 0.55, 0.9])
    good = [cut for cut in (0.075, 0.3, 0.7) if f1_score(y, p > cut) == pytest.approx(0.8)]
    assert good == [0.075]
    assert choose("best_f1", p, y).threshold == pytest.approx(0.075)
    assert choose({"recall": 0.4}, np.array([0.2, 0.3, 0.4, 0.9]), np.array([0, 1, 1, 1])).threshold == pytest.approx(
        0.35
    )


def test_without_class_1_there_is_nothing_to_choose_by() -> None:
    for rule in ("best_f1", {"precision": 0.9}, {"recall": 0.9}):
        with pytest.raises(InvalidInput, match="decision_threshold: there is no sample of class 1"):
            choose(rule, np.array([0.2, 0.8]), np.array([0, 0]))
    assert set(RULES) == {"best_f1", "precision", "recall"}
