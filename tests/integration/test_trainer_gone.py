"""A trainer that is killed as often as Lambda tries it: its run ends FAILED, with the reason, and can be resumed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import boto3
import oracle
import pytest
from inbox import receive, subscribe

from snn_cli.local.emulator import Emulator
from snn_client.runs import runs
from snn_client.runs.logs import last_lines
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.ending import trainer_gone
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State


def parameters(**fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network(**{"epochs": 10_000_000, "first_layer": "direct", **fields}))


def kill_workers(emulator: Emulator, function: str) -> int:
    """Kill the function's workers of this very emulator, as Lambda kills an environment that is out of memory."""
    killed, mine = 0, f"GATEWAY_PORT={emulator.endpoint_url.rpartition(':')[2]}".encode()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            ours = mine in (process / "environ").read_bytes().split(b"\0")
            if ours and f"ministack-lambda-{function}-".encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
    return killed


def kill_until_over(clients: Clients, stack: StackOutputs, emulator: Emulator, run_id: str) -> Run:
    """Kill every trainer of the run as soon as it has stored a checkpoint or begun, until the run is over."""
    ledger, killed, limit = Ledger(clients.dynamodb, stack.table), 0, time.monotonic() + 180
    while not (run := ledger.get(run_id)).state.is_terminal:
        assert time.monotonic() < limit
        # LaunchLambda takes the lease too, as nobody, in the moment before it ends the run.
        if run.owner and not run.owner.startswith("nobody/") and run.fence > killed and run.epoch:
            assert kill_workers(emulator, stack.trainer_function)
            killed = run.fence
        time.sleep(0.05)
    return run


def check_that_a_killed_trainer_s_run_fails(
    clients: Clients, stack: StackOutputs, emulator: Emulator, data: bytes, name: str, tries: int
) -> None:
    run_id = runs.new_run_id(name)
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    queues = boto3.client("sqs")
    inbox, heard = subscribe(stack.topic_arn, f"{name}-inbox")

    runs.launch(clients, stack, run_id, key, parameters())
    run = kill_until_over(clients, stack, emulator, run_id)
    assert (run.state, run.owner, run.fence) == (State.FAILED, "", tries + 1)  # the last one is LaunchLambda's
    assert run.reason.startswith("Lambda gave up on the trainer after 3 tries: ")
    assert "\n" not in run.reason
    # Lambda's own lines name no run; what it says of a kill is found by what the killed trainer had said before.
    said = [line.text for line in last_lines(clients.logs, stack, run)]
    assert len([text for text in said if text.startswith("starts, ")]) == tries
    assert said.count("Worker process died") == tries
    assert said[-1].startswith("REPORT RequestId: ")

    messages: list[str] = []
    limit = time.monotonic() + 20
    while f"Training failed: {run.reason}" not in messages:
        assert time.monotonic() < limit, messages
        messages += [text for _, text, _ in receive(inbox)]
    clients.sns.unsubscribe(SubscriptionArn=heard)
    queues.delete_queue(QueueUrl=inbox)
    letters = queues.get_queue_url(QueueName=f"{stack.stack_name}-dead-letters")["QueueUrl"]
    assert run_id not in json.dumps(queues.receive_message(QueueUrl=letters).get("Messages", []))

    again = runs.new_run_id(f"{name} again")
    runs.launch(clients, stack, again, key, parameters(epochs=5), resume_from=run_id)
    resumed = runs.watch(clients, stack, again, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    assert (resumed.state, resumed.epoch) == (State.COMPLETED, 5)


def test_the_run_of_a_trainer_that_lambda_gave_up_on_fails(
    clients: Clients, stack: StackOutputs, emulator: Emulator, data: bytes
) -> None:
    # Without Lambda's two retries, each of which waits for a sign of life; tests/long has them.
    function: Any = {"FunctionName": stack.trainer_function, "Qualifier": "$LATEST"}
    as_deployed = clients.lambda_.get_function_event_invoke_config(**function)
    assert as_deployed["MaximumRetryAttempts"] == 2
    kept: Any = {
        **function,
        "MaximumEventAgeInSeconds": as_deployed["MaximumEventAgeInSeconds"],
        "DestinationConfig": as_deployed["DestinationConfig"],
    }
    clients.lambda_.put_function_event_invoke_config(**kept, MaximumRetryAttempts=0)
    try:
        check_that_a_killed_trainer_s_run_fails(clients, stack, emulator, data, "killed-once", tries=1)
    finally:
        clients.lambda_.put_function_event_invoke_config(**kept, MaximumRetryAttempts=2)


def test_what_is_told_of_a_follower_or_of_a_run_that_is_over_changes_nothing(
    clients: Clients, stack: StackOutputs
) -> None:
    ledger = Ledger(clients.dynamodb, stack.table)
    follower = {"fence": 1, "rank": 1, "workers": 2, "checkpoint_version": ""}
    for state, payload in ((State.RUNNING, {"follower": follower}), (State.COMPLETED, {})):
        run = Run(runs.new_run_id(f"told {state}"), state, parameters=parameters(), owner="somebody")
        assert ledger.create(run)
        record = {
            "version": "1.0",
            "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
            "requestPayload": {"run_id": run.run_id, **payload},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {"errorMessage": "signal: killed"},
        }
        answer = clients.lambda_.invoke(FunctionName=stack.launch_function, Payload=json.dumps(record).encode())
        assert "FunctionError" not in answer
        after = ledger.get(run.run_id)
        assert (after.state, after.fence, after.beat, after.reason) == (state, 0, 0, "")
    record["requestPayload"] = {"run_id": "nobody"}
    answer = clients.lambda_.invoke(FunctionName=stack.launch_function, Payload=json.dumps(record).encode())
    assert "has no run 'nobody'" in answer["Payload"].read().decode()
    assert "FunctionError" in answer  # so that AWS leaves it in the dead letters


def test_the_reason_is_one_line_and_a_wanted_cancel_is_no_failure(
    clients: Clients, stack: StackOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger.abandon, "__defaults__", (0.2,))  # the patience
    ledger, settings = Ledger(clients.dynamodb, stack.table), Settings(stack.bucket, stack.table, "", "")
    for state, asked, ends in (
        (State.RUNNING, False, State.FAILED),
        (State.PENDING, False, State.FAILED),
        (State.RUNNING, True, State.CANCELLED),
    ):
        run_id = runs.new_run_id(f"gone {state} {asked}")
        assert ledger.create(Run(run_id, state, parameters=parameters(), owner="dead", cancel_requested=asked))
        record = {
            "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
            "requestPayload": {"run_id": run_id},
            "responsePayload": {"errorMessage": "line\n" * 2_000},
        }
        (run,) = trainer_gone(record, settings, clients)
        assert (run.state, run.owner) == (ends, "")
        assert "\n" not in run.reason
        assert len(run.reason) == (1_000 if ends is State.FAILED else 0)
    # After an hour in the queue there is no answer that could be told.
    run_id = runs.new_run_id("too old")
    assert ledger.create(Run(run_id, parameters=parameters()))
    context = {"condition": "EventAgeExceeded", "approximateInvokeCount": 7}
    (run,) = trainer_gone({"requestContext": context, "requestPayload": {"run_id": run_id}}, settings, clients)
    assert run.reason == "Lambda gave up on the trainer after 7 tries: EventAgeExceeded"
