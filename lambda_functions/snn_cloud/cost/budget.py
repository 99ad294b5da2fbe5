"""What a run may cost and how long it may take: `max_usd` and `max_seconds`.

A trainer asks once a second, when it has told the ledger what it used, whether the budget of the whole run is spent;
and again before it hands over to a fresh trainer.
"""

from __future__ import annotations

from math import inf
from typing import TypedDict

from snn.errors import InvalidParameters
from snn_cloud.cost.formats import dollars, plain
from snn_cloud.cost.money import Platform, cost_of
from snn_cloud.cost.prices import CACHE_NODE_HOUR
from snn_cloud.ledger.parameters import MAX_SECONDS, Parameters
from snn_cloud.ledger.record import Run


class Expected(TypedDict):
    """What a run is expected to take at most; an estimate is one."""

    usd: float
    seconds: float


def check_budget(parameters: Parameters, platform: Platform) -> None:
    """Raise InvalidParameters for a budget in USD that cannot be checked, as the cache node's price is unknown."""
    node = platform.cache_node_type
    if parameters.max_usd is not None and platform.has_cache and node not in CACHE_NODE_HOUR:
        raise InvalidParameters(
            f"the price of the stack's cache node {node} is not known, so no budget in USD can be kept",
            field="max_usd",
            hint=f"set max_seconds, or deploy with one of {', '.join(CACHE_NODE_HOUR)}",
        )


def spent(run: Run, platform: Platform) -> str:
    """Return in one line which limit a run has reached, after how many epochs, and what to do; "" while it has not."""
    if run.parameters is None:
        return ""
    max_usd, max_seconds = _limits(run.parameters)
    usd = cost_of(run, platform)["usd"] if max_usd < inf else 0.0
    seconds = run.seconds
    if usd >= max_usd:
        field, used = "max_usd", f"{dollars(usd)} of {plain(max_usd)} USD"
    elif seconds >= max_seconds:
        field, used = "max_seconds", f"{seconds:,.1f} of {max_seconds:,g} s"
    else:
        return ""
    hint = f"raise {field} and resume the run" if field == "max_usd" or max_seconds < MAX_SECONDS else "resume the run"
    return f"{field}: {used} spent after {run.epoch:,} epochs ({hint})"


def warning(estimate: Expected, parameters: Parameters) -> str:
    """Return the line that says, before a run, which limit it may reach; "" if its estimate is within its budget."""
    max_usd, max_seconds = _limits(parameters)
    over = [f"max_usd, {plain(max_usd)} USD"] if estimate["usd"] > max_usd else []
    over += [f"max_seconds, {max_seconds:,g} s"] if estimate["seconds"] > max_seconds else []
    if not over:
        return ""
    return f"warning: the estimate is above {' and '.join(over)}: the run may stop there, and can be resumed"


def _limits(parameters: Parameters) -> tuple[float, float]:
    return parameters.max_usd or inf, parameters.max_seconds or MAX_SECONDS
