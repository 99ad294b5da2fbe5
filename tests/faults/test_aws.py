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
from faults.cloud import DRAWN, Cloud, network
from small import photos

from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.parameters import Parameters

THROTTLE = {"dynamodb": "ProvisionedThroughputExceededException", "s3": "SlowDown",
            "lambda": "TooManyRequestsException", "sns": "Throttled"}  # fmt: skip
OPERATIONS = [
    ("dynamodb", "UpdateItem"), ("dynamodb", "PutItem"), ("dynamodb", "GetItem"), ("s3", "GetObject"),
    ("s3", "PutObject"), ("lambda", "Invoke"), ("sns", "Publish"),
]  # fmt: skip
DATA = photos()


def kinds(service: str, operation: str) -> dict[str, dict[str, Any]]:
    """Return the rule of each kind of fault of an operation."""
    call = {"service": service, "operation": operation}
    rules = {
        "throttled": {**call, "error": {"code": THROTTLE[service], "status": 503 if service == "s3" else 400}},
        "500": {**call, "error": {"code": "InternalServerError", "status": 500}},
        "503": {**call, "error": {"code": "ServiceUnavailable", "status": 503}},
        "reset": {**call, "reset": True},
    }
    if operation != "PutObject":  # whose answer is empty
        rules |= {
            "done, answer cut": {**call, "response": {"abort_frac": 0.5}},
            "done, answer lost": {**call, "response": {"abort_bytes": 0}},
        }
    return rules


def trial(cloud: Cloud, row: tally.Row, chosen: Parameters) -> None:
    """Launch through the proxy, again as long as that fails, as whoever launches would, and judge the run."""
    wanted, began, theirs = cloud.reference(chosen, DATA), time.monotonic(), cloud.through_proxy()
    run_id = cloud.stage("aws", DATA)
    for _ in range(5):
        try:
            cloud.launch_staged(run_id, chosen, theirs)
            break
        except (CloudError, ClientError, BotoCoreError) as error:
            print(f"not launched: {error}")
    row.add(cloud.judge(run_id, wanted, limit=150), time.monotonic() - began)


def suffer(cloud: Cloud, row: tally.Row, rules: Sequence[dict[str, Any]], chosen: Sequence[Parameters]) -> None:
    """Run trainings side by side under the rules, and count what the proxy did."""
    for each in chosen:
        cloud.reference(each, DATA)
    cloud.proxy("DELETE", "fired")
    cloud.proxy("POST", "rules", list(rules))
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda each: trial(cloud, row, each), chosen))
        # What is to happen so many times still may: a run is over before its trainer sends the last message.
        times, limit = sum(rule.get("times", 0) for rule in rules), time.monotonic() + 60
        while len(cloud.proxy("GET", "fired?limit=10000")) < times and time.monotonic() < limit:
            time.sleep(0.05)
    finally:
        cloud.proxy("POST", "rules", [])
    row.injected += len(cloud.proxy("GET", "fired?limit=10000"))


@pytest.mark.parametrize(("service", "operation"), OPERATIONS)
def test_targeted(cloud: Cloud, service: str, operation: str) -> None:
    row = tally.row(
        "AWS call throttled, 500, 503, reset, answer cut or lost: one operation, twice in a row", "calls", 70
    )
    chosen = network(epochs=12)
    every = kinds(service, operation)
    names = list(every) if tally.FULL else random.Random(operation).sample(sorted(every), 1)
    for name in names:
        before = row.injected
        # Launching is the first Invoke; the second is asynchronous, and has no answer that could get lost.
        # A message that is throttled is not sent again.
        once = "response" in every[name] if operation == "Invoke" else (operation, name) == ("Publish", "throttled")
        suffer(cloud, row, [{**every[name], "times": 1 if once else 2}], [chosen])
        assert row.injected > before, f"{operation} was never {name}"
    assert (row.wrong, row.hung) == (0, 0)
    if operation == "Publish":
        row.check()


def test_five_percent_of_all_calls(cloud: Cloud) -> None:
    row = tally.row(
        "AWS calls throttled, 500, 503, reset, answer cut or lost: 5 % of all", "calls", 150
    )  # a few asynchronous Invokes have no answer to lose
    rules = [
        {**rule, "probability": 0.05 / len(every)}
        for every in (kinds(*call) for call in OPERATIONS)
        for rule in every.values()
    ]
    some = [
        network(epochs=12),
        network(epochs=6, granularity="layer"),
        network(epochs=4, granularity="neuron"),
        network(epochs=2, granularity="layer", batch_size=8, **DRAWN),
    ]
    for _ in range(100):
        suffer(cloud, row, rules, some * (4 if tally.FULL else 1))
        if row.injected >= (row.least if tally.FULL else 5):
            break
    row.check()
