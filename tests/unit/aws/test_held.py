"""An answer that AWS cannot give is noticed, whichever session it was given to."""

from __future__ import annotations

import json
from typing import Any

import boto3
import held
from aws_calls import session
from botocore.awsrequest import AWSResponse
from held import Deviation, deviations


class _Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Any:
        yield self._content


def answered(service: str, operation: str, said: Any, **asked: Any) -> Any:
    """Let a client that anyone may have made be answered so."""
    client = boto3.Session("key", "secret", region_name="eu-west-1").client(service)
    answer = AWSResponse("https://aws", 200, {}, _Raw(json.dumps(said).encode()))
    client.meta.events.register("before-send", lambda **_: answer)
    return getattr(client, operation)(**asked)


def test_a_wrong_type_is_noticed() -> None:
    answered("logs", "describe_log_groups", {"logGroups": [{"logGroupName": "g", "storedBytes": "9"}]})
    assert held.unknown() == {Deviation("logs.DescribeLogGroups", "logGroups[].storedBytes", "invalid type"): "'9'"}
    assert held.unknown() == {}
    assert "logs.DescribeLogGroups" in held.heard[held.emulator].operations
    assert "logs.DescribeLogGroups" not in held.heard[held.emulator].of_product


def test_what_is_right_is_not_told_of() -> None:
    answered("logs", "describe_log_groups", {"logGroups": [{"logGroupName": "g", "storedBytes": 9}]})
    assert held.unknown() == {}


def test_what_is_always_there_must_be() -> None:
    model = session().get_service_model("s3").operation_model("GetObjectAcl")
    answer = {"Grants": [{"Grantee": {"ID": "1"}}]}
    assert list(deviations(answer, model)) == [
        Deviation("s3.GetObjectAcl", "Grants[].Grantee", "missing required field Type")
    ]
