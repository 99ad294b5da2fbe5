"""The figures of a test set with their intervals, in one order for everybody: page, commands, model card, notebook."""

from __future__ import annotations

from typing import Any, NamedTuple

from snn_client.judging.contents import Interval
from snn_client.reports.formats import DASH, figure, percent
from snn_client.reports.metrics import TestSet

TWO = (
    ("accuracy", "Accuracy"), ("error", "Error"), ("sensitivity", "Sensitivity"), ("specificity", "Specificity"),
    ("false_positive_rate", "False positive rate"), ("precision", "Precision"), ("f1", "F1 score"),
    ("roc_auc", "ROC AUC"), ("average_precision", "Average precision"), ("log_loss", "Log loss"),
    ("brier", "Brier score"),
)  # fmt: skip
MANY = (
    ("accuracy", "Accuracy"), ("error", "Error"), ("top_k_accuracy", "Top-{top_k} accuracy"),
    ("precision", "Macro precision"), ("recall", "Macro recall"), ("f1", "Macro F1"),
    ("precision_weighted", "Weighted precision"), ("recall_weighted", "Weighted recall"),
    ("f1_weighted", "Weighted F1"), ("log_loss", "Log loss"), ("brier", "Brier score"),
)  # fmt: skip
NUMBERS = (("r2", "R²"), ("mae", "MAE"), ("rmse", "RMSE"))
NO_SHARES = frozenset({"log_loss", "brier", "r2", "mae", "rmse", "roc_auc", "average_precision"})
"""Figures that are not read as percentages."""


class Headline(NamedTuple):
    """A figure, by the name that `metric` has for it and by the one that people read; None where it is undefined."""

    key: str
    name: str
    value: float | None
    interval: Interval | None

    @property
    def text(self) -> str:
        """Return the figure for reading."""
        return shown(self.key, self.value)

    @property
    def between(self) -> str:
        """Return the interval for reading."""
        if self.interval is None:
            return DASH
        return f"{shown(self.key, self.interval['low'])} to {shown(self.key, self.interval['high'])}"


def headlines(test_set: TestSet) -> list[Headline]:
    """Return the figures that a test set has; a report of an older version has fewer, and none has an interval."""
    known: dict[str, Any] = dict(test_set)
    names: tuple[tuple[str, str], ...] = TWO
    if "r2" in test_set:
        names = NUMBERS
    elif "per_class" in test_set:
        names = MANY
        known |= test_set["macro"] | {f"{name}_weighted": value for name, value in test_set["weighted"].items()}
    intervals: dict[str, Any] = known.get("intervals", {})
    return [
        Headline(key, name.format(top_k=known.get("top_k", "")), known[key], intervals.get(key))
        for key, name in names
        if key in known
    ]


def name_of(key: str) -> str:
    """Return what people call a figure."""
    names = {key: name for table in (MANY, NUMBERS, TWO) for key, name in table}
    return names.get(key, key.replace("_", " ")).replace("-{top_k}", "-k")


def shown(key: str, value: float | None) -> str:
    """Return a figure of this name for reading: shares as percentages, others with four digits that count."""
    if value is None:
        return DASH
    return figure(float(f"{value:.4g}")) if key in NO_SHARES else percent(value)
