"""The roles suffice, and the policies in docs, on an emulator that enforces IAM: a call not allowed is refused.

That nothing in them is too much, and what they are denied, is in test_roles_denied.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from role_work import PARAMETERS, Work
from small import upload
from strict import DEPLOYED, Strict

from snn_client.data.staging import stage, withdraw
from snn_client.reports.predicting import predict_images
from snn_client.reports.report import evaluate_run
from snn_client.runs import runs
from snn_client.runs.listing import newest_runs
from snn_client.stack.change_set import apply, propose
from snn_client.stack.cleanup import clean_up
from snn_client.stack.deploy import deploy_stack, finish_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.status import stack_status, wait_for_stack
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State


@pytest.fixture(scope="module")
def clients(strict: Strict, at_strict: None) -> Clients:
    """Clients of the administrator there."""
    return strict.clients


@pytest.fixture(scope="module")
def stack(strict: Strict, at_strict: None) -> StackOutputs:
    return strict.stack


@pytest.fixture(scope="module")
def data(strict: Strict, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return Work(strict, tmp_path_factory.mktemp("data")).data


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
    run_id = upload(clients, stack, "x", data, json.dumps(PARAMETERS))
    run = runs.watch(clients, stack, run_id, lambda run, costs: None, every_seconds=0.1, limit_seconds=120)
    assert (run.state, run.epoch, run.stopped_by) == (State.COMPLETED, 3, "epochs")


def test_who_has_the_operator_s_policy_may_train_judge_and_cancel(
    strict: Strict, clients: Clients, stack: StackOutputs, data: bytes, tmp_path: Path
) -> None:
    may = strict.of("operator")
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


def test_who_has_the_deployer_s_policy_may_deploy_change_and_clean_up(strict: Strict, clients: Clients) -> None:
    """What CloudFormation asks in the deployer's name the emulator does not check: tests/unit/test_docs.py does."""
    may, name = strict.of("deployer"), DEPLOYED
    changes = propose(may, StackOptions(name, with_cache=True, email="me@example.org"), print)
    assert changes is not None
    operation = apply(may, changes)
    wait_for_stack(may, operation, print)
    assert finish_deploy(may, name, operation).has_cache
    assert deploy_stack(may, StackOptions(name, with_cache=False)).has_cache is False
    assert clean_up(may, name).stack_name == name
    assert stack_status(clients, name).status in ("MISSING", "DELETE_COMPLETE")


def test_a_notebook_may_stage_launch_watch_and_read(
    strict: Strict, clients: Clients, stack: StackOutputs, data: bytes, tmp_path: Path
) -> None:
    notebook = strict.of("NotebookRole")
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


def test_nothing_ended_in_the_dead_letters(clients: Clients, stack: StackOutputs) -> None:
    queues = boto3.client("sqs")
    url = queues.get_queue_url(QueueName=f"{stack.stack_name}-dead-letters")["QueueUrl"]
    assert queues.receive_message(QueueUrl=url).get("Messages", []) == []
