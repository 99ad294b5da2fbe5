"""How every bad input is judged, and the table of it all.

Whatever is handed in, the answer is a result or one printable line that says what to fix, in bounded time; any other
exception is a crash, and fails the test.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from reliability import put

from snn.errors import SnnError

T = TypeVar("T")
CASES = int(os.environ.get("SNN_BAD_INPUT_CASES", "10"))
"""Generated cases of each test; `make test-bad-input` asks for more."""

SHORT = CASES < 50
generated = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=SHORT,  # the same every time
    database=None,
    suppress_health_check=list(HealthCheck),
)
CPU_SECONDS = 5.0
BEGIN, END = "<!-- bad input: written by make test-bad-input -->", "<!-- end of bad input -->"

counts: dict[tuple[str, str], Counter[str]] = {}


def some(names: Iterable[str]) -> list[str]:
    """Return names of a list that another door is tried with in full: in the short form every fourth."""
    return list(names)[:: 4 if SHORT else 1]


def judge(door: str, kind: str, ask: Callable[[], T], errors: type[BaseException] = SnnError) -> T | None:
    """Ask, and return the result, or None after a refusal, whose line is checked; count either."""
    tally = counts.setdefault((door, kind), Counter())
    tally["cases"] += 1
    began = _cpu_seconds()
    try:
        result = ask()
    except errors as refusal:
        check_line(str(refusal))
        tally["refused"] += 1
        return None
    except BaseException:
        tally["crashed"] += 1
        raise
    else:
        tally["accepted"] += 1
        return result
    finally:
        assert _cpu_seconds() - began < CPU_SECONDS


def left_behind(door: str, kind: str, what: Any) -> None:
    """Count what a refused input left, and fail if there is anything."""
    if what:
        counts.setdefault((door, kind), Counter())["left"] += 1
    assert not what


def check_line(line: str) -> None:
    """Fail unless this is one printable line of at most 1,000 characters with some words in it."""
    assert line.isprintable(), repr(line)
    assert 10 <= len(line) <= 1_000, line
    assert "Traceback" not in line


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def as_table() -> str:
    """Return what was counted as a Markdown table."""
    rows = ["| door | kind | cases | clear error | accepted, and right | crashes | left behind |",
            "|---|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    total: Counter[str] = Counter()
    for (door, kind), tally in sorted(counts.items()):
        total += tally
        rows.append(_row(door, kind, tally))
    return "\n".join([*rows, _row("**all**", "", total)])


def _row(door: str, kind: str, tally: Counter[str]) -> str:
    numbers = (f"{tally[name]:,}" for name in ("cases", "refused", "accepted", "crashed", "left"))
    return f"| {door} | {kind} | {' | '.join(numbers)} |"


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    """Show the table; `make test-bad-input` also puts it into the documentation (as a plugin: `-p badinput.tally`)."""
    if not counts:
        return
    terminalreporter.write_line(as_table())
    if os.environ.get("SNN_BAD_INPUT_PAGE") and exitstatus == pytest.ExitCode.OK:
        measured = f"Measured on {time.strftime('%d %B %Y')} by `make test-bad-input`:"
        put(BEGIN, END, f"{measured}\n\n{as_table()}")
