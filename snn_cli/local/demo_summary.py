"""The last page of the demo: what was learned, what it cost, and how the time divided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snn_cli.tables import RATES


def show_results(console: Console, report: Mapping[str, Any], seconds: Mapping[str, float]) -> None:
    """Print the report (the XCom of the task `report`) and the `seconds` each part of the demo took."""
    training, test, cost = report["training"], report["test_set"], report["cost"]
    confusion = test["confusion_matrix"]
    table = Table(title=f"run {report['run_id']}", show_header=False, title_justify="left", title_style="bold")
    table.add_row(
        "training",
        f"{training['epochs_run']} of {training['epochs_configured']} epochs in {training['seconds']:.1f} s, "
        f"{training['strategy']}, an invocation per {training['granularity']}",
    )
    table.add_row("final cost", f"{training['final_cost']:.4f} (stopped by {training['stopped_by']})")
    table.add_row("test set", ", ".join(f"{name.replace('_', ' ')} {_rate(test[name])}" for name in RATES))
    table.add_row(
        "confusion",
        ", ".join(f"{count} {name}" for name, count in confusion.items())
        + f"; {len(test['mislabelled']) + test.get('mislabelled_left_out', 0)} mislabelled",
    )
    for image in report["new_images"]:
        answer = f"{_name(image['uri'])}: {image['class_name']} (p of class 1: {image['probability']:.3f})"
        table.add_row("new image", escape(answer))
    invocations = ", ".join(f"{function} {count}" for function, count in cost["invocations"].items())
    table.add_row("invocations", invocations)
    table.add_row("on AWS", f"{cost['usd']:.6f} USD (prices of {cost['prices']['region']}, {cost['prices']['date']})")
    total = sum(seconds.values())
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    table.add_row("time", f"{parts}: {total:.0f} s in all")
    console.print(table)


def _rate(value: float | None) -> str:
    """Return a rate in 0..1 for reading; None is a rate without cases."""
    return "-" if value is None else f"{value:.3f}"


def _name(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]
