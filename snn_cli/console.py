"""What commands print: results to standard output, all else to standard error, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snn.errors import InvalidInput

T = TypeVar("T")
PIPE_WIDTH = 240  # columns; a program that reads us reads lines, and none of ours is broken

results = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
progress = Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH)

Json = Annotated[
    bool, typer.Option("--json", help="print the result as JSON, for scripts; everything else goes to stderr")
]


class Exit(IntEnum):
    """How a command ends. Scripts rely on it: values never change."""

    DONE = 0
    REFUSED = 1  # by us or by AWS; one line on stderr says why
    USAGE = 2  # Typer's own
    RUN_FAILED = 3
    RUN_CANCELLED = 4
    INTERRUPTED = 130  # by Ctrl-C, as shells have it


def say(text: str, *, markup: bool = True) -> None:
    """Tell a person something that is not the result."""
    progress.print(text, markup=markup, highlight=False, soft_wrap=True)


def answer(result: Mapping[str, Any] | list[Any], as_json: bool, show: Callable[[], None]) -> None:
    """Print a command's result: as JSON, or by `show` for a person."""
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show()


def table(*columns: str) -> Table:
    """Return a table to fill, as all our commands show theirs."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    return shown


def can_ask() -> bool:
    """Return whether there is a person at a terminal to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, default: str, check: Callable[[str], T]) -> T:
    """Ask a person until `check` takes the answer, and return what it makes of it.

    Enter takes the default, which stands in brackets. An InvalidInput of `check` is told in one line.
    """
    while True:
        progress.print(f"{escape(question)} [dim]\\[{escape(default)}][/]: ", end="", highlight=False, soft_wrap=True)
        try:
            given = input()
        except EOFError:  # nobody will ever answer
            raise KeyboardInterrupt from None
        try:
            return check(given.strip() or default)
        except InvalidInput as problem:
            say(f"[red]{escape(str(problem))}[/]")


def yes_or_no(text: str) -> bool:
    """Return what an answer means. Raises InvalidInput."""
    if text.lower() not in ("y", "yes", "n", "no"):
        raise InvalidInput(f"{text!r} is neither yes nor no")
    return text.lower().startswith("y")


@contextmanager
def interruptible(what_is_left: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end the command with one word on what is left and how to go on."""
    try:
        yield
    except BaseException as error:
        if not is_interruption(error):
            raise
        say(f"\n[yellow]interrupted.[/] {escape(what_is_left())}")
        raise typer.Exit(Exit.INTERRUPTED) from None


def is_interruption(error: BaseException | None) -> bool:
    """Return whether an error is Ctrl-C, or what a library made of it.

    Ctrl-C may come while a library in C calls back into Python, and such a library may report an error of its own
    instead: h5py says `TypeError: Operation not defined for data type class`. What it came from stays in its context.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error is not None
