"""The roles suffice, and the policies in docs, on an emulator that enforces IAM: a call not allowed is refused."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from documentation import ROOT
from template_logic import TEMPLATES

from snn.dataset import save_dataset
from snn.parameters import Parameters
from snn_cli.local import emulator as local_emulator
from snn_cloud import places, runs
from snn_cloud.change_set import apply, propose
from snn_cloud.cleanup import clean_up
from snn_cloud.clients import Clients
from snn_cloud.ledger import Ledger
from snn_cloud.listing import newest_runs
from snn_cloud.record import State
from snn_cloud.report import evaluate_run, predict_images
from snn_cloud.stack import StackOptions, StackOutputs, deploy_stack, finish_deploy, stack_status, wait_for_stack
from snn_cloud.staging import stage, withdraw

PARAMETERS = {
    "epochs": 3,
    "layers": 2,
    "neurons": {"layer1": 3, "layer2": 1},
    "activations": {"layer1": "relu", "layer2": "sigmoid"},
    "learning_rate": 0.1,
}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory, emulator_venv: Path) -> Iterator[Clients]:
    """Clients of the administrator of a second emulator."""
    home = tmp_path_factory.mktemp("strict")
    try:
        strict = local_emulator.up(home, venv=emulator_venv, port=0, redis_port=0, settings={"AUTH": "true"})
        with pytest.MonkeyPatch.context() as patch:
            for name, value in strict.environment().items():
                patch.setenv(name, value)
            yield Clients.from_environment()
    finally:
        local_emulator.down(home)


@pytest.fixture(scope="module")
def stack(clients: Clients) -> StackOutputs:
    return deploy_stack(clients, StackOptions.from_environment(stack_name="snn-strict", with_cache=True))


@pytest.fixture(scope="module")
def data() -> bytes:
    chance = np.random.default_rng(0)
    pixels, labels = chance.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8), np.arange(12) % 2
    buffer = io.BytesIO()
    save_dataset(buffer, pixels, labels, pixels[:4], labels[:4], ("no", "yes"))
    return buffer.getvalue()


def test_iam_is_enforced_here(clients: Clients, stack: StackOutputs) -> None:
    """Without this the other tests would show nothing."""
    boto3.client("iam").create_user(UserName="nobody")
    key = boto3.client("iam").create_access_key(UserName="nobody")["AccessKey"]
    nobody = boto3.client("s3", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    with pytest.raises(nobody.exceptions.ClientError, match="AccessDenied"):
        nobody.get_object(Bucket=stack.bucket, Key="runs/x")


@pytest.mark.parametrize("granularity", ["batch", "neuron"])
def test_a_launched_run_may_do_all_it_does(
    clients: Clients, stack: StackOutputs, data: bytes, granularity: str
) -> None:
    run_id = runs.new_run_id(f"strict {granularity}")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    parameters = Parameters.load({**PARAMETERS, "granularity": granularity})
    # Seconds so short that each epoch is an invocation of its own: the trainer must be allowed to continue itself.
    runs.launch(clients, stack, run_id, key, parameters, promote=True, trainer_seconds=0.01)
    run = runs.watch(clients, stack, run_id, lambda run, costs: None, every_seconds=0.1, limit_seconds=120)
    assert (run.state, run.epoch) == (State.COMPLETED, 3)
    assert run.continuations >= 1
    assert run.usage["neuron"].invocations == (0 if granularity == "batch" else 3 * 2 * 4)
    results = json.loads(clients.s3.get_object(Bucket=stack.bucket, Key=places.PROMOTED_RESULTS)["Body"].read())
    assert list(results) == ["Start", "epoch0", "epoch1", "epoch2", "End"]


def test_an_upload_may_start_a_run(clients: Clients, stack: StackOutputs, data: bytes) -> None:
    clients.s3.put_object(
        Bucket=stack.bucket, Key="training_input/x/parameters.json", Body=json.dumps(PARAMETERS).encode()
    )
    key = "training_input/x/datasets.h5"
    version = clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)["VersionId"]
    run_id = runs.run_id_for_upload(stack.bucket, key, version)
    deadline = time.monotonic() + 60
    while Ledger(clients.dynamodb, stack.table).find(run_id) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run = runs.watch(clients, stack, run_id, lambda run, costs: None, every_seconds=0.1, limit_seconds=120)
    assert (run.state, run.epoch, run.stopped_by) == (State.COMPLETED, 3, "epochs")


def user_with(policy: str, stack_name: str) -> Clients:
    """Return the clients of a new user who has one of the policies in docs and nothing else."""
    text = (ROOT / "docs" / f"{policy}-policy.json").read_text().replace("snn", stack_name)
    iam = boto3.client("iam")
    iam.create_user(UserName=policy)
    iam.put_user_policy(UserName=policy, PolicyName=policy, PolicyDocument=text)
    key = iam.create_access_key(UserName=policy)["AccessKey"]
    return Clients(
        partial(boto3.client, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    )


def test_who_has_the_operator_s_policy_may_train_judge_and_cancel(
    clients: Clients, stack: StackOutputs, data: bytes, tmp_path: Path
) -> None:
    may = user_with("operator", stack.stack_name)
    (tmp_path / "datasets.h5").write_bytes(data)
    outputs, run_id, parameters = StackOutputs.load(may, stack.stack_name), "operated", Parameters.load(PARAMETERS)
    assert outputs == stack
    staged = stage(may, stack.bucket, run_id, tmp_path / "datasets.h5", parameters)
    runs.launch(may, stack, run_id, staged.dataset_key, parameters)
    runs.watch(may, stack, run_id, lambda run, costs: None, every_seconds=0.1, limit_seconds=60)
    assert evaluate_run(may, stack.bucket, run_id, staged.dataset_key)["accuracy"] >= 0
    assert predict_images(may, stack.bucket, run_id, []) == []
    assert run_id in [run.run_id for run in newest_runs(may.dynamodb, stack.table)]
    assert runs.cancel(may, stack, run_id).state is State.COMPLETED
    assert run_id in [run.run_id for run in newest_runs(may.dynamodb, stack.table)]
    stage(may, stack.bucket, "refused", tmp_path / "datasets.h5", parameters)
    withdraw(may, stack.bucket, "refused")
    assert "Versions" not in clients.s3.list_object_versions(Bucket=stack.bucket, Prefix="runs/refused/")
    assert may.logs.filter_log_events(logGroupName=f"/aws/lambda/{stack.launch_function}")["events"]
    for forbidden in (
        lambda: may.dynamodb.delete_table(TableName=stack.table),
        lambda: may.s3.put_object(Bucket=stack.artifact_bucket, Key="code/x.zip", Body=b""),
        lambda: may.lambda_.invoke(FunctionName=stack.trainer_function, Payload=b"{}"),
        lambda: may.cloudformation.delete_stack(StackName=stack.stack_name),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            forbidden()


def test_who_has_the_deployer_s_policy_may_deploy_change_and_clean_up(clients: Clients, stack: StackOutputs) -> None:
    """What CloudFormation asks in the deployer's name the emulator does not check: tests/unit/test_docs.py does."""
    may, name = user_with("deployer", "snn-dep"), "snn-dep"
    changes = propose(may, StackOptions(name, with_cache=True, email="me@example.org"), print)
    assert changes is not None
    operation = apply(may, changes)
    wait_for_stack(may, operation, print)
    assert finish_deploy(may, name, operation).has_cache
    assert deploy_stack(may, StackOptions(name, with_cache=False)).has_cache is False
    with pytest.raises(ClientError, match="AccessDenied"):
        may.s3.list_objects_v2(Bucket=stack.bucket)
    assert clean_up(may, name).stack_name == name
    assert stack_status(clients, name).status in ("MISSING", "DELETE_COMPLETE")


@pytest.fixture(scope="module")
def notebook(clients: Clients, stack: StackOutputs) -> Clients:
    """Clients of whoever works on the notebook instance: the role of notebook.yaml, made by hand."""
    names = {
        "AWS::Partition": "aws", "AWS::Region": stack.region, "AWS::AccountId": "000000000000",
        "Prefix": stack.stack_name, "BucketName": stack.bucket, "ArtifactBucket": stack.artifact_bucket,
    }  # fmt: skip
    role = TEMPLATES["notebook"]["Resources"]["Role"]["Properties"]
    (policy,) = role["Policies"]

    def rendered(node: Any) -> Any:
        if isinstance(node, dict) and "Fn::Sub" in node:
            return re.sub(r"\$\{([^}]*)\}", lambda match: names[match[1]], node["Fn::Sub"])
        if isinstance(node, dict):
            return {key: rendered(child) for key, child in node.items()}
        return [rendered(child) for child in node] if isinstance(node, list) else node

    iam = boto3.client("iam")
    made = iam.create_role(RoleName="notebook", AssumeRolePolicyDocument=json.dumps(role["AssumeRolePolicyDocument"]))
    iam.put_role_policy(
        RoleName="notebook", PolicyName="notebook", PolicyDocument=json.dumps(rendered(policy["PolicyDocument"]))
    )
    key = boto3.client("sts").assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="notebook")["Credentials"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])
    return Clients(session.client)


def test_a_notebook_may_stage_launch_watch_and_read_and_no_more(
    clients: Clients, notebook: Clients, stack: StackOutputs, data: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "datasets.h5"
    file.write_bytes(data)
    outputs = StackOutputs.load(notebook, stack.stack_name)
    run_id, chosen = runs.new_run_id("strict notebook"), Parameters.load(PARAMETERS)
    staged = stage(notebook, outputs.bucket, run_id, file, chosen)
    runs.launch(notebook, outputs, run_id, staged.dataset_key, chosen)
    run = runs.watch(notebook, outputs, run_id, lambda run, costs: None, every_seconds=0.1, limit_seconds=120)
    assert (run.state, run.epoch) == (State.COMPLETED, 3)
    read = notebook.s3.get_object(Bucket=outputs.bucket, Key=places.params(run_id))["Body"].read()
    assert read == clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run_id))["Body"].read()
    listed = notebook.s3.list_objects_v2(Bucket=outputs.bucket, Prefix=places.run_prefix(run_id))["Contents"]
    assert places.results(run_id) in [item["Key"] for item in listed]
    refused: list[Callable[[], Any]] = [
        lambda: notebook.s3.put_object(Bucket=stack.bucket, Key=places.PROMOTED_PARAMS, Body=b""),
        lambda: notebook.s3.put_object(Bucket=stack.artifact_bucket, Key="notebook/x", Body=b""),
        lambda: notebook.s3.get_object(Bucket=stack.artifact_bucket, Key="code/x.zip"),
        lambda: notebook.s3.list_objects_v2(Bucket=stack.bucket, Prefix="training_input/"),
        lambda: notebook.s3.delete_object(Bucket=stack.bucket, Key=places.params(run_id)),
        lambda: notebook.lambda_.invoke(FunctionName=stack.trainer_function, Payload=b"{}"),
        lambda: Ledger(notebook.dynamodb, stack.table).request_cancel(run_id),
        lambda: notebook.cloudformation.delete_stack(StackName=stack.stack_name),
    ]
    for attempt in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            attempt()


def test_nothing_ended_in_the_dead_letters(clients: Clients, stack: StackOutputs) -> None:
    queues = boto3.client("sqs")
    url = queues.get_queue_url(QueueName=f"{stack.stack_name}-dead-letters")["QueueUrl"]
    assert queues.receive_message(QueueUrl=url).get("Messages", []) == []
