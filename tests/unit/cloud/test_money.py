"""Prices against hand-computed cases."""

import pytest

from snn_client.runs.estimate import Machine
from snn_cloud.cost import prices
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, Usage

NEURONS = Parameters.load(
    {
        "epochs": 3,
        "layers": 3,
        "activations": {"layer1": "relu", "layer2": "relu", "layer3": "sigmoid"},
        "neurons": {"layer1": 3, "layer2": 2, "layer3": 1},
        "learning_rate": 0.1,
        "batch_size": 3,
        "granularity": "neuron",
    }
)


def test_a_batch_run_pays_for_two_invocations_their_time_and_what_they_ask():
    usage = {
        "launch": Usage(1, 500, 1024, s3_puts=1, s3_gets=1, write_units=3, read_units=2),
        "trainer": Usage(1, 60_000, 2048, s3_puts=2, s3_gets=2, write_units=97, read_units=1, publishes=4),
        "neuron": Usage(),
    }
    cost = cost_of(Run("r", started_at=100.0, ended_at=160.0, usage=usage), Machine())
    # quantity × price by hand, in millionths of a dollar
    assert [(line["what"], line["quantity"], pytest.approx(line["usd"] * 1e6)) for line in cost["lines"]] == [
        ("LaunchLambda invocations", 1, 0.2),
        ("LaunchLambda at 1024 MB", 0.5, 6.6667),  # 1 GB × 0.5 s × $13.3334 a million
        ("TrainerLambda invocations", 1, 0.2),
        ("TrainerLambda at 2048 MB", 120.0, 1600.008),  # 2 GB × 60 s
        ("S3 put-class", 3, 15.0),  # $5 a million
        ("S3 get-class", 3, 1.2),  # $0.40 a million
        ("DynamoDB writes", 100, 62.5),  # $0.625 a million units
        ("DynamoDB reads", 3, 0.375),  # $0.125 a million units
        ("SNS", 4, 2.0),  # $0.50 a million
        ("log lines, 500 bytes an invocation", 0.001, 0.5),  # 2 × 500 bytes at $0.50 a GB
    ]
    assert cost["usd"] * 1e6 == pytest.approx(1688.6497)
    assert cost["gb_seconds"] == pytest.approx(120.5)
    assert cost["invocations"] == {"launch": 1, "trainer": 1, "neuron": 0}
    assert cost["requests"] == {"s3_puts": 3, "s3_gets": 3, "write_units": 100, "read_units": 3, "publishes": 4}
    assert cost["cache_hours"] == 0
    assert cost["prices"] == {
        "region": "us-east-1", "requests_region": "us-east-1", "date": "2026-11-01", "architecture": "arm64",
    }  # fmt: skip
    assert "stored" in cost["left_out"]


def test_a_neuron_run_pays_for_cache_endpoints_and_their_data_while_it_trains():
    usage = {"trainer": Usage(1, 1_000, 1024), "neuron": Usage(264, 2_640, 512)}
    run = Run(
        "r", parameters=NEURONS, started_at=0.5, ended_at=3600.5, epoch=3, usage=usage, features=10, samples=6
    )  # fmt: skip
    cost = cost_of(run, Machine(has_cache=True, architecture="x86_64"))
    assert [(line["what"], line["quantity"], pytest.approx(line["usd"] * 1e6)) for line in cost["lines"]] == [
        ("TrainerLambda invocations", 1, 0.2),
        ("TrainerLambda at 1024 MB", 1.0, 16.6667),
        ("NeuronLambda invocations", 264, 52.8),
        ("NeuronLambda at 512 MB", pytest.approx(1.32), 22.000044),  # 0.5 GB × 2.64 s × $16.6667 a million
        ("log lines, 500 bytes an invocation", 0.1325, 66.25),  # 265 × 500 bytes
        ("cache node cache.t4g.micro", 1.0, 12_800),
        ("2 interface endpoints", 2.0, 20_000),
        ("endpoint data, 3000 bytes a neuron invocation", 0.792, 7.92),  # 264 × 3,000 bytes at $0.01 a GB
        # 5,488 bytes an epoch (test_workload), 3 epochs, half of it, at $0.01 a GB
        ("data to and from the cache in the other zone", 0.008232, 0.08232),
    ]
    assert cost["cache_hours"] == 1
    assert cost["usd"] * 1e6 == pytest.approx(32_965.919064)


@pytest.mark.parametrize("has_cache", [False, True])
def test_the_lines_add_up(has_cache):
    usage = {name: Usage(3, 1234, 777, 5, 7, 11, 13, 17) for name in ("launch", "trainer", "neuron")}
    run = Run("r", parameters=NEURONS, started_at=7.0, ended_at=99.5, epoch=3, usage=usage, features=10, samples=6)
    cost = cost_of(run, Machine(has_cache=has_cache, cache_node_type="cache.r7g.large"))
    assert len(cost["lines"]) == (16 if has_cache else 12)
    for line in cost["lines"]:
        assert line["usd"] == line["quantity"] * line["price"] > 0
    assert cost["usd"] == pytest.approx(sum(line["usd"] for line in cost["lines"]), rel=1e-15)


def test_a_node_that_the_table_does_not_know_is_said_not_guessed():
    run = Run("r", started_at=1.0, ended_at=3601.0)
    unknown, known = (
        cost_of(run, Machine(has_cache=True, cache_node_type=node)) for node in ("cache.x9.huge", "cache.r7g.large")
    )
    assert (unknown["lines"][0]["what"], unknown["lines"][0]["usd"]) == ("cache node cache.x9.huge, price not known", 0)
    assert (unknown["unpriced"], known["unpriced"]) == (["cache node cache.x9.huge"], [])
    assert known["lines"][0]["usd"] == pytest.approx(0.1752)


def test_a_run_that_never_began_costs_nothing():
    cost = cost_of(Run("r"), Machine(has_cache=True))
    assert (cost["usd"], cost["lines"]) == (0, [])


def test_every_price_says_where_it_stands():
    named = [price for price in vars(prices).values() if isinstance(price, prices.Price)]
    tables = [table for table in vars(prices).values() if isinstance(table, dict) and "arm64" in table]
    named += [price for table in [*tables, prices.CACHE_NODE_HOUR] for price in table.values()]
    assert len(named) == 10 + 2 + 10
    for price in named:
        assert price.usd > 0
        assert "pricing" in price.source


def test_each_region_has_its_own_prices_where_they_are_known() -> None:
    usage = {"trainer": Usage(1, 1000, 1024, s3_puts=1000, s3_gets=1000, write_units=10**6, read_units=10**6)}
    run = Run("r", started_at=1.0, ended_at=2.0, usage=usage)
    bills = {region: cost_of(run, Machine(region=region)) for region in (*prices._BY_REGION, "mars-north-1")}
    lines = {region: {line["what"]: line["usd"] for line in bill["lines"]} for region, bill in bills.items()}
    assert lines["us-east-1"]["S3 put-class"] == pytest.approx(0.005)
    assert lines["eu-central-1"]["S3 put-class"] == pytest.approx(0.0054)
    assert lines["eu-central-1"]["DynamoDB writes"] == pytest.approx(0.7625)
    assert lines["ap-northeast-1"]["S3 get-class"] == pytest.approx(0.00037)
    assert len({lines[region]["TrainerLambda at 1024 MB"] for region in bills}) == 1
    assert bills["eu-west-1"]["prices"]["requests_region"] == "eu-west-1"
    unknown = bills["mars-north-1"]
    assert (unknown["usd"], unknown["prices"]["requests_region"]) == (bills["us-east-1"]["usd"], "us-east-1")
    assert len(prices._BY_REGION) == 10
