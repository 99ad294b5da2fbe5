"""The judgement itself: it sees one flipped bit, one missing cost and a run that nobody works on."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from faults.cloud import Cloud, network
from small import photos

from snn_cloud.aws.places import new_run_id
from snn_cloud.ledger.record import Run, State


def test_a_judgement_can_be_every_one(cloud: Cloud) -> None:
    chosen, data = network(epochs=12), photos()
    wanted, name = cloud.reference(chosen, data), cloud.launch("judged", chosen, data)
    assert cloud.judge(name, wanted, limit=60) == "right"
    flipped = {**wanted.weights, "W2": np.nextafter(wanted.weights["W2"], np.inf)}
    assert cloud.judge(name, replace(wanted, weights=flipped), limit=1) == "wrong"
    assert cloud.judge(name, replace(wanted, costs=[*wanted.costs, 0.5]), limit=1) == "wrong"
    assert cloud.judge(name, cloud.reference(network(epochs=12, seed=2), data), limit=1) == "wrong"
    for state, reason, outcome in (
        (State.RUNNING, "", "hung"),
        (State.FAILED, "out of memory", "failed"),
        (State.FAILED, "", "wrong"),
        (State.COMPLETED, "", "wrong"),
    ):
        alone = new_run_id(f"{state} {reason} {time.monotonic_ns()}")
        assert cloud.ledger.create(Run(alone, state, parameters=chosen, reason=reason))
        assert cloud.judge(alone, wanted, limit=0.2) == outcome
