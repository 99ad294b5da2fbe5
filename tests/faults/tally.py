"""Counts how the trials of each fault ended, for the table of docs/reliability.md."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

FULL = os.environ.get("SNN_FAULTS") == "full"
RESULTS = Path(__file__).parents[2] / ".local" / "faults" / "results.json"


@dataclass
class Row:
    """One fault: what was done how often, and how the runs that suffered it ended."""

    fault: str
    unit: str
    least: int  # injected in the full form
    injected: int = 0
    runs: int = 0
    right: int = 0
    failed: int = 0
    wrong: int = 0
    hung: int = 0
    slowest: float = 0.0

    def add(self, outcome: str, seconds: float, injected: int = 0) -> None:
        """Count a run by its outcome: right, failed, wrong or hung."""
        with _lock:
            self.runs += 1
            self.injected += injected
            setattr(self, outcome, getattr(self, outcome) + 1)
            self.slowest = max(self.slowest, seconds)

    def check(self) -> None:
        """Assert the promise, and that as much was injected as was meant to be."""
        assert (self.wrong, self.hung) == (0, 0), self
        assert self.runs == self.right + self.failed > 0, self
        assert self.injected >= (self.least if FULL else 1), self


_lock = threading.Lock()
_rows: dict[str, Row] = {}


def row(fault: str, unit: str, least: int) -> Row:
    """Return the row of a fault, a new one at first."""
    return _rows.setdefault(fault, Row(fault, unit, least))


def write() -> None:
    """Leave what was counted where the page's generator finds it; a part that is run again replaces its own rows."""
    if not _rows:
        return
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"full": FULL, "rows": []}
    older = {row["fault"]: row for row in known["rows"]} if known["full"] == FULL else {}
    rows = older | {one.fault: asdict(one) for one in _rows.values()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"full": FULL, "rows": list(rows.values())}, indent=1))
