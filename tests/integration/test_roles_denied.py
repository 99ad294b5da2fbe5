"""Each role and each policy in docs: no permission that nothing needs, and nothing else allowed.

On an emulator that enforces IAM. `make test` takes one permission from each role, `make test-iam` one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from permissions import DOCUMENTED, PERMISSIONS, ROLES, Permission
from role_needs import BY_OTHER_MEANS, NEEDED, is_about
from role_work import Work, asked
from strict import STACK, Strict

from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger

pytestmark = pytest.mark.usefixtures("at_strict")


@pytest.fixture(scope="module")
def work(strict: Strict, tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(strict, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def done() -> set[int]:
    """Rows of NEEDED whose work was seen to be done by whoever has all of their permissions."""
    return set()


def removals() -> list[Any]:
    """Return the permissions that something needs; of each role all but one are for `make test-iam`."""
    begun, found = set[str](), []
    for number, (row, *_) in enumerate(NEEDED):
        for permission in (item for item in PERMISSIONS if is_about(row, item)):
            marks = [pytest.mark.slow] if permission.who in begun else []
            begun.add(permission.who)
            found.append(pytest.param(permission, number, id=str(permission), marks=marks))
    return found


def test_each_permission_is_needed_by_something_that_a_test_does_or_has_another_proof() -> None:
    needed, otherwise = [row for row, *_ in NEEDED], [row for row, _ in BY_OTHER_MEANS]
    for item in PERMISSIONS:
        rows = [row for row in needed if is_about(row, item)] or [row for row in otherwise if is_about(row, item)]
        assert len(rows) == 1, f"{item}: {rows or 'nothing needs it'}"
    for row in needed + otherwise:
        assert any(is_about(row, item) for item in PERMISSIONS), f"{row}: there is no such permission"


def test_no_role_is_forgotten() -> None:
    everyone = {*ROLES, *DOCUMENTED}
    assert {permission.who for permission in PERMISSIONS} == everyone == set(FORBIDDEN)
    assert {row.split()[0] for row, *_ in NEEDED} == everyone


@pytest.mark.parametrize(("permission", "row"), removals())
def test_without_a_permission_what_needs_it_fails_where_a_user_sees_it(
    strict: Strict, work: Work, done: set[int], permission: Permission, row: int
) -> None:
    _, need, message = NEEDED[row]
    may = strict.of(permission.who)
    if row not in done:
        assert need(work, may, permission) == ""
        done.add(row)
    with strict.lacking(permission):
        assert re.search(message, need(work, may, permission))


EVENT = {"timestamp": 1, "message": "x"}
ITEM = {"run_id": {"S": "x"}, "item": {"S": "run"}}

# What each must not do, asked for with its own credentials.
FORBIDDEN: dict[str, list[Callable[[Clients, Work], object]]] = {
    "LaunchRole": [
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key=places.PROMOTED_PARAMS, Body=b""),
        lambda may, work: may.s3.delete_object(Bucket=work.stack.bucket, Key="runs/x"),
        lambda may, work: may.s3.list_objects_v2(Bucket=work.stack.bucket),
        lambda may, work: may.s3.get_object(Bucket=work.stack.artifact_bucket, Key="code/x.zip"),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.neuron_function, Payload=b"{}"),
        lambda may, work: may.dynamodb.scan(TableName=work.stack.table),
    ],
    "TrainerRole": [
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key="training_input/x/datasets.h5", Body=b""),
        lambda may, work: may.s3.delete_object(Bucket=work.stack.bucket, Key="runs/x"),
        lambda may, work: may.dynamodb.delete_item(TableName=work.stack.table, Key=ITEM),
        lambda may, work: may.lambda_.update_function_code(FunctionName=work.stack.neuron_function, ZipFile=b"x"),
        lambda may, work: may.sns.subscribe(TopicArn=work.stack.topic_arn, Protocol="email", Endpoint="a@b.example"),
        lambda may, work: may.sqs.send_message(QueueUrl=work.dead_letters, MessageBody="{}"),
    ],
    "NeuronRole": [
        lambda may, work: may.s3.get_object(Bucket=work.stack.bucket, Key="runs/x"),
        lambda may, work: Ledger(may.dynamodb, work.stack.table).find("x"),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.neuron_function, Payload=b"{}"),
        lambda may, work: may.sns.publish(TopicArn=work.stack.topic_arn, Message="x"),
        lambda may, work: may.logs.put_log_events(
            logGroupName=f"/aws/lambda/{STACK}-TrainerLambda", logStreamName="x", logEvents=[EVENT]),
    ],
    "EventRole": [
        lambda may, work: Ledger(may.dynamodb, work.stack.table).find("x"),
        lambda may, work: may.s3.get_object(Bucket=work.stack.bucket, Key="runs/x"),
        lambda may, work: may.sns.publish(TopicArn=work.stack.topic_arn, Message="x"),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.launch_function, Payload=b"{}"),
        lambda may, work: may.sqs.send_message(QueueUrl=work.new_data, MessageBody="{}"),
    ],
    "PredictRole": [
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key=places.PROMOTED_PARAMS, Body=b""),
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key="runs/x/params.h5", Body=b""),
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key="batch_input/x", Body=b""),
        lambda may, work: may.s3.get_object(Bucket=work.stack.bucket, Key="predictions/x"),
        lambda may, work: may.s3.delete_object(Bucket=work.stack.bucket, Key="predictions/x"),
        lambda may, work: may.s3.delete_object(Bucket=work.stack.bucket, Key="models/x"),
        lambda may, work: may.s3.list_objects_v2(Bucket=work.stack.bucket),
        lambda may, work: may.dynamodb.put_item(TableName=work.stack.table, Item=ITEM),
        lambda may, work: may.dynamodb.delete_item(TableName=work.stack.table, Key=ITEM),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.launch_function, Payload=b"{}"),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.predict_function, Payload=b"{}"),
    ],
    "FeatureRole": [
        lambda may, work: may.s3.get_object(Bucket=work.stack.bucket, Key="runs/x"),
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key="backbones/x.onnx", Body=b""),
        lambda may, work: may.s3.delete_object(Bucket=work.stack.bucket, Key="features/x"),
        lambda may, work: may.s3.list_objects_v2(Bucket=work.stack.bucket, Prefix="photos/"),
        lambda may, work: Ledger(may.dynamodb, work.stack.table).find("x"),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.feature_function, Payload=b"{}"),
    ],
    "NotebookRole": [
        lambda may, work: may.s3.put_object(Bucket=work.stack.bucket, Key=places.PROMOTED_PARAMS, Body=b""),
        lambda may, work: may.s3.put_object(Bucket=work.stack.artifact_bucket, Key="notebook/x", Body=b""),
        lambda may, work: may.s3.get_object(Bucket=work.stack.artifact_bucket, Key="code/x.zip"),
        lambda may, work: may.s3.list_objects_v2(Bucket=work.stack.bucket, Prefix="training_input/"),
        lambda may, work: may.s3.delete_object(Bucket=work.stack.bucket, Key="runs/x"),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.trainer_function, Payload=b"{}"),
        lambda may, work: may.dynamodb.put_item(TableName=work.stack.table, Item=ITEM),
        lambda may, work: may.cloudformation.delete_stack(StackName=STACK),
    ],
    "operator": [
        lambda may, work: may.dynamodb.delete_table(TableName=work.stack.table),
        lambda may, work: may.sns.subscribe(TopicArn=work.stack.topic_arn, Protocol="email", Endpoint="a@b.example"),
        lambda may, work: may.s3.put_object(Bucket=work.stack.artifact_bucket, Key="code/x.zip", Body=b""),
        lambda may, work: may.lambda_.invoke(FunctionName=work.stack.trainer_function, Payload=b"{}"),
        lambda may, work: may.cloudformation.delete_stack(StackName=STACK),
        lambda may, work: may.sqs.purge_queue(QueueUrl=work.new_data),
    ],
    "deployer": [
        lambda may, work: may.s3.list_objects_v2(Bucket=work.stack.bucket),
        lambda may, work: may.dynamodb.delete_table(TableName=work.stack.table),
        lambda may, work: may.cloudformation.delete_stack(StackName=STACK),
        lambda may, work: may._make("iam").create_user(UserName="another"),
        lambda may, work: may._make("iam").put_role_policy(RoleName="another", PolicyName="x", PolicyDocument="{}"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("who", FORBIDDEN)
def test_nobody_may_do_what_is_not_theirs(strict: Strict, work: Work, who: str) -> None:
    may = strict.of(who)
    everyone: list[Callable[[Clients, Work], object]] = [
        lambda may, work: may.s3.list_buckets(),
        lambda may, work: may._make("iam").list_users(),
    ]
    assert len(FORBIDDEN[who]) >= 3
    for number, forbidden in enumerate([*FORBIDDEN[who], *everyone]):
        assert asked(lambda forbidden=forbidden: forbidden(may, work)), f"number {number} of {who}'s was allowed"  # type: ignore[misc]


def test_who_asks_is_who_the_test_says(strict: Strict, work: Work) -> None:
    """Without this a denial would show nothing: the emulator knows these as the roles and users they are."""
    for who in FORBIDDEN:
        arn = strict.of(who).sts.get_caller_identity()["Arn"]
        assert f"-{who.removeprefix('Notebook')}-" in arn or arn.endswith(f":user/{who}")
