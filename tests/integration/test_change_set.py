"""What a deployment would change is told before, and a bucket of one's own name is kept for the stack's life."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cfnlint.decode import decode_str
from inventory import inventory

from snn.errors import InvalidInput
from snn_client.stack.belongings import plan
from snn_client.stack.change_set import Change, apply, discard, propose
from snn_client.stack.cleanup import clean_up, forget_artifacts
from snn_client.stack.deploy import deploy_stack, finish_deploy
from snn_client.stack.events import StackEvent, follow
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.package import templates
from snn_client.stack.status import stack_status, wait_for_stack
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed

NAME = "snn-changes"
ARTIFACTS = f"{NAME}-artifacts-000000000000-us-east-1"
OTHERS = {"AWS_ACCESS_KEY_ID": "111111111111", "AWS_SECRET_ACCESS_KEY": "test"}


def options(**overrides: Any) -> StackOptions:
    return StackOptions.from_environment(**{"stack_name": NAME, "with_cache": False, **overrides})


def silent(line: str) -> None:
    pass


@pytest.fixture(autouse=True)
def _nothing_stays(clients: Clients) -> Iterator[None]:
    before = inventory(clients)
    yield
    clean_up(clients, NAME)
    assert inventory(clients) == before


def test_changes_are_told_and_made_or_left(clients: Clients) -> None:
    before = inventory(clients)
    new = propose(clients, options(), silent)
    assert new is not None
    assert new.whole
    assert {change.action for change in new.changes} == {"Add"}
    assert Change("Add", "Training/Bucket", "AWS::S3::Bucket", "") in new.changes
    outer = [change.resource for change in new.changes if change.kind == "AWS::CloudFormation::Stack"]
    assert outer == ["Notifications", "Predict", "Training"]
    assert len(new.changes) == 3 + 2 + 20 + 7  # nested stacks, and what is in them without cache, e-mail and TLS
    discard(clients, new)
    assert stack_status(clients, NAME).status == "MISSING"
    forget_artifacts(clients, NAME)
    assert inventory(clients) == before

    again = propose(clients, options(), silent)
    assert again is not None
    assert again.changes == new.changes
    events: list[StackEvent] = []
    operation = apply(clients, again)
    wait_for_stack(clients, operation, silent, on_event=events.append)
    outputs = finish_deploy(clients, NAME, operation)
    assert outputs == StackOutputs.load(clients, NAME)
    done = {event.resource for event in events if event.status == "CREATE_COMPLETE"}
    assert done == {NAME, *(change.resource for change in again.changes)}
    assert [event.time for event in events] == sorted(event.time for event in events)
    lines: list[str] = []
    assert propose(clients, options(), lines.append) is None
    assert lines == [f"checking what would change in the stack {NAME}", f"the stack {NAME} is up to date"]

    there = inventory(clients)
    more = propose(clients, options(log_retention_days=7), silent)
    assert more is not None
    modified = {change.resource: change for change in more.changes}
    assert modified["Training/NeuronLogs"].action == "Modify"
    assert modified["Training/NeuronLogs"].replacement in ("False", "Conditional")
    assert "Notifications" not in modified
    discard(clients, more)
    assert inventory(clients) == there
    forget_artifacts(clients, NAME)  # not those of a stack that is there
    assert inventory(clients) == there
    with pytest.raises(StackFailed, match=rf"^the stack {NAME} could not be deployed: .* someone else deploy it"):
        apply(clients, more)

    # What is told of an operation is that operation: nothing of the creation before.
    changes = propose(clients, options(log_retention_days=7), silent)
    assert changes is not None
    news = follow(clients, apply(clients, changes))
    wait_for_stack(clients, changes.stack_id, silent)
    told = news()
    assert told[0].status == "UPDATE_IN_PROGRESS"
    assert {event.status.partition("_")[0] for event in told} == {"UPDATE"}
    assert "Training/NeuronLogs" in {event.resource for event in told}
    assert news() == []


def waiting(clients: Clients) -> set[str]:
    """Return the change sets that could be executed, or could not any more."""
    listed = clients.cloudformation.list_change_sets(StackName=NAME)["Summaries"]
    return {item["ChangeSetId"] for item in listed if not item["ExecutionStatus"].startswith("EXECUTE")}


def test_who_looks_at_the_same_stack_is_not_in_the_way_of_others(clients: Clients) -> None:
    first, second = propose(clients, options(), silent), propose(clients, options(), silent)
    assert first is not None
    assert second is not None
    assert (first.stack_id, first.changes) == (second.stack_id, second.changes)
    assert waiting(clients) == {first.arn, second.arn}
    discard(clients, first)
    assert waiting(clients) == {second.arn}
    assert stack_status(clients, NAME).status == "REVIEW_IN_PROGRESS"
    # What asks nobody, such as a DAG, waits for nobody; and who is asked hears of it.
    outputs = deploy_stack(clients, options())
    refused = rf"^the stack {NAME} could not be deployed: .* did someone else deploy it in the meantime\?$"
    with pytest.raises(StackFailed, match=refused):
        apply(clients, second)
    assert waiting(clients) == set()
    assert StackOutputs.load(clients, NAME) == outputs

    late, quick = (propose(clients, options(log_retention_days=days), silent) for days in (7, 14))
    assert late is not None
    assert quick is not None
    wait_for_stack(clients, apply(clients, quick), silent)
    with pytest.raises(StackFailed, match=refused):
        apply(clients, late)
    obsolete = propose(clients, options(log_retention_days=7), silent)
    assert obsolete is not None
    deploy_stack(clients, options(log_retention_days=30))
    assert waiting(clients) == {obsolete.arn}
    with pytest.raises(StackFailed, match=refused):
        apply(clients, obsolete)
    assert waiting(clients) == set()
    groups = clients.logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{outputs.neuron_function}")["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [30]


def test_an_interrupt_leaves_no_change_set(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inventory(clients)
    describe = clients.cloudformation.describe_change_set

    def interrupt(**request: Any) -> Any:
        assert stack_status(clients, NAME).status == "REVIEW_IN_PROGRESS"
        monkeypatch.setattr(clients.cloudformation, "describe_change_set", describe)
        raise KeyboardInterrupt

    delete, refused = clients.cloudformation.delete_change_set, list[str]()

    def refuse(**request: Any) -> Any:  # as AWS does while a change set is being made
        refused.append(request["ChangeSetName"])
        if len(refused) == 1:
            raise ClientError({"Error": {"Code": "InvalidChangeSetStatus", "Message": "not yet"}}, "DeleteChangeSet")
        return delete(**request)

    monkeypatch.setattr(clients.cloudformation, "delete_change_set", refuse)
    monkeypatch.setattr(clients.cloudformation, "describe_change_set", interrupt)
    with pytest.raises(KeyboardInterrupt):
        propose(clients, options(), silent)
    assert stack_status(clients, NAME).status == "MISSING"
    assert inventory(clients)["stacks"] == before["stacks"]
    assert len(refused) == 2


def test_a_change_set_that_nobody_finished_goes_with_a_cleanup(clients: Clients) -> None:
    before = inventory(clients)
    assert propose(clients, options(), silent) is not None  # and whoever asked was killed
    assert [item.name for item in plan(clients, NAME).items] == [NAME, ARTIFACTS]
    clean_up(clients, NAME)
    assert inventory(clients) == before
    clients.cloudformation.create_change_set(
        StackName=NAME, ChangeSetName="theirs", ChangeSetType="CREATE",
        TemplateBody=json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match=f"{NAME} was not deployed by snn"):
        plan(clients, NAME)
    clients.cloudformation.delete_stack(StackName=NAME)


def test_what_nested_stacks_cannot_tell_before_does_not_stop_a_deployment(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = templates()
    training = decode_str(texts["training"])[0]
    training["Parameters"]["TopicArn"]["AllowedPattern"] = "arn:.*"  # which a new topic has not got yet
    strict = {**texts, "training": json.dumps(training)}
    monkeypatch.setattr("snn_client.stack.artifacts.templates", lambda: dict(strict))
    changes = propose(clients, options(), silent)
    assert changes is not None
    assert not changes.whole
    assert [change.resource for change in changes.changes] == ["Notifications", "Predict", "Training"]
    operation = apply(clients, changes)
    wait_for_stack(clients, operation, silent)
    assert finish_deploy(clients, NAME, operation).stack_name == NAME


def test_a_bucket_of_ones_own_name_is_kept(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inventory(clients)
    outputs = deploy_stack(clients, options(bucket="cats-and-others"))
    assert outputs.bucket == "cats-and-others"
    made = inventory(clients)["buckets"] - before["buckets"]
    assert made == {"cats-and-others", ARTIFACTS}
    told = clients.lambda_.get_function_configuration(FunctionName=outputs.launch_function)["Environment"]["Variables"]
    assert told["BUCKET"] == "cats-and-others"
    role = clients.cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
    assert {"ParameterKey": "BucketName", "ParameterValue": "cats-and-others"} in role["Parameters"]

    # Who says nothing, or nothing new, keeps it; another name is refused, and nothing is touched.
    for said in (options(), options(bucket=""), options(bucket="cats-and-others"), StackOptions(
        NAME, runtime=options().runtime, architecture=options().architecture
    )):  # fmt: skip
        assert deploy_stack(clients, said) == outputs
    there = inventory(clients)
    with pytest.raises(InvalidInput) as refused:
        deploy_stack(clients, options(bucket="dogs-and-others"))
    assert str(refused.value) == (
        "stack options: bucket: dogs-and-others cannot replace cats-and-others (leave it out: a stack keeps "
        "its bucket, and the data in it)"
    )
    assert inventory(clients) == there

    # A cleanup finds it even when CloudFormation was made to keep it and the stack is gone.
    clients.s3.put_object(Bucket="cats-and-others", Key="runs/x/results.json", Body=b"x")
    (training,) = [item.name for item in plan(clients, NAME).items if item.kind == "stack" and "-T" in item.name]
    for stack, keep in ((NAME, []), (NAME, ["Training"]), (training, ["Bucket"])):
        stack_id = clients.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
        clients.cloudformation.delete_stack(StackName=stack, RetainResources=keep)
        wait_for_stack(clients, stack_id, silent)
    left = plan(clients, NAME)
    assert (left.stack_ids, [item.name for item in left.items]) == ((), ["cats-and-others", ARTIFACTS])
    clean_up(clients, NAME)
    assert inventory(clients) == before


def test_a_bucket_that_is_there_is_nobodys_to_take(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name, value in OTHERS.items():
            patch.setenv(name, value)
        other = Clients.from_environment()
        other.s3.create_bucket(Bucket="theirs-in-the-world")
    clients.s3.create_bucket(Bucket="ours-already")
    try:
        before = inventory(clients)
        for name in ("theirs-in-the-world", "ours-already"):
            with pytest.raises(InvalidInput) as refused:
                deploy_stack(clients, options(bucket=name))
            assert str(refused.value) == (
                f"stack options: bucket: there is already a bucket {name} (bucket names are unique across all of S3: "
                "choose another, or leave it out)"
            )
        assert inventory(clients) == before
    finally:
        clients.s3.delete_bucket(Bucket="ours-already")
        other.s3.delete_bucket(Bucket="theirs-in-the-world")
