"""Runs and what they are worth, as JSON and as small tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, get_args

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from snn_cli.aws import Aws
from snn_cli.console import results, table
from snn_cli.figures import MANY, TWO, figures, more_figures, slices
from snn_client.reports.contents import NewImage
from snn_client.reports.metrics import ManyClasses, Numbers, RateName, TestSet, TwoClasses
from snn_client.reports.sections import Kind, confusions, confusions_are_complete, how_wrong, worst_first
from snn_client.runs.progress import Summary, summary
from snn_cloud.aws import places
from snn_cloud.cost.formats import dollars, duration
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.record import Run, State

RATES: tuple[RateName, ...] = get_args(RateName)
OVERALL: tuple[Literal["accuracy", "error"], ...] = ("accuracy", "error")
AVERAGES: tuple[Literal["macro", "weighted"], ...] = ("macro", "weighted")
OF_A_CLASS: tuple[Literal["precision", "recall", "f1"], ...] = ("precision", "recall", "f1")
MAX_MATRIX = 12  # classes whose confusion matrix a terminal is wide enough for
MAX_ROWS = 20  # of a table of classes or confusions
SHOWN_ANSWERS = 200  # of new samples
COLOURS = {State.COMPLETED: "green", State.FAILED: "red", State.CANCELLED: "yellow"}


def show(*parts: RenderableType) -> None:
    """Print tables and lines, one below the other."""
    for part in parts:
        results.print(part)


class About(Summary):
    """What there is to say of a run; `launched` is in UTC, `artifacts` are addresses in S3."""

    launched: str
    usd: float
    reason: str
    resumed_from: str
    artifacts: dict[str, str]


def about(aws: Aws, run: Run) -> About:
    """Return what there is to say of a run: what the operators return of it, what it cost, where things lie."""
    bucket = aws.outputs.bucket
    keys = {"params": places.params(run.run_id), "results": places.results(run.run_id)}
    left = {name: f"s3://{bucket}/{key}" for name, key in keys.items()} if run.state is State.COMPLETED else {}
    return {
        **summary(run),
        "launched": _time(run.created_at),
        "usd": cost_of(run, aws.outputs)["usd"],
        "reason": run.reason,
        "resumed_from": run.resumed_from,
        "artifacts": left,
    }


def run_table(runs: Sequence[About]) -> Table:
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


def run_details(run: About) -> Table:
    """Return a table of one run, as `about` says."""
    stopped = f", stopped by {run['stopped_by']}" if run["stopped_by"] else ""
    invocations = ", ".join(f"{function} {count:,}" for function, count in run["invocations"].items())
    how = f"{run['strategy']}, an invocation per {run['granularity']}" if run["strategy"] else ""
    rows: list[tuple[str, str | Text]] = [
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


def judged(test_set: TestSet) -> list[RenderableType]:
    """Return what a report's `test_set` says: rates, confusion matrix and mislabelled samples, or errors of numbers."""
    if "r2" in test_set:
        return _judged_numbers(test_set)
    return _judged_many(test_set) if "per_class" in test_set else _judged_two(test_set)


def classified(images: Sequence[NewImage], classes: int = 2) -> Table:
    """Return a table of a report's `new_images`; `classes` is how many are distinguished, 0 for numbers.

    Of thousands of rows the first are shown.
    """
    if len(images) > SHOWN_ANSWERS:
        shown = classified(images[:SHOWN_ANSWERS], classes)
        shown.add_row(f"… and {len(images) - SHOWN_ANSWERS:,} more")
        return shown
    if not classes:
        shown = table("sample", "number")
        for image in images:
            if "value" in image:
                shown.add_row(Text(image["uri"]), _number(image["value"]) + _unlike(image))
        return shown
    shown = table("sample", "class", "p of class 1" if classes == 2 else "probability")
    for image in images:
        if "value" not in image:
            probability = f"{image['probability']:.4f}{_unlike(image)}"
            shown.add_row(Text(image["uri"]), Text(image["class_name"]), probability)
    return shown


def _unlike(image: NewImage) -> str:
    return "  unlike all that was learned" if image.get("unlike") else ""


def _judged_two(test_set: TwoClasses) -> list[RenderableType]:
    confusion = test_set["confusion_matrix"]
    matrix = table("", "called 0", "called 1")
    matrix.add_row("is 0", f"{confusion['tn']:,}", f"{confusion['fp']:,}")
    matrix.add_row("is 1", f"{confusion['fn']:,}", f"{confusion['tp']:,}")
    wrong = table("mislabelled sample", "is", "called", "p of class 1")
    for one in test_set["mislabelled"]:
        wrong.add_row(f"{one['index']}", f"{one['label']}", f"{one['predicted']}", f"{one['probability']:.4f}")
    rates = [(rate.replace("_", " "), rate, test_set[rate]) for rate in RATES]
    threshold = test_set.get("threshold", 0.5)
    decided = [Text(f"class 1 above a probability of {threshold:.4g}")] if threshold != 0.5 else []
    shown = figures([*rates, *more_figures(test_set, TWO)], test_set, _rate)
    return [
        shown,
        *decided,
        *slices(test_set, _rate),
        "",
        matrix,
        "",
        wrong,
        *_more(test_set.get("mislabelled_left_out", 0)),
    ]


def _judged_many(test_set: ManyClasses) -> list[RenderableType]:
    left_out = test_set.get("classes_left_out", 0)
    # Where the report had no room for all classes, it has them in another order, and so without their numbers.
    names = [] if left_out else [rates["class_name"] for rates in test_set["per_class"]]

    def name(label: int) -> Text:
        return Text(names[label] if label < len(names) else f"class {label}")

    averages = [
        (f"{kind} {rate}", rate if kind == "macro" else f"{rate}_{kind}", test_set[kind][rate])
        for kind in AVERAGES
        for rate in OF_A_CLASS
    ]
    rates = [(rate, rate, test_set[rate]) for rate in OVERALL]
    per_class = table("class", "precision", "recall", "f1", "samples")
    ranked = worst_first(test_set["per_class"])
    for one in ranked[:MAX_ROWS]:
        told = [_rate(one[rate]) for rate in OF_A_CLASS]
        per_class.add_row(Text(one["class_name"]), *told, f"{one['support']:,}")
    wrong = table("mislabelled sample", "is", "called", "probability")
    for missed in test_set["mislabelled"]:
        called = name(missed["label"]), name(missed["predicted"])
        wrong.add_row(f"{missed['index']}", *called, f"{missed['probability']:.4f}")
    return [
        figures([*rates, *averages, *more_figures(test_set, MANY)], test_set, _rate),
        *slices(test_set, _rate),
        "",
        per_class,
        *_more(max(0, len(ranked) - MAX_ROWS) + left_out),
        "",
        *_confused(test_set, name),
        "",
        wrong,
        *_more(test_set.get("mislabelled_left_out", 0)),
    ]


def _confused(test_set: ManyClasses, name: Callable[[int], Text]) -> list[RenderableType]:
    """Return the confusion matrix or, of more classes than a terminal is wide, the most frequent confusions."""
    matrix = test_set["confusion_matrix"]
    if matrix is not None and len(matrix) <= MAX_MATRIX:
        shown = table("", *(f"called {label}" if not label else f"{label}" for label in range(len(matrix))))
        for column in shown.columns[1:]:
            column.justify = "right"
        for label, row in enumerate(matrix):
            shown.add_row(Text(f"is {label} ").append_text(name(label)), *(f"{count:,}" for count in row))
        return [shown]
    found = confusions(test_set)
    listed = table("is", "called", "samples")
    for label, predicted, count in found[:MAX_ROWS]:
        listed.add_row(name(label), name(predicted), f"{count:,}")
    known = f"counted in the {len(test_set['mislabelled']):,} mislabelled samples below"
    complete = confusions_are_complete(test_set)
    return [listed, *_more(max(0, len(found) - MAX_ROWS)), *([] if complete else [Text(known)])]


def _judged_numbers(test_set: Numbers) -> list[RenderableType]:
    errors = [("R²", "r2", test_set["r2"]), ("MAE", "mae", test_set["mae"]), ("RMSE", "rmse", test_set["rmse"])]
    shown = figures([*errors, ("samples", "samples", test_set["samples"])], test_set, _number)
    wrong = table("sample furthest off", "is", "answer", "off by")
    for column in wrong.columns[1:]:
        column.justify = "right"
    for one in sorted(test_set["mislabelled"], key=lambda one: how_wrong(one, Kind.NUMBERS), reverse=True):
        told = (one["label"], one["predicted"], one["predicted"] - one["label"])
        wrong.add_row(f"{one['index']}", *map(_number, told))
    return [shown, *slices(test_set, _number), "", wrong]


def _more(count: int) -> list[RenderableType]:
    return [Text(f"… and {count:,} more")] if count else []


def _pairs(rows: Sequence[tuple[str, str | Text]]) -> Table:
    shown = table("", "")
    shown.show_header = False
    for name, value in rows:
        shown.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(value))
    return shown


def _state(run: About) -> Text:
    return Text(run["state"], style=COLOURS.get(State(run["state"]), ""))


def _epochs(run: About) -> str:
    return f"{run['epochs_run']:,} of {run['epochs_configured']:,}"


def _cost(run: About) -> str:
    return "" if run["final_cost"] is None else f"{run['final_cost']:.6f}"


def _rate(value: float | None) -> str:
    """Return a rate in 0..1 for reading; None is a rate without cases."""
    return "-" if value is None else f"{value:.4f}"


def _number(value: float | None) -> str:
    """Return a number that a network gives, or an error of it, for reading."""
    return "-" if value is None else f"{value:.6g}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""
