"""The roles suffice: whole runs on an emulator that enforces IAM, where a call that is not allowed is refused."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest

from snn.dataset import save_dataset
from snn.parameters import Parameters
from snn_cli.local import emulator as local_emulator
from snn_cloud import places, runs
from snn_cloud.clients import Clients
from snn_cloud.ledger import Ledger
from snn_cloud.record import State
from snn_cloud.stack import StackOptions, StackOutputs, deploy_stack

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


def test_nothing_ended_in_the_dead_letters(clients: Clients, stack: StackOutputs) -> None:
    queues = boto3.client("sqs")
    url = queues.get_queue_url(QueueName=f"{stack.stack_name}-dead-letters")["QueueUrl"]
    assert queues.receive_message(QueueUrl=url).get("Messages", []) == []
