"""A stack that something else deployed is left as it is, at every door that writes to a stack."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inventory import contents, inventory

from snn.errors import InvalidInput
from snn_client.stack.change_set import propose
from snn_client.stack.cleanup import clean_up
from snn_client.stack.deploy import deploy_stack, start_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import describe_stack, wait_for_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed
from snn_operators.deploy import SnnDeployOperator

NAME = "payroll"
REFUSED = "stack options: stack_name: payroll was not deployed by snn (choose another name)"
TOPIC = {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "salaries"}}}
# As somebody else's might be called, or made up to look like ours.
PARAMETERS = {"ArtifactBucket": {"Type": "String", "Default": "theirs"}, "Prefix": {"Type": "String", "Default": NAME}}
BROKEN = {"F": {"Type": "AWS::Lambda::Function", "Properties": {
    "Code": {"ZipFile": "x"}, "Role": "arn:aws:iam::000000000000:role/x", "Handler": "x.y", "Runtime": "python3.13",
    "Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:missing:1"],
}}}  # fmt: skip


def silent(line: str) -> None:
    pass


def options() -> StackOptions:
    return StackOptions(stack_name=NAME, with_cache=False)


def by_command(clients: Clients) -> str:
    command = [str(Path(sys.executable).parent / "snn"), "deploy", "--yes", "--stack", NAME]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def by_operator(clients: Clients) -> str:
    with pytest.raises(Exception, match="was not deployed by snn") as raised:
        SnnDeployOperator(task_id="deploy", stack=NAME, options={"with_cache": False}, deferrable=False).execute({})
    return str(raised.value)


def by_deferrable_operator(clients: Clients) -> str:
    with pytest.raises(Exception, match="was not deployed by snn") as raised:
        SnnDeployOperator(task_id="deploy", stack=NAME, options={"with_cache": False}, deferrable=True).execute({})
    return str(raised.value)


def by_change_set(clients: Clients) -> str:
    with pytest.raises(InvalidInput) as raised:
        propose(clients, options(), silent)
    return str(raised.value)


def by_call(clients: Clients) -> str:
    for call in (deploy_stack, start_deploy):
        with pytest.raises(InvalidInput) as raised:
            call(clients, options(), silent)
    return str(raised.value)


DOORS = (by_command, by_operator, by_deferrable_operator, by_change_set, by_call)


@pytest.fixture(params=["CREATE_COMPLETE", "ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS", "with parameters like ours"])
def foreign(request: pytest.FixtureRequest, clients: Clients) -> Iterator[str]:
    before = inventory(clients)
    template: dict[str, Any] = {"Resources": BROKEN if request.param == "ROLLBACK_COMPLETE" else TOPIC}
    if request.param == "with parameters like ours":
        template["Parameters"] = PARAMETERS
    create: Any = clients.cloudformation.create_stack
    more = {}
    if request.param == "REVIEW_IN_PROGRESS":
        create = clients.cloudformation.create_change_set
        more = {"ChangeSetName": "theirs", "ChangeSetType": "CREATE"}
    stack_id = create(StackName=NAME, TemplateBody=json.dumps(template), **more)
    stack_id = stack_id["StackId"]
    status = wait_for_stack(clients, stack_id, silent).status
    assert status == (request.param if request.param.isupper() else "CREATE_COMPLETE")
    yield stack_id
    clients.cloudformation.delete_stack(StackName=stack_id)
    wait_for_stack(clients, stack_id, silent)
    assert inventory(clients) == before


@pytest.mark.parametrize("door", DOORS)
def test_nothing_of_it_is_changed_and_nothing_of_ours_left(
    clients: Clients, foreign: str, door: Callable[[Clients], str]
) -> None:
    there = inventory(clients)
    found, inside = describe_stack(clients, foreign), contents(clients, there)
    events = clients.cloudformation.describe_stack_events(StackName=foreign)["StackEvents"]
    told = door(clients).strip()
    assert told.splitlines()[-1].removeprefix("error: ") == REFUSED
    assert inventory(clients) == there
    assert contents(clients, there) == inside
    assert describe_stack(clients, foreign) == found
    assert clients.cloudformation.describe_stack_events(StackName=foreign)["StackEvents"] == events


def test_nobody_takes_it_for_a_deployed_one(clients: Clients, foreign: str) -> None:
    wanted = "is not deployed" if "REVIEW" in str(describe_stack(clients, foreign)) else "was not deployed by snn"
    with pytest.raises(StackFailed, match=wanted):
        StackOutputs.load(clients, NAME)
    with pytest.raises(InvalidInput, match="payroll was not deployed by snn"):
        clean_up(clients, NAME)


def test_what_an_older_version_deployed_is_ours(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no output Version, and other templates; the name of the artifact bucket was always a parameter."""
    from snn_client.stack import artifacts

    texts = artifacts.templates()
    older, cut = re.subn(r"^  Version:\n(?:    .*\n)+", "", texts["root"], flags=re.M)
    assert cut == 1
    before = inventory(clients)
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "templates", lambda: {**texts, "root": older})
        assert deploy_stack(clients, options(), silent).version == 1
    lines: list[str] = []
    assert deploy_stack(clients, options(), lines.append).version == 3
    assert f"updating the stack {NAME}" in lines
    clean_up(clients, NAME)
    assert inventory(clients) == before
