"""What the endpoint did and cost: a line of log for each request, and counters in the registry, written in groups."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from snn_cloud.cost import prices
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.loaded import Label
from snn_cloud.serve.moment import PAUSE_SECONDS, Moment

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
        self._microseconds = Counter[tuple[str, str]]()
        self._nano, self._requests = 0.0, 0
        self._flushed: Moment | None = None
        self._failed: Moment | None = None
        self._day, self._day_nano = "", 0

    def over_budget(self) -> bool:
        """Return whether this day's money is spent: what all environments have spent, by this one's last look."""
        if not self._limit or self._pauses:
            return False
        day = self._today()
        if day != self._day:
            with self._noting_failure():
                self._day, self._day_nano = day, self._registry.spend(day, 0)
        return self._day_nano >= self._limit

    def seconds_left(self) -> int:
        """Return how long this day (UTC) still is."""
        return 86_400 - int(self._clock()) % 86_400

    def count(self, label: Label, milliseconds: float, samples: int, error: bool = False, **more: int) -> None:
        """Take one request to a version into account. `more` are other counters of the registry."""
        key = label["name"], label["run_id"]
        self._waiting.setdefault(key, Counter()).update(requests=1, samples=samples, errors=int(error), **more)
        self._microseconds[key] += round(milliseconds * 1000)

    def done(self, milliseconds: float, urgent: bool) -> set[str]:
        """Note a request's end; write the counters if it is time, or `urgent`. Return the models they were written of.

        What cannot be written is kept for the next time.
        """
        self._nano += milliseconds * self._nano_a_ms + OVERHEAD_NANO_USD
        self._requests += 1
        recent = self._flushed is not None and self._flushed.is_within(FLUSH_SECONDS)
        if self._pauses or (not urgent and self._requests < FLUSH_REQUESTS and recent):
            return set()
        self._flushed, self._requests = Moment(), 0
        with self._noting_failure():
            return self._write()

    def _write(self) -> set[str]:
        written = set[str]()
        for (model, run_id), counted in list(self._waiting.items()):
            # Whole milliseconds; what is left of one waits, or requests of half of one would take no time at all.
            whole, rest = divmod(self._microseconds[model, run_id], 1000)
            self._registry.count(model, run_id, {**counted, "milliseconds": whole})
            del self._waiting[model, run_id]
            self._microseconds[model, run_id] = rest
            written.add(model)
        nano, day = round(self._nano), self._today()
        self._day, self._day_nano = day, self._registry.spend(day, nano)
        self._nano -= nano
        return written

    @property
    def _pauses(self) -> bool:
        return self._failed is not None and self._failed.is_within(PAUSE_SECONDS)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._failed = Moment()
            raise

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
