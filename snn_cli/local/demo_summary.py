"""The last page of the demo: what was learned, what it cost, and how the time divided."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snn_cli.tables import RATES
from snn_client.reports.contents import NewImage, Report
from snn_client.reports.metrics import ConfusionMatrix, TestSet
from snn_client.reports.sections import wrong_count


def show_results(console: Console, report: Report, seconds: Mapping[str, float]) -> None:
    """Print the report (the XCom of the task `report`) and the `seconds` each part of the demo took."""
    training, test, cost = report["training"], report["test_set"], report["cost"]
    table = Table(title=f"run {report['run_id']}", show_header=False, title_justify="left", title_style="bold")
    table.add_row(
        "training",
        f"{training['epochs_run']} of {training['epochs_configured']} epochs in {training['seconds']:.1f} s, "
        f"{training['strategy']}, an invocation per {training['granularity']}",
    )
    table.add_row("final cost", f"{training['final_cost']:.4f} (stopped by {training['stopped_by']})")
    table.add_row("test set", ", ".join(f"{name} {_rate(value)}" for name, value in _rates(test)))
    if "r2" not in test:
        confusion = "" if "per_class" in test else _confusion(test["confusion_matrix"])
        table.add_row("confusion", f"{confusion}{wrong_count(test)} mislabelled")
    for image in report["new_images"]:
        table.add_row("new image", escape(f"{_name(image['uri'])}: {_answer(image, 'per_class' in test)}"))
    invocations = ", ".join(f"{function} {count}" for function, count in cost["invocations"].items())
    table.add_row("invocations", invocations)
    table.add_row("on AWS", f"{cost['usd']:.6f} USD (prices of {cost['prices']['region']}, {cost['prices']['date']})")
    total = sum(seconds.values())
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    table.add_row("time", f"{parts}: {total:.0f} s in all")
    console.print(table)


def _rates(test: TestSet) -> list[tuple[str, float | None]]:
    """Return the figures of a test set in one line's worth: of two classes, of more, or of numbers."""
    if "r2" in test:
        return [("R²", test["r2"]), ("MAE", test["mae"]), ("RMSE", test["rmse"])]
    if "per_class" in test:
        return [("accuracy", test["accuracy"]), ("error", test["error"]), ("macro F1", test["macro"]["f1"])]
    return [(name.replace("_", " "), test[name]) for name in RATES]


def _confusion(counts: ConfusionMatrix) -> str:
    return f"{counts['tn']} tn, {counts['fp']} fp, {counts['fn']} fn, {counts['tp']} tp; "


def _answer(image: NewImage, of_many: bool) -> str:
    if "value" in image:
        return f"{image['value']:.6g}"
    return f"{image['class_name']} ({'probability' if of_many else 'p of class 1'}: {image['probability']:.3f})"


def _rate(value: float | None) -> str:
    """Return a rate in 0..1 for reading; None is a rate without cases."""
    return "-" if value is None else f"{value:.3f}"


def _name(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2]
