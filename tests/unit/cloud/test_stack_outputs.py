"""Which stack a command or an operator may work with."""

from __future__ import annotations

from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber

from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed


def test_a_stack_of_something_else_is_one_line() -> None:
    """Its outputs may be called like ours."""
    client = boto3.client("cloudformation", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    theirs = {
        "StackName": "payroll", "StackId": "arn:aws:cloudformation:eu-west-1:000000000000:stack/payroll/1",
        "StackStatus": "CREATE_COMPLETE", "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        "Outputs": [{"OutputKey": "Bucket", "OutputValue": "payroll"}],
    }  # fmt: skip
    with Stubber(client) as answers:
        answers.add_response("describe_stacks", {"Stacks": [theirs]})
        with pytest.raises(StackFailed) as raised:
            StackOutputs.load(Clients(lambda _: client), "payroll")
    assert str(raised.value) == "the stack payroll was not deployed by snn (name one that was)"


OURS = {
    "StackName": "snn", "StackId": "arn:aws:cloudformation:eu-west-1:000000000000:stack/snn/1",
    "StackStatus": "CREATE_COMPLETE", "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
    "Parameters": [
        {"ParameterKey": "ArtifactBucket", "ParameterValue": "snn-artifacts-000000000000-eu-west-1"},
    ],
    "Outputs": [
        {"OutputKey": key, "OutputValue": value}
        for key, value in {
            "Bucket": "b", "Table": "t", "LaunchFunction": "l", "TrainerFunction": "t", "NeuronFunction": "n",
            "TopicArn": "a", "HasCache": "false", "Architecture": "arm64", "Region": "eu-west-1",
            "ArtifactBucket": "snn-artifacts",
        }.items()
    ],
}  # fmt: skip


def test_a_mapping_that_only_names_its_stack_has_it_looked_up() -> None:
    client = boto3.client("cloudformation", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as answers:
        answers.add_response("describe_stacks", {"Stacks": [OURS]}, {"StackName": "snn"})
        found = StackOutputs.of(Clients(lambda _: client), {"stack_name": "snn", "bucket": "another"})
        assert (found.bucket, found.has_cache) == ("b", False)
        assert StackOutputs.of(Clients(lambda _: client), found.to_dict()) == found  # all of them: nothing is asked
        answers.assert_no_pending_responses()
