"""Puts what tests have counted into a page of docs, between two marks of its own for each table."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"


def put(begin: str, end: str, text: str, file: Path | None = None) -> None:
    """Replace what lies between two marks of a page, each of which must be there once."""
    file = file or PAGE
    page = file.read_text()
    assert page.count(begin) == page.count(end) == 1, f"{file.name} must have {begin} and {end} once"
    head, (_, tail) = page.split(begin)[0], page.split(end)
    file.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
    sys.stdout.write(f"{file.relative_to(ROOT)}: {begin.strip('<!-> ')}\n")


def measured(results: Path) -> str:
    """Return the line that says when and on what the figures in a file were measured."""
    written = datetime.fromtimestamp(results.stat().st_mtime, UTC).strftime("%d %B %Y")
    return f"Measured on {written}, on {os.cpu_count()} processors."
