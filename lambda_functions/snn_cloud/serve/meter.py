"""What the endpoint did and cost: a line of log for each request, and counters in the registry, written in groups."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from snn_cloud.cost import prices
from snn_cloud.registry.record import Served
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.loaded import Label

NAMESPACE = "snn/endpoint"
FLUSH_SECONDS = 1.0
FLUSH_REQUESTS = 20
"""Counters are written when this long has passed, or so many requests: what an environment still holds when Lambda
ends it is lost, at most so many."""

OVERHEAD_NANO_USD = 200 + 2 * 1_250 // FLUSH_REQUESTS  # the request itself, and a part of the writes of a group


class Meter:
    """Counts what one environment did."""

    def __init__(
        self, registry: Registry, stack: str, architecture: str, memory_mb: int, daily_usd: float,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._registry, self._stack, self._clock = registry, stack, clock
        self._nano_a_ms = prices.LAMBDA_GB_SECOND[architecture].usd * max(memory_mb, 128) / 1024 / 1000 * 1e9
        self._limit = daily_usd * 1e9
        self._waiting: dict[tuple[str, str], Counter[str]] = {}
        self._nano, self._requests, self._flushed = 0.0, 0, 0.0
        self._day, self._day_nano = "", 0
        self.totals: dict[tuple[str, str], Served] = {}
        """By model and run, as the registry told them at the last flush."""

    def over_budget(self) -> bool:
        """Return whether this day's money is spent, as far as this environment knows."""
        return bool(self._limit) and self._today() == self._day and self._day_nano >= self._limit

    def count(self, label: Label, milliseconds: float, samples: int, error: bool = False, **more: int) -> None:
        """Take one request to a version into account. `more` are other counters of the registry."""
        waiting = self._waiting.setdefault((label["name"], label["run_id"]), Counter())
        waiting.update(requests=1, samples=samples, errors=int(error), milliseconds=round(milliseconds), **more)

    def done(self, milliseconds: float, urgent: bool) -> bool:
        """Note a request's end; write the counters if it is time, or `urgent`. Return whether they were written."""
        self._nano += milliseconds * self._nano_a_ms + OVERHEAD_NANO_USD
        self._requests += 1
        now = time.monotonic()
        if not urgent and self._requests < FLUSH_REQUESTS and now - self._flushed < FLUSH_SECONDS:
            return False
        self._flushed, self._requests = now, 0
        waiting, self._waiting = self._waiting, {}
        for (model, run_id), counted in waiting.items():
            self.totals[model, run_id] = self._registry.count(model, run_id, counted)
        nano, self._nano = self._nano, 0.0
        day = self._today()
        self._day, self._day_nano = day, self._registry.spend(day, round(nano))
        return True

    def log(self, label: Label | None, status: int, milliseconds: float, samples: int, request_id: str) -> None:
        """Print what CloudWatch makes metrics of (embedded metric format): nothing of what was asked or answered."""
        line = {
            "_aws": {
                "Timestamp": round(self._clock() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["Stack", "Model", "Version"]],
                        "Metrics": [
                            {"Name": "Requests", "Unit": "Count"},
                            {"Name": "Samples", "Unit": "Count"},
                            {"Name": "Errors", "Unit": "Count"},
                            {"Name": "Refused", "Unit": "Count"},
                            {"Name": "Latency", "Unit": "Milliseconds"},
                        ],
                    }
                ],
            },
            "Stack": self._stack, "Model": label["name"] if label else "-",
            "Version": str(label["version"] or label["run_id"] or "-") if label else "-",
            "Requests": 1, "Samples": samples, "Errors": int(status >= 500), "Refused": int(400 <= status < 500),
            "Latency": round(milliseconds, 3), "status": status, "request_id": request_id,
        }  # fmt: skip
        print(json.dumps(line, separators=(",", ":")))

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%d")
