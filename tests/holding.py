"""A stack whose trainers wait: what is to be seen before a run ends cannot be missed, however fast the run is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from snn_cloud.clients import Clients
from snn_cloud.stack import StackOutputs


@contextmanager
def held(clients: Clients, stack: StackOutputs) -> Iterator[None]:
    """Let no trainer of the stack begin before the block is left; Lambda keeps their events."""
    clients.lambda_.put_function_concurrency(FunctionName=stack.trainer_function, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        clients.lambda_.delete_function_concurrency(FunctionName=stack.trainer_function)
