"""What a sweep found: how its runs ended, which did best on the held-out samples, and what it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any, TypedDict

from snn_client.judging.contents import Interval
from snn_client.reports.metrics import TestSet
from snn_client.reports.report import to_json
from snn_client.runs import runs
from snn_client.runs.lists import LIMIT, longest, size
from snn_client.sweeps.sweep import Training
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import RunCancelled, RunFailed
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs


class Sweep(TypedDict):
    """What there is to say of a sweep before it trains; `validation` is a share, or a number of folds."""

    sweep_id: str
    validation: float
    combinations: int
    runs: int


class Row(TypedDict):
    """How one combination did: see `rank`. `rung` is the last one that it reached, from 1, of a sweep with halving.

    `interval` is the 95 % interval of the score, of a single part held out.
    """

    combination: int
    overrides: dict[str, Any]
    score: float | None
    std: float | None
    final_cost: float | None
    epochs: float
    seconds: float
    usd: float
    run_ids: list[str]
    failure: str
    rung: int
    interval: Interval | None


class Winner(TypedDict):
    """The best combination, and the parameters that it makes."""

    combination: int
    overrides: dict[str, Any]
    score: float | None
    std: float | None
    parameters: dict[str, Any]


class Table(Sweep):
    """What a sweep found."""

    failed: int
    seconds: float
    usd: float
    winner: Winner | None
    rows: list[Row]
    rows_left_out: int


class WrittenTable(Table):
    """A table, and where it lies in full, and as a plot."""

    sweep_json: str
    sweep_svg: str


@dataclass(frozen=True)
class Outcome:
    """How one training of a sweep ended.

    `training` is its entry in the plan, `run` what the ledger has of it (None: it was not started), `score` what
    `score_of` says of the samples held out (None: it was not judged). `before` are the rungs that led to it, the first
    one first.
    """

    training: Training
    run: Run | None
    score: float | None
    usd: float
    before: tuple[Outcome, ...] = ()
    interval: Interval | None = None

    @property
    def every(self) -> tuple[Outcome, ...]:
        """Return the rungs and this one."""
        return (*self.before, self)

    @property
    def failure(self) -> str:
        """Return in one line why there is nothing to compare, or ""."""
        if self.run is None:
            return f"run {self.training['run_id']} was not started: its task's log says why"
        if not self.run.state.is_terminal:
            return f"run {self.run.run_id} is still {self.run.state}"
        try:
            runs.outcome(self.run)
        except (RunFailed, RunCancelled) as error:
            return str(error)
        return f"run {self.run.run_id} was not judged: its task's log says why" if self.score is None else ""


def outcomes(
    clients: Clients,
    outputs: StackOutputs,
    plan: Iterable[Training],
    run_ids: Iterable[str | None],
    judged: Iterable[TestSet | None],
) -> list[Outcome]:
    """Return how the trainings of a plan ended, asking the ledger.

    For each of them `run_ids` has the run that was started for it and `judged` what its evaluation found, the report's
    `test_set`; either is None if it does not exist.
    """
    ledger, found = Ledger(clients.dynamodb, outputs.table), []
    for training, run_id, test_set in zip(plan, run_ids, judged, strict=True):
        run = ledger.find(run_id) if run_id else None
        cost = cost_of(run, outputs)["usd"] if run else 0.0
        score = score_of(test_set) if test_set else None
        found.append(Outcome(training, run, score, cost, interval=_interval(test_set) if test_set else None))
    return found


def score_of(test_set: TestSet) -> float:
    """Return the figure that networks are compared by: the accuracy, or R² of those that give a number."""
    return float(test_set["r2"] if "r2" in test_set else test_set["accuracy"])


def _interval(test_set: TestSet) -> Interval | None:
    return test_set.get("intervals", {}).get("r2" if "r2" in test_set else "accuracy")


def rank(ended: Iterable[Outcome]) -> list[Row]:
    """Return a row for each combination: the best first, those that failed last, with the reason.

    `score` is the mean over the parts held out and `std` their (population) standard deviation, None of a single one.
    Of equal scores the steadier is better, and then the one named first; who got to a further rung is before all that
    did not. `final_cost` and `epochs` are means over the folds, `seconds` (of training) and `usd` sums, over the rungs
    too. One failed fold fails its combination: the mean of the others could not be compared.
    """
    rows = [_row(list(folds)) for _, folds in groupby(ended, key=lambda one: one.training["combination"])]
    return sorted(rows, key=lambda row: (bool(row["failure"]), -row["rung"], -(row["score"] or 0.0), row["std"] or 0))


def make_table(sweep: Sweep, ended: Sequence[Outcome]) -> Table:
    """Return what a sweep found: `rows` as `rank` sorts them, the `winner` (None if all failed), and the sums.

    `sweep` is what there is to say of it beforehand.
    """
    rows = rank(ended)
    parameters = {one.training["combination"]: unpaused(one.training["parameters"]) for one in ended}
    winner: Winner | None = None
    if not (best := rows[0])["failure"]:
        winner = {
            "combination": best["combination"],
            "overrides": best["overrides"],
            "score": best["score"],
            "std": best["std"],
            "parameters": parameters[best["combination"]],
        }
    return {
        **sweep,
        "failed": sum(bool(row["failure"]) for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "usd": sum(row["usd"] for row in rows),
        "winner": winner,
        "rows": rows,
        "rows_left_out": 0,
    }


def write_table(clients: Clients, bucket: str, table: Table, drawn: str) -> WrittenTable:
    """Put the table into `sweep.json` in the sweep's folder; return it, in at most `LIMIT` bytes, for XCom.

    Beside it lies `drawn`, the table as an SVG.
    """
    key, plot = places.sweep_json(table["sweep_id"]), places.sweep_svg(table["sweep_id"])
    whole: WrittenTable = {**table, "sweep_json": f"s3://{bucket}/{key}", "sweep_svg": f"s3://{bucket}/{plot}"}
    for place, content_type, body in ((plot, "image/svg+xml", drawn), (key, "application/json", to_json(whole))):
        clients.s3.put_object(Bucket=bucket, Key=place, Body=body.encode(), ContentType=content_type)
    return fit(whole)


def fit(table: WrittenTable) -> WrittenTable:
    """Return the table with as many of its first rows as `LIMIT` bytes allow; `rows_left_out` counts the others."""

    def cut(length: int) -> WrittenTable:
        return {**table, "rows": table["rows"][:length], "rows_left_out": len(table["rows"]) - length}

    return cut(longest(len(table["rows"]), lambda length: size(cut(length)) <= LIMIT))


def lines(table: Table) -> Iterator[str]:
    """Yield the table for people to read, a line a combination."""
    last = max((row["rung"] for row in table["rows"]), default=1)
    for place, row in enumerate(table["rows"], start=1):
        asked = f"combination {row['combination']} {json.dumps(row['overrides'])}"
        if row["failure"]:
            yield f"failed: {asked}: {row['failure']}"
            continue
        interval = row["interval"]
        spread = "" if row["std"] is None else f" ± {row['std']:.4f}"
        spread += f" ({interval['low']:.4f} to {interval['high']:.4f})" if interval else ""
        early = ", stopped early" if row["rung"] < last else ""
        yield (
            f"{place}. score {row['score']:.4f}{spread}, cost {row['final_cost']:.6f}, {row['epochs']:g} epochs, "
            f"{row['seconds']:.1f} s, {row['usd']:.6f} USD{early}: {asked}"
        )


def unpaused(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run that does not pause."""
    return {name: value for name, value in parameters.items() if name != "pause_after"}


def _row(folds: Sequence[Outcome]) -> Row:
    started = [fold.run for fold in folds if fold.run is not None]
    every = [run for fold in folds for one in fold.every if (run := one.run) is not None]
    failure = next((fold.failure for fold in folds if fold.failure), "")
    scores = [fold.score for fold in folds if fold.score is not None]
    costs = [run.cost for run in started if run.cost is not None and math.isfinite(run.cost)]
    return {
        "combination": folds[0].training["combination"],
        "overrides": folds[0].training["overrides"],
        "score": None if failure else fmean(scores),
        "std": None if failure or len(folds) == 1 else pstdev(scores),
        "final_cost": fmean(costs) if costs else None,
        "epochs": fmean(run.epoch for run in started) if started else 0.0,
        "seconds": round(sum(run.seconds for run in every), 3),
        "usd": sum(one.usd for fold in folds for one in fold.every),
        "run_ids": [run.run_id for run in every],
        "failure": failure,
        "interval": folds[0].interval if len(folds) == 1 and not failure else None,
        "rung": max(fold.training.get("rung", 1) for fold in folds),
    }
