"""`make soak`: back-to-back runs of all kinds for half an hour, and whether anything grows or is left behind.

Each run is compared bit for bit with an undisturbed one. Once a minute, between two runs, everything is measured that
could grow. SOAK_MINUTES makes it shorter.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from faults.cloud import Cloud
from load import judging, page
from load.kinds import kinds
from load.sample import sample
from load.tally import AT_ONCE, SOAK, keep

EVERY = 60.0  # seconds between two samples


def soak(cloud: Cloud, seconds: float) -> dict[str, Any]:
    """Do everything again and again for so long; return what was measured. Raises AssertionError for a wrong result."""
    runs: dict[str, list[dict[str, float]]] = defaultdict(list)

    def do(name: str, turn: judging.Turn) -> None:
        began = time.monotonic()
        left = turn(cloud, f"{name} {time.monotonic_ns()}")
        runs[name].append({"seconds": round(time.monotonic() - began, 2), **left})

    def everything(seed: int) -> list[tuple[str, judging.Turn]]:
        return [*((kind.name, judging.trained(kind)) for kind in kinds(seed)), *judging.OTHERS.items()]

    for name, turn in [*everything(1), *everything(2)]:  # the undisturbed runs are trained as well
        do(name, turn)
    runs.clear()

    samples, began, due = [], time.monotonic(), 0.0
    for name, turn in itertools.cycle([*everything(1), *everything(2)]):
        now = time.monotonic() - began
        if now >= min(due, seconds):
            samples.append({"at": round(now, 1), "done": sum(map(len, runs.values())), **sample(cloud)})
            due += EVERY
            sys.stdout.write(f"{page.line(samples[-1])}\n")
            sys.stdout.flush()
        if now >= seconds:
            return {"samples": samples, "runs": runs}
        do(name, turn)
    raise AssertionError("unreachable")


def main() -> None:
    """Soak a cloud of its own, keep the figures, write the page's table, and fail if anything is not flat."""
    minutes = float(os.environ.get("SOAK_MINUTES") or 30)
    with tempfile.TemporaryDirectory(prefix="snn-soak-") as folder, pytest.MonkeyPatch.context() as patch:
        mine = Path(folder) / "caller"
        mine.mkdir()
        patch.setattr(tempfile, "tempdir", str(mine))  # what this process leaves can be told from what others do
        home = Path(folder) / "cloud"
        home.mkdir()
        cloud = Cloud(home, patch, proxied=False, stack_name="snn-soak", reserve_neuron_concurrency=AT_ONCE)
        try:
            figures = soak(cloud, 60 * minutes)
        finally:
            cloud.close()
    SOAK.unlink(missing_ok=True)
    keep(SOAK, **figures)
    page.main()
    if growing := page.growing(figures):
        sys.exit("not flat:\n" + "\n".join(growing))


if __name__ == "__main__":
    main()
