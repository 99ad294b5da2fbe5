"""When a budget is spent, on usages whose price is computed by hand, and what is said of it."""

from __future__ import annotations

from typing import Any

import oracle
import pytest

from snn.errors import InvalidParameters
from snn_client.runs.estimate import Machine, estimate
from snn_cloud.aws.settings import Settings
from snn_cloud.cost import budget
from snn_cloud.cost.budget import spent, warning
from snn_cloud.cost.money import cost_of
from snn_cloud.cost.workload import Size
from snn_cloud.ledger.parameters import MAX_SECONDS, Parameters
from snn_cloud.ledger.record import Run, Usage

ALONE = Settings("", "", "", "")
CACHED = Settings("", "", "", "", has_cache=True, cache_node_type="cache.m7g.large")


def parameters(**fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network(**fields))


def run(seconds: float = 60.0, usage: Any = None, **fields: Any) -> Run:
    """Return a run that has trained for so long; its end is set, so that time does not pass."""
    return Run(
        "r", parameters=parameters(**fields), started_at=100.0, ended_at=100.0 + seconds, epoch=1_234, usage=usage or {}
    )


# 1 GB × 1,000 s at $13.3334 a million GB-s; what three invocations log, 1,500 bytes at $0.50 a GB; and their requests.
TRAINERS = {"trainer": Usage(3, 1_000_000, 1024)}
TRAINERS_USD = 0.0133334 + 3 * 500 * 0.50 / 1e9 + 3 * 0.20 / 1e6


@pytest.mark.parametrize(
    ("max_usd", "reason"),
    [
        (TRAINERS_USD * 1.000001, ""),
        (0.0133, "max_usd: 0.014 of 0.0133 USD spent after 1,234 epochs (raise max_usd and resume the run)"),
        (1e-05, "max_usd: 0.014 of 0.00001 USD spent after 1,234 epochs (raise max_usd and resume the run)"),
    ],
)
def test_money_is_spent_when_the_whole_run_has_cost_as_much(max_usd: float, reason: str) -> None:
    assert cost_of(run(usage=TRAINERS), Machine())["usd"] == pytest.approx(TRAINERS_USD, rel=1e-9)
    assert spent(run(usage=TRAINERS, max_usd=max_usd), ALONE) == reason


def test_all_functions_count_and_the_cache_by_the_hour() -> None:
    usage = {"launch": Usage(1, 1_000, 1024), "trainer": Usage(1, 1_000, 1024), "neuron": Usage(1, 1_000, 1024)}
    # each: 1 GB-s, one request and one line of the log; the node 0.1264 and two endpoints 0.02 an hour
    functions = 3 * (13.3334 + 0.20 + 0.25) / 1e6
    hour = 0.1264 + 0.02 + 3_000 * 0.01 / 1e9
    for settings, usd in ((ALONE, functions), (CACHED, functions + hour)):
        assert spent(run(3600, usage, max_usd=usd * 0.99999), settings).startswith("max_usd: ")
        assert spent(run(3600, usage, max_usd=usd * 1.00001), settings) == ""


def test_x86_is_dearer() -> None:
    x86 = Settings("", "", "", "", architecture="x86_64")
    assert spent(run(usage=TRAINERS, max_usd=0.015), ALONE) == ""
    assert spent(run(usage=TRAINERS, max_usd=0.015), x86).startswith("max_usd: 0.017 of 0.015 USD")


@pytest.mark.parametrize(
    ("seconds", "max_seconds", "reason"),
    [
        (2.4, 2.5, ""),
        (2.5, 2.5, "max_seconds: 2.5 of 2.5 s spent after 1,234 epochs (raise max_seconds and resume the run)"),
        (9e4, 60, "max_seconds: 90,000.0 of 60 s spent after 1,234 epochs (raise max_seconds and resume the run)"),
        (MAX_SECONDS - 1, None, ""),
        (MAX_SECONDS, None, "max_seconds: 604,800.0 of 604,800 s spent after 1,234 epochs (resume the run)"),
    ],
)  # fmt: skip
def test_time_is_spent_after_max_seconds_or_a_week(seconds: float, max_seconds: float | None, reason: str) -> None:
    given = {} if max_seconds is None else {"max_seconds": max_seconds}
    assert spent(run(seconds, **given), ALONE) == reason
    assert spent(run(seconds, **given, max_usd=1e9), ALONE) == reason


def test_a_run_without_a_budget_and_one_without_parameters_go_on() -> None:
    assert spent(run(usage={"trainer": Usage(1, 10**12, 10_240)}), ALONE) == ""
    assert spent(Run("r", usage=TRAINERS, started_at=1.0, ended_at=1e9), ALONE) == ""


@pytest.mark.parametrize(
    ("usd", "seconds", "over"),
    [
        (0.01, 60.0, ""),
        (0.011, 60.0, "max_usd, 0.01 USD"),
        (0.01, 61.0, "max_seconds, 60 s"),
        (1.0, 61.0, "max_usd, 0.01 USD and max_seconds, 60 s"),
    ],
)
def test_an_estimate_above_the_budget_is_one_line(usd: float, seconds: float, over: str) -> None:
    said = warning({"usd": usd, "seconds": seconds}, parameters(max_usd=0.01, max_seconds=60))
    assert said == (
        f"warning: the estimate is above {over}: the run may stop there, and can be resumed" if over else ""
    )


def test_an_estimate_of_more_than_a_week_is_told_without_being_asked_for() -> None:
    network = oracle.small_network(epochs=10_000_000, granularity="neuron")
    most = estimate(Parameters.load(network), Size(12_288, 209), Machine(has_cache=True))
    assert "max_seconds, 604,800 s" in warning(most, Parameters.load(network))
    assert warning(most, Parameters.load({**network, "max_usd": 1e9})).count("max_usd") == 0


@pytest.mark.parametrize(("node", "max_usd", "has_cache", "refused"), [
    ("cache.r6g.16xlarge", 0.1, True, True),
    ("cache.r6g.16xlarge", None, True, False),
    ("cache.r6g.16xlarge", 0.1, False, False),
    ("cache.r7g.16xlarge", 0.1, True, False),
])  # fmt: skip
def test_no_budget_in_usd_where_a_price_is_not_known(
    node: str, max_usd: float | None, has_cache: bool, refused: bool
) -> None:
    """Ten hours on such a node counted as 0.20 USD, so nothing ever ended the run."""
    chosen = Parameters.load(oracle.small_network(max_usd=max_usd))
    platform = Machine(has_cache=has_cache, cache_node_type=node)
    if not refused:
        budget.check_budget(chosen, platform)
        return
    with pytest.raises(InvalidParameters, match=f"max_usd: the price of the stack's cache node {node} is not known"):
        budget.check_budget(chosen, platform)
