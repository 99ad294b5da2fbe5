"""A trial's rule: what it may be, and when it withdraws the candidate."""

from __future__ import annotations

from collections.abc import Mapping

from snn.errors import InvalidInput
from snn_cloud.registry.record import RULE, Rule, Served, Trial


def why_withdraw(trial: Trial, candidate: Served, champion: Served | None) -> str:
    """Return why the trial's rule withdraws the candidate, "" if it does not; times are averages over requests."""
    rule = trial["rule"]
    if candidate["errors"] > rule["max_errors"]:
        return f"it failed {candidate['errors']} of {candidate['requests']} times"
    if candidate["requests"] < rule["min_requests"]:
        return ""
    if candidate["compared"] and candidate["disagreed"] > rule["max_disagreement"] * candidate["compared"]:
        share = candidate["disagreed"] / candidate["compared"]
        return f"it says otherwise than the champion to {share:.0%} of {candidate['compared']:,} samples"
    if champion and champion["requests"]:
        usual = max(champion["milliseconds"] / champion["requests"], 1.0)
        took = candidate["milliseconds"] / candidate["requests"]
        if took > rule["max_slower"] * usual:
            return f"it takes {took:.0f} ms, the champion {usual:.0f}"
    return ""


def rule_of(given: Mapping[str, float]) -> Rule:
    """Return a rule in full, of which some was given. Raises InvalidInput, naming the field."""
    for name, value in given.items():
        if name not in RULE:
            raise InvalidInput("is not a field of the rule", field=name, hint=f"use {', '.join(RULE)}")
        if not value >= 0:
            raise InvalidInput(f"is {value!r}", field=name, hint="give a number, 0 or more")
    return {
        "max_errors": int(given.get("max_errors", RULE["max_errors"])),
        "max_slower": float(given.get("max_slower", RULE["max_slower"])),
        "max_disagreement": float(given.get("max_disagreement", RULE["max_disagreement"])),
        "min_requests": int(given.get("min_requests", RULE["min_requests"])),
    }
