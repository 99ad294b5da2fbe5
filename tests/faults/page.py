"""Writes the table of docs/reliability.md from what `make test-faults-full` has counted."""

from __future__ import annotations

import json
from typing import Any

from faults.tally import RESULTS
from reliability import measured, put

BEGIN, END = "<!-- table of faults: make test-faults-full writes it -->", "<!-- end of the table of faults -->"
HEAD = ("fault", "injected", "runs", "ended right", "clear failure", "wrong model", "hung", "slowest, s")


def table(counted: dict[str, Any]) -> str:
    """Return the table. Raises AssertionError where the promise was not kept, or too little was tried."""
    assert counted["full"], "this was the short form"
    lines = ["| " + " | ".join(HEAD) + " |", "|---|" + "---:|" * (len(HEAD) - 1)]
    for row in counted["rows"]:
        assert row["wrong"] == row["hung"] == 0, row
        assert row["injected"] >= row["least"], row
        assert row["runs"] == row["right"] + row["failed"] > 0, row
        lines.append(
            f"| {row['fault']} | {row['injected']} {row['unit']} | {row['runs']} | {row['right']} | {row['failed']} "
            f"| {row['wrong']} | {row['hung']} | {row['slowest']:.1f} |"
        )
    total = {name: sum(row[name] for row in counted["rows"]) for name in ("injected", "runs", "right", "failed")}
    lines.append(
        f"| **all** | {total['injected']} | {total['runs']} | {total['right']} | {total['failed']} | 0 | 0 | |"
    )
    return "\n".join(lines)


def main() -> None:
    """Put the table between its two marks."""
    put(BEGIN, END, f"{table(json.loads(RESULTS.read_text()))}\n\n{measured(RESULTS)}")


if __name__ == "__main__":
    main()
