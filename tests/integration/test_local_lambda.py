"""The repairs of the emulator's launcher, seen from outside: a function and a layer made by CloudFormation."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from inbox import role
from small import wait_until

from snn_cli.local.emulator import Emulator

HANDLER = """
import json, os, sys, time
import layered

def handler(event, context):
    print("ran")
    for number in range(event.get("lines", 0)):
        print("line", number)
    time.sleep(event.get("sleep", 0))
    while "until" in event and not os.path.exists(event["until"]):
        time.sleep(0.02)
    print("the end", end="")
    return {
        "layered": layered.__file__,
        "value": layered.VALUE,
        "site": __import__("sited").VALUE,
        "emulator": any(__import__("importlib.util").util.find_spec(name) for name in ("ministack", "hypercorn")),
    }
"""


def _zip(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _template(**function: Any) -> str:
    return json.dumps(
        {
            "Parameters": {"LayerKey": {"Type": "String"}},
            "Resources": {
                "Layer": {
                    "Type": "AWS::Lambda::LayerVersion",
                    "Properties": {
                        "LayerName": "tiny",
                        "Content": {"S3Bucket": "tiny-code", "S3Key": {"Ref": "LayerKey"}},
                    },
                },
                "Function": {
                    "Type": "AWS::Lambda::Function",
                    "Properties": {
                        "FunctionName": "tiny",
                        "Runtime": "python3.13",
                        "Handler": "index.handler",
                        "Role": "arn:aws:iam::000000000000:role/tiny",
                        "Timeout": 60,
                        "Code": {"S3Bucket": "tiny-code", "S3Key": "code.zip"},
                        "Layers": [{"Ref": "Layer"}],
                        **function,
                    },
                },
            },
        }
    )


@pytest.fixture(scope="module")
def tiny(emulator: Emulator) -> Any:
    """Deploy the tiny stack; returns a function that updates it."""
    s3, cloudformation = boto3.client("s3"), boto3.client("cloudformation")
    s3.create_bucket(Bucket="tiny-code")
    s3.put_object(Bucket="tiny-code", Key="code.zip", Body=_zip(**{"index.py": HANDLER}))
    site = f"python/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for version in (1, 2):
        layer = _zip(**{"python/layered.py": f"VALUE = {version}\n", f"{site}/sited.py": f"VALUE = {version * 10}\n"})
        s3.put_object(Bucket="tiny-code", Key=f"layer{version}.zip", Body=layer)

    def deploy(operation: str, layer: int, **function: Any) -> None:
        getattr(cloudformation, f"{operation}_stack")(
            StackName="tiny",
            TemplateBody=_template(**function),
            Parameters=[{"ParameterKey": "LayerKey", "ParameterValue": f"layer{layer}.zip"}],
        )
        cloudformation.get_waiter(f"stack_{operation}_complete").wait(
            StackName="tiny", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )

    deploy("create", 1, ReservedConcurrentExecutions=2, RecursiveLoop="Allow")
    return deploy


def _invoke(**event: Any) -> dict[str, Any]:
    answer = boto3.client("lambda").invoke(FunctionName="tiny", Payload=json.dumps(event))
    payload: dict[str, Any] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload


def test_the_layer_is_unpacked_once_and_nothing_of_the_emulator_is_importable(tiny: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: _invoke(sleep=0.5), range(2)))
    assert [(answer["value"], answer["site"], answer["emulator"]) for answer in answers] == [(1, 10, False)] * 2
    # Two workers ran, and both read the same unpacked file, outside of their own temporary folders.
    assert answers[0]["layered"] == answers[1]["layered"]
    assert "/layers/" in answers[0]["layered"]


def test_every_line_in_the_log_has_an_id_of_its_own(tiny: Any) -> None:
    for _ in range(2):
        _invoke()
    events = boto3.client("logs").filter_log_events(logGroupName="/aws/lambda/tiny", filterPattern='"ran"')["events"]
    assert len(events) >= 2
    assert len({event["eventId"] for event in events}) == len(events)


def test_all_that_a_function_prints_is_in_the_log_of_its_invocation(tiny: Any) -> None:
    for lines, sleep in ((200_000, 0.0), (0, 0.1), (1, 0.0)):
        event = json.dumps({"lines": lines, "sleep": sleep})
        answer = boto3.client("lambda").invoke(FunctionName="tiny", Payload=event, LogType="Tail")
        said = base64.b64decode(answer["LogResult"]).decode().splitlines()
        printed = [line for line in said if not line.startswith(("START ", "END ", "REPORT "))]
        assert printed[-1] == "the end"
        assert printed[-2] == (f"line {lines - 1}" if lines else "ran")
        assert lines > 1 or printed[:-1] == ["ran", "line 0"][: lines + 1]


def test_concurrency_and_recursion_of_the_template_are_honoured_also_after_an_update(tiny: Any, tmp_path: Path) -> None:
    lambda_ = boto3.client("lambda")
    assert lambda_.get_function_concurrency(FunctionName="tiny")["ReservedConcurrentExecutions"] == 2
    assert lambda_.get_function_recursion_config(FunctionName="tiny")["RecursiveLoop"] == "Allow"
    with ThreadPoolExecutor(2) as pool:
        impatient = boto3.client("lambda", config=boto3.session.Config(retries={"max_attempts": 0}))
        busy = [pool.submit(_invoke, until=str(tmp_path / "over")) for _ in range(2)]

        def ask_until_both_are_busy() -> None:
            while not any(future.done() for future in busy):
                impatient.invoke(FunctionName="tiny", Payload="{}")
                time.sleep(0.1)

        with pytest.raises(impatient.exceptions.TooManyRequestsException):
            ask_until_both_are_busy()
        (tmp_path / "over").touch()
        assert [future.result()["value"] for future in busy] == [1, 1]

    tiny("update", 2, ReservedConcurrentExecutions=5)
    assert lambda_.get_function_concurrency(FunctionName="tiny")["ReservedConcurrentExecutions"] == 5
    assert lambda_.get_function_recursion_config(FunctionName="tiny")["RecursiveLoop"] == "Terminate"
    assert _invoke()["value"] == 2


def test_throttled_events_wait_instead_of_being_lost(tiny: Any) -> None:
    lambda_, logs = boto3.client("lambda"), boto3.client("logs")
    lambda_.put_function_concurrency(FunctionName="tiny", ReservedConcurrentExecutions=1)
    before = _times_run(logs)
    for _ in range(10):
        lambda_.invoke(FunctionName="tiny", InvocationType="Event", Payload=b'{"sleep": 0.2}')
    deadline = time.monotonic() + 60
    while _times_run(logs) < before + 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _times_run(logs) == before + 10


def test_events_of_a_function_that_may_not_run_wait_until_it_may(tiny: Any) -> None:
    lambda_, logs = boto3.client("lambda"), boto3.client("logs")
    before = _times_run(logs)
    lambda_.put_function_concurrency(FunctionName="tiny", ReservedConcurrentExecutions=0)
    try:
        lambda_.invoke(FunctionName="tiny", InvocationType="Event")
        time.sleep(1.0)
        assert _times_run(logs) == before
    finally:
        lambda_.delete_function_concurrency(FunctionName="tiny")
    wait_until(lambda: _times_run(logs) > before, "the event was lost")


def test_a_process_that_dies_while_it_starts_takes_no_other_with_it(emulator: Emulator, tmp_path: Path) -> None:
    code = f"""
import os, time
if os.path.exists({str(tmp_path / "deadly")!r}):
    os._exit(1)

def handler(event, context):
    print("ran")
    open({str(tmp_path / "begun")!r}, "w").close()
    while event.get("wait") and not os.path.exists({str(tmp_path / "over")!r}):
        time.sleep(0.02)
    return "lived"
"""
    lambdas = boto3.client("lambda")
    lambdas.create_function(
        FunctionName="starts", Handler="starts.handler", Runtime="python3.13", Timeout=60,
        Role=role("starts"), Code={"ZipFile": _zip(**{"starts.py": code})},
    )  # fmt: skip

    def invoke(**event: Any) -> Any:
        return json.loads(lambdas.invoke(FunctionName="starts", Payload=json.dumps(event))["Payload"].read())

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(invoke, wait=True)
        limit = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        (tmp_path / "deadly").touch()
        assert "exited immediately" in invoke()["errorMessage"]
        (tmp_path / "deadly").unlink()
        assert not first.done()
        (tmp_path / "over").touch()
        assert first.result() == invoke() == "lived"


def test_a_function_that_ends_later_than_its_stack_makes_no_log_group(tiny: Any) -> None:
    logs, cloudformation = boto3.client("logs"), boto3.client("cloudformation")
    boto3.client("lambda").invoke(FunctionName="tiny", InvocationType="Event", Payload=b'{"sleep": 1.5}')
    time.sleep(0.5)
    cloudformation.delete_stack(StackName="tiny")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="tiny", WaiterConfig={"Delay": 0.1})
    logs.delete_log_group(logGroupName="/aws/lambda/tiny")
    time.sleep(2.5)
    assert logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/tiny")["logGroups"] == []


def test_a_nested_stack_can_be_updated(emulator: Emulator) -> None:
    s3, cloudformation = boto3.client("s3"), boto3.client("cloudformation")
    child = {
        "Parameters": {"Seconds": {"Type": "String"}},
        "Resources": {
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": {"Ref": "Seconds"}}},
            # Unchanged by the update: its attributes must still be known after it.
            "Same": {"Type": "AWS::SQS::Queue"},
        },
        "Outputs": {
            "Arn": {"Value": {"Fn::GetAtt": ["Queue", "Arn"]}},
            "Same": {"Value": {"Fn::GetAtt": ["Same", "Arn"]}},
        },
    }
    s3.create_bucket(Bucket="nested")
    s3.put_object(Bucket="nested", Key="child.json", Body=json.dumps(child))
    for operation, seconds in (("create", "30"), ("update", "60")):
        root = {
            "Resources": {
                "Child": {
                    "Type": "AWS::CloudFormation::Stack",
                    "Properties": {
                        "TemplateURL": f"{emulator.endpoint_url}/nested/child.json",
                        "Parameters": {"Seconds": seconds},
                    },
                }
            },
            "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Child", "Outputs.Arn"]}}},
        }
        getattr(cloudformation, f"{operation}_stack")(StackName="parent", TemplateBody=json.dumps(root))
        cloudformation.get_waiter(f"stack_{operation}_complete").wait(
            StackName="parent", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
        )
        arn = cloudformation.describe_stacks(StackName="parent")["Stacks"][0]["Outputs"][0]["OutputValue"]
        sqs = boto3.client("sqs")
        url = sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
        assert attributes == {"VisibilityTimeout": seconds}


def _times_run(logs: Any) -> int:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/aws/lambda/tiny", filterPattern='"ran"')
    return sum(event["message"].strip() == "ran" for page in pages for event in page["events"])
