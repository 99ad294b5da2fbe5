"""AWS throttles, fails, resets and truncates: between the functions, and their users, and the emulator."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from faults import tally
from faults.cloud import Cloud, network, photos

from snn.parameters import Parameters
from snn_cloud.errors import CloudError

THROTTLE = {"dynamodb": "ProvisionedThroughputExceededException", "s3": "SlowDown",
            "lambda": "TooManyRequestsException", "sns": "Throttled"}  # fmt: skip
OPERATIONS = [
    ("dynamodb", "UpdateItem"), ("dynamodb", "PutItem"), ("dynamodb", "GetItem"), ("s3", "GetObject"),
    ("s3", "PutObject"), ("lambda", "Invoke"), ("sns", "Publish"),
]  # fmt: skip
DATA = photos()


def kinds(service: str) -> dict[str, dict[str, Any]]:
    """Return the rule of each kind of fault for a service."""
    return {
        "throttled": {"error": {"code": THROTTLE[service], "status": 503 if service == "s3" else 400}},
        "500": {"error": {"code": "InternalServerError", "status": 500}},
        "503": {"error": {"code": "ServiceUnavailable", "status": 503}},
        "reset": {"reset": True},
        "done and answer cut": {"response": {"abort_frac": 0.5}},
        "done and answer lost": {"response": {"abort_bytes": 0}},
    }


def trial(cloud: Cloud, row: tally.Row, chosen: Parameters, **options: Any) -> None:
    """Launch through the proxy and judge; a launch that cannot be made has to say so and leave nothing that runs."""
    wanted, began = cloud.reference(chosen, DATA), time.monotonic()
    try:
        run_id = cloud.launch("aws", chosen, DATA, cloud.through_proxy(), **options)
        outcome = cloud.judge(run_id, wanted, limit=150)
    except (CloudError, ClientError, BotoCoreError) as error:
        print(f"not launched: {error}")
        outcome = "failed" if str(error) and "\n" not in str(error) else "wrong"
    row.add(outcome, time.monotonic() - began)


def suffer(cloud: Cloud, row: tally.Row, rules: Sequence[dict[str, Any]], chosen: Sequence[Parameters]) -> None:
    """Run trainings side by side under the rules, and count what the proxy did."""
    for each in chosen:
        cloud.reference(each, DATA)
    cloud.proxy("DELETE", "fired")
    cloud.proxy("POST", "rules", list(rules))
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda each: trial(cloud, row, each), chosen))
    finally:
        cloud.proxy("POST", "rules", [])
    row.injected += len(cloud.proxy("GET", "fired?limit=10000"))


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_targeted(cloud: Cloud, service: str, operation: str) -> None:
    row = tally.row("AWS call throttled, 500, 503, reset, answer cut or lost: one operation, twice in a row", "calls", 80)
    chosen = network(epochs=12)
    every = kinds(service)
    names = list(every) if tally.FULL else random.Random(operation).sample(sorted(every), 1)
    for name in names:
        before = row.injected
        rule = {"service": service, "operation": operation, "times": 2, **every[name]}
        suffer(cloud, row, [rule], [chosen])
        assert row.injected > before, f"{operation} was never {name}"
    assert (row.wrong, row.hung) == (0, 0)
    if operation == "Publish":
        row.check()


def test_five_percent_of_all_calls(cloud: Cloud) -> None:
    row = tally.row("AWS calls throttled, 500, 503, reset, answer cut or lost: 5 % of all", "calls", 120)
    rules = [
        {"service": service, "probability": 0.05 / 6, **fault}
        for service in THROTTLE for fault in kinds(service).values()
    ]  # fmt: skip
    some = [network(epochs=12), network(epochs=6, granularity="layer"), network(epochs=4, granularity="neuron")]
    for _ in range(100):
        suffer(cloud, row, rules, some * (4 if tally.FULL else 1))
        if row.injected >= (row.least if tally.FULL else 5):
            break
    row.check()
