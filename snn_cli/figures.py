"""The figures of a test set and its slices as tables: each figure with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from snn_cli.console import table
from snn_client.judging.contents import Interval
from snn_client.reports.metrics import TestSet

MAX_ROWS = 20  # slices
TWO = (("ROC AUC", "roc_auc"), ("average precision", "average_precision"), ("log loss", "log_loss"), ("Brier", "brier"))
MANY = (("log loss", "log_loss"), ("Brier", "brier"))


def figures(rows: Sequence[tuple[str, str, float | None]], test_set: TestSet, shown: Callable[[Any], str]) -> Table:
    """Return rows (what people call it, its key, value) with their intervals, which an older report has not."""
    intervals = test_set.get("intervals", {})
    lines = table("", "", "95 % interval" if intervals else "")
    lines.show_header = bool(intervals)
    for name, key, value in rows:
        interval = intervals.get(key)
        between = f"{shown(interval['low'])} to {shown(interval['high'])}" if interval else ""
        lines.add_row(Text(name, style="bold"), Text(shown(value)), Text(between))
    return lines


def more_figures(test_set: TestSet, names: Sequence[tuple[str, str]]) -> list[tuple[str, str, float | None]]:
    """Return the figures of these names that the test set has, as rows."""
    known: dict[str, Any] = dict(test_set)
    rows = [(name, key, known[key]) for name, key in names if key in known]
    if "top_k" in known:
        rows.insert(0, (f"top-{known['top_k']} accuracy", "top_k_accuracy", known["top_k_accuracy"]))
    return rows


def slices(test_set: TestSet, shown: Callable[[Any], str]) -> list[RenderableType]:
    """Return a table of the slices, the worst first; nothing if there are none."""
    found = test_set.get("slices")
    if found is None:
        return []
    lines = table(found["by"], found["metric"].replace("_", " "), "95 % interval", "samples")
    for one in found["slices"][:MAX_ROWS]:
        interval: Interval | None = one["interval"]
        between = f"{shown(interval['low'])} to {shown(interval['high'])}" if interval else ""
        lines.add_row(Text(one["name"]), shown(one["value"]), between, f"{one['samples']:,}")
    left = max(0, len(found["slices"]) - MAX_ROWS) + found["left_out"]
    return ["", lines, *([Text(f"… and {left:,} more")] if left else [])]
