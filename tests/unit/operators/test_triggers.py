"""Triggers go through the database as a class path and JSON: what comes out must be what went in."""

from __future__ import annotations

import inspect
import json
from pkgutil import resolve_name
from typing import Any

import pytest
from airflow.serialization.serialized_objects import BaseSerialization
from airflow.triggers.base import BaseEventTrigger, BaseTrigger

from snn_operators.approval_trigger import ApprovalTrigger
from snn_operators.new_data import NewDataTrigger
from snn_operators.trigger import RunTrigger, StackTrigger

AWS = {"aws_conn_id": "aws_default", "region_name": "eu-west-3", "verify": None, "config": {"read_timeout": 7}}
TRIGGERS: list[BaseTrigger] = [
    RunTrigger(aws=AWS, stack={"table": "t", "bucket": "b"}, run_id="r", deadline=1.8e9, cancel_on_kill=True),
    RunTrigger(aws=AWS, stack="snn", upload="training_input/a/d.h5", source="redis", poll_interval=1.5),
    StackTrigger(aws=AWS, operation="arn:aws:cloudformation:::stack/snn/1", deadline=1.8e9),
    StackTrigger(aws=AWS, operation="arn:aws:cloudformation:::stack/snn/1", carried={"items": [{"kind": "bucket"}]}),
    ApprovalTrigger(
        aws=AWS, stack={"table": "t"}, model="m", run_id="r", ti_id="0193", deadline=1.8e9, default="approved"
    ),
    NewDataTrigger(stack="snn", aws=AWS, poll_interval=1.5),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: type(trigger).__name__)
def test_a_trigger_survives_the_database(trigger: Any) -> None:
    path, arguments = trigger.serialize()
    assert resolve_name(path) is type(trigger)
    stored = json.loads(json.dumps(BaseSerialization.serialize(arguments)))
    again = resolve_name(path)(**BaseSerialization.deserialize(stored))
    assert again.serialize() == (path, arguments)
    assert set(arguments) == set(type(trigger).__init__.__code__.co_varnames[1:]) - {"__class__"}


def test_a_watchers_trigger_is_stored_as_text_and_numbers_only() -> None:
    """Airflow 3.2 encodes what an asset's watcher is made of, and hands a mapping in it to the triggerer undecoded."""
    (watching,) = (trigger for trigger in TRIGGERS if isinstance(trigger, BaseEventTrigger))
    _, arguments = watching.serialize()
    assert {type(value) for value in arguments.values()} == {str, float}
    assert NewDataTrigger(**arguments).aws == AWS


def test_only_the_task_that_started_a_run_cancels_it_and_never_on_a_restart() -> None:
    assert RunTrigger(aws=AWS, stack="snn", run_id="r").cancel_on_kill is False
    assert RunTrigger.cleanup is BaseTrigger.cleanup
    assert "on_kill" in vars(RunTrigger)
    assert "on_kill" not in vars(StackTrigger)


def test_watchers_of_the_same_queue_share_it_and_others_do_not() -> None:
    one = NewDataTrigger(stack="snn", aws=AWS)
    assert hash(one.shared_stream_key()) == hash(NewDataTrigger(stack="snn", aws=dict(AWS)).shared_stream_key())
    assert one.shared_stream_key() != NewDataTrigger(stack="snn-two", aws=AWS).shared_stream_key()
    assert one.shared_stream_key() != NewDataTrigger(stack="snn").shared_stream_key()


def test_what_is_asked_of_airflow_beside_its_documented_names_is_there_and_takes_what_it_is_given() -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from airflow.sdk.execution_time.xcom import XCom
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    for ti in (RuntimeTaskInstance, RuntimeTaskInstanceProtocol):
        inspect.signature(ti.get_task_states).bind("dag", -1, ["task"], run_ids=["run"])
        inspect.signature(ti.get_dagrun_state).bind("dag", "run")
    named = {"dag_id": "dag", "task_id": "task", "run_id": "run", "map_index": -1}
    write = XCom.aset if hasattr(XCom, "aset") else XCom.set  # as `compat.set_xcom`
    inspect.signature(write).bind("progress", {}, **named)
    assert inspect.iscoroutinefunction(write) is hasattr(XCom, "aset")
