"""The options by which a command makes a data set of what somebody has, and how far it is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from snn.errors import one_line
from snn_cli import console
from snn_cli.bundles import with_options
from snn_client.data.options import NOTE_LENGTH, Missing, Options, Task
from snn_photos.reading import Fit

SOURCE = (
    "a folder of photos, .tar, .tar.gz, .tar.xz, .zip, .csv, .parquet or .h5: a path, or s3://bucket/key; a prefix "
    "ends in /"
)
MADE = "Data that are no .h5"
TABLE = "Tables"


def _about(name: str) -> str:
    return Options.model_fields[name].description or ""


Classes = Annotated[
    str | None, typer.Option(metavar="A,B,…", help=f"{_about('classes')}: non-cat,cat", rich_help_panel=MADE)
]
Only = Annotated[str | None, typer.Option(metavar="A,B,…", help=_about("only"), rich_help_panel=MADE)]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N or HxW",
        help="pixels that photos get; else their own if all are alike and at most 64, else 64",
        rich_help_panel=MADE,
    ),
]
FitOption = Annotated[
    Fit | None,
    typer.Option(
        "--fit", help="photos are squeezed, cropped in the middle, or padded with black", rich_help_panel=MADE
    ),
]
Backbone = Annotated[
    str | None, typer.Option(metavar="NAME", help=f"{_about('backbone')}: efficientnet-lite0", rich_help_panel=MADE)
]
Mirror = Annotated[bool | None, typer.Option("--mirror", help=_about("mirror"), rich_help_panel=MADE)]
SkipBad = Annotated[bool | None, typer.Option("--skip-bad", help=_about("skip_bad"), rich_help_panel=MADE)]
Labels = Annotated[str | None, typer.Option(metavar="CSV", help=_about("labels"), rich_help_panel=MADE)]
TestShare = Annotated[float | None, typer.Option(help=_about("test_share"), rich_help_panel=MADE)]
Label = Annotated[str | None, typer.Option(metavar="COLUMN", help=_about("label"), rich_help_panel=TABLE)]
TaskOption = Annotated[Task | None, typer.Option("--task", help=_about("task"), rich_help_panel=TABLE)]
Drop = Annotated[str | None, typer.Option(metavar="A,B,…", help=_about("drop"), rich_help_panel=TABLE)]
MissingOption = Annotated[Missing | None, typer.Option("--missing", help=_about("missing"), rich_help_panel=TABLE)]
Group = Annotated[str | None, typer.Option(metavar="COLUMN", help=_about("group"), rich_help_panel=TABLE)]
Time = Annotated[str | None, typer.Option(metavar="COLUMN", help=_about("time"), rich_help_panel=TABLE)]
Split = Annotated[str | None, typer.Option(metavar="COLUMN", help=_about("split"), rich_help_panel=TABLE)]
Strict = Annotated[bool | None, typer.Option("--strict", help=_about("strict"), rich_help_panel=MADE)]


def makes_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a data set is made; it gets them by name, as its argument `made`."""
    return with_options(command, "made", _made)


def _made(
    classes: Classes = None,
    only: Only = None,
    size: SizeOption = None,
    fit: FitOption = None,
    backbone: Backbone = None,
    mirror: Mirror = None,
    skip_bad: SkipBad = None,
    labels: Labels = None,
    label: Label = None,
    task: TaskOption = None,
    drop: Drop = None,
    missing: MissingOption = None,
    group: Group = None,
    time: Time = None,
    split: Split = None,
    test_share: TestShare = None,
    strict: Strict = None,
) -> None:
    """The options of `makes_data`: their names and help; None leaves one as it is."""


class Shown:
    """Bars at a terminal, and notes as lines."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def at(self, what: str, done: int, total: int) -> None:
        """Move the bar of what is done."""
        if what not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, visible=False)
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def note(self, text: str) -> None:
        """Print it."""
        self._bars.console.print(one_line(text, NOTE_LENGTH), markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print it as a warning."""
        self.note(f"warning: {text}")


@contextmanager
def shown() -> Iterator[Shown]:
    """Show a person how far the work is; a program only gets the notes. Being stopped meanwhile is as Ctrl-C is."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    to = console.progress
    with stoppable(), Bars(*columns, console=to, transient=True, disable=not to.is_terminal) as bars:
        yield Shown(bars)


@contextmanager
def stoppable() -> Iterator[None]:
    """Take SIGTERM for a Ctrl-C, so that what is half-done is cleared away."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
