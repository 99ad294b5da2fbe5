"""Stacks taken away on the emulator: whole, nothing else, and in spite of what comes in between."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import oracle
import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from botocore.exceptions import ClientError
from inventory import contents, inventory, versions
from small import wait_for_last_word, wait_until

from snn.errors import InvalidInput
from snn_client.runs import runs
from snn_client.stack.cleanup import clean_up, finish_cleanup, next_deletion, plan, start_cleanup
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import stack_status, wait_for_stack
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, StackFailed
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State
from snn_operators.cleanup import SnnCleanupOperator
from snn_operators.trigger import StackTrigger

ONE, TWO = "snn-one", "snn-one-two"  # the first name begins the second
AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
SMALL = oracle.small_network((4, 1), ("relu", "sigmoid"), epochs=3)
ENDLESS = {**SMALL, "epochs": 10_000_000, "learning_rate": 1e-9}
Deploy = Callable[..., StackOutputs]


@pytest.fixture
def deploy(clients: Clients) -> Iterator[Deploy]:
    """Deploy a stack, without a cache; none stays."""

    def deploy(name: str, **options: Any) -> StackOutputs:
        return deploy_stack(clients, StackOptions.from_environment(stack_name=name, **{"with_cache": False, **options}))

    yield deploy
    for name in (ONE, TWO):
        clean_up(clients, name, cancel_runs=True)


def start(clients: Clients, stack: StackOutputs, data: bytes, run_id: str, parameters: dict[str, Any]) -> str:
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    runs.launch(clients, stack, run_id, key, Parameters.load(parameters))
    return run_id


def ended(clients: Clients, stack: StackOutputs, run_id: str) -> State:
    ledger, deadline = Ledger(clients.dynamodb, stack.table), time.monotonic() + 60
    while (run := ledger.find(run_id)) is None or not run.state.is_terminal:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return run.state


def use(clients: Clients, stack: StackOutputs, data: bytes) -> None:
    """Train a run, and another that an upload starts."""
    assert ended(clients, stack, start(clients, stack, data, "used", SMALL)) is State.COMPLETED
    wait_for_last_word(clients, stack, "used")
    folder = f"{places.UPLOAD_PREFIX}photos/"
    clients.s3.put_object(Bucket=stack.bucket, Key=f"{folder}parameters.json", Body=json.dumps(SMALL))
    key = f"{folder}datasets.h5"
    version = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)["VersionId"]
    uploaded = runs.run_id_for_upload(stack.bucket, key, version)
    assert ended(clients, stack, uploaded) is State.COMPLETED
    wait_for_last_word(clients, stack, uploaded)


def held_by(clients: Clients, stack: StackOutputs) -> dict[str, Any]:
    """Return what is in a stack's buckets, table, log groups and functions."""
    there = inventory(clients)
    functions = {stack.launch_function, stack.trainer_function, stack.neuron_function, stack.predict_function}
    theirs = {
        "buckets": there["buckets"] & {stack.bucket, stack.artifact_bucket},
        "tables": there["tables"] & {stack.table},
        "functions": there["functions"] & functions,
        "log groups": there["log groups"] & {f"/aws/lambda/{name}" for name in functions},
    }
    return contents(clients, theirs)


def test_a_used_stack_goes_whole_and_one_of_a_longer_name_stays_untouched(
    clients: Clients, deploy: Deploy, data: bytes
) -> None:
    two = deploy(TWO)
    use(clients, two, data)
    before = inventory(clients)
    held = held_by(clients, two)
    assert len(held) == 2 * 2 + 1 + 4 + 4  # buckets with their notifications, table, functions, log groups
    assert held[f"log group /aws/lambda/{two.launch_function}"]
    # Two runs, and the costs of their epochs: in one item if they were flushed at once, in more on a slow machine.
    items = held[f"table {two.table}"]
    assert sum("'state': " in item for item in items) == 2
    registry = ("'model", "'#models", "'endpoint")
    runs = [item for item in items if not any(name in item.split("'}", 1)[0] for name in registry)]
    assert {item.split("'}", 1)[0] for item in runs if "'costs#" in item} == {item.split("'}", 1)[0] for item in runs}

    one = deploy(ONE, with_cache=True)
    use(clients, one, data)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: clients.s3.put_object(Bucket=one.bucket, Key=f"runs/many/{i % 550}"), range(1100)))
        list(pool.map(lambda i: clients.s3.delete_object(Bucket=one.bucket, Key=f"runs/many/{i}"), range(50)))
    there, found = inventory(clients), held_by(clients, one)

    wanted = plan(clients, ONE)
    assert (inventory(clients), held_by(clients, one)) == (there, found)
    made = {kind: names - before[kind] for kind, names in there.items()}
    items = {kind: {item.name for item in wanted.items if item.kind == kind} for kind in ("stack", "bucket", "function",
             "table", "log group", "queue", "topic", "IAM::Role", "IAM::ManagedPolicy", "EC2::VPC")}  # fmt: skip
    assert items == {
        "stack": made["stacks"], "bucket": made["buckets"], "function": made["functions"], "table": made["tables"],
        "log group": made["log groups"], "queue": {item.replace("127.0.0.1", "localhost") for item in made["queues"]},
        "topic": made["topics"], "IAM::Role": made["roles"], "IAM::ManagedPolicy": made["policies"],
        "EC2::VPC": made["networks"],
    }  # fmt: skip
    stacks = [item.name for item in wanted.items if item.kind == "stack"]
    assert [name.removeprefix(f"{ONE}-").split("-")[0] for name in stacks] == [
        "Predict", "Training", "Cache", "Network", "Notifications", "snn",
    ]  # fmt: skip
    listed = {item.name: item for item in wanted.items}
    in_bucket = versions(clients, one.bucket)
    assert (listed[one.bucket].count, listed[one.bucket].size) == (
        len(in_bucket),
        sum(size for *_, size in in_bucket if size > 0),
    )
    assert len(in_bucket) > 1150
    assert listed[one.table].count == len(found[f"table {one.table}"]) >= 4
    assert wanted.items[-1].name == one.artifact_bucket
    assert wanted.runs == ()

    lines: list[str] = []
    report = clean_up(clients, ONE, on_progress=lines.append)
    assert inventory(clients) == before
    assert held_by(clients, two) == held
    assert report.deleted == wanted.items
    assert report.stays == (f"DynamoDB keeps a backup of {one.table} for 35 days, free of charge, then deletes it",)
    assert [line for line in lines if not line.startswith("DELETE_")] == [
        f"emptied the bucket {one.bucket}: {len(in_bucket):,} versions",
        f"deleting the stack {ONE}",
        f"deleting the bucket {one.artifact_bucket}",
        f"emptied the bucket {one.artifact_bucket}: 11 versions",
    ]
    assert ended(clients, two, start(clients, two, data, "later", SMALL)) is State.COMPLETED
    again = clean_up(clients, ONE)
    assert (again.deleted, again.stays) == ((), ())


class Interrupted(Exception):
    """Stands for a worker that is killed."""


@pytest.mark.parametrize("at", [
    "emptied the bucket", "deleting the stack",
    *(pytest.param(at, marks=pytest.mark.slow) for at in ("deleting the log group", "deleting the b")),
])  # fmt: skip
def test_an_interrupted_cleanup_is_finished_by_the_next(clients: Clients, deploy: Deploy, data: bytes, at: str) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    start(clients, one, data, "used", SMALL)
    ended(clients, one, "used")

    def interrupt(line: str) -> None:
        if line == "DELETE_COMPLETE":  # whoever has the right to made it again
            clients.logs.create_log_group(logGroupName=f"/aws/lambda/{one.trainer_function}")
        if line.startswith(at):
            raise Interrupted

    with pytest.raises(Interrupted):
        clean_up(clients, ONE, on_progress=interrupt)
    left = inventory(clients)
    assert one.artifact_bucket in left["buckets"] - before["buckets"]
    assert (ONE in left["stacks"]) == (at in ("emptied the bucket", "deleting the stack"))
    clean_up(clients, ONE)
    assert inventory(clients) == before


def test_runs_that_are_not_over_make_it_refuse_and_nothing_is_changed(
    clients: Clients, deploy: Deploy, data: bytes
) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    start(clients, one, data, "going", ENDLESS)
    ledger = Ledger(clients.dynamodb, one.table)
    deadline = time.monotonic() + 30
    while ledger.get("going").state is not State.RUNNING or not ledger.get("going").epoch:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    there = inventory(clients)
    assert plan(clients, ONE).runs == ("going",)
    with pytest.raises(InvalidInput) as refused:
        clean_up(clients, ONE)
    assert str(refused.value) == f"stack {ONE}: runs: not ended: going (wait for them, or set cancel_runs)"
    assert inventory(clients) == there
    seen = ledger.get("going")
    wait_until(lambda: ledger.get("going").epoch > seen.epoch, "it did not go on")
    assert ledger.get("going").state is State.RUNNING
    assert ended(clients, one, start(clients, one, data, "other", SMALL)) is State.COMPLETED  # it may still be launched

    told: dict[str, Any] = {}

    def look(line: str) -> None:
        if line == "cancelling run going":
            told["cancelling"] = ledger.get("going").state
        if line.startswith("emptied") and "emptied" not in told:
            told["emptied"] = ledger.get("going").state
            with pytest.raises(ClientError, match="TooManyRequestsException"):
                runs.launch(clients, one, "late", places.input_dataset("other", "0" * 64), Parameters.load(SMALL))

    clean_up(clients, ONE, cancel_runs=True, on_progress=look)
    assert (told["cancelling"], told["emptied"]) == (State.RUNNING, State.CANCELLED)
    assert inventory(clients) == before


def test_a_run_that_slips_in_makes_it_refuse_and_may_go_on(
    clients: Clients, deploy: Deploy, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = deploy(ONE)
    pause = clients.lambda_.put_function_concurrency

    def slip_in(**request: Any) -> Any:
        start(clients, one, data, "slips", ENDLESS)
        return pause(**request)

    wanted = plan(clients, ONE)
    monkeypatch.setattr(clients.lambda_, "put_function_concurrency", slip_in)
    with pytest.raises(InvalidInput, match="not ended: slips "):
        start_cleanup(clients, wanted)
    assert "Concurrency" not in clients.lambda_.get_function(FunctionName=one.launch_function)
    assert runs.cancel(clients, one, "slips").state is not State.FAILED
    assert ended(clients, one, "slips") is State.CANCELLED


def test_what_is_written_meanwhile_is_emptied_and_the_stack_deleted_again(clients: Clients, deploy: Deploy) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/early", Body=b"x")
    lines: list[str] = []

    def write(line: str) -> None:
        if line.startswith("deleting the stack") and line not in lines:
            clients.s3.put_object(Bucket=one.bucket, Key="runs/x/late", Body=b"x")
        lines.append(line)

    clean_up(clients, ONE, on_progress=write)
    assert [line for line in lines if not line.endswith("_IN_PROGRESS")] == [
        f"emptied the bucket {one.bucket}: 1 version",
        f"deleting the stack {ONE}",
        "DELETE_FAILED",
        f"emptied the bucket {one.bucket}: 1 version",
        f"deleting the stack {ONE}",
        "DELETE_COMPLETE",
        f"deleting the bucket {one.artifact_bucket}",
        f"emptied the bucket {one.artifact_bucket}: 11 versions",
    ]
    assert inventory(clients) == before


def test_what_is_left_is_named_and_the_next_cleanup_takes_it(
    clients: Clients, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    group = f"/aws/lambda/{one.trainer_function}"

    def make(line: str) -> None:
        if line == "DELETE_COMPLETE":
            clients.logs.create_log_group(logGroupName=group)

    monkeypatch.setattr(clients.logs, "delete_log_group", lambda **request: None)
    with pytest.raises(StackFailed) as failed:
        clean_up(clients, ONE, on_progress=make)
    assert str(failed.value) == f"the stack {ONE} could not be cleaned up: still left: log group {group}"
    monkeypatch.undo()
    assert [item.name for item in clean_up(clients, ONE).deleted] == [group, one.artifact_bucket]
    assert inventory(clients) == before


def test_a_deletion_that_fails_for_another_reason_is_one_line(clients: Clients, deploy: Deploy) -> None:
    one = deploy(ONE)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/early", Body=b"x")
    wanted = plan(clients, ONE)
    clients.cloudformation.delete_stack(StackName=ONE)
    assert wait_for_stack(clients, wanted.stack_ids[0], lambda line: None).status == "DELETE_FAILED"
    clients.s3.delete_object(Bucket=one.bucket, Key="runs/x/early")
    for key, version, _ in versions(clients, one.bucket):
        clients.s3.delete_object(Bucket=one.bucket, Key=key, VersionId=version)
    with pytest.raises(StackFailed) as failed:
        next_deletion(clients, wanted, wanted.stack_ids[0])
    assert str(failed.value) == (
        f"the stack {ONE} could not be cleaned up: Training/Bucket: The bucket you tried to delete is not empty. You "
        "must delete all versions in the bucket."
    )
    assert one.bucket in inventory(clients)["buckets"]


def test_an_object_that_cannot_be_deleted_is_named(clients: Clients, deploy: Deploy) -> None:
    one = deploy(ONE)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/held", Body=b"x")

    def hold(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Errors"] = [{"Key": "runs/x/held", "Code": "AccessDenied", "Message": "Access Denied"}]

    events = clients.s3.meta.events
    events.register("after-call.s3.DeleteObjects", hold)
    try:
        with pytest.raises(CloudError, match=rf"^s3://{one.bucket}/runs/x/held cannot be deleted: Access Denied$"):
            clean_up(clients, ONE)
    finally:
        events.unregister("after-call.s3.DeleteObjects", hold)
    assert stack_status(clients, ONE).status == "CREATE_COMPLETE"


def test_what_cloudformation_was_made_to_keep_goes_too(clients: Clients, deploy: Deploy) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    training = next(item.name for item in plan(clients, ONE).items if "-Training-" in item.name)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/kept", Body=b"x")
    for stack, keep in ((ONE, []), (ONE, ["Training"])):
        stack_id = clients.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
        clients.cloudformation.delete_stack(StackName=stack, RetainResources=keep)
        wait_for_stack(clients, stack_id, lambda line: None)
    assert inventory(clients)["stacks"] - before["stacks"] == {training}
    kept = plan(clients, ONE)
    assert [(item.kind, item.name) for item in kept.items] == [
        ("stack", training),
        ("bucket", one.bucket),
        ("bucket", one.artifact_bucket),
    ]
    # And now the nested stack goes without its bucket.
    clients.cloudformation.delete_stack(StackName=training, RetainResources=["Bucket"])
    wait_for_stack(clients, kept.stack_ids[0], lambda line: None)
    orphaned = plan(clients, ONE)
    assert (orphaned.stack_ids, orphaned.items) == ((), kept.items[1:])
    clean_up(clients, ONE)
    assert inventory(clients) == before


def test_a_nested_stack_that_lost_its_root_goes_by_itself(clients: Clients, deploy: Deploy) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/kept", Body=b"x")
    for keep in ([], ["Training"]):
        stack_id = clients.cloudformation.describe_stacks(StackName=ONE)["Stacks"][0]["StackId"]
        clients.cloudformation.delete_stack(StackName=ONE, RetainResources=keep)
        wait_for_stack(clients, stack_id, lambda line: None)
    assert clean_up(clients, ONE).deleted
    assert inventory(clients) == before


def test_a_protected_stack_and_one_under_way_are_refused_before_anything_is_changed(
    clients: Clients, deploy: Deploy
) -> None:
    one = deploy(ONE)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/safe", Body=b"safe")
    there, found = inventory(clients), held_by(clients, one)
    protect = clients.cloudformation.update_termination_protection
    protect(StackName=ONE, EnableTerminationProtection=True)
    try:
        with pytest.raises(StackFailed, match="could not be cleaned up: it has termination protection"):
            clean_up(clients, ONE)
    finally:
        protect(StackName=ONE, EnableTerminationProtection=False)
    assert (inventory(clients), held_by(clients, one)) == (there, found)


def test_a_stack_deployed_again_meanwhile_is_left_alone(clients: Clients, deploy: Deploy) -> None:
    deploy(ONE)
    wanted = plan(clients, ONE)
    clean_up(clients, ONE)
    one = deploy(ONE)
    clients.s3.put_object(Bucket=one.bucket, Key="runs/x/new", Body=b"new")
    there, found = inventory(clients), held_by(clients, one)
    for step in (lambda: next_deletion(clients, wanted, wanted.stack_ids[0]), lambda: finish_cleanup(clients, wanted)):
        with pytest.raises(StackFailed, match="someone deployed it again in the meantime"):
            step()
    assert (inventory(clients), held_by(clients, one)) == (there, found)


def test_things_of_others_under_our_names_are_left_alone(clients: Clients) -> None:
    bucket, artifacts = "data-000000000000-us-east-1", "data-artifacts-000000000000-us-east-1"
    before = inventory(clients)
    for name in (bucket, artifacts):
        clients.s3.create_bucket(Bucket=name)
        clients.s3.put_object(Bucket=name, Key="payroll", Body=b"x")
    clients.dynamodb.create_table(
        TableName="data-runs", BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )  # fmt: skip
    clients.logs.create_log_group(logGroupName="/aws/lambda/data-LaunchLambda")
    there = inventory(clients)
    assert plan(clients, "data").items == ()
    assert clean_up(clients, "data").deleted == ()
    template = {"Resources": {"T": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "data-orders"}}}}
    stack_id = clients.cloudformation.create_stack(StackName="data", TemplateBody=json.dumps(template))["StackId"]
    wait_for_stack(clients, stack_id, lambda line: None)
    for ask in (plan, clean_up):
        with pytest.raises(InvalidInput, match="CloudFormation: stack: data was not deployed by snn"):
            ask(clients, "data")  # type: ignore[operator]
    assert stack_status(clients, "data").status == "CREATE_COMPLETE"
    clients.cloudformation.delete_stack(StackName="data")
    wait_for_stack(clients, stack_id, lambda line: None)
    assert inventory(clients) == there
    for name in (bucket, artifacts):
        clients.s3.delete_object(Bucket=name, Key="payroll")
        clients.s3.delete_bucket(Bucket=name)
    clients.dynamodb.delete_table(TableName="data-runs")
    clients.logs.delete_log_group(logGroupName="/aws/lambda/data-LaunchLambda")
    assert inventory(clients) == before


@pytest.mark.parametrize("deferrable", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_operator_lists_then_wants_the_name_then_deletes(
    clients: Clients, deploy: Deploy, data: bytes, deferrable: bool
) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    start(clients, one, data, "used", SMALL)
    ended(clients, one, "used")
    wait_for_last_word(clients, one, "used")
    there, found = inventory(clients), held_by(clients, one)
    given: Any = {"task_id": "clean_up", "stack": one.to_dict(), "deferrable": deferrable, **AWS}
    listed = SnnCleanupOperator(**given).execute({})
    assert json.loads(json.dumps(listed)) == plan(clients, ONE).for_xcom()
    missing, other = "the stack's name is missing", f"'{TWO}' is not the stack's name"
    for confirm, wrong in (("", missing), (TWO, other), ("SNN-ONE", "'SNN-ONE' is not the stack's name")):
        with pytest.raises(AirflowFailException) as refused:
            SnnCleanupOperator(dry_run="False", confirm=confirm, **given).execute({})
        assert str(refused.value) == f"confirm: {wrong} (enter {ONE})"
    assert (inventory(clients), held_by(clients, one)) == (there, found)

    task = SnnCleanupOperator(dry_run=False, confirm=ONE, **given)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            task.execute({})
        trigger: Any = deferred.value.trigger
        assert isinstance(trigger, StackTrigger)
        assert deferred.value.method_name == "execute_complete"
        done = task.execute_complete({}, fired(trigger))
    else:
        done = task.execute({})
    assert done["deleted"] == listed["items"]
    assert inventory(clients) == before


def test_the_operator_waits_again_for_a_deletion_that_must_be_repeated(clients: Clients, deploy: Deploy) -> None:
    before = inventory(clients)
    one = deploy(ONE)
    task = SnnCleanupOperator(task_id="clean_up", stack=ONE, dry_run=False, confirm=ONE, deferrable=True, **AWS)

    def write(line: str) -> None:
        if line.startswith("deleting the stack"):
            clients.s3.put_object(Bucket=one.bucket, Key="runs/x/late", Body=b"x")

    wanted = plan(clients, ONE)
    deletion = start_cleanup(clients, wanted, on_progress=write)
    event = fired(StackTrigger(aws=AWS, operation=deletion, poll_interval=0.1, carried=wanted.to_dict()))
    assert stack_status(clients, ONE).status == "DELETE_FAILED"
    with pytest.raises(TaskDeferred) as deferred:
        task.execute_complete({}, event)
    again: Any = deferred.value.trigger
    assert (again.operation, again.carried) == (deletion, wanted.to_dict())
    assert task.execute_complete({}, fired(again))["stack_name"] == ONE
    assert inventory(clients) == before


def fired(trigger: StackTrigger) -> dict[str, Any]:
    """Return the payload of the one event of a trigger, made anew from what it goes to the database as."""

    async def collect() -> list[Any]:
        return [event.payload async for event in StackTrigger(**trigger.serialize()[1]).run()]

    (payload,) = asyncio.run(collect())
    return payload
