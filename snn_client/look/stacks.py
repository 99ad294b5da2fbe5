"""The stacks that the page shows, and how to reach them, from here and from another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

import boto3
from botocore.config import Config

from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger

OUTPUTS_SECONDS = 60.0  # for which a stack's outputs are taken to be as they were


class Keys(NamedTuple):
    """AWS credentials as they are now, `token` only of those that end; and how TLS certificates are verified."""

    access_key: str
    secret_key: str
    token: str | None = None
    verify: bool | str | None = None


@dataclass(frozen=True)
class Reach:
    """What another process needs to reach a stack: its outputs, the endpoints, and credentials while they hold."""

    outputs: Mapping[str, Any]
    region: str
    endpoints: Mapping[str, str]
    keys: Keys = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain values. They hold credentials: for a pipe, never for a log."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Return what `to_json` gave."""
        return cls(**{**given, "keys": Keys(*given["keys"])})

    def at_same_place(self, other: Reach) -> bool:
        """Return whether both lead to the same stack; the credentials may be newer ones."""
        return (self.outputs, self.region, self.endpoints) == (other.outputs, other.region, other.endpoints)


class Reached:
    """The clients of a stack in another process, which take newer credentials as they come."""

    def __init__(self, reach: Reach) -> None:
        self._session: Any = boto3.Session(*reach.keys[:3], reach.region)
        self.reach = reach
        self.clients = Clients(
            lambda service: self._session.client(
                service,
                endpoint_url=reach.endpoints.get(service),
                verify=reach.keys.verify,
                config=Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=60),
            )
        )

    def renew(self, keys: Keys) -> None:
        """Sign with these keys from now on."""
        held = self._session.get_credentials()
        held.access_key, held.secret_key, held.token = keys[:3]


class Stack:
    """One stack: its clients, and `keys`, which returns the credentials that they have now. For several threads.

    `label` is what the page calls it; of two stacks of one name each has its own.
    """

    def __init__(self, name: str, clients: Clients, keys: Callable[[], Keys], label: str = "") -> None:
        self.name, self.label, self.clients, self._keys = name, label or name, clients, keys
        self._lock = threading.Lock()
        self._outputs: tuple[float, StackOutputs] | None = None

    @property
    def outputs(self) -> StackOutputs:
        """Return the stack's outputs. Raises StackFailed if it is not deployed."""
        with self._lock:
            now = time.monotonic()
            if self._outputs is None or now - self._outputs[0] > OUTPUTS_SECONDS:
                self._outputs = now, StackOutputs.load(self.clients, self.name)
            return self._outputs[1]

    @property
    def ledger(self) -> Ledger:
        """Return the ledger of the stack's runs."""
        return Ledger(self.clients.dynamodb, self.outputs.table)

    def reach(self) -> Reach:
        """Return what another process needs to reach the stack."""
        own = self.clients
        made: tuple[Any, ...] = own.s3, own.dynamodb, own.lambda_, own.logs, own.cloudformation
        endpoints = {client.meta.service_model.service_name: client.meta.endpoint_url for client in made}
        return Reach(self.outputs.to_dict(), self.outputs.region, endpoints, self._keys())
