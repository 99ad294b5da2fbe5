"""Prices against hand-computed cases."""

import pytest

from snn_cloud.money import cost_of
from snn_cloud.record import Run, Usage


def test_a_batch_run_pays_for_its_two_invocations_and_their_time():
    usage = {"launch": Usage(1, 500, 1024), "trainer": Usage(1, 60_000, 2048), "neuron": Usage()}
    cost = cost_of(Run("r", started_at=100.0, ended_at=160.0, usage=usage), has_cache=False, architecture="arm64")
    # 1 GB × 0.5 s + 2 GB × 60 s = 120.5 GB-s at $0.0000133334, and two requests at $0.20 a million
    assert cost["gb_seconds"] == pytest.approx(120.5)
    assert cost["usd"] == pytest.approx(120.5 * 0.0000133334 + 2 * 0.0000002, rel=1e-12)
    assert cost["invocations"] == {"launch": 1, "trainer": 1, "neuron": 0}
    assert [line["what"] for line in cost["lines"]] == [
        "LaunchLambda invocations",
        "LaunchLambda at 1024 MB",
        "TrainerLambda invocations",
        "TrainerLambda at 2048 MB",
    ]
    assert cost["prices"]["region"] == "us-east-1"


def test_a_neuron_run_pays_for_cache_and_endpoints_while_it_trains():
    usage = {"trainer": Usage(1, 1_000, 1024), "neuron": Usage(264, 2_640, 512)}
    cost = cost_of(Run("r", started_at=0.5, ended_at=3600.5, usage=usage), has_cache=True, architecture="x86_64")
    usd = 265 * 0.0000002 + (1.0 + 0.5 * 2.64) * 0.0000166667 + 0.0128 + 2 * 0.01
    assert cost["usd"] == pytest.approx(usd, rel=1e-12)
    assert sum(line["usd"] for line in cost["lines"]) == pytest.approx(cost["usd"])
    for line in cost["lines"]:
        assert line["usd"] == pytest.approx(line["quantity"] * line["price"])


def test_a_run_that_never_began_costs_nothing():
    assert cost_of(Run("r"), has_cache=True, architecture="arm64")["usd"] == 0
