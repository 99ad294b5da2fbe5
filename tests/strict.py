"""A stack on an emulator that holds everyone to their policies; how to be someone there, and to lack a permission."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError
from documentation import ROOT
from permissions import Document, Permission, roles, without
from template_logic import TEMPLATES

from snn_cli.local.emulator import Emulator
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients

STACK = "snn-strict"
DEPLOYED = "snn-strict-dep"  # the deployer's own, so that nobody else's is changed
WITH_ROLES = ("Training", "Features", "Predict", "Events")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403")


def denial(error: ClientError) -> str:
    """Return what AWS says when it denies; "" for any other error, which comes after the question of permission."""
    denied = error.response["Error"]["Code"] in DENIED or "not authorized" in str(error)
    return str(error) if denied else ""


class Strict:
    """`clients` are the administrator's; `of` are somebody else's."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.clients = self._clients(self._session("test", "test", None))
        self._known: dict[str, Clients] = {}

    def _session(self, key: str, secret: str, token: str | None) -> boto3.Session:
        return boto3.Session(key, secret, token, region_name=self.emulator.environment()["AWS_DEFAULT_REGION"])

    def _clients(self, session: boto3.Session) -> Clients:
        make: Any = session.client
        return Clients(lambda service: make(service, endpoint_url=self.emulator.endpoint_url))

    def client(self, service: str) -> Any:
        """Return a client of the administrator."""
        return self.clients._make(service)

    @cached_property
    def stack(self) -> StackOutputs:
        """The stack, deployed when first asked for."""
        wanted = {"with_cache": True, "with_features": True, "with_events": True}
        return deploy_stack(self.clients, StackOptions.from_environment(stack_name=STACK, **wanted))

    @cached_property
    def _resources(self) -> dict[str, str]:
        """The physical names of the stack's roles and managed policies, by the names that `permissions` uses."""
        cloudformation, found = self.client("cloudformation"), {}
        nested = cloudformation.describe_stack_resources(StackName=self.stack.stack_name)["StackResources"]
        for one in (
            item for item in nested if item["LogicalResourceId"] in ("Training", "Features", "Predict", "Events")
        ):
            for item in cloudformation.describe_stack_resources(StackName=one["PhysicalResourceId"])["StackResources"]:
                found[item["LogicalResourceId"]] = item["PhysicalResourceId"]
        for item in self._notebook():
            found[f"Notebook{item['LogicalResourceId']}"] = item["PhysicalResourceId"]
        return found

    def _notebook(self) -> list[Any]:
        """Deploy what notebook.yaml makes of IAM, as it were with a cache; the emulator has no SageMaker."""
        template, name = TEMPLATES["notebook"], f"{STACK}-notebook"
        kept = {name: item for name, item in template["Resources"].items() if item["Type"].startswith("AWS::IAM::")}
        body = json.dumps({**template, "Resources": kept, "Outputs": {"Name": {"Value": "none"}}})
        values = {name: f"{name.lower()}-1" for name in template["Parameters"]} | {
            "Prefix": STACK, "WithCache": "true",
            "ArtifactBucket": self.stack.artifact_bucket, "BucketName": self.stack.bucket,
        }  # fmt: skip
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        )  # fmt: skip
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        return list(cloudformation.describe_stack_resources(StackName=name)["StackResources"])

    # ---- to be someone -----------------------------------------------------------------------------------------------

    def of(self, who: str) -> Clients:
        """Return the clients of a role, or of a user who has one of the policies in docs, and nothing else."""
        if who not in self._known:
            is_role = who in {name for name, _, _ in roles()}
            self._known[who] = self._clients(self._role(who) if is_role else self._user(who))
        return self._known[who]

    def _role(self, who: str) -> boto3.Session:
        arn = self.client("iam").get_role(RoleName=self._resources[who])["Role"]["Arn"]
        key = self.client("sts").assume_role(RoleArn=arn, RoleSessionName=who)["Credentials"]
        return self._session(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])

    def _user(self, policy: str) -> boto3.Session:
        text = (ROOT / "docs" / f"{policy}-policy.json").read_text()
        text = text.replace("snn", DEPLOYED if policy == "deployer" else STACK)
        iam = self.client("iam")
        iam.create_user(UserName=policy)
        iam.put_user_policy(UserName=policy, PolicyName=policy, PolicyDocument=text)
        key = iam.create_access_key(UserName=policy)["AccessKey"]
        return self._session(key["AccessKeyId"], key["SecretAccessKey"], None)

    # ---- to lack a permission ----------------------------------------------------------------------------------------

    @contextmanager
    def lacking(self, permission: Permission) -> Iterator[None]:
        """Take a permission away, and give it back."""
        self.of(permission.who)
        iam, role = self.client("iam"), self._resources.get(permission.who, "")
        prefix = "Notebook" if permission.who == "NotebookRole" else ""
        if not role:
            which = {"UserName": permission.who, "PolicyName": permission.policy}
            document, put = iam.get_user_policy(**which)["PolicyDocument"], iam.put_user_policy
        elif arn := self._resources.get(prefix + permission.policy, ""):
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            with self._other_version(arn, document, without(document, permission)):
                yield
            return
        else:
            which = {"RoleName": role, "PolicyName": permission.policy}
            document, put = iam.get_role_policy(**which)["PolicyDocument"], iam.put_role_policy
        put(**which, PolicyDocument=json.dumps(without(document, permission)))
        try:
            yield
        finally:
            put(**which, PolicyDocument=json.dumps(document))

    @contextmanager
    def _other_version(self, arn: str, whole: Document, document: Document) -> Iterator[None]:
        self._replace(arn, document)
        try:
            yield
        finally:
            self._replace(arn, whole)

    def _replace(self, arn: str, document: Document) -> None:
        """Give a managed policy another version, and forget the one before: it may have five."""
        iam = self.client("iam")
        before = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
        iam.delete_policy_version(PolicyArn=arn, VersionId=before)
