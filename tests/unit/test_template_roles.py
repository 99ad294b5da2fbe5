"""All policies in all templates: nothing wider than AWS forces it to be, and nobody's role is anybody else's.

What each role may do is in test_templates.py and test_notebook_template.py; that it needs it, and is denied
all else, in tests/integration/test_roles_denied.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from permissions import roles
from template_logic import TEMPLATES, as_list, holds, resolved, statements

# Every "*" in an action, and every resource that is nothing but "*", by template and statement, with the reason.
NO_NAME_YET = "an interface has no name before it is made, and Lambda refuses a function whose role names less"
DENIAL = "a denial is as wide as can be"
THIS_KEY = "in a key's own policy it means this key"
WIDE = {
    ("training", "LambdaAttachesFunctions", "*"): NO_NAME_YET,
    ("training", "TheirCodeDoesNot", "*"): DENIAL,
    ("training", "TheirCodeDoesNot", "ec2:*"): DENIAL,
    ("training", "NothingWithoutTls", "s3:*"): DENIAL,
    ("notebook", "LookAtTheNetwork", "*"): "EC2 knows no resource for Describe",
    ("notifications", "TheAccountAdministersTheKey", "*"): THIS_KEY,
    ("notifications", "TheAccountAdministersTheKey", "kms:*"): "or nobody could ever change the key",
    ("notifications", "WhoMayPublishMayEncrypt", "*"): THIS_KEY,
    ("notifications", "WhoMayPublishMayEncrypt", "kms:GenerateDataKey*"): "with and without the plain key, as SNS asks",
    ("notifications", "AlarmsMayEncrypt", "*"): THIS_KEY,
    ("notifications", "AlarmsMayEncrypt", "kms:GenerateDataKey*"): "with and without the plain key, as SNS asks",
}
# Principal "*": in policies that deny, or that are held to this account, or to what is reached through an endpoint.
ANYBODY = {("training", "NothingWithoutTls"), ("notifications", "WhoMayPublishMayEncrypt"), ("network", "")}


def all_statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (template, statement) of all policies: roles', managed, buckets', queues', keys', endpoints', of trust."""
    for name, template in TEMPLATES.items():
        for _, statement in statements(template["Resources"], name):
            yield name, statement


def test_there_are_statements_to_look_at() -> None:
    assert len(list(all_statements())) > 35


def test_what_is_wide_has_a_reason() -> None:
    found = {
        (name, statement.get("Sid", ""), resolved(value))
        for name, statement in all_statements()
        for key in ("Action", "Resource")
        for value in as_list(statement.get(key, []))
        if resolved(value) == "*" or (key == "Action" and "*" in value)
    }
    assert found == set(WIDE)


def test_an_allowed_resource_is_of_this_stack_or_of_this_account() -> None:
    """A name that begins with a wildcard, or an ARN without an account, would be somebody else's as well."""
    for name, statement in all_statements():
        for value in map(resolved, as_list(statement.get("Resource", []))):
            if (name, statement.get("Sid", ""), value) in WIDE or not value.startswith("arn:"):
                continue
            short = re.sub(r"\$\{AWS::(\w+)\}", r"<\1>", value)
            _, partition, service, region, account, rest = short.split(":", 5)
            assert partition == "<Partition>", value
            assert (region, account) == (("", "") if service == "s3" else ("<Region>", "<AccountId>")), value
            # The last three: held to one subnet by the statement, a group that SageMaker has one of in an account, and
            # the account's bus, held to the source of our events by the statement.
            assert re.match(r"([\w-]+[:/])?(/aws/lambda/)?\$\{\w+\}", rest) or rest.startswith(
                ("network-interface/*", "log-group:/aws/sagemaker/NotebookInstances", "event-bus/default")
            ), value


def test_an_endpoint_lets_through_what_the_functions_behind_it_may_do_and_no_more() -> None:
    """LaunchLambda is outside, and what Lambda does in a role's name (GiveUp, WriteLogs) does not pass there."""
    role = TEMPLATES["training"]["Resources"]["TrainerRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    may = {
        action
        for statement in role["Statement"]
        for action in as_list(statement["Action"])
        if not action.startswith("logs:")
    }
    endpoints = [
        resource["Properties"]["PolicyDocument"]["Statement"][0]
        for resource in TEMPLATES["network"]["Resources"].values()
        if resource["Type"] == "AWS::EC2::VPCEndpoint"
    ]
    assert {action for statement in endpoints for action in as_list(statement["Action"])} == may
    places = {resolved(item).rpartition(":")[2] for statement in endpoints for item in as_list(statement["Resource"])}
    assert places == {
        "${BucketName}/*",
        "table/${Prefix}-runs",
        "${Prefix}-TrainerLambda",
        "${Prefix}-NeuronLambda",
        "${Prefix}-training",
    }


def test_nothing_is_allowed_by_leaving_things_out() -> None:
    for name, statement in all_statements():
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement), (name, statement)


def test_anybody_is_named_only_where_something_else_holds_them_back() -> None:
    found = {
        (name, statement.get("Sid", ""))
        for name, statement in all_statements()
        if statement.get("Principal") in ("*", {"AWS": "*"})
    }
    assert found == ANYBODY


def test_each_function_has_a_role_of_its_own_and_each_role_a_user() -> None:
    used = [
        f"{template}/{resolved(resource['Properties'][key])}"
        for template, content in TEMPLATES.items()
        for resource in content["Resources"].values()
        for key in ("Role", "RoleArn")
        if key in resource["Properties"]
    ]
    assert len(used) == len(set(used))
    names = {f"{template}/{name.removeprefix('Notebook')}.Arn" for name, template, _ in roles()}
    assert set(used) == names
    assert len(names) == 7


@pytest.mark.parametrize(("name", "template", "role"), list(roles()), ids=lambda value: str(value)[:20])
def test_one_service_may_take_a_role(name: str, template: str, role: dict[str, Any]) -> None:
    """aws:SourceAccount is not asked for: docs/decisions.md says why."""
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    services = {
        "notebook": "sagemaker",
        "training": "lambda",
        "features": "lambda",
        "predict": "lambda",
        "events": "lambda",
    }
    service = f"{services[template]}.amazonaws.com"
    assert trust == {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    assert "RoleName" not in role  # CAPABILITY_IAM is enough, and CloudFormation's names are the stack's


def test_a_boundary_limits_every_role_or_none() -> None:
    wanted = {"Fn::If": ["Bounded", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
    assert [role["PermissionsBoundary"] for _, _, role in roles()] == [wanted] * 7
    for _, template, _ in roles():
        assert not holds("Bounded", TEMPLATES[template], {"PermissionsBoundary": ""})
        assert holds("Bounded", TEMPLATES[template], {"PermissionsBoundary": "arn:aws:iam::123456789012:policy/limits"})
    for nested in ("Training", "Features", "Predict", "Events", "Notebook"):
        given = TEMPLATES["root"]["Resources"][nested]["Properties"]["Parameters"]
        assert given["PermissionsBoundary"] == {"Ref": "PermissionsBoundary"}


def test_a_service_that_acts_for_others_may_do_so_for_this_account_only() -> None:
    """S3 and CloudWatch work for everybody: what they may do here, they may do in the name of this account."""
    found = []
    for name, statement in all_statements():
        principal = statement.get("Principal")
        if isinstance(principal, dict) and "Service" in principal and statement["Action"] != "sts:AssumeRole":
            assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}
            found.append((name, statement["Sid"]))
    assert sorted(found) == [
        ("notifications", "AlarmsMayEncrypt"),
        ("notifications", "AlarmsMayPublish"),
        ("training", "BucketTellsOfNewData"),
    ]
    permission = TEMPLATES["training"]["Resources"]["BucketMayLaunch"]["Properties"]
    assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    assert resolved(permission["SourceArn"]) == "arn:${AWS::Partition}:s3:::${BucketName}"
