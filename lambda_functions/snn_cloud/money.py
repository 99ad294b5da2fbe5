"""What a run cost, in USD at list prices.

One table with its date and region. Amazon's free tier is not deducted. What is idle costs nothing but the cache and the
interface endpoints, which are the stack's, not a run's: a run is charged for the time it used them.
"""

from __future__ import annotations

from typing import Any

from snn_cloud.record import FUNCTIONS, Run, Usage

PRICES: dict[str, Any] = {
    "region": "us-east-1",
    "date": "2026-11-01",
    # per GB-second; arm64 costs 20 % less and is what the stack takes unless told otherwise
    "lambda_gb_second": {"x86_64": 0.0000166667, "arm64": 0.0000133334},
    "lambda_request": 0.20 / 1_000_000,
    "cache_node_hour": {"cache.t4g.micro": 0.0128},  # one Valkey node
    "endpoint_hour": 0.01,  # one interface endpoint in one availability zone
}
ENDPOINTS = 2  # Lambda and SNS, in one zone


def cost_of(run: Run, has_cache: bool, architecture: str) -> dict[str, Any]:
    """Return what a run used and its price: `usd`, `invocations`, `gb_seconds`, and the arithmetic in `lines`.

    Every line is {"what", "quantity", "unit", "price", "usd"}; `usd` is their sum.
    """
    usage = {function: run.usage.get(function, Usage()) for function in FUNCTIONS}
    gb_second, lines = PRICES["lambda_gb_second"][architecture], []
    for function, used in usage.items():
        if used.invocations:
            name = f"{function.capitalize()}Lambda"
            lines.append(_line(f"{name} invocations", used.invocations, "requests", PRICES["lambda_request"]))
            lines.append(_line(f"{name} at {used.memory_mb} MB", gb_seconds(used), "GB-s", gb_second))
    if has_cache:
        hours = run.seconds / 3600
        lines.append(_line("cache node", hours, "hours", PRICES["cache_node_hour"]["cache.t4g.micro"]))
        lines.append(_line(f"{ENDPOINTS} interface endpoints", hours * ENDPOINTS, "hours", PRICES["endpoint_hour"]))
    return {
        "usd": sum(line["usd"] for line in lines),
        "invocations": {function: used.invocations for function, used in usage.items()},
        "gb_seconds": sum(gb_seconds(used) for used in usage.values()),
        "lines": lines,
        "prices": {"region": PRICES["region"], "date": PRICES["date"], "architecture": architecture},
    }


def gb_seconds(used: Usage) -> float:
    """Return memory (GB) × time (s), the quantity Lambda bills."""
    return used.memory_mb / 1024 * used.milliseconds / 1000


def _line(what: str, quantity: float, unit: str, price: float) -> dict[str, Any]:
    return {"what": what, "quantity": quantity, "unit": unit, "price": price, "usd": quantity * price}
