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
