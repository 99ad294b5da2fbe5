"""Where the figures of load are kept until the page's generator finds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AT_ONCE = 8  # neurons: of one run, by its own bound, and of all runs together, by the function's limit
LOAD = Path(__file__).parents[2] / ".local" / "load" / "results.json"
ENDPOINT = Path(__file__).parents[2] / ".local" / "load" / "endpoint.json"
SOAK = Path(__file__).parents[2] / ".local" / "soak" / "results.json"


def keep(file: Path, **figures: Any) -> None:
    """Add figures to a file; those of the same name are replaced."""
    known = json.loads(file.read_text()) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**known, **figures}, indent=1) + "\n")
