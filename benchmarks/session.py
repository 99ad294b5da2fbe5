"""One run of the benchmark: what is there to measure with, what was found, and how to say it while it goes on."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import problem
from benchmarks.competitors import Competitors
from benchmarks.serverless import Serverless
from snn_client.stack.outputs import StackOutputs

TOLERANCE = 1e-6  # of any epoch's cost among the first 300, in float64
TOLERANCE_FLOAT32 = 1e-4


class Disagreement(Exception):
    """Two contestants did not compute the same thing: comparing their times would mean nothing."""


@dataclass
class Session:
    """Everything a measurement needs."""

    folder: Path
    dataset: Path
    serverless: Serverless
    plain: StackOutputs
    cached: StackOutputs
    competitors: Competitors
    say: Callable[[str], None]
    step: Callable[[], None]
    repetitions: int = 3
    quick: bool = False
    cores: int = 2
    results: dict[str, Any] = field(default_factory=dict)

    def job(self, name: str, dataset: Path, chosen: Any) -> Path:
        """Return the file with a job for the NumPy loop and the peers."""
        return problem.save_job(self.folder / f"{name}.npz", dataset, chosen)


def column(samples: Sequence[float], **about: Any) -> dict[str, Any]:
    """Return how a contestant's repetitions are recorded."""
    return {"seconds": statistics.median(samples), "all": list(samples), **about}


def difference(costs: Sequence[float], others: Sequence[float]) -> float:
    """Return the largest difference of two cost curves over the epochs, at most 300, that both have."""
    pairs = list(zip(costs[:300], others[:300], strict=False))
    if not pairs:
        raise Disagreement("one of them has no costs")
    return float(np.max([abs(one - other) for one, other in pairs]))  # nan, where there is one


def agree(who: str, costs: Sequence[float], others: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """Return the largest difference of two cost curves. Raises Disagreement if it is more than rounding."""
    found = difference(costs, others)
    if not found <= tolerance:
        raise Disagreement(f"{who}: a cost within the first 300 epochs differs by {found:.2e} (at most {tolerance:g})")
    return found


def save(results: dict[str, Any], file: Path) -> None:
    """Write the results."""
    file.write_text(json.dumps(results, indent=2) + "\n")
