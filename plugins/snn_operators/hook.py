"""The way from an Airflow connection to the AWS clients that `snn_cloud` works with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

from snn_cloud.aws.clients import Clients

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs
    from snn_cloud.ledger.ledger import Ledger


class SnnHook(AwsBaseHook):
    """Give the stack, its ledger and the AWS clients behind them, as an Airflow connection sees them.

    It takes the arguments of the provider's hooks (``aws_conn_id``, ``region_name``, ``verify``, ``config``) and looks
    the connection up once, however many services are used.
    """

    @cached_property
    def clients(self) -> Clients:
        """Return the AWS clients; each is made when it is first used."""
        return Clients(self._make_client)

    def outputs(self, stack: str | Mapping[str, Any]) -> StackOutputs:
        """Return a stack's outputs, given its name or what the deploying task returned.

        Raises StackFailed when no stack of that name exists.
        """
        from snn_client.stack.outputs import StackOutputs

        return StackOutputs.of(self.clients, stack)

    def ledger(self, outputs: StackOutputs) -> Ledger:
        """Return the ledger of a stack's runs."""
        from snn_cloud.ledger.ledger import Ledger

        return Ledger(self.clients.dynamodb, outputs.table)

    def keys(self) -> tuple[str, str, str | None]:
        """Return the credentials that the clients have now; those of a role are taken anew before they end."""
        now = self._session.get_credentials().get_frozen_credentials()
        return str(now.access_key), str(now.secret_key), now.token

    @cached_property
    def _session(self) -> Any:
        return self.get_session(region_name=self.region_name)

    def _make_client(self, service: str) -> Any:
        return self._session.client(
            service,
            endpoint_url=self.conn_config.get_service_endpoint_url(service),
            config=self.config,
            verify=self.verify,
        )
