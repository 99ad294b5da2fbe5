"""Following a run to its end: a bar and its cost curve for a person at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from snn_cli.aws import Aws
from snn_cli.console import interruptible, progress, say
from snn_cli.curve import Curve
from snn_client.runs.progress import Progress
from snn_client.runs.watching import Watch
from snn_cloud.cost.formats import dollars, duration
from snn_cloud.ledger.record import Run

LOOK_SECONDS = 0.5
LINE_SECONDS = 5.0  # between two lines where nobody looks on
CURVE_HEIGHT, CURVE_WIDTH, OTHER_LINES = 12, 100, 5


def follow(aws: Aws, run_id: str) -> Run:
    """Follow a run until it ends; return it COMPLETED. Ctrl-C stops the command, not the run.

    Raises RunFailed, with the reason and the last lines of its functions, or RunCancelled.
    """
    watch = Watch(aws.clients, aws.outputs, run_id=run_id, log_interval=LINE_SECONDS, functions=False)
    with interruptible(lambda: how_to_go_on(aws, run_id)):
        seen = _look_on(watch) if progress.is_terminal and not progress.is_dumb_terminal else _tell(watch)
    return watch.outcome(seen)


def how_to_go_on(aws: Aws, run_id: str) -> str:
    """Return what to tell a person who stops following a run."""
    return (
        f"Run {run_id} continues in Lambda.\n"
        f"  follow it:  {aws.command(f'status {run_id} --follow')}\n"
        f"  stop it:    {aws.command(f'cancel {run_id}')}\n"
        f"  resume it:  {aws.command(f'resume {run_id}')}"
    )


def view(record: Progress, curve: Curve, width: int, height: int) -> RenderableType:
    """Return what a terminal of this size shows of a run; `record` is what a Narrator says of it."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=record["epochs"], completed=record["epoch"], width=max(10, min(40, width // 2))),
        f"epoch {record['epoch']:,} of {record['epochs']:,}",
    )
    parts = [f"cost {record['cost']:.6f}" if record["cost"] is not None else "waiting for the first epoch"]
    if record["epochs_per_second"]:
        parts.append(f"{record['epochs_per_second']:.3g} epochs/s")
    if record["seconds_left"]:
        parts.append(f"about {duration(record['seconds_left'])} left")
    if record["usd"] is not None:
        parts.append(f"{dollars(record['usd'])} USD so far")
    lines = curve.lines(min(width - 1, CURVE_WIDTH), min(CURVE_HEIGHT, height - OTHER_LINES))
    return Group(
        Text.assemble((record["run_id"], "bold"), f" {record['state']}"),
        bar,
        Text(", ".join(parts)),
        Text("\n".join(lines), style="cyan", no_wrap=True),
    )


def _look_on(watch: Watch) -> Run:
    curve = Curve()
    with Live(console=progress, refresh_per_second=4) as live:
        while True:
            look = watch.look()
            curve.add(row.cost for row in look.rows)
            for line in look.remarks:
                progress.print(escape(line), highlight=False)
            if look.run is not None:
                live.update(view(watch.narrator.record(look.run), curve, progress.width, progress.height), refresh=True)
                if look.run.state.is_terminal:
                    return look.run
            time.sleep(LOOK_SECONDS)


def _tell(watch: Watch) -> Run:
    while True:
        look = watch.look()
        for line in look.lines:
            say(line, markup=False)
        if look.run is not None and look.run.state.is_terminal:
            return look.run
        time.sleep(LOOK_SECONDS)
