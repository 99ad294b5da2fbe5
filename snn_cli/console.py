"""What commands print: results to standard output, all else to standard error, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Annotated, Any

import typer
from rich.console import Console

results = Console()
progress = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON, for scripts; all else goes to stderr")]


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


@contextmanager
def interruptible(what_is_left: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end the command with one word on what is left and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"\n[yellow]interrupted.[/] {what_is_left()}")
        raise typer.Exit(Exit.INTERRUPTED) from None
