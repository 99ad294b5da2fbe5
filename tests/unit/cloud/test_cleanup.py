"""What a cleanup may name: of one mind with the templates, and never another stack's."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from cfnlint.decode import decode_str
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput
from snn_client.stack.belongings import KINDS
from snn_client.stack.cleanup import Report
from snn_client.stack.cleanup_plan import MAX_LISTED, NESTED_STACKS, Belonging, Names, Plan
from snn_client.stack.options import MAX_NAME, NAME_PATTERN, StackOptions, check_stack_name
from snn_client.stack.package import templates

ACCOUNT, REGION = "123456789012", "eu-west-3"
TEMPLATES: dict[str, Any] = {name: decode_str(text)[0] for name, text in templates().items()}
NAMES = Names("snn", ACCOUNT, REGION)


def constructed(names: Names) -> set[str]:
    groups = {f"/aws/lambda/{function}" for function in names.functions}
    return {names.bucket, names.artifact_bucket, names.table, names.notebook, *names.functions, *groups}


stack_names = st.from_regex(rf"{NAME_PATTERN}", fullmatch=True).filter(lambda name: len(name) <= MAX_NAME)


@given(stack_names, stack_names)
def test_no_two_stacks_share_a_name(one: str, other: str) -> None:
    if one != other:
        assert constructed(Names(one, ACCOUNT, REGION)) & constructed(Names(other, ACCOUNT, REGION)) == set()


@given(stack_names, stack_names, st.sampled_from(NESTED_STACKS))
def test_a_nested_stack_has_one_root(one: str, other: str, nested: str) -> None:
    name = f"{one}-{nested}-1ABCDEFGHIJKL"
    assert Names(one, ACCOUNT, REGION).nested_place(name) == NESTED_STACKS.index(nested)
    if one != other:
        assert Names(other, ACCOUNT, REGION).nested_place(name) == len(NESTED_STACKS)


def test_without_the_rule_a_data_bucket_would_be_another_stack_s_artifact_bucket() -> None:
    assert Names("snn-artifacts", ACCOUNT, REGION).bucket == NAMES.artifact_bucket
    with pytest.raises(InvalidInput, match="stack_name: 'snn-artifacts' is not possible"):
        StackOptions(stack_name="snn-artifacts")


@pytest.mark.parametrize("name", ["", "Snn", "snn*", "snn\n", "snn/../x", "arn:aws:s3:::other", "a" * 26, None, 7])
def test_what_cannot_be_named(name: Any) -> None:
    with pytest.raises(InvalidInput, match="stack_name"):
        check_stack_name(name)


def test_the_names_are_those_of_the_templates() -> None:
    values = {"Prefix": "snn", "AWS::AccountId": ACCOUNT, "AWS::Region": REGION}
    resources = [item for template in TEMPLATES.values() for item in template["Resources"].values()]

    def named(kind: str, key: str) -> set[str]:
        texts = {item["Properties"][key]["Fn::Sub"] for item in resources if item["Type"] == kind}
        return {re.sub(r"\$\{([^}]*)\}", lambda match: values[match[1]], text) for text in texts}

    buckets = [item["Properties"]["BucketName"] for item in resources if item["Type"] == "AWS::S3::Bucket"]
    assert buckets == [{"Ref": "BucketName"}]
    told = TEMPLATES["root"]["Resources"]["Training"]["Properties"]["Parameters"]["BucketName"]
    unless_named = {"Fn::Sub": "${AWS::StackName}-${AWS::AccountId}-${AWS::Region}"}
    assert told == {"Fn::If": ["BucketIsNamed", {"Ref": "BucketName"}, unless_named]}
    assert NAMES.bucket == f"snn-{ACCOUNT}-{REGION}"
    assert named("AWS::DynamoDB::Table", "TableName") == {NAMES.table}
    assert named("AWS::Lambda::Function", "FunctionName") == set(NAMES.functions)
    assert named("AWS::SageMaker::NotebookInstance", "NotebookInstanceName") == {NAMES.notebook}
    # The API's goes with its stack; nothing that is still running could make it anew, as a function can its own.
    groups = {f"/aws/lambda/{name}" for name in NAMES.functions} | {"/aws/apigateway/snn-endpoint"}
    assert named("AWS::Logs::LogGroup", "LogGroupName") == groups
    assert set(KINDS) <= {item["Type"] for item in resources}


def test_no_nested_stack_goes_before_one_that_needs_it() -> None:
    resources = TEMPLATES["root"]["Resources"]
    assert set(resources) == set(NESTED_STACKS)
    for place, name in enumerate(NESTED_STACKS):
        text = json.dumps(resources[name])
        assert [gone for gone in NESTED_STACKS[:place] if f'"{gone}"' in text or f'"{gone}.' in text] == []
    needs = json.dumps(resources["Training"])
    assert all(f"{other}" in needs for other in NESTED_STACKS[NESTED_STACKS.index("Training") + 1 :])


PLAN = Plan(
    NAMES,
    ("arn:aws:cloudformation:eu-west-3:123456789012:stack/snn/1",),
    (
        Belonging("stack", "snn"),
        Belonging("table", NAMES.table, count=1),
        Belonging("bucket", NAMES.bucket, count=1200, size=3_400_000),
        Belonging("bucket", NAMES.artifact_bucket, count=6, size=0),
    ),
    ("a", "b"),
)


def test_a_plan_survives_xcom_and_names_what_must_be_emptied() -> None:
    assert Plan.from_dict(json.loads(json.dumps(PLAN.to_dict()))) == PLAN
    assert PLAN.data_buckets == [NAMES.bucket]
    assert PLAN.has("bucket", NAMES.artifact_bucket)
    assert not PLAN.has("table", NAMES.bucket)


def test_of_long_lists_a_task_returns_the_first_items_and_counts_the_others() -> None:
    assert PLAN.for_xcom() == {**PLAN.to_dict(), "items_left_out": 0, "runs_left_out": 0}
    items = tuple(Belonging("log group", f"/aws/lambda/{number}") for number in range(MAX_LISTED + 7))
    runs = tuple(f"run-{number}" for number in range(MAX_LISTED + 1))
    listed = Plan(NAMES, (), items, runs).for_xcom()
    assert ([item["name"] for item in listed["items"]], listed["items_left_out"]) == (
        [item.name for item in items[:MAX_LISTED]], 7,
    )  # fmt: skip
    assert (listed["runs"], listed["runs_left_out"]) == (list(runs[:MAX_LISTED]), 1)
    report = Report("snn", items, ("one stays",))
    assert report.for_xcom() == {
        "stack_name": "snn", "deleted": listed["items"], "deleted_left_out": 7, "stays": ["one stays"],
    }  # fmt: skip
    assert len(report.to_dict()["deleted"]) == len(items)


def test_a_plan_is_a_table_of_aligned_lines() -> None:
    head, *rows, runs = PLAN.lines()
    assert head == "4 resources of the stack snn, stacks in the order of deletion:"
    assert [row.split()[0] for row in rows] == ["stack", "table", "bucket", "bucket"]
    assert [row.split("  ")[-1] for row in rows[1:]] == ["1 item", "1,200 versions, 3.4 MB", "6 versions, 0.0 MB"]
    assert all(one.index(NAMES.stack) == other.index(NAMES.stack) for one, other in pairwise(rows))
    assert runs == "  runs that have not ended: a, b"
    assert Plan(NAMES, (), (), ()).lines() == ["found nothing of a stack snn"]
