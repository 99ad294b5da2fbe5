"""The task that brings the stack up to date."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from snn_cloud.aws.errors import StackFailed
from snn_cloud.cost.formats import duration
from snn_operators.base import SnnOperator, reads_fields, seconds
from snn_operators.compat import conf
from snn_operators.fields import FLAG, VALUES, Kind
from snn_operators.trigger import StackEvent, StackTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class SnnDeployOperator(SnnOperator):
    """Create or update the stack, and return its outputs.

    A stack that is already up to date takes a second. Options that are not given come from the environment of the
    worker (``SNN_WITH_CACHE``, ``SNN_RUNTIME``, …), then from the existing stack, and for a new stack from the
    defaults.

    Returns the outputs (bucket, table, functions, …): what the other operators take as ``stack``.

    .. seealso:: ``docs/operators.md``

    :param stack: the stack's name, or outputs that name it (templated)
    :param deploy: False only reads the outputs of an existing stack (templated)
    :param options: fields of :class:`snn_client.stack.options.StackOptions`, such as ``with_cache``; None: not given
        (templated)
    :param timeout: how long to wait for CloudFormation; None: as long as it takes
    :param deferrable: whether to wait in the triggerer; the default is ``[operators] default_deferrable``
    :param poll_interval: seconds between two looks at the stack while deferred
    """

    kinds: ClassVar[Mapping[str, Kind]] = {"deploy": FLAG.or_else(True), "options": VALUES.or_else(None)}
    template_fields_renderers: ClassVar[dict[str, str]] = {"options": "json"}

    def __init__(
        self,
        *,
        stack: str | Mapping[str, Any] = "snn",
        deploy: bool | str = True,
        options: Mapping[str, Any] | None = None,
        timeout: timedelta | float | None = timedelta(hours=1),
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(stack=stack, **kwargs)
        self.deploy, self.options, self.timeout = deploy, options, seconds(timeout)
        self.deferrable, self.poll_interval = deferrable, poll_interval

    @reads_fields
    def execute(self, context: Context) -> dict[str, Any]:
        """Deploy, or read, the stack."""
        from snn_client.stack.deploy import deploy_stack, finish_deploy, start_deploy
        from snn_client.stack.options import StackOptions
        from snn_client.stack.status import stack_status

        clients, name = self.hook.clients, self.stack_name
        if not self.deploy:
            self.log.info("not deploying: using the stack %s as it is", name)
            return self.outputs.to_dict()
        options = StackOptions.from_environment(**{**(self.options or {}), "stack_name": name})
        limit = float("inf") if self.timeout is None else self.timeout
        if not self.deferrable:
            return deploy_stack(clients, options, self._say, limit).to_dict()
        deadline = None if self.timeout is None else time.time() + self.timeout
        operation = start_deploy(clients, options, self._say, limit)
        if operation and not stack_status(clients, operation).done:
            self.defer(
                trigger=StackTrigger(
                    aws=self._hook_parameters, operation=operation, poll_interval=self.poll_interval, deadline=deadline
                ),
                method_name="execute_complete",
            )
        return finish_deploy(clients, name, operation).to_dict()

    @reads_fields
    def execute_complete(self, context: Context, event: StackEvent) -> dict[str, Any]:
        """Return the outputs of the stack that the trigger waited for."""
        from snn_client.stack.deploy import finish_deploy

        if event["status"] == "error":
            raise StackFailed(f"the stack {self.stack_name}: {event['message']}")
        if event["status"] == "timeout":
            raise StackFailed(f"the stack {self.stack_name} was not ready within {duration(self.timeout or 0)}")
        return finish_deploy(self.hook.clients, self.stack_name, event["operation"]).to_dict()

    def _say(self, line: str) -> None:
        self.log.info("%s", line)
