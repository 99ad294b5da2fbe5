"""The triggers that wait for runs and stacks without holding a worker slot.

The triggers share the blocking functions of `snn_cloud` with everything else and call them in a thread: one way to
look at a run, not an asynchronous twin of it. A look takes milliseconds; the threads are the event loop's own few.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent

from snn.errors import SnnError
from snn_client.runs.watching import Watch
from snn_cloud.aws.passing import AWS_ERRORS, passes, reason
from snn_operators.compat import CALLS_ON_KILL, in_thread, set_xcom
from snn_operators.hook import SnnHook

if TYPE_CHECKING:
    from snn_client.runs.progress import Progress
    from snn_client.stack.status import StackStatus

# Seconds that a cancelled trigger takes to ask Airflow why, and to stop its run if that is what a person wanted.
KILLED_WITHIN = 30.0
# Seconds. A triggerer is busy for some five with its first write to XCom, and hears of no event meanwhile: a short run
# is over before it would be written about.
FIRST_PROGRESS, PROGRESS_EVERY = 8.0, 3.0


class Ended(TypedDict):
    """How waiting ended; `message` says what went wrong."""

    status: Literal["ended", "timeout", "error"]
    message: NotRequired[str]


class RunEvent(Ended):
    """What the trigger of a run tells its task."""

    run_id: str


class StackEvent(Ended):
    """What the trigger of a stack tells its task; `carried` is what the task gave it."""

    operation: str
    carried: Any


class RunTrigger(BaseTrigger):
    """Wait until a run ends, writing its epochs to the task log and its progress to XCom ``progress``.

    It fires one event: ``{"status": "ended" | "timeout" | "error", "run_id": …, "message": …}``. How the run ended is
    for the task to read from the ledger.

    :param aws: the hook's parameters: ``aws_conn_id``, ``region_name``, ``verify``, ``config``
    :param stack: name of the stack, or its outputs
    :param run_id: the run; or, where only an upload is known,
    :param upload: key in the stack's bucket of the ``.h5`` whose upload starts the run, or its address in S3
    :param uploaded_after: seconds since 1970; an older upload is not the one to wait for. None: any
    :param source: where to look, ``ledger`` or ``redis``
    :param poll_interval: seconds between two looks
    :param log_interval: seconds between two lines in the log
    :param deadline: seconds since 1970 after which to wait no longer; absolute, so that a restart does not prolong it
    :param cancel_on_kill: whether to stop the run when someone clears the task or marks it
    :param since: seconds since 1970 from which on the functions' lines are shown; None: from the run's creation
    """

    def __init__(
        self, *, aws: Mapping[str, Any], stack: Any, run_id: str = "", upload: str = "", source: str = "ledger",
        poll_interval: float = 2.0, log_interval: float = 5.0, deadline: float | None = None,
        cancel_on_kill: bool = False, since: float | None = None, uploaded_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.aws, self.stack, self.run_id, self.upload, self.source = aws, stack, run_id, upload, source
        self.poll_interval, self.log_interval, self.deadline = poll_interval, log_interval, deadline
        self.cancel_on_kill, self.since, self.uploaded_after = cancel_on_kill, since, uploaded_after
        self._cancelled = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer recreates this trigger from."""
        # Written out: __module__ would follow whatever name the file happened to be imported under.
        return "snn_operators.trigger.RunTrigger", {
            "aws": dict(self.aws), "stack": self.stack, "run_id": self.run_id, "upload": self.upload,
            "source": self.source, "poll_interval": self.poll_interval, "log_interval": self.log_interval,
            "deadline": self.deadline, "cancel_on_kill": self.cancel_on_kill, "since": self.since,
            "uploaded_after": self.uploaded_after,
        }  # fmt: skip

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event and return: a second one would make Airflow believe that the task was killed."""
        import redis  # here, as no DAG needs it while it is parsed

        try:
            ended = await (self._ended() if CALLS_ON_KILL else self._ended_or_killed())
        except (SnnError, *AWS_ERRORS, redis.RedisError) as error:
            ended = {"status": "error", "message": str(error)}
        event: RunEvent = {"run_id": self._watch.run_id, **ended}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the run: someone cleared, marked or deleted the task, or its DAG run. Not called on a restart.

        Airflow gives it ``[triggerer] on_kill_timeout`` seconds, and within them a failure that passes is no reason to
        let the run go on.
        """
        if not self.cancel_on_kill or self._cancelled:
            return
        self.log.info("the task was killed: cancelling run %s", self.run_id)
        while True:
            try:
                await in_thread(self._watch.cancel)
            except Exception as error:
                if not passes(error):
                    raise
                self.log.info("cannot cancel the run now, retrying: %s", reason(error))
                await asyncio.sleep(1.0)
            else:
                self._cancelled = True
                return

    async def _ended_or_killed(self) -> Ended:
        # Airflow cancels a trigger alone; a triggerer that ends cancels whatever there is.
        bystander = asyncio.create_task(asyncio.Event().wait())
        try:
            return await self._ended()
        except asyncio.CancelledError:
            if not bystander.cancelling():
                await self._on_cancel()
            raise
        finally:
            bystander.cancel()

    async def _on_cancel(self) -> None:
        """Tell a killed task from one that another triggerer watches now, and do as `on_kill` for a killed one.

        Without an answer the run goes on: a task that still waits is watched by a triggerer, which asks again.
        """
        if not self.cancel_on_kill or self.task_instance is None:
            return
        try:
            async with asyncio.timeout(KILLED_WITHIN):
                if not await in_thread(is_wanted, self.task_instance, "deferred"):
                    await self.on_kill()
        except Exception as error:
            self.log.warning("cannot tell whether the task was killed: %s", str(error) or type(error).__name__)

    @cached_property
    def _watch(self) -> Watch:
        return Watch(
            SnnHook(**self.aws).clients,
            self.stack,
            run_id=self.run_id,
            upload=self.upload,
            source=self.source,
            log_interval=self.log_interval,
            since=self.since,
            uploaded_after=self.uploaded_after,
        )

    async def _ended(self) -> Ended:
        tell_at, telling = time.monotonic() + FIRST_PROGRESS, None
        while True:
            look = await in_thread(self._watch.look)
            run = look.run
            for line in look.lines:
                self.log.info("%s", line)
            if run is not None and run.state.is_terminal:
                return {"status": "ended"}
            if self.deadline is not None and time.time() >= self.deadline:
                return {"status": "timeout"}
            if run is not None and time.monotonic() >= tell_at and (telling is None or telling.done()):
                tell_at = time.monotonic() + PROGRESS_EVERY
                telling = asyncio.create_task(self._tell(self._watch.narrator.record(run)))
            await asyncio.sleep(self.poll_interval)

    async def _tell(self, progress: Progress) -> None:
        """Write progress to XCom, or stop the run if its task does not wait for it any more."""
        ti = self.task_instance
        if ti is None:  # an event for an asset, or `airflow dags test`: no task to tell it to
            return
        try:
            if await in_thread(is_wanted, ti, "deferred"):
                await set_xcom(
                    "progress",
                    progress,
                    dag_id=ti.dag_id,
                    task_id=ti.task_id,
                    run_id=ti.run_id,
                    map_index=-1 if ti.map_index is None else ti.map_index,
                )
            else:
                await self.on_kill()
        except Exception as error:  # progress is a courtesy: no reason to stop watching
            self.log.debug("no progress in XCom: %s", error)


def is_wanted(ti: Any, state: str) -> bool:
    """Return whether the task is still in this state, in a DAG run that is not over.

    Airflow kills a task, or ends its trigger, once it has any other state, or is deleted. It overlooks three kinds: a
    task that is to be deferred, when nobody sends its heartbeat any more; one that deferred in the moment in which its
    DAG run was failed, which stays deferred for good; and one that was cleared together with those before it, or in a
    paused DAG, which has no state at all until the scheduler comes to it, minutes later or never.
    """
    states = RuntimeTaskInstance.get_task_states(ti.dag_id, ti.map_index, [ti.task_id], run_ids=[ti.run_id])
    if state not in states.get(ti.run_id, {}).values():
        return False
    return RuntimeTaskInstance.get_dagrun_state(ti.dag_id, ti.run_id) not in ("success", "failed")


class StackTrigger(BaseTrigger):
    """Wait until CloudFormation is done with a stack.

    It fires one event: ``{"status": "ended" | "timeout" | "error", "operation": …, "message": …}``. Killing the task
    does not stop CloudFormation: a half-updated stack is worse than either the old or the new one.

    :param aws: the hook's parameters
    :param operation: the stack's id, as ``snn_client.stack.deploy.start_deploy`` returned it
    :param poll_interval: seconds between two looks
    :param deadline: seconds since 1970 after which to wait no longer
    :param carried: values that the event returns to the task, under ``carried``
    """

    def __init__(
        self, *, aws: Mapping[str, Any], operation: str, poll_interval: float = 5.0, deadline: float | None = None,
        carried: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()  # type: ignore[no-untyped-call]
        self.aws, self.operation, self.poll_interval, self.deadline = aws, operation, poll_interval, deadline
        self.carried = dict(carried or {})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer recreates this trigger from."""
        return "snn_operators.trigger.StackTrigger", {
            "aws": dict(self.aws), "operation": self.operation, "poll_interval": self.poll_interval,
            "deadline": self.deadline, "carried": self.carried,
        }  # fmt: skip

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event and return."""
        try:
            ended = await self._ended()
        except (SnnError, *AWS_ERRORS) as error:
            ended = {"status": "error", "message": str(error)}
        event: StackEvent = {"operation": self.operation, "carried": self.carried, **ended}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _ended(self) -> Ended:
        said = ""
        while True:
            try:
                status = await in_thread(self._look)
            except AWS_ERRORS as error:
                if not passes(error):
                    raise
                self.log.info("cannot reach AWS, retrying: %s", reason(error))
            else:
                if status.status != said:
                    said = status.status
                    self.log.info("%s", said)
                if status.done:
                    return {"status": "ended"}
            if self.deadline is not None and time.time() >= self.deadline:
                return {"status": "timeout"}
            await asyncio.sleep(self.poll_interval)

    @cached_property
    def _hook(self) -> SnnHook:
        return SnnHook(**self.aws)

    def _look(self) -> StackStatus:
        from snn_client.stack.status import stack_status

        return stack_status(self._hook.clients, self.operation)
