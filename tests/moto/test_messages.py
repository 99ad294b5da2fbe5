"""What is tested on the other emulator of messages, and needs no function to run, holds on moto too."""

from __future__ import annotations

from integration.test_messages import (
    inbox,
    test_a_successor_goes_on_where_its_predecessor_stopped,
    test_a_topic_that_is_gone_stops_nobody,
    test_messages_at_epoch_0_at_every_100th_and_at_the_end_one_a_second,
)

__all__ = [
    "inbox",
    "test_a_successor_goes_on_where_its_predecessor_stopped",
    "test_a_topic_that_is_gone_stops_nobody",
    "test_messages_at_epoch_0_at_every_100th_and_at_the_end_one_a_second",
]
