"""Deploying a stack, at once and by a change set, and following what CloudFormation does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from answers import ABSENT, ACCOUNT, REGION, WHEN, Answers, Given, Refused

from scenes.common import ARTIFACTS, NO_STACK, NOT_THERE, STACK, STACK_ID
from snn_client.stack import change_set
from snn_client.stack.artifacts import DATA_TAG, STACK_TAG
from snn_client.stack.deploy import finish_deploy, start_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import silent, wait_for_stack
from snn_cloud.aws.errors import StackFailed

WHO: dict[str, Given] = {"sts.GetCallerIdentity": {"Account": ACCOUNT}}
# With a layer that is there already, so that none is built.
LAYER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:snn:1"
OPTIONS = StackOptions(stack_name="snn", layer_arn=LAYER)


def _stacks(*stacks: Any) -> Given:
    """Return answers to DescribeStacks: these, one after the other, and the last one from then on."""
    left = list(stacks)

    def answer(asked: dict[str, Any]) -> Any:
        stack = left.pop(0) if len(left) > 1 else left[0]
        return stack if isinstance(stack, Refused) else {"Stacks": [stack]}

    return answer


def scene_a_stack_is_created() -> Answers:
    """With its artifact bucket, and a data bucket whose name somebody chose."""
    answers = Answers(
        {
            **WHO, "cloudformation.DescribeStacks": NO_STACK, "cloudformation.CreateStack": {"StackId": STACK_ID},
            "s3.HeadBucket": NOT_THERE, "s3.HeadObject": NOT_THERE,
            "s3.GetBucketTagging": {"TagSet": [{"Key": STACK_TAG, "Value": "snn"}]},
        }
    )  # fmt: skip
    options = StackOptions(stack_name="snn", layer_arn=LAYER, bucket="chosen-by-us")
    assert start_deploy(answers.clients, options) == STACK_ID
    assert answers.asked("s3.CreateBucket") == [
        {"Bucket": ARTIFACTS, "CreateBucketConfiguration": {"LocationConstraint": REGION}}
    ]  # fmt: skip
    tags = answers.asked("s3.PutBucketTagging")[-1]["Tagging"]["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {STACK_TAG: "snn", DATA_TAG: "chosen-by-us"}
    assert {asked["ExpectedBucketOwner"] for asked in answers.asked("s3.PutObject")} == {ACCOUNT}
    policy = answers.asked("s3.PutBucketPolicy")[0]["Policy"]
    assert f"arn:aws:s3:::{ARTIFACTS}/*" in policy
    return answers


def scene_a_stack_is_brought_up_to_date() -> Answers:
    """All of its artifacts are there already."""
    answers = Answers(
        {
            **WHO, "cloudformation.DescribeStacks": _stacks({**STACK, "Outputs": ABSENT}),
            "cloudformation.UpdateStack": {"StackId": STACK_ID},
        }
    )  # fmt: skip
    assert start_deploy(answers.clients, OPTIONS) == STACK_ID
    assert answers.asked("s3.PutObject") == []
    return answers


def scene_what_a_failed_creation_left_is_removed_first() -> Answers:
    rolled_back, deleted = ({**STACK, "StackStatus": status} for status in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE"))
    answers = Answers({**WHO, "cloudformation.DescribeStacks": _stacks(rolled_back, deleted)})
    assert start_deploy(answers.clients, OPTIONS)
    assert answers.asked("cloudformation.DeleteStack") == [{"StackName": STACK_ID}]
    return answers


def scene_what_a_stack_tells() -> Answers:
    outputs = {"Bucket": "b", "Table": "t", "LaunchFunction": "l", "TrainerFunction": "r", "NeuronFunction": "n",
               "TopicArn": "a", "HasCache": "false", "Architecture": "arm64", "Region": REGION,
               "ArtifactBucket": ARTIFACTS, "Version": "2"}  # fmt: skip
    told = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    answers = Answers({"cloudformation.DescribeStacks": _stacks({**STACK, "Outputs": told})})
    assert StackOutputs.load(answers.clients, "snn").bucket == "b"
    return answers


def _event(number: int, resource: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "EventId": str(number), "StackId": STACK_ID, "LogicalResourceId": resource, "PhysicalResourceId": resource,
        "ResourceType": "AWS::S3::Bucket", "ResourceStatus": status, "Timestamp": WHEN + timedelta(seconds=number),
        **more,
    }  # fmt: skip


def _events() -> Callable[[dict[str, Any]], Any]:
    """Return the events of a creation that failed, the newest first, on two pages."""
    whole = {"PhysicalResourceId": STACK_ID, "ResourceType": "AWS::CloudFormation::Stack"}
    newest = [
        _event(4, "Topic", "CREATE_FAILED", ResourceStatusReason="cancelled"),
        _event(3, "Bucket", "CREATE_FAILED", ResourceStatusReason="the name is taken"),
    ]
    oldest = [_event(2, "Bucket", "CREATE_IN_PROGRESS"), _event(1, "snn", "CREATE_IN_PROGRESS", **whole)]
    return lambda asked: {"StackEvents": oldest if "NextToken" in asked else newest}


def scene_a_creation_fails() -> Answers:
    going, failed = ({**STACK, "StackStatus": status} for status in ("CREATE_IN_PROGRESS", "CREATE_FAILED"))
    answers = Answers(
        {"cloudformation.DescribeStacks": _stacks(going, failed), "cloudformation.DescribeStackEvents": _events()}
    )
    seen: list[Any] = []
    assert wait_for_stack(answers.clients, STACK_ID, silent, on_event=seen.append).status == "CREATE_FAILED"
    assert [(event.resource, event.status) for event in seen] == [
        ("snn", "CREATE_IN_PROGRESS"), ("Bucket", "CREATE_IN_PROGRESS"), ("Bucket", "CREATE_FAILED"),
        ("Topic", "CREATE_FAILED"),
    ]  # fmt: skip
    with pytest.raises(StackFailed, match=r"^the stack snn could not be deployed: Bucket: the name is taken$"):
        finish_deploy(answers.clients, "snn", STACK_ID)
    return answers


def _change(name: str, **more: Any) -> dict[str, Any]:
    change = {"Action": "Add", "LogicalResourceId": name, "ResourceType": "AWS::S3::Bucket", "Replacement": ABSENT}
    return {"ResourceChange": {**change, "ChangeSetId": ABSENT, **more}}


def _changes(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the changes of the change set "root" and, on its second page, of the nested stack's "nested"."""
    name, second = asked["ChangeSetName"], "NextToken" in asked
    listed: dict[str, Any] = {
        "root": [_change("Topic")], "root2": [_change("Training", ChangeSetId="nested")],
        "nested": [_change("Bucket")], "nested2": [_change("Table")],
    }  # fmt: skip
    return {"ChangeSetId": name, "Status": "CREATE_COMPLETE", "Changes": listed[f"{name}2" if second else name]}


def scene_a_change_set_is_made_and_applied() -> Answers:
    seen: list[str] = []

    def events(asked: dict[str, Any]) -> dict[str, Any]:
        seen.append("look")
        return {"StackEvents": [_event(len(seen), "snn", "REVIEW_IN_PROGRESS")]}

    answers = Answers(
        {
            "cloudformation.CreateChangeSet": {"Id": "root", "StackId": STACK_ID},
            "cloudformation.DescribeChangeSet": _changes, "cloudformation.DescribeStackEvents": events,
        }
    )  # fmt: skip
    changes = change_set.create(answers.clients, {"StackName": "snn", "TemplateBody": "{}"}, None, silent)
    assert changes is not None
    assert [change.resource for change in changes.changes] == ["Topic", "Training", "Training/Bucket", "Training/Table"]
    assert change_set.apply(answers.clients, changes) == STACK_ID
    return answers


def scene_a_change_set_is_discarded_with_its_stack() -> Answers:
    review, deleted = ({**STACK, "StackStatus": status} for status in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE"))
    answers = Answers(
        {"cloudformation.DescribeStacks": _stacks(review, deleted), "cloudformation.ListChangeSets": {"Summaries": []}}
    )
    change_set.discard(answers.clients, change_set.ChangeSet("root", "snn", STACK_ID, (), True))
    assert answers.asked("cloudformation.DeleteStack") == [{"StackName": STACK_ID}]
    return answers


def scene_a_change_set_of_somebody_else_waits() -> Answers:
    """It is on the second page of the list, and the stack stays for it."""

    def listed(asked: dict[str, Any]) -> dict[str, Any]:
        other = {"ChangeSetName": "other", "ChangeSetId": "arn:other"}
        return {"Summaries": [other] if "NextToken" in asked else []}

    review = {**STACK, "StackStatus": "REVIEW_IN_PROGRESS"}
    answers = Answers({"cloudformation.DescribeStacks": _stacks(review), "cloudformation.ListChangeSets": listed})
    change_set.discard(answers.clients, change_set.ChangeSet("root", "snn", STACK_ID, (), True))
    assert answers.asked("cloudformation.DeleteStack") == []
    return answers
