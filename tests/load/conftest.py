"""A cloud of the load tests' own, without faults, whose NeuronLambda may run eight times at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.cloud import Cloud
from load.tally import AT_ONCE


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The deployed stack. What it reserves for neurons is their limit as well, here as on AWS."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("cloud")
        running = Cloud(home, patch, proxied=False, stack_name="snn-load", reserve_neuron_concurrency=AT_ONCE)
        try:
            yield running
        finally:
            running.close()
