"""Taking a stack away, with what it holds and what it left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from answers import ABSENT, ACCOUNT, REGION, Answers, Refused

from scenes.common import ARTIFACTS, NO_STACK, RUN, STACK, STACK_ID, TABLE, Ledgers
from snn.errors import InvalidInput
from snn_client.stack.artifacts import STACK_TAG
from snn_client.stack.belongings import NOTEBOOK_LOGS
from snn_client.stack.cleanup import clean_up
from snn_cloud.ledger.record import State, pack

NESTED = "arn:aws:cloudformation:eu-west-3:123456789012:stack/snn-Training-1X/2"
DATA = f"snn-{ACCOUNT}-{REGION}"
LAUNCH_LOGS, TRAINER_LOGS = "/aws/lambda/snn-LaunchLambda", "/aws/lambda/snn-TrainerLambda"
GONE = Refused("ResourceNotFoundException", 400)


def _resource(kind: str, name: str) -> dict[str, str]:
    return {"ResourceType": f"AWS::{kind}", "PhysicalResourceId": name, "ResourceStatus": "CREATE_COMPLETE"}


class Account:
    """An account in which things go when they are deleted; whatever is listed has two pages."""

    def __init__(self, keep: bool) -> None:
        self.deleted, self._keep, self.ledgers = set[str](), keep, Ledgers(replace(RUN, state=State.RUNNING, owner="x"))
        self.answers = Answers(
            {
                **self.ledgers.answers,
                "dynamodb.GetItem": {"Item": pack({"run_id": "r1", "item": "run", "state": State.CANCELLED})},
                "dynamodb.Scan": [
                    {"Items": [pack({"run_id": "r1"})], "ScannedCount": 3}, {"Items": [], "ScannedCount": 4},
                ] * 4,
                "dynamodb.DescribeTable": self._table,
                "dynamodb.ListTagsOfResource": self._tags_of_table,
                "dynamodb.DeleteTable": self._delete("TableName"),
                "sts.GetCallerIdentity": {"Account": ACCOUNT},
                "cloudformation.DescribeStacks": self._stacks,
                "cloudformation.ListStackResources": self._resources,
                "cloudformation.DeleteStack": self._delete("StackName"),
                "lambda.GetFunctionConfiguration": GONE,
                "s3.GetBucketTagging": self._tags_of_bucket,
                "s3.ListObjectVersions": self._versions,
                "s3.ListObjectsV2": {"Contents": [{"Key": "notebook/x.whl"}]},
                "s3.DeleteObjects": self._emptied,
                "s3.DeleteBucket": self._delete("Bucket"),
                "logs.DescribeLogGroups": self._log_groups,
                "logs.DescribeLogStreams": self._log_streams,
                "logs.DeleteLogGroup": self._delete("logGroupName"),
                "logs.DeleteLogStream": self._delete("logStreamName"),
            }
        )  # fmt: skip

    def _delete(self, name: str) -> Any:
        def answer(asked: dict[str, Any]) -> dict[str, Any]:
            self.deleted.add(asked[name])
            return {}

        return answer

    def _stacks(self, asked: dict[str, Any]) -> Any:
        if "StackName" in asked:
            return NO_STACK if STACK_ID in self.deleted else {"Stacks": [STACK]}
        return {"Stacks": [{**STACK, "StackName": "other", "StackId": "arn:other"}]}

    def _resources(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["StackName"] == NESTED:
            listed = [_resource("S3::Bucket", DATA)], [_resource("DynamoDB::Table", TABLE)]
        else:
            listed = [_resource("CloudFormation::Stack", NESTED)], [_resource("Lambda::Function", "snn-LaunchLambda")]
        return {"StackResourceSummaries": listed["NextToken" in asked]}

    def _table(self, asked: dict[str, Any]) -> Any:
        if not self._keep or TABLE in self.deleted:
            return GONE
        return {"Table": {"TableArn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}"}}

    def _tags_of_table(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the tags of the table; the one that tells whose it is comes last."""
        ours = {"Key": "aws:cloudformation:stack-name", "Value": "snn-Training-1X"}
        return {"Tags": [ours if "NextToken" in asked else {"Key": "team", "Value": "vision"}]}

    def _tags_of_bucket(self, asked: dict[str, Any]) -> Any:
        if asked["Bucket"] in self.deleted or asked["Bucket"] != ARTIFACTS:
            return Refused("NoSuchBucket", 404)
        return {"TagSet": [{"Key": STACK_TAG, "Value": "snn"}]}

    def _versions(self, asked: dict[str, Any]) -> Any:
        if asked["Bucket"] in self.deleted or f"objects of {asked['Bucket']}" in self.deleted:
            return {"Versions": ABSENT, "DeleteMarkers": ABSENT, "IsTruncated": False}
        key = {"Key": "b" if "KeyMarker" in asked else "a", "VersionId": "1"}
        return {"Versions": [{**key, "Size": 5}], "DeleteMarkers": [key]}

    def _emptied(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.deleted.add(f"objects of {asked['Bucket']}")
        return {"Errors": ABSENT}

    def _log_groups(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the groups with a prefix; the one that is just so called comes last."""
        name = asked["logGroupNamePrefix"]
        there = name == LAUNCH_LOGS and name not in self.deleted
        group = name if "nextToken" in asked else f"{name}-2"
        return {"logGroups": [{"logGroupName": group, "storedBytes": 9}] if there else []}

    def _log_streams(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["logGroupName"] == NOTEBOOK_LOGS
        stream = f"snn-notebook/{2 if 'nextToken' in asked else 1}"
        return {"logStreams": [{"logStreamName": stream}] if stream not in self.deleted else []}


def scene_a_stack_is_taken_away() -> Answers:
    """With a run that is not over, and the table that was kept."""
    account = Account(keep=True)
    report = clean_up(account.answers.clients, "snn", cancel_runs=True)
    found = {(item.kind, item.name): item.count for item in report.deleted}
    assert found == {
        ("stack", "snn"): None, ("stack", "snn-Training-1X"): None, ("log group", LAUNCH_LOGS): None,
        ("table", TABLE): 7, ("bucket", DATA): 4, ("bucket", ARTIFACTS): 4, ("function", "snn-LaunchLambda"): None,
        ("log stream", "snn-notebook/1"): None, ("log stream", "snn-notebook/2"): None,
    }  # fmt: skip
    assert account.deleted == {
        STACK_ID, TABLE, ARTIFACTS, LAUNCH_LOGS, "snn-notebook/1", "snn-notebook/2", f"objects of {DATA}",
        f"objects of {ARTIFACTS}",
    }  # fmt: skip
    (closed,) = account.answers.asked("lambda.PutFunctionConcurrency")
    assert closed["ReservedConcurrentExecutions"] == 0
    return account.answers


def scene_nested_stacks_that_were_kept() -> Answers:
    """Their root is gone, and they are on the second page of all stacks."""
    kept = {**STACK, "StackName": "snn-Training-1X", "StackId": NESTED,
            "Parameters": [{"ParameterKey": "Prefix", "ParameterValue": "snn"}]}  # fmt: skip
    account = Account(keep=False)

    def stacks(asked: dict[str, Any]) -> Any:
        if "StackName" in asked:
            return {"Stacks": [kept]} if asked["StackName"] == NESTED and NESTED not in account.deleted else NO_STACK
        there = "NextToken" in asked and NESTED not in account.deleted
        return {"Stacks": [kept] if there else []}

    account.answers.given["cloudformation.DescribeStacks"] = stacks
    clean_up(account.answers.clients, "snn", cancel_runs=True)
    assert NESTED in account.deleted
    return account.answers


def scene_a_run_slips_in() -> Answers:
    """The function that starts runs is opened again, and the stack stays."""
    account = Account(keep=True)
    none = {"Items": [], "ScannedCount": 1}
    account.answers.given["dynamodb.Scan"] = [none, none, {"Items": [pack({"run_id": "r1"})], "ScannedCount": 1}, none]
    with pytest.raises(InvalidInput, match="not ended: r1"):
        clean_up(account.answers.clients, "snn")
    assert len(account.answers.asked("lambda.DeleteFunctionConcurrency")) == 1
    assert account.deleted == set()
    return account.answers
