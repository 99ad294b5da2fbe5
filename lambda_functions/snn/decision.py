"""Which class a network says, and where of two it says class 1: by a threshold, chosen by a rule on samples held out.

Any threshold between two neighbouring probabilities decides alike, so only their middles are looked at. Rules are
entries of RULES: each returns, for every such threshold, how good it is; the best one is taken, and of equally good
ones that nearest to one half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn.errors import InvalidInput

Counts = NDArray[np.float64]
DEFAULT = 0.5
"""A probability above it is class 1, unless the model says otherwise; one exactly on it is class 0."""


class Decision(NamedTuple):
    """A threshold, and in words how it was found."""

    threshold: float
    rule: str


def _best_f1(hits: Counts, called: Counts, positives: float, wanted: float) -> Counts:
    """The highest F1."""
    return 2 * hits / np.maximum(called + positives, 1)


def _precision(hits: Counts, called: Counts, positives: float, wanted: float) -> Counts:
    """The highest recall of those with at least this precision; if none has it, the highest precision."""
    precision = np.where(called > 0, hits / np.maximum(called, 1), 0.0)
    return np.where((precision >= wanted) & (hits > 0), 1 + hits / positives, precision)


def _recall(hits: Counts, called: Counts, positives: float, wanted: float) -> Counts:
    """The highest precision of those with at least this recall; to call all class 1 always has it."""
    recall, precision = hits / positives, np.where(called > 0, hits / np.maximum(called, 1), 0.0)
    return np.where(recall >= wanted, 1 + precision, recall)


RULES: dict[str, Callable[[Counts, Counts, float, float], Counts]] = {
    "best_f1": _best_f1,
    "precision": _precision,
    "recall": _recall,
}
"""`rule(hits, called, positives, wanted)`: a threshold calls so many samples class 1, and `hits` of them are; in all
`positives` are. `wanted` is what is asked of precision or recall."""


def choose(rule: float | str | Mapping[Any, float], chances: NDArray[Any], y: NDArray[Any]) -> Decision:
    """Return the threshold for probabilities of class 1 (m,) of samples labelled y (m,), 0 or 1.

    A rule is the threshold itself, "best_f1", {"precision": wanted} or {"recall": wanted}. Raises InvalidInput, of the
    field `decision_threshold`, if there is no sample of class 1 to choose it by.
    """
    if isinstance(rule, (int, float)):
        return Decision(float(rule), "as given")
    name, wanted = (rule, 0.0) if isinstance(rule, str) else next(iter(rule.items()))
    positives = float(np.count_nonzero(y))
    if not positives:
        raise InvalidInput(
            "there is no sample of class 1 to choose it by", field="decision_threshold", hint="hold more samples out"
        )
    order = np.argsort(-chances.astype(np.float64), kind="stable")
    ranked = chances[order].astype(np.float64)
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))  # of each run of equal probabilities
    # From above all of them, which calls nothing class 1, to below the lowest; nothing is below 0.
    ends = np.concatenate([[1.0], ranked[last], [0.0] if ranked[-1] > 0 else []])
    called = np.concatenate([[0.0], last + 1.0])[: len(ends) - 1]
    hits = np.concatenate([[0.0], np.cumsum(y[order] == 1)[last].astype(np.float64)])[: len(ends) - 1]
    middles = (ends[:-1] + ends[1:]) / 2
    thresholds = np.where(middles < ends[:-1], middles, ends[1:])  # of neighbouring floats the middle is one of them
    good = RULES[name](hits, called, positives, wanted)
    best = np.flatnonzero(good >= good.max() - 1e-12)
    at = int(best[np.argmin(np.abs(thresholds[best] - DEFAULT))])
    precision = hits[at] / called[at] if called[at] else 0.0
    asked = f"{name} {wanted:g}" if wanted else name.replace("_", " ")
    found = f"precision {precision:.3f}, recall {hits[at] / positives:.3f} on {len(y):,} validation samples"
    return Decision(float(thresholds[at]), f"{asked}: {found}")


def predicted_classes(answers: ArrayLike, threshold: float = DEFAULT) -> NDArray[np.int64]:
    """Return the class for each column of answers: of one row, probabilities of class 1; of K, those of each class.

    The threshold is that of two classes; of more, the most probable one is taken.
    """
    said = np.atleast_2d(np.asarray(answers, dtype=np.float64))
    classes: NDArray[np.int64] = (said.argmax(axis=0) if len(said) > 2 else said[-1] > threshold).astype(np.int64)
    return classes
