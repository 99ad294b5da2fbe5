"""The progress of a watched run: log lines at a readable rate, and a small record of where it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypedDict

from snn_cloud.cost.formats import dollars, duration

if TYPE_CHECKING:
    from snn_client.runs.estimate import Estimate
    from snn_cloud.ledger.ledger import EpochRow
    from snn_cloud.ledger.record import Run


class Progress(TypedDict):
    """Where a run is, for XCom `progress`: a handful of numbers, however long the run."""

    run_id: str
    state: str
    epoch: int
    epochs: int
    step: int
    steps: int
    cost: float | None
    validation_cost: float | None
    validation_metric: float | None
    epochs_per_second: float | None
    seconds_left: float | None
    usd: float | None


class Summary(TypedDict):
    """The summary of an ended run; `invocations` are by function."""

    run_id: str
    state: str
    epochs_run: int
    epochs_configured: int
    final_cost: float | None
    stopped_by: str | None
    seconds: float
    granularity: str | None
    strategy: str | None
    validation_cost: float | None
    validation_metric: float | None
    best_epoch: int | None
    dataset_key: str
    invocations: dict[str, int]


# The speed is that of the last half minute: a run that began cold, or slowed down, is shown as it is now.
WINDOW_SECONDS = 30.0


class Narrator:
    """Follows one run from look to look at the ledger, and decides what is worth logging.

    It says the first epoch, then one line every ``every`` seconds, and the last epoch: a run of ten thousand epochs is
    as readable as a run of three.

    :param every: seconds between two lines
    :param price: what a run has cost so far, in USD; None: not said
    :param clock: monotonic seconds
    """

    def __init__(
        self,
        every: float = 5.0,
        price: Callable[[Run], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every, self._price, self._clock = every, price, clock
        self._seen: deque[tuple[float, float]] = deque()  # (when, epochs done), oldest first
        self._latest: EpochRow | None = None
        self._said: EpochRow | None = None
        self._said_at = -float("inf")

    def lines(self, run: Run, rows: Sequence[EpochRow]) -> list[str]:
        """Return the lines to log after a look that showed ``run`` and the epochs new since the last.

        The ledger numbers epochs from 0; a line says how many are done.
        """
        now = self._clock()
        if rows:
            self._latest = rows[-1]
        done = (rows[-1].epoch + 1 if rows else run.epoch) + (run.step / run.steps if run.steps else 0.0)
        if rows or (run.step and (not self._seen or done > self._seen[-1][1])):
            self._seen.append((now, done))
            while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_SECONDS:
                self._seen.popleft()
        worth = list(rows[:1]) if self._said is None else []
        due = run.state.is_terminal or now - self._said_at >= self._every
        if due and self._latest is not None and self._latest not in (self._said, *worth):
            worth.append(self._latest)
        lines = [self._line(run, row) for row in worth]
        if worth:
            self._said = worth[-1]
        elif due and run.step:
            lines.append(f"epoch {run.epoch + 1} of {_configured(run)}, step {run.step:,} of {run.steps:,}")
        if lines:
            self._said_at = now
        return lines

    def epochs_per_second(self, run: Run) -> float | None:
        """Return the speed now, or of the whole run once it has ended; None while it cannot be known."""
        if run.state.is_terminal and run.seconds > 0:
            return run.epoch / run.seconds
        if len(self._seen) < 2:
            return None
        (then, before), (now, after) = self._seen[0], self._seen[-1]
        return (after - before) / (now - then) if now > then else None

    def record(self, run: Run) -> Progress:
        """Return where the run is."""
        speed = self.epochs_per_second(run)
        left = self._seconds_left(run, run.epoch)
        return {
            "run_id": run.run_id,
            "state": run.state.value,
            "epoch": run.epoch,
            "epochs": _configured(run),
            "step": run.step,
            "steps": run.steps,
            "cost": run.cost,
            "validation_cost": run.validation_cost,
            "validation_metric": run.validation_metric,
            "epochs_per_second": None if speed is None else round(speed, 3),
            "seconds_left": None if left is None else round(left, 1),
            "usd": self._price(run) if self._price else None,
        }

    def _line(self, run: Run, row: EpochRow) -> str:
        done = row.epoch + 1
        parts = [f"epoch {done} of {_configured(run)}", f"cost {row.cost:.6f}"]
        if row.validation_cost is not None and row.validation_metric is not None:
            parts.append(f"validation cost {row.validation_cost:.6f}, {metric_name(run)} {row.validation_metric:.4f}")
        speed, left = self.epochs_per_second(run), self._seconds_left(run, done)
        if speed:
            parts.append(f"{speed:.3g} epochs/s")
        if left:
            parts.append(f"about {duration(left)} left")
        if self._price:
            parts.append(f"{dollars(self._price(run))} USD so far")
        return ", ".join(parts)

    def _seconds_left(self, run: Run, done: int) -> float | None:
        """Return the time the remaining epochs take at this speed; a threshold may end the run sooner."""
        if run.state.is_terminal:
            return 0.0
        speed = self.epochs_per_second(run)
        return (_configured(run) - done) / speed if speed else None


def summary(run: Run) -> Summary:
    """Return what a training task or a sensor returns of an ended run."""
    return {
        "run_id": run.run_id,
        "state": run.state.value,
        "epochs_run": run.epoch,
        "epochs_configured": _configured(run),
        "final_cost": run.cost,
        "stopped_by": run.stopped_by.value if run.stopped_by else None,
        "seconds": round(run.seconds, 3),
        "granularity": run.parameters.granularity.value if run.parameters else None,
        "strategy": run.parameters.strategy if run.parameters else None,
        "validation_cost": run.validation_cost,
        "validation_metric": run.validation_metric,
        "best_epoch": run.best_epoch,
        "dataset_key": run.dataset,
        "invocations": run.invocations,
    }


def metric_name(run: Run) -> str:
    """Return what the validation metric of a run is called."""
    from snn.validation import METRIC_NAMES  # here, as it brings NumPy, which no DAG needs while it is parsed

    return METRIC_NAMES[run.parameters is None or run.parameters.classes > 0]


def estimate_line(estimate: Estimate) -> str:
    """Return the line that says, before the run, what it may cost at most (see `snn_client.runs.estimate`)."""
    invocations = estimate["invocations"]
    neurons = f" and {invocations['neuron']:,} NeuronLambda" if invocations["neuron"] else ""
    prices = estimate["prices"]
    regions = " and ".join(sorted({prices["region"], prices["requests_region"]}))
    unpriced = "".join(f" (without {what}: its price is not known)" for what in estimate["unpriced"])
    return (
        f"estimate: ≤ {dollars(estimate['usd'])} USD{unpriced} for {estimate['epochs']:,} epochs, "
        f"{estimate['granularity']} granularity: {invocations['trainer']:,} TrainerLambda{neurons}, "
        f"≈ {duration(estimate['seconds'])} (list prices of {prices['date']}, {regions})"
    )


def _configured(run: Run) -> int:
    return run.parameters.epochs if run.parameters else run.epoch
