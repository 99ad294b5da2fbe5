"""Runs and what they are worth, as JSON and as small tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from snn_cli.aws import Aws
from snn_cli.console import results, table
from snn_cloud import places
from snn_cloud.money import cost_on
from snn_cloud.progress import dollars, duration, summary
from snn_cloud.record import Run, State

RATES = ("accuracy", "error", "sensitivity", "specificity", "false_positive_rate", "precision", "f1")
COLOURS = {State.COMPLETED: "green", State.FAILED: "red", State.CANCELLED: "yellow"}


def show(*parts: RenderableType) -> None:
    """Print tables and lines, one below the other."""
    for part in parts:
        results.print(part)


def about(aws: Aws, run: Run) -> dict[str, Any]:
    """Return what there is to say of a run: what the operators return of it, what it cost, where things lie."""
    bucket = aws.outputs.bucket
    keys = {"params": places.params(run.run_id), "results": places.results(run.run_id)}
    left = {name: f"s3://{bucket}/{key}" for name, key in keys.items()} if run.state is State.COMPLETED else {}
    return {
        **summary(run),
        "launched": _time(run.created_at),
        "usd": cost_on(aws.outputs, run)["usd"],
        "reason": run.reason,
        "resumed_from": run.resumed_from,
        "artifacts": left,
    }


def run_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of runs, each as `about` says."""
    shown = table("run", "state", "epochs", "cost", "time", "USD", "launched (UTC)")
    for column in shown.columns[2:6]:
        column.justify = "right"
    for run in runs:
        shown.add_row(
            run["run_id"],
            _state(run),
            _epochs(run),
            _cost(run),
            duration(run["seconds"]),
            dollars(run["usd"]),
            run["launched"],
        )
    return shown


def run_details(run: Mapping[str, Any]) -> Table:
    """Return a table of one run, as `about` says."""
    stopped = f", stopped by {run['stopped_by']}" if run["stopped_by"] else ""
    invocations = ", ".join(f"{function} {count:,}" for function, count in run["invocations"].items())
    how = f"{run['strategy']}, an invocation per {run['granularity']}" if run["strategy"] else ""
    rows = [
        ("run", run["run_id"]),
        ("state", _state(run)),
        ("reason", run["reason"]),
        ("resumed from", run["resumed_from"]),
        ("epochs", f"{_epochs(run)}{stopped}"),
        ("cost", _cost(run)),
        ("training", how),
        ("launched", f"{run['launched']} UTC"),
        ("time", duration(run["seconds"])),
        ("USD", dollars(run["usd"])),
        ("invocations", invocations),
        ("data set", run["dataset_key"]),
        ("model", run["artifacts"].get("params", "")),
        ("costs", run["artifacts"].get("results", "")),
    ]
    return _pairs([row for row in rows if row[1]])


def judged(test_set: Mapping[str, Any]) -> list[RenderableType]:
    """Return the seven rates, the confusion matrix and the mislabelled photos of a report's `test_set`."""
    confusion = test_set["confusion_matrix"]
    matrix = table("", "called 0", "called 1")
    matrix.add_row("is 0", f"{confusion['tn']:,}", f"{confusion['fp']:,}")
    matrix.add_row("is 1", f"{confusion['fn']:,}", f"{confusion['tp']:,}")
    wrong = table("mislabelled photo", "is", "called", "p of class 1")
    for one in test_set["mislabelled"]:
        wrong.add_row(f"{one['index']}", f"{one['label']}", f"{one['predicted']}", f"{one['probability']:.4f}")
    left_out = test_set.get("mislabelled_left_out", 0)
    more = [Text(f"… and {left_out:,} more")] if left_out else []
    return [_pairs([(name.replace("_", " "), _rate(test_set[name])) for name in RATES]), "", matrix, "", wrong, *more]


def classified(images: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table of the photos of a report's `new_images`."""
    shown = table("photo", "class", "p of class 1")
    for image in images:
        shown.add_row(Text(image["uri"]), Text(image["class_name"]), f"{image['probability']:.4f}")
    return shown


def _pairs(rows: Sequence[tuple[str, str | Text]]) -> Table:
    shown = table("", "")
    shown.show_header = False
    for name, value in rows:
        shown.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(value))
    return shown


def _state(run: Mapping[str, Any]) -> Text:
    return Text(run["state"], style=COLOURS.get(State(run["state"]), ""))


def _epochs(run: Mapping[str, Any]) -> str:
    return f"{run['epochs_run']:,} of {run['epochs_configured']:,}"


def _cost(run: Mapping[str, Any]) -> str:
    return "" if run["final_cost"] is None else f"{run['final_cost']:.6f}"


def _rate(value: float | None) -> str:
    """Return a rate in 0..1 for reading; None is a rate without cases."""
    return "-" if value is None else f"{value:.4f}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""
