"""SNS messages in itsacat's form, to whoever subscribed to the stack's topic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

SUBJECT = "Training update!"
EVERY_EPOCHS = 100
PAUSE_SECONDS = 1.0


class Messages:
    """A run's messages: at epoch 0, at every 100th, at the end or on failure; never more than one a second."""

    def __init__(self, sns: SNSClient, topic_arn: str, epoch: int = 0) -> None:
        self._sns, self._topic = sns, topic_arn
        self._next_epoch = -(-epoch // EVERY_EPOCHS) * EVERY_EPOCHS
        # The trainer that brought the run here may have sent one just before it handed over.
        self._ready_at = time.monotonic() + PAUSE_SECONDS if epoch else 0.0

    def progress(self, costs: list[float]) -> None:
        """Tell of epoch 0, then of the latest 100th epoch, unless the last message is less than a second old."""
        if len(costs) <= self._next_epoch or time.monotonic() < self._ready_at:
            return
        epoch = 0 if self._next_epoch == 0 else (len(costs) - 1) // EVERY_EPOCHS * EVERY_EPOCHS
        self._publish(f"Cost after epoch {epoch} = {costs[epoch]}")
        self._next_epoch = epoch + EVERY_EPOCHS

    @property
    def wait(self) -> float:
        """Return the seconds until the next message may be sent."""
        return max(0.0, self._ready_at - time.monotonic())

    def tell(self, text: str) -> None:
        """Tell what no epoch has to do with, at once."""
        self._publish(text)

    def last(self, text: str) -> None:
        """Tell how the run ended, waiting out the second since the message before."""
        time.sleep(self.wait)
        self._publish(text)

    def _publish(self, text: str) -> None:
        try:
            if self._topic:
                self._sns.publish(TopicArn=self._topic, Subject=SUBJECT, Message=text)
        except (BotoCoreError, ClientError) as error:  # a message is a courtesy: no reason to stop training
            print(f"not sent: {text}: {error}")
        self._ready_at = time.monotonic() + PAUSE_SECONDS
