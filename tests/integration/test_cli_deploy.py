"""`snn deploy` and `snn cleanup` as a person at a terminal, or a script, drives them; on the emulator."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oracle
import pexpect
import pytest
from gate import Gate
from inventory import inventory

from snn_cli.local.emulator import Emulator
from snn_client.runs import runs
from snn_client.stack.cleanup import clean_up, plan
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import stack_status
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State

SNN = str(Path(sys.executable).with_name("snn"))
NAME = "snn-cli"
ARTIFACTS, DATA = f"{NAME}-artifacts-000000000000-us-east-1", f"{NAME}-000000000000-us-east-1"
MISSING_LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:missing:3"
ENDLESS = {**oracle.small_network((4, 1), ("relu", "sigmoid"), epochs=10_000_000), "learning_rate": 1e-9}
SURE = "Make these changes. yes or no .no.: "
Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture(scope="module")
def gate(emulator: Emulator) -> Iterator[Gate]:
    gate = Gate(emulator.endpoint_url)
    threading.Thread(target=gate.serve_forever, daemon=True).start()
    yield gate
    gate.shutdown()
    gate.server_close()


@pytest.fixture(scope="module")
def layer(clients: Clients) -> Iterator[str]:
    """A dependency layer that is there, as nothing is trained with most stacks here."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as contents:
        contents.writestr("python/nothing.py", "")
    made = clients.lambda_.publish_layer_version(LayerName="nothing", Content={"ZipFile": archive.getvalue()})
    yield made["LayerVersionArn"]
    clients.lambda_.delete_layer_version(LayerName="nothing", VersionNumber=made["Version"])


@pytest.fixture(scope="module")
def environment(gate: Gate, layer: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The shell's: it leads to the emulator, through the gate, and has no emulator of its own."""
    home = str(tmp_path_factory.mktemp("nothing-runs-here"))
    settings = {"AWS_ENDPOINT_URL": gate.url, "SNN_LOCAL_HOME": home, "TERM": "dumb"}
    return {**os.environ, **settings, "SNN_WITH_CACHE": "false", "SNN_LAYER_ARN": layer}


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    """Start `snn` in a terminal of its own."""
    started = []

    def start(*arguments: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            SNN, list(arguments), env=environment, encoding="utf-8", timeout=60, dimensions=(60, 200), echo=False
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


@pytest.fixture
def script(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `snn` as a script does: no terminal, both outputs in pipes."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SNN, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


@pytest.fixture(autouse=True)
def _nothing_stays(clients: Clients, layer: str) -> Iterator[None]:
    before = inventory(clients)
    yield
    clean_up(clients, NAME, cancel_runs=True)
    assert inventory(clients) == before


def end(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    """Return how a program ended, and what it said since the last question."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, str(child.before).replace("\r\n", "\n")


def interrupted(child: pexpect.spawn[str]) -> str:
    """Press Ctrl-C and return what is said then."""
    time.sleep(0.3)  # as a person: Python does not see it in the very moment in which it begins to read a line
    child.sendintr()
    status, text = end(child)
    assert status == 130, text
    assert "Traceback" not in text
    return text.partition("interrupted. ")[2].strip()


@pytest.fixture
def taken(clients: Clients) -> Iterator[str]:
    """A bucket that is there."""
    clients.s3.create_bucket(Bucket="somebody-has-this")
    yield "somebody-has-this"
    clients.s3.delete_bucket(Bucket="somebody-has-this")


def test_a_person_is_asked_and_told_what_is_wrong_and_may_decline(
    clients: Clients, terminal: Terminal, taken: str
) -> None:
    before = inventory(clients)
    child = terminal("deploy")
    child.expect_exact("AWS region [us-east-1]: ")
    child.sendline("mars")
    child.expect_exact("region: 'mars' is not an AWS region (such as us-east-1 or eu-central-1)")
    child.expect_exact("AWS region [us-east-1]: ")
    child.sendline("")
    child.expect_exact("Stack name [snn]: ")
    child.sendline("Not A Name")
    child.expect_exact("stack options: stack_name: 'Not A Name' is not possible (use at most 25 lower-case letters")
    child.expect_exact("Stack name [snn]: ")
    child.sendline(NAME)
    child.expect_exact(f"Data bucket [{DATA}]: ")
    child.sendline(taken)
    child.expect_exact(f"stack options: bucket: there is already a bucket {taken} (bucket names are unique")
    child.expect_exact(f"Data bucket [{DATA}]: ")
    child.sendline("")
    child.expect_exact("E-mail for training messages, or none [none]: ")
    child.sendline("nobody")
    child.expect_exact("stack options: email: 'nobody' is not possible (an e-mail address, or nothing)")
    child.expect_exact("E-mail for training messages, or none [none]: ")
    child.sendline("")
    child.expect_exact("action")
    child.expect(SURE)
    rows = {tuple(line.split()) for line in str(child.before).splitlines()}
    assert ("Add", "Notifications", "CloudFormation::Stack") in rows
    assert ("Add", "Training/Bucket", "S3::Bucket") in rows
    assert ("Add", "Training/TrainerLambda", "Lambda::Function") in rows
    assert not any("Network" in row[1] for row in rows if len(row) == 3)
    assert stack_status(clients, NAME).status == "REVIEW_IN_PROGRESS"
    child.sendline("perhaps")
    child.expect_exact("'perhaps' is neither yes nor no")
    child.expect(SURE)
    child.sendline("")
    assert end(child) == (1, "Nothing was changed.\n")
    assert inventory(clients) == before


def test_a_person_deploys_into_a_bucket_of_their_own_and_takes_it_away(clients: Clients, terminal: Terminal) -> None:
    before = inventory(clients)
    child = terminal("deploy", "--stack", NAME, "--region", "us-east-1")
    child.expect_exact("Data bucket [")
    child.sendline("cats-of-a-person")
    child.expect_exact("none [none]: ")
    child.sendline("me@example.org")
    child.expect(SURE)
    assert "Notifications/EmailSubscription" in str(child.before)
    child.sendline("yes")
    status, text = end(child)
    assert status == 0, text
    assert "CREATE_COMPLETE     Training/Bucket" in text
    outputs = StackOutputs.load(clients, NAME)
    lines = [line.partition(" ") for line in text.partition("output")[2].splitlines()[1:]]
    shown = {name: value.strip() for name, _, value in lines}
    assert shown == {name: str(value) for name, value in outputs.to_dict().items()}
    assert (outputs.bucket, outputs.has_cache) == ("cats-of-a-person", False)

    child = terminal("deploy", "--stack", NAME)
    child.expect_exact("AWS region [us-east-1]: ")
    child.sendline("")
    child.expect_exact("E-mail for training messages, or none [me@example.org]: ")  # nothing asks for the bucket
    child.sendline("none")
    child.expect(SURE)
    rows = [line.split() for line in str(child.before).splitlines()]
    assert ["Remove", "Notifications/EmailSubscription", "SNS::Subscription"] in rows
    child.sendline("no")
    assert end(child)[0] == 1
    assert StackOutputs.load(clients, NAME) == outputs

    child = terminal("cleanup", "--stack", NAME)
    child.expect_exact("Enter the stack's name to delete all of this [keep it]: ")
    assert "cats-of-a-person" in str(child.before)
    child.sendline("snn")
    assert end(child) == (1, "Not the stack's name: nothing was deleted.\n")
    assert StackOutputs.load(clients, NAME) == outputs
    child = terminal("cleanup", "--stack", NAME)
    child.expect_exact("[keep it]: ")
    assert interrupted(child) == "Nothing was deleted."
    child = terminal("cleanup", "--stack", NAME)
    child.expect_exact("[keep it]: ")
    child.sendline(NAME)
    status, text = end(child)
    assert status == 0
    assert f"deleting the stack {NAME}\n" in text
    assert f"DELETE_COMPLETE     {NAME}" in text
    assert f"DynamoDB keeps a backup of {NAME}-runs for 35 days" in text
    assert inventory(clients) == before


def test_ctrl_c_at_a_question_changes_nothing(clients: Clients, terminal: Terminal) -> None:
    before = inventory(clients)
    child = terminal("deploy")
    child.expect_exact("AWS region [us-east-1]: ")
    assert interrupted(child) == "Nothing was changed."
    child = terminal("deploy", "--stack", NAME, "--region", "us-east-1", "--email", "", "--bucket", "a-new-one")
    child.expect(SURE)
    assert interrupted(child) == "Nothing was changed."
    assert inventory(clients) == before


def test_ctrl_c_while_it_works_says_how_to_go_on_and_that_does(
    clients: Clients, terminal: Terminal, script: Any, gate: Gate, data: bytes
) -> None:
    command = ("deploy", "--yes", "--stack", NAME, "--region", "us-east-1")
    deploy, cleanup = (f"snn {name} --stack {NAME} --region us-east-1" for name in ("deploy", "cleanup"))
    with gate.holding(f"PUT /{ARTIFACTS}/templates/training") as held:
        child = terminal(*command)
        assert held.wait(60)
        assert interrupted(child) == (
            f"Nothing is deployed yet; what was uploaded is kept. {deploy} continues from there, {cleanup} deletes it."
        )
    assert stack_status(clients, NAME).status == "MISSING"
    with gate.holding("Action=DescribeStacks&Version=2010-05-15&StackName=arn") as held:
        child = terminal(*command)
        assert held.wait(60)
        assert interrupted(child) == (
            f"CloudFormation continues: {deploy} follows it; once it has finished, {cleanup} deletes the stack."
        )

    done = script(*command, "--json")
    assert done.returncode == 0, done.stderr
    outputs = StackOutputs.load(clients, NAME)
    assert json.loads(done.stdout) == outputs.to_dict()
    assert f"the stack {NAME} is up to date\n" in done.stderr

    listed = script("cleanup", "--stack", NAME, "--region", "us-east-1", "--dry-run", "--json")
    assert json.loads(listed.stdout) == plan(clients, NAME).to_dict()
    clients.s3.put_object(Bucket=outputs.bucket, Key="runs/x/results.json", Body=b"{}")
    again = ("cleanup", "--yes", "--stack", NAME, "--region", "us-east-1")
    with gate.holding("Action=DeleteStack") as held:
        child = terminal(*again)
        assert held.wait(60)
        left = len(plan(clients, NAME).items)
        assert interrupted(child) == f"{left} resources of the stack {NAME} are left; continue with: {cleanup}"
    assert stack_status(clients, NAME).status == "CREATE_COMPLETE"
    assert clients.s3.list_objects_v2(Bucket=outputs.bucket)["KeyCount"] == 0
    gone = script(*again, "--json")
    assert gone.returncode == 0, gone.stderr
    assert json.loads(gone.stdout)["stack_name"] == NAME
    assert plan(clients, NAME).items == ()


def test_what_is_under_way_already_is_followed_first(
    clients: Clients, environment: dict[str, str], terminal: Terminal
) -> None:
    waits = {"Parameters": {"ArtifactBucket": {"Type": "String", "Default": ARTIFACTS}}, "Resources": {
        "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
        "Waits": {"Type": "AWS::CloudFormation::WaitCondition", "Properties": {"Handle": {"Ref": "Handle"},
                  "Timeout": "600", "Count": 1}},
    }}  # fmt: skip
    clients.cloudformation.create_stack(StackName=NAME, TemplateBody=json.dumps(waits))
    follows = f"the stack {NAME} is CREATE_IN_PROGRESS: waiting for that to finish first"
    child = terminal("deploy", "--yes", "--stack", NAME)
    child.expect_exact(follows)
    assert interrupted(child).startswith(f"CloudFormation continues: snn deploy --stack {NAME} follows it;")

    command = [SNN, "deploy", "--yes", "--stack", NAME, "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as goes:
        assert goes.stderr is not None
        lines: list[str] = []
        while lines[-1:] != [f"{follows}\n"]:
            lines.append(goes.stderr.readline())
            assert lines[-1], lines  # it has not ended
        handle = clients.cloudformation.describe_stack_resource(StackName=NAME, LogicalResourceId="Handle")
        url = handle["StackResourceDetail"]["PhysicalResourceId"]  # type: ignore[typeddict-item]
        signal = json.dumps({"Status": "FAILURE", "Reason": "enough", "UniqueId": "1", "Data": ""}).encode()
        request = urllib.request.Request(url, signal, {"Content-Type": ""}, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        stdout, rest = goes.communicate(timeout=60)
    assert goes.returncode == 0, lines
    steps = [line.split() for line in rest.splitlines()]
    failed = next(place for place, words in enumerate(steps) if words[:2] == ["CREATE_FAILED", "Waits"])
    for status in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"):  # in a pipe every step is told
        assert [status, "Training/Ledger", "DynamoDB::Table"] in steps[failed:]
    assert json.loads(stdout) == StackOutputs.load(clients, NAME).to_dict()


def test_a_deployment_that_fails_names_the_first_failure_and_leaves_no_stack(clients: Clients, script: Any) -> None:
    done = script("deploy", "--yes", "--stack", NAME, "--layer-arn", MISSING_LAYER)
    assert (done.returncode, done.stdout) == (1, "")
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: the stack {NAME} could not be deployed: Training")
    assert f"Layer version {MISSING_LAYER} does not exist" in error
    assert "Traceback" not in done.stderr
    assert stack_status(clients, NAME).status == "MISSING"
    gone = script("cleanup", "--yes", "--stack", NAME, "--json")
    assert gone.returncode == 0
    assert json.loads(gone.stdout)["deleted"][-1]["name"] == ARTIFACTS  # the emulator leaves more of a failed creation
    assert plan(clients, NAME).items == ()


def test_a_stack_in_use_is_only_taken_away_with_its_runs(clients: Clients, script: Any, data: bytes) -> None:
    outputs = deploy_stack(clients, StackOptions.from_environment(stack_name=NAME, with_cache=False))
    key = places.input_dataset("going", "0" * 64)
    clients.s3.put_object(Bucket=outputs.bucket, Key=key, Body=data)
    runs.launch(clients, outputs, "going", key, Parameters.load(ENDLESS))
    refused = script("cleanup", "--stack", NAME, "--yes")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"error: stack {NAME}: runs: not ended: going (wait for them, or use --cancel-runs)"
    )
    assert Ledger(clients.dynamodb, outputs.table).get("going").state in (State.PENDING, State.RUNNING)
    done = script("cleanup", "--stack", NAME, "--yes", "--cancel-runs")
    assert done.returncode == 0, done.stderr
    assert "cancelling run going\n" in done.stderr
    assert done.stdout.splitlines()[0].startswith("deleted ")
    assert stack_status(clients, NAME).status == "MISSING"
