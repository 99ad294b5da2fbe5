"""The trigger that waits for uploaded data sets and starts a DAG with each."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from snn.errors import InvalidInput
from snn_cloud.aws.passing import AWS_ERRORS, reason
from snn_operators.compat import SharedStreamProducer, in_thread
from snn_operators.hook import SnnHook

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import AdvanceItem

    from snn_client.runs.uploads import Upload

log = logging.getLogger(__name__)

AWS = {"aws_conn_id": "aws_default"}
STORED_WITHIN = 10.0  # seconds until Airflow has surely stored an event; much less than a message stays hidden


class NewDataTrigger(BaseEventTrigger):
    """Watch the queue in which a stack receives notifications of data sets uploaded under ``retraining_input/``.

    For an :class:`~airflow.sdk.AssetWatcher`. It fires ``{"uploads": [{"bucket": …, "key": …, "version": …, "time":
    …}]}``. A message leaves the queue when Airflow has stored the event of it, so a triggerer that dies in between
    loses no upload. It waits silently for a stack that does not exist yet.

    :param stack: the stack's name
    :param aws: the hook's parameters: ``aws_conn_id``, ``region_name``, ``verify``, ``config``, or their JSON
    :param poll_interval: seconds between two looks
    """

    def __init__(self, *, stack: str, aws: Mapping[str, Any] | str = AWS, poll_interval: float = 5.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack, self.poll_interval = stack, poll_interval
        self.aws: Mapping[str, Any] = json.loads(aws) if isinstance(aws, str) else aws

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer recreates this trigger from.

        Text and numbers only: a mapping in a watcher's trigger reaches the triggerer of Airflow 3.2 still encoded.
        """
        return "snn_operators.new_data.NewDataTrigger", {
            "stack": self.stack, "aws": json.dumps(dict(self.aws), sort_keys=True), "poll_interval": self.poll_interval,
        }  # fmt: skip

    def shared_stream_key(self) -> Hashable:
        """Return what makes Airflow read the queue by the producer below, which hears when an event is stored."""
        return "snn-new-data", self.stack, json.dumps(dict(self.aws), sort_keys=True)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> NewData:
        """Return what reads the queue, given what `serialize` returned."""
        trigger = cls(**kwargs)
        return NewData(stack=trigger.stack, aws=trigger.aws, poll_interval=trigger.poll_interval)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Fire an event for whatever was read."""
        async for uploads in shared_stream:
            yield TriggerEvent({"uploads": uploads})  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire the same where Airflow, before 3.3, has no shared streams, and does not say when an event is stored.

        A message leaves the queue some seconds after its event was fired: a triggerer that dies in between fires it
        again.
        """
        data = self.create_shared_stream_producer(self.serialize()[1])
        async for uploads, receipts in data.open_stream():
            yield TriggerEvent({"uploads": uploads})  # type: ignore[no-untyped-call]
            await asyncio.sleep(STORED_WITHIN)
            await in_thread(data.remove, receipts)


class NewData(SharedStreamProducer):
    """Reads a stack's queue for new data, and takes out what Airflow has stored.

    Its looks at AWS block for about a second, in one of the event loop's threads.
    """

    def __init__(self, *, stack: str, aws: Mapping[str, Any], poll_interval: float) -> None:
        self._stack, self._aws, self._poll_interval = stack, aws, poll_interval
        self._queue, self._said = "", ""

    async def open_stream(self) -> AsyncIterator[tuple[list[dict[str, str]], list[str]]]:
        """Yield uploads, and the receipts of the messages that told of them, for ever."""
        while True:
            uploads, receipts = await in_thread(self.look)
            if uploads:
                yield [asdict(upload) for upload in uploads], receipts
            else:
                await asyncio.sleep(self._poll_interval)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Take messages out of the queue whose events are stored; the others will show up in it again."""
        for item in batch:
            if item.outcome.is_clean:
                await in_thread(self.remove, item.broker_payload)

    def look(self) -> tuple[list[Upload], list[str]]:
        """Return new uploads and the receipts of their messages; nothing while the queue cannot be read."""
        from snn_client.runs.uploads import newest_first, uploads_in

        try:
            queue = self._find_queue()
            answer = self._hook.clients.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        except Exception as error:  # Airflow starts a trigger that fails anew every second, with a traceback
            self._queue = ""  # the stack may be deployed anew
            self._say(f"cannot watch for new data, retrying: {reason(error)}")
            return [], []
        self._say(f"watching for new data: {queue}")
        uploads: list[Upload] = []
        receipts = []
        for message in answer.get("Messages", []):
            try:
                uploads += uploads_in(message["Body"])
            except InvalidInput as error:  # it stays, and ends in the dead letters
                log.warning("%s: %s", queue, error)
            else:
                receipts.append(message["ReceiptHandle"])
        if not uploads:  # S3's test message, or files that are no data sets: nothing for Airflow to store
            self.remove(receipts)
            return [], []
        return newest_first(uploads), receipts

    def remove(self, receipts: Sequence[str]) -> None:
        """Take messages out of the queue; one that stays is told of again."""
        try:
            for receipt in receipts:
                self._hook.clients.sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=receipt)
        except AWS_ERRORS as error:
            log.warning("a message stays in %s: %s", self._queue, reason(error))

    def _find_queue(self) -> str:
        if not self._queue:
            self._queue = self._hook.outputs(self._stack).new_data_queue
        if not self._queue:
            raise InvalidInput(
                "was deployed by an earlier version, which does not announce new data",
                source=f"stack {self._stack}",
                hint="deploy it again: run snn_training with Deploy on",
            )
        return self._queue

    def _say(self, line: str) -> None:
        """Log a line, once: nothing is said again before something else was."""
        if line != self._said:
            self._said = line
            log.info("%s", line)

    @cached_property
    def _hook(self) -> SnnHook:
        return SnnHook(**self._aws)
