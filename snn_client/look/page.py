"""What all routes share: who asks, the stacks that are shown, the worker, and how plain values are answered."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, HTTPException, Response

from snn_client.look.board import Board
from snn_client.look.live import Lives
from snn_client.look.logbook import Logbook
from snn_client.look.rows import RunRow, row
from snn_client.look.stacks import Stack
from snn_client.look.viewers import Viewer
from snn_client.look.workers import Workers
from snn_cloud.cost.money import usd_of
from snn_cloud.ledger.record import Run


def nobody() -> Viewer:
    """Refuse whoever asks. Every route depends on this; `make_app` puts what knows people in its place."""
    raise HTTPException(401, "log in first")


Who = Annotated[Viewer, Depends(nobody)]

T = TypeVar("T")
SLOW_THREADS = 4


class Shown:
    """One stack and all that is shown of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.board, self.lives, self.logbook = Board(stack), Lives(stack), Logbook(stack)

    def row(self, run: Run, viewer: Viewer) -> RunRow:
        """Return the row of a run, with what it has cost."""
        return row(run, usd_of(run, self.stack.outputs), viewer)

    def forget(self, run_id: str) -> None:
        """Have a run that somebody changed read anew."""
        self.board.forget(run_id)
        self.lives.forget(run_id)


class Page:
    """What all routes share: the stacks, and the worker."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self.stacks = {stack.label: Shown(stack) for stack in stacks}
        self.workers = Workers()
        self._threads: CapacityLimiter | None = None

    async def slowly(self, work: Callable[[], T]) -> T:
        """Do what takes long in a thread of a few that are for this alone, and return what it returns.

        A server has some forty threads for all that it does: in Airflow also for what its tasks ask.
        """
        if self._threads is None:
            self._threads = CapacityLimiter(SLOW_THREADS)
        return await to_thread.run_sync(work, limiter=self._threads)

    def shown(self, stack: str) -> Shown:
        """Return a stack. Raises HTTPException, 404, for one that the page does not show."""
        if stack not in self.stacks:
            raise HTTPException(404, f"this page shows no stack {stack!r}: {', '.join(self.stacks)}")
        return self.stacks[stack]

    def run(self, stack: str, run_id: str, viewer: Viewer) -> tuple[Shown, Run]:
        """Return a stack, and a run of it that a person may see; else 404 or 403."""
        shown = self.shown(stack)
        run = shown.lives.look(run_id).run
        if not viewer.sees(run):
            raise HTTPException(403, f"you may not see the runs of DAG {run.task.dag_id if run.task else '(none)'}")
        return shown, run


def answer(value: Any) -> Response:
    """Return plain values as JSON; what is no number (a gap in a curve) as null."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_without_nan(value), allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return [_without_nan(one) for one in value] if isinstance(value, (list, tuple)) else value
