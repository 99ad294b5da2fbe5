"""Routes of runs: the list, one run live, its log and report, stopping it and writing notes on it."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from io import StringIO
from typing import Annotated, Any, TypedDict

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from snn.errors import InvalidInput, SnnError
from snn.schedules import rate_at
from snn_client.data.staging import read_source
from snn_client.look import curves
from snn_client.look.board import Listed
from snn_client.look.curves import Axis, Curve
from snn_client.look.live import Seen
from snn_client.look.page import Page, Who, answer
from snn_client.look.rows import RunRow, parameters_of, rows
from snn_client.look.viewers import Viewer
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.cost.money import Cost, cost_of
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.ledger import Mark
from snn_cloud.ledger.record import Notes, Run, Task

MOST_COMPARED = 20
MOST_SPARKS = 100
MOST_SPARK_EPOCHS = 500_000  # of one request
# The report is a page of its own, with its styles in it and no script.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"


class Live(TypedDict):
    """A run as it goes on. `at` is when the ledger was asked, `seconds_left` at the speed of the last half minute.

    `epoch_usd` is what an epoch costs at present, `memorising` the epoch that validated best, if the training cost has
    fallen and the validation cost has risen since.
    """

    row: RunRow
    at: float
    epochs_per_second: float | None
    seconds_left: float | None
    max_usd: float | None
    max_seconds: float | None
    threshold: float | None
    cancel_requested: bool
    step: int
    steps: int
    epoch_usd: float | None
    best_validation: float | None
    memorising: int | None
    curve: Curve


class Detail(TypedDict):
    """All else there is to say of a run."""

    row: RunRow
    parameters: dict[str, Any]
    bill: Cost
    dataset: str
    samples: int
    features: int
    artifacts: dict[str, str]
    continuations: int


class Spark(TypedDict):
    """A run's curve in a few points, and its best figures."""

    costs: list[float]
    least_cost: float | None
    best_metric: float | None


NO_SPARK: Spark = {"costs": [], "least_cost": None, "best_metric": None}


class Compared(TypedDict):
    """A run beside others."""

    row: RunRow
    parameters: dict[str, str]
    curve: Curve


class Written(BaseModel):
    """What somebody notes on a run."""

    model_config = ConfigDict(extra="forbid", strict=True)
    tags: list[str] = []
    note: str = ""
    archived: bool = False


def run_routes(page: Page) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api")

    @routes.get("/me")
    def me(viewer: Who) -> Response:
        return answer({"name": viewer.name, "stacks": list(page.stacks), "sees_models": viewer.sees_models})

    @routes.get("/runs")
    def listed(viewer: Who, stack: str, known: int = 0) -> Response:
        """Return the list; to who knows it already, by the `version` of it, only that and when it was looked at."""
        shown = page.shown(stack)
        found: Listed = shown.board.runs()
        # As text: the script's numbers have fewer digits.
        said: dict[str, Any] = {"stack": stack, "at": found.at, "version": str(found.version)}
        if known != found.version:
            # Of a run that cannot be read nobody knows whose it is.
            unreadable = found.unreadable if viewer.sees_models else []
            said |= {"older": found.older, "unreadable": unreadable, "runs": rows(found.runs, viewer)}
        return answer(said)

    @routes.get("/find")
    def find(viewer: Who, dag_id: str, dag_run_id: str = "", task_id: str = "", map_index: int = -1) -> Response:
        """Return the runs that belong to a DAG, a run or a task of Airflow; of a task that has none, its DAG run's."""
        found, trouble = list[tuple[str, Run, Task]](), list[SnnError]()
        for name, shown in page.stacks.items():
            try:
                listed = shown.board.runs().runs
            except SnnError as error:  # that a stack is not deployed hides no other one
                trouble.append(error)
                continue
            found += [
                (name, run, task) for run, _, _ in listed
                if (task := run.task) and task.dag_id == dag_id and viewer.sees(run)
                and (not dag_run_id or task.dag_run_id == dag_run_id)
            ]  # fmt: skip
        if not found and len(trouble) == len(page.stacks):
            raise trouble[0]
        own = [one for one in found if one[2].task_id == task_id and (map_index < 0 or one[2].map_index == map_index)]
        chosen = own if task_id and own else found
        return answer([{"stack": name, "run_id": run.run_id} for name, run, _ in chosen])

    @routes.get("/sparks")
    def sparks(viewer: Who, stack: str, run: Annotated[list[str], Query(max_length=MOST_SPARKS)]) -> Response:
        """Return small curves; of runs of many epochs, which take long to read, only of those that come first."""
        shown = page.shown(stack)
        listed = {entry.run.run_id: entry.run for entry in shown.board.runs().runs if viewer.sees(entry.run)}
        epochs, found = 0, dict[str, Spark]()
        for known in [listed[run_id] for run_id in run if run_id in listed]:
            epochs += known.epoch
            few = epochs <= MOST_SPARK_EPOCHS
            found[known.run_id] = spark(shown.lives.look(known.run_id)) if few else NO_SPARK
        return answer(found)

    @routes.get("/compare")
    def compare(
        viewer: Who, stack: str, run: Annotated[list[str], Query(max_length=MOST_COMPARED)], axis: Axis = "linear"
    ) -> Response:
        found: list[Compared] = []
        for run_id in run:
            shown, _ = page.run(stack, run_id, viewer)
            seen = shown.lives.look(run_id)
            found.append(
                {
                    "row": shown.row(seen.run, viewer),
                    "parameters": parameters_of(seen.run),
                    "curve": curve_of(seen, axis),
                }
            )
        return answer(found)

    @routes.get("/runs/{stack}/{run_id}")
    def detail(viewer: Who, stack: str, run_id: str) -> Response:
        shown, run = page.run(stack, run_id, viewer)
        outputs, prefix = shown.stack.outputs, f"s3://{shown.stack.outputs.bucket}/"
        said: Detail = {
            "row": shown.row(run, viewer),
            "parameters": run.parameters.model_dump(mode="json", exclude_none=True) if run.parameters else {},
            "bill": cost_of(run, outputs), "dataset": prefix + run.dataset,
            "samples": run.samples, "features": run.features,
            "artifacts": {
                "model": prefix + places.params(run_id), "results": prefix + places.results(run_id),
                "report": prefix + places.report_html(run_id), "epochs": prefix + places.kept_epochs_of(run_id),
            },
            "continuations": run.continuations,
        }  # fmt: skip
        return answer(said)

    @routes.get("/runs/{stack}/{run_id}/live")
    def live(
        viewer: Who, stack: str, run_id: str, axis: Axis = "linear", width: int = 0, first: int = 0,
        begin: int | None = None, end: int | None = None,
    ) -> Response:  # fmt: skip
        shown, _ = page.run(stack, run_id, viewer)
        seen = shown.lives.look(run_id)
        span = (begin, end) if begin is not None and end is not None else None
        return answer(live_of(seen, shown.row(seen.run, viewer), curve_of(seen, axis, width, first, span)))

    @routes.get("/runs/{stack}/{run_id}/curve.csv")
    def curve_csv(viewer: Who, stack: str, run_id: str) -> Response:
        shown, _ = page.run(stack, run_id, viewer)
        headers = {"content-disposition": f'attachment; filename="{run_id}.csv"'}
        return StreamingResponse(csv_of(shown.lives.look(run_id)), media_type="text/csv", headers=headers)

    @routes.get("/runs/{stack}/{run_id}/log")
    def log(viewer: Who, stack: str, run_id: str, since: int = 0) -> Response:
        shown, run = page.run(stack, run_id, viewer)
        return answer(shown.logbook.lines(run, since))

    @routes.get("/runs/{stack}/{run_id}/report")
    def report(viewer: Who, stack: str, run_id: str) -> Response:
        shown, _ = page.run(stack, run_id, viewer)
        source = f"s3://{shown.stack.outputs.bucket}/{places.report_html(run_id)}"
        try:
            content = read_source(shown.stack.clients.s3, source)
        except InvalidInput:
            raise HTTPException(
                404, f"run {run_id} has no report yet: the DAG writes it, and so does snn report"
            ) from None
        return Response(content, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})

    @routes.post("/runs/{stack}/{run_id}/stop")
    def stop(viewer: Who, stack: str, run_id: str) -> Response:
        shown, run = page.run(stack, run_id, viewer)
        check_may_change(viewer, run)
        asked_before = run.cancel_requested
        stopped = runs.cancel(shown.stack.clients, shown.stack.outputs, run_id)
        if asked_before and not stopped.state.is_terminal:
            # Nobody heard it: another trainer ends the run, or leaves at once if the run has one.
            runs.launch_again(shown.stack.clients, shown.stack.outputs, stopped)
        shown.forget(run_id)
        return answer({"state": stopped.state.value, "cancel_requested": stopped.cancel_requested})

    @routes.post("/runs/{stack}/{run_id}/notes")
    def notes(viewer: Who, stack: str, run_id: str, written: Written) -> Response:
        shown, run = page.run(stack, run_id, viewer)
        check_may_change(viewer, run)
        noted = shown.stack.ledger.annotate(run_id, Notes.checked(written.tags, written.note, written.archived))
        shown.forget(run_id)
        return answer(shown.row(noted, viewer))

    return routes


def check_may_change(viewer: Viewer, run: Run) -> None:
    """Raise 403 unless a person may change a run."""
    if not viewer.changes(run):
        what = f"the runs of DAG {run.task.dag_id}" if run.task else "runs that no DAG has started"
        raise HTTPException(403, f"you may look at {what}, but not change them")


def curve_of(seen: Seen, axis: Axis, width: int = 0, first: int = 0, span: tuple[int, int] | None = None) -> Curve:
    """Return a run's curves as points."""
    run = seen.run
    steps = Workload(run.parameters, Size.of_run(run)).steps if run.parameters and run.samples else 1

    def rate(epoch: int) -> float:
        given = run.parameters
        return rate_at(given.schedule, given.learning_rate, epoch * steps, steps, given.epochs) if given else 0.0

    began = run.started_at or run.created_at
    return curves.points(seen.curves, axis, began=began, rate=rate, width=width, first=first, span=span)


def live_of(seen: Seen, shown: RunRow, curve: Curve) -> Live:
    """Return a run as it goes on."""
    run, parameters, marks = seen.run, seen.run.parameters, seen.curves.marks
    speed = curves.speed(marks, time.time()) if not run.state.is_terminal else None
    if run.state.is_terminal and run.seconds:
        speed = (run.epoch - (marks[0].first if marks else 0)) / run.seconds  # without those that it began with
    left = None if run.state.is_terminal or not speed or not parameters else (parameters.epochs - run.epoch) / speed
    best = run.best_epoch if run.best_epoch is not None and 0 <= run.best_epoch < len(seen.curves) else None
    return {
        "row": shown, "at": seen.at, "epochs_per_second": speed, "seconds_left": left,
        "max_usd": parameters.max_usd if parameters else None,
        "max_seconds": parameters.max_seconds if parameters else None,
        "threshold": parameters.threshold if parameters else None,
        "cancel_requested": run.cancel_requested, "step": run.step, "steps": run.steps,
        "epoch_usd": _epoch_usd(marks),
        "best_validation": float(seen.curves.validation_costs[best]) if best is not None else None,
        "memorising": best + 1 if best is not None and _memorises(seen, best) else None,
        "curve": curve,
    }  # fmt: skip


def _epoch_usd(marks: list[Mark]) -> float | None:
    if len(marks) < 2:
        return None
    before, last = marks[max(0, len(marks) - 10)], marks[-1]
    return (last.usd - before.usd) / (last.epoch - before.epoch) if last.epoch > before.epoch else None


def _memorises(seen: Seen, best: int) -> bool:
    """Return whether the training cost has gone on falling since the best epoch, while the validation cost rose.

    For a tenth of the epochs at least, and by a hundredth at least: the last epochs of a run that still learns go up
    and down.
    """
    costs, validated = seen.curves.costs, seen.curves.validation_costs
    since = len(costs) - 1 - best
    return bool(
        since >= max(2, 0.1 * len(costs)) and costs[-1] < costs[best] and validated[-1] > 1.01 * validated[best]
    )


def spark(seen: Seen) -> Spark:
    """Return a run's curve in a few points."""
    found = seen.curves
    # Accuracy, or R² of a network that gives numbers: both are best when they are high.
    metrics = found.validation_metrics
    best = float(metrics.max()) if len(metrics) else None
    least = float(found.costs.min()) if len(found) else None
    return {"costs": curves.sparkline(found.costs), "least_cost": least, "best_metric": best}


def csv_of(seen: Seen) -> Iterator[str]:
    """Yield a CSV file of all epochs, numbered from 1, some thousand lines at a time."""
    found, began = seen.curves, seen.run.started_at or seen.run.created_at
    columns = [found.costs, *(curve for curve in (found.validation_costs, found.validation_metrics) if len(curve))]
    names = ["cost", "validation_cost", "validation_metric"][: len(columns)]
    yield ",".join(["epoch", *names, "seconds", "usd"]) + "\n"
    for begin in range(0, len(found), 5_000):
        end = min(begin + 5_000, len(found))
        numbers = np.arange(begin + 1, end + 1)
        seconds, usd = curves.at(found.marks, numbers, began)
        text = StringIO()
        lines = zip(numbers.tolist(), *(column[begin:end].tolist() for column in columns), seconds, usd, strict=True)
        csv.writer(text, lineterminator="\n").writerows(lines)
        yield text.getvalue()
