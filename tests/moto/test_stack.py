"""The stack on moto: deployed, changed, looked at, refused and taken away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_client.stack.artifacts import NOTEBOOK_PREFIX, bucket_name, upload_artifacts
from snn_client.stack.belongings import NOTEBOOK_LOGS
from snn_client.stack.change_set import apply, discard, propose
from snn_client.stack.cleanup import clean_up, plan
from snn_client.stack.deploy import finish_deploy, start_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import silent, stack_status, wait_for_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run, State

Call = Callable[..., Any]


def options(layer: str, name: str, **more: Any) -> StackOptions:
    return StackOptions.from_environment(stack_name=name, layer_arn=layer, **more)


def test_the_deployed_stack_has_what_its_templates_say(clients: Clients, stack: StackOutputs) -> None:
    assert stack == StackOutputs.load(clients, "snn-test")
    about: Any = clients.lambda_.get_function_configuration(FunctionName=stack.trainer_function)
    variables = about["Environment"]["Variables"]
    assert (variables["BUCKET"], variables["TABLE"]) == (stack.bucket, stack.table)
    assert variables["TOPIC_ARN"] == stack.topic_arn
    kinds = {item.kind for item in plan(clients, "snn-test").items}
    assert {"stack", "bucket", "table", "function", "queue", "topic", "log group"} <= kinds


def test_a_stack_is_changed_only_where_that_was_wanted(clients: Clients, layer: str, deploy: Call) -> None:
    before = deploy("changed")
    lines: list[str] = []
    operation = start_deploy(clients, options(layer, "changed", neuron_concurrency=4), lines.append)
    assert "updating the stack changed" in lines
    wait_for_stack(clients, operation, silent)
    assert finish_deploy(clients, "changed", operation).bucket == before.bucket
    about: Any = clients.lambda_.get_function_configuration(FunctionName=before.trainer_function)
    assert str(about["Environment"]["Variables"]["NEURON_CONCURRENCY"]) == "4"
    clean_up(clients, "changed")


def test_a_change_set_is_applied_or_discarded(clients: Clients, layer: str) -> None:
    left = propose(clients, options(layer, "proposed"), silent)
    assert left is not None
    assert {change.resource for change in left.changes} >= {"Training", "Notifications"}
    discard(clients, left)
    assert stack_status(clients, "proposed").status == "MISSING"
    made = propose(clients, options(layer, "proposed"), silent)
    assert made is not None
    operation = apply(clients, made)
    wait_for_stack(clients, operation, silent)
    assert stack_status(clients, operation).ok  # but moto has forgotten the outputs of what a change set made
    clean_up(clients, "proposed")


def test_a_stack_of_something_else_is_left_alone(clients: Clients, layer: str) -> None:
    topic = {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "salaries"}}}
    clients.cloudformation.create_stack(StackName="payroll", TemplateBody=json.dumps({"Resources": topic}))
    for door in (start_deploy, propose):
        with pytest.raises(InvalidInput, match="payroll was not deployed by snn"):
            door(clients, options(layer, "payroll"), silent)
    with pytest.raises(InvalidInput, match="payroll was not deployed by snn"):
        clean_up(clients, "payroll")
    assert any(item["TopicArn"].endswith(":salaries") for item in clients.sns.list_topics()["Topics"])
    assert not any("payroll" in item["Name"] for item in clients.s3.list_buckets()["Buckets"])


def test_a_used_stack_goes_with_all_that_it_holds(clients: Clients, stack: StackOutputs, deploy: Call) -> None:
    used = deploy("used", bucket="used-by-moto")
    for number in range(30):
        clients.s3.put_object(Bucket=used.bucket, Key=f"runs/{number % 3}/x", Body=b"x")
    clients.s3.delete_object(Bucket=used.bucket, Key="runs/0/x")
    ledger = Ledger(clients.dynamodb, used.table)
    for number in range(3):
        assert ledger.create(Run(f"run-{number}", created_at=1.0))
    with pytest.raises(InvalidInput, match="not ended: run-0, run-1, run-2"):
        clean_up(clients, "used")
    assert ledger.get("run-0").state is State.PENDING
    report = clean_up(clients, "used", cancel_runs=True)
    found = {(item.kind, item.name): item.count for item in report.deleted}
    assert found["bucket", used.bucket] == 31
    assert found["table", used.table] == 3
    assert stack_status(clients, "used").status == "MISSING"
    assert plan(clients, "used").items == ()
    assert plan(clients, "snn-test").items != ()
    there = {item["Name"] for item in clients.s3.list_buckets()["Buckets"]}
    assert not {used.bucket, used.artifact_bucket} & there


def test_what_a_stack_that_is_gone_has_left_behind_goes_too(clients: Clients, deploy: Call) -> None:
    """A table that was to be kept, a function's log group, and the log streams of a notebook instance."""
    left = deploy("left")
    names = plan(clients, "left").names
    stack_id = clients.cloudformation.describe_stacks(StackName="left")["Stacks"][0]["StackId"]
    clients.cloudformation.delete_stack(StackName="left")
    wait_for_stack(clients, stack_id, silent)
    clients.dynamodb.create_table(
        TableName=names.table, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "run_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "run_id", "KeyType": "HASH"}],
        Tags=[{"Key": "aws:cloudformation:stack-name", "Value": "left-Training-1"}],
    )  # fmt: skip
    clients.logs.create_log_group(logGroupName=f"/aws/lambda/{names.functions[0]}")
    clients.s3.put_object(Bucket=left.artifact_bucket, Key=f"{NOTEBOOK_PREFIX}1/wheel.whl", Body=b"wheel")
    clients.logs.create_log_group(logGroupName=NOTEBOOK_LOGS)
    for notebook in (names.notebook, "somebody-elses"):
        clients.logs.create_log_stream(logGroupName=NOTEBOOK_LOGS, logStreamName=f"{notebook}/jupyter.log")
    gone = {
        ("table", names.table), ("log group", f"/aws/lambda/{names.functions[0]}"),
        ("log stream", f"{names.notebook}/jupyter.log"),
    }  # fmt: skip
    assert gone <= {(item.kind, item.name) for item in plan(clients, "left").items}
    report = clean_up(clients, "left")
    assert gone <= {(item.kind, item.name) for item in report.deleted}
    assert names.table not in clients.dynamodb.list_tables()["TableNames"]
    streams = clients.logs.describe_log_streams(logGroupName=NOTEBOOK_LOGS)["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["somebody-elses/jupyter.log"]


def test_where_aws_is_reached_by_tls_the_artifact_bucket_takes_nothing_else(clients: Clients) -> None:
    """Moto acts by a bucket's policy, and is reached without TLS here: so it refuses the very next call."""
    with pytest.raises(ClientError) as refused:
        upload_artifacts(
            clients, "with-tls", runtime="python3.12", architecture="x86_64", build_layer=False, build_package=False,
            build_features=False, build_predict=False,
            secure_transport=True, on_progress=silent,
        )  # fmt: skip
    assert refused.value.response["Error"]["Code"] == "403"
    account = clients.sts.get_caller_identity()["Account"]
    bucket = bucket_name("with-tls", account, clients.s3.meta.region_name)
    assert bucket in {item["Name"] for item in clients.s3.list_buckets()["Buckets"]}
