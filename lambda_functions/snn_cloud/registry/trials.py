"""When a candidate on trial is withdrawn."""

from __future__ import annotations

from snn_cloud.registry.record import Served, Trial


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
