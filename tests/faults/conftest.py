"""A cloud of the fault suite's own, since it is broken on purpose: emulator, Valkey, a proxy that injects faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults import tally
from faults.cloud import Cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The deployed stack, whose functions reach AWS through the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        running = Cloud(tmp_path_factory.mktemp("cloud"), patch)
        try:
            yield running
        finally:
            running.close()


def pytest_sessionfinish() -> None:
    tally.write()
