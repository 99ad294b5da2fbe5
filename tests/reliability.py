"""Puts what tests have counted into docs/reliability.md, between two marks of its own for each table."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"


def put(begin: str, end: str, text: str) -> None:
    """Replace what lies between two marks, each of which must be there once."""
    page = PAGE.read_text()
    assert page.count(begin) == page.count(end) == 1, f"{PAGE.name} must have {begin} and {end} once"
    head, (_, tail) = page.split(begin)[0], page.split(end)
    PAGE.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}: {begin.strip('<!-> ')}\n")


def measured(results: Path) -> str:
    """Return the line that says when and on what the figures in a file were measured."""
    written = datetime.fromtimestamp(results.stat().st_mtime, UTC).strftime("%d %B %Y")
    return f"Measured on {written}, on {os.cpu_count()} processors."
