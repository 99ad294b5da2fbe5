"""What the page is told of runs: plain values, typed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self, TypedDict

from snn_client.look.viewers import Viewer
from snn_client.runs.progress import metric_name
from snn_client.stack.outputs import StackOutputs
from snn_cloud.cost.money import usd_of
from snn_cloud.ledger.record import Run, Task

# Of no use to tell runs apart: they say how a run was computed, or repeat what another field says.
ALIKE = {"keep_epochs", "pause_after", "layers"}
_SWEEP = re.compile(r"(?P<sweep>.+)-\d+-f\d+(?:-r\d+)?(?:-t\d+)?")


class StartedBy(TypedDict):
    """The task of Airflow that asked for a run."""

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int


class RunRow(TypedDict):
    """A run in the list. Times are seconds since 1970, 0.0 if not reached.

    `differs` has the parameters in which it differs from most others in the list, `words` all of them, to be searched.
    """

    run_id: str
    state: str
    created_at: float
    started_at: float
    ended_at: float
    seconds: float
    epoch: int
    epochs: int
    cost: float | None
    validation_cost: float | None
    validation_metric: float | None
    metric: str
    best_epoch: int | None
    stopped_by: str | None
    reason: str
    usd: float
    started_by: StartedBy | None
    sweep: str
    resumed_from: str
    tags: list[str]
    note: str
    archived: bool
    may_change: bool
    differs: dict[str, str]
    words: str


class Entry(NamedTuple):
    """A run in the list, with what takes a moment to find out: its parameters as texts, and what it has cost in USD."""

    run: Run
    parameters: dict[str, str]
    usd: float

    @classmethod
    def of(cls, run: Run, outputs: StackOutputs) -> Self:
        """Return the entry of a run."""
        return cls(run, parameters_of(run), usd_of(run, outputs))


def rows(entries: Sequence[Entry], viewer: Viewer) -> list[RunRow]:
    """Return the rows of those runs that a person may see."""
    seen = [entry for entry in entries if viewer.sees(entry.run)]
    fields = {field for entry in seen for field in entry.parameters}
    usual = {field: Counter(one.parameters.get(field, "") for one in seen).most_common(1)[0][0] for field in fields}
    return [
        row(run, usd, viewer, own, {field: value for field, value in own.items() if usual[field] != value})
        for run, own, usd in seen
    ]


def row(
    run: Run, usd: float, viewer: Viewer,
    parameters: Mapping[str, str] | None = None, differs: Mapping[str, str] | None = None,
) -> RunRow:  # fmt: skip
    """Return the row of one run, which has cost `usd`; in a list, with its parameters and those that differ."""
    task = run.task
    return {
        "run_id": run.run_id, "state": run.state.value,
        "created_at": run.created_at, "started_at": run.started_at, "ended_at": run.ended_at, "seconds": run.seconds,
        "epoch": run.epoch, "epochs": run.parameters.epochs if run.parameters else run.epoch,
        "cost": run.cost, "validation_cost": run.validation_cost, "validation_metric": run.validation_metric,
        "metric": metric_name(run), "best_epoch": run.best_epoch,
        "stopped_by": run.stopped_by.value if run.stopped_by else None, "reason": run.reason, "usd": usd,
        "started_by": _started_by(task),
        "sweep": sweep_of(run.run_id), "resumed_from": run.resumed_from,
        "tags": list(run.tags), "note": run.note, "archived": run.archived, "may_change": viewer.changes(run),
        "differs": dict(differs or {}),
        "words": " ".join(f"{name} {value}" for name, value in (parameters or {}).items()),
    }  # fmt: skip


def _started_by(task: Task | None) -> StartedBy | None:
    if task is None:
        return None
    dag_id, dag_run_id, task_id, map_index = task
    return {"dag_id": dag_id, "dag_run_id": dag_run_id, "task_id": task_id, "map_index": map_index}


def sweep_of(run_id: str) -> str:
    """Return the sweep that a run's name says it is of; "" if it says none."""
    found = _SWEEP.fullmatch(run_id)
    return found["sweep"] if found else ""


def parameters_of(run: Run) -> dict[str, str]:
    """Return a run's parameters as texts, but for those that tell no runs apart."""
    return dict(_texts(run.parameters.to_json())) if run.parameters else {}


@lru_cache(maxsize=4096)
def _texts(parameters: str) -> tuple[tuple[str, str], ...]:
    given: dict[str, Any] = json.loads(parameters)
    return tuple((name, _text(value)) for name, value in given.items() if name not in ALIKE)


def _text(value: Any) -> str:
    """Return a parameter in a few characters: layers of neurons as 20-7-5-1, what has options by its name."""
    if isinstance(value, dict) and value and all(name.startswith("layer") for name in value):
        return "-".join(str(one) for one in value.values())
    if isinstance(value, dict) and "name" in value:
        others = ", ".join(f"{name} {_text(one)}" for name, one in value.items() if name != "name")
        return f"{value['name']} ({others})" if others else str(value["name"])
    return value if isinstance(value, str) else json.dumps(value)
