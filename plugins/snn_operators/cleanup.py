"""The task that deletes the stack."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from snn.errors import InvalidInput
from snn_cloud.aws.errors import StackFailed
from snn_cloud.cost.formats import duration
from snn_operators.base import SnnOperator, reads_fields, seconds
from snn_operators.compat import conf
from snn_operators.fields import FLAG, NAME, Kind
from snn_operators.trigger import StackEvent, StackTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.stack.cleanup import Plan, ReportFields
    from snn_client.stack.cleanup_plan import PlanFields


class SnnCleanupOperator(SnnOperator):
    """List everything in a stack, or delete it: data, models, reports, ledger, logs, artifacts.

    It only accepts a stack that snn deployed, and only touches that stack's own resources. It refuses while runs have
    not ended. If a cleanup is interrupted, the next one finishes it.

    Returns, for a dry run, what there is: ``items`` with kind, name, count and size, and ``runs`` that have not ended.
    Otherwise what was ``deleted``, and in ``stays`` a line for each resource that AWS keeps for a while. At most 150 of
    each are listed: ``items_left_out``, ``runs_left_out`` and ``deleted_left_out`` count the others, the log has all.

    .. seealso:: ``docs/operators.md``

    :param stack: the stack's name (templated)
    :param dry_run: list only, and change nothing (templated)
    :param confirm: the stack's name again, unless it is a dry run (templated)
    :param cancel_runs: whether to cancel runs that have not ended, instead of refusing (templated)
    :param timeout: how long to wait for CloudFormation; None: as long as it takes
    :param deferrable: whether to wait in the triggerer; the default is ``[operators] default_deferrable``
    :param poll_interval: seconds between two looks at the stack while deferred
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "only_list": replace(FLAG.or_else(True), argument="dry_run"),
        "confirm": NAME.or_else(""),
        "cancel_runs": FLAG.or_else(False),
    }

    def __init__(
        self,
        *,
        stack: str | Mapping[str, Any] = "snn",
        dry_run: bool | str = True,
        confirm: str = "",
        cancel_runs: bool | str = False,
        timeout: timedelta | float | None = timedelta(hours=1),
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(stack=stack, **kwargs)
        self.only_list = dry_run  # `dry_run` is a method of every operator
        self.confirm, self.cancel_runs, self.timeout = confirm, cancel_runs, seconds(timeout)
        self.deferrable, self.poll_interval = deferrable, poll_interval

    @reads_fields
    def execute(self, context: Context) -> PlanFields | ReportFields:
        """List, or delete."""
        from snn_client.stack.cleanup import plan, start_cleanup

        clients, name = self.hook.clients, self.stack_name
        if not self.only_list and self.confirm != name:
            said = f"{self.confirm!r} is not the stack's name" if self.confirm else "the stack's name is missing"
            raise InvalidInput(said, field="confirm", hint=f"enter {name}")
        wanted = plan(clients, name)
        for line in wanted.lines():
            self.log.info("%s", line)
        if self.only_list:
            return wanted.for_xcom()
        cancel_runs = bool(self.cancel_runs)
        return self._go_on(wanted, start_cleanup(clients, wanted, cancel_runs=cancel_runs, on_progress=self._say))

    @reads_fields
    def execute_complete(self, context: Context, event: StackEvent) -> ReportFields:
        """Go on after the deletion that the trigger waited for."""
        from snn_client.stack.cleanup import Plan, next_deletion

        if event["status"] == "error":
            raise StackFailed(f"the stack {self.stack_name}: {event['message']}")
        if event["status"] == "timeout":
            raise StackFailed(f"the stack {self.stack_name} was not deleted within {duration(self.timeout or 0)}")
        wanted = Plan.from_dict(event["carried"])
        return self._go_on(wanted, next_deletion(self.hook.clients, wanted, event["operation"], self._say))

    def _go_on(self, wanted: Plan, deletion: str) -> ReportFields:
        """Wait for a deletion, and for those after it; finish when there is none left to wait for."""
        from snn_client.stack.cleanup import finish_cleanup, next_deletion
        from snn_client.stack.status import wait_for_stack

        clients = self.hook.clients
        limit = float("inf") if self.timeout is None else self.timeout
        while deletion:
            if self.deferrable:
                self.defer(
                    trigger=StackTrigger(
                        aws=self._hook_parameters, operation=deletion, poll_interval=self.poll_interval,
                        deadline=None if self.timeout is None else time.time() + limit, carried=wanted.to_dict(),
                    ),
                    method_name="execute_complete",
                )  # fmt: skip
            wait_for_stack(clients, deletion, self._say, time.monotonic() + limit)
            deletion = next_deletion(clients, wanted, deletion, self._say)
        return finish_cleanup(clients, wanted, self._say).for_xcom()

    def _say(self, line: str) -> None:
        self.log.info("%s", line)
