"""The trigger that waits for an answer about a candidate; see `snn_operators.approval`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseTrigger, TriggerEvent

from snn.errors import SnnError
from snn_cloud.aws.passing import AWS_ERRORS, passes, reason
from snn_cloud.registry.record import Status
from snn_operators.compat import hitl, in_thread
from snn_operators.hook import SnnHook

if TYPE_CHECKING:
    from snn_cloud.registry.record import Version
    from snn_cloud.registry.registry import Registry


class ApprovalTrigger(BaseTrigger):
    """Wait until a candidate is decided on, in the registry or in Airflow, or nobody has until the deadline.

    It fires one event: ``{"status": "decided"}`` once the registry has the decision; for an answer in Airflow, which is
    for the task to write there, ``chosen_options`` and ``responded_by_user``, as Airflow's own event for it has;
    ``{"status": "error", "message": …}`` if it cannot look. Ending it decides nothing.

    :param aws: the hook's parameters
    :param stack: the stack's outputs
    :param model: the model
    :param run_id: the run that the version was trained by
    :param ti_id: the task instance that has asked in Airflow, "" if none has
    :param deadline: seconds since 1970 after which `default` is taken; None: never
    :param default: the status that is taken then
    :param poll_interval: seconds between two looks
    """

    def __init__(
        self, *, aws: Mapping[str, Any], stack: Any, model: str, run_id: str, ti_id: str = "",
        deadline: float | None = None, default: str = "rejected", poll_interval: float = 5.0,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.aws, self.stack, self.model, self.run_id, self.ti_id = aws, stack, model, run_id, ti_id
        self.deadline, self.default, self.poll_interval = deadline, default, poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer recreates this trigger from."""
        return "snn_operators.approval_trigger.ApprovalTrigger", {
            "aws": dict(self.aws), "stack": self.stack, "model": self.model, "run_id": self.run_id,
            "ti_id": self.ti_id, "deadline": self.deadline, "default": self.default,
            "poll_interval": self.poll_interval,
        }  # fmt: skip

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event and return."""
        try:
            event = await self._answered()
        except (SnnError, *AWS_ERRORS) as error:
            event = {"status": "error", "message": str(error)}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _answered(self) -> dict[str, Any]:
        while True:
            try:
                version = await in_thread(self._look)
                if version["status"] == Status.CANDIDATE and (answer := await self._in_airflow()):
                    return answer
                if version["status"] == Status.CANDIDATE and self.deadline and time.time() >= self.deadline:
                    version = await in_thread(self._decide_by_deadline, version)
                if version["status"] != Status.CANDIDATE:
                    await self._close(version)
                    return {"status": "decided"}
            except AWS_ERRORS as error:
                if not passes(error):
                    raise
                self.log.info("cannot reach AWS, retrying: %s", reason(error))
            except AirflowRuntimeError as error:  # the connection was asked for, and Airflow's API is away
                self.log.info("cannot reach Airflow, retrying: %s", error)
            await asyncio.sleep(self.poll_interval)

    @cached_property
    def _registry(self) -> Registry:
        from snn_client.models.versions import registry_of

        hook = SnnHook(**self.aws)
        return registry_of(hook.clients, hook.outputs(self.stack))

    def _look(self) -> Version:
        return self._registry.held(self.model, self.run_id)

    def _decide_by_deadline(self, version: Version) -> Version:
        from snn_client.models.approval import BY_DEADLINE, decide_first

        self.log.info("nobody has answered in time: %s", self.default)
        return decide_first(self._registry, version, Status(self.default), BY_DEADLINE, "nobody has answered in time")

    async def _in_airflow(self) -> dict[str, Any] | None:
        """Return the answer that a person has given in Airflow, None if there is none yet."""
        if not self.ti_id or hitl is None:
            return None
        try:
            said = await in_thread(hitl.get_hitl_detail_content_detail, UUID(self.ti_id))
        except Exception as error:  # Airflow's API is away, or the question is: the registry can still be asked
            self.log.debug("cannot see what was answered in Airflow: %s", error)
            return None
        if not said.response_received or not said.chosen_options:
            return None
        person = said.responded_by_user
        user = None if person is None else {"id": person.id, "name": person.name}
        return {"chosen_options": list(said.chosen_options), "responded_by_user": user}

    async def _close(self, version: Version) -> None:
        """Answer Airflow's question with what was decided elsewhere, so that nobody is asked any more."""
        if not self.ti_id or hitl is None:
            return
        from snn_client.models.approval import option_of

        option = option_of(Status(version["status"]))
        try:
            await in_thread(hitl.update_hitl_detail_response, UUID(self.ti_id), [option], {})
        except Exception as error:  # somebody has answered it in this moment, or it is gone
            self.log.info("Airflow's question stays as it is: %s", error)
