"""The stack on the emulator: created, changed, refused, repaired and taken away."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import oracle
import pytest
from cfnlint.decode import decode_str
from holding import held_creation
from inventory import inventory
from small import wait_until

from snn_cli.local.emulator import Emulator
from snn_client.runs import runs
from snn_client.stack.cleanup import clean_up
from snn_client.stack.deploy import deploy_stack, finish_deploy, start_deploy
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.package import templates
from snn_client.stack.status import stack_status
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import StackFailed
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters

NAME = "snn-life"
MISSING_LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:missing:3"


def options(**overrides: Any) -> StackOptions:
    return StackOptions.from_environment(**{"stack_name": NAME, "with_cache": False, **overrides})


@pytest.fixture(autouse=True)
def _nothing_stays(clients: Clients) -> Iterator[None]:
    yield
    clean_up(clients, NAME)


def variables(clients: Clients, function: str) -> dict[str, str]:
    return clients.lambda_.get_function_configuration(FunctionName=function)["Environment"]["Variables"]


def test_without_a_cache_there_is_no_network(clients: Clients) -> None:
    before = inventory(clients)
    outputs = deploy_stack(clients, options())
    made = {kind: names - before[kind] for kind, names in inventory(clients).items()}
    assert outputs == StackOutputs(
        stack_name=NAME,
        bucket=f"{NAME}-000000000000-us-east-1",
        table=f"{NAME}-runs",
        launch_function=f"{NAME}-LaunchLambda",
        trainer_function=f"{NAME}-TrainerLambda",
        neuron_function=f"{NAME}-NeuronLambda",
        topic_arn=f"arn:aws:sns:us-east-1:000000000000:{NAME}-training",
        has_cache=False,
        architecture="x86_64",
        region="us-east-1",
        artifact_bucket=f"{NAME}-artifacts-000000000000-us-east-1",
        new_data_queue=outputs.new_data_queue,
        predict_function=f"{NAME}-PredictLambda",
        endpoint="iam",
        endpoint_url=outputs.endpoint_url,
        version=3,
    )
    assert {url.rpartition("/")[2] for url in made["queues"]} == {
        f"{NAME}-dead-letters",
        f"{NAME}-new-data",
        f"{NAME}-new-data-dead-letters",
    }
    assert outputs.new_data_queue.endswith(f"/000000000000/{NAME}-new-data")
    assert StackOutputs.load(clients, NAME) == outputs
    assert re.fullmatch(r"https://\w+\.lambda-url\.us-east-1\.on\.aws/", outputs.endpoint_url)
    assert made["buckets"] == {outputs.bucket, outputs.artifact_bucket}
    functions = {outputs.launch_function, outputs.trainer_function, outputs.neuron_function, outputs.predict_function}
    assert made["functions"] == functions
    assert len(made["roles"]) == 4
    nothing = ("networks", "subnets", "security groups", "endpoints", "caches", "cache subnets", "policies")
    assert {kind: made[kind] for kind in nothing} == {kind: set() for kind in nothing}
    assert variables(clients, outputs.trainer_function)["CACHE_HOST"] == ""
    told = variables(clients, outputs.launch_function)
    assert told["HAS_CACHE"] == "false"
    told_of = (outputs.trainer_function, outputs.neuron_function)
    sizes = [clients.lambda_.get_function_configuration(FunctionName=name)["MemorySize"] for name in told_of]
    assert [int(told[name]) for name in ("TRAINER_MEMORY_MB", "NEURON_MEMORY_MB")] == sizes == [1769, 512]


def test_a_stack_with_a_cache_points_its_functions_at_it_and_goes_away_whole(
    clients: Clients, emulator: Emulator
) -> None:
    before = inventory(clients)
    outputs = deploy_stack(clients, options(with_cache=True))
    made = {kind: names - before[kind] for kind, names in inventory(clients).items()}
    assert {kind: len(made[kind]) for kind in ("networks", "subnets", "endpoints", "caches", "cache subnets")} == {
        "networks": 1, "subnets": 2, "endpoints": 4, "caches": 1, "cache subnets": 1,
    }  # fmt: skip
    assert outputs.has_cache
    (cache,) = made["caches"]
    assert variables(clients, outputs.neuron_function) == {
        "CACHE_HOST": emulator.redis_host, "CACHE_PORT": str(emulator.redis_port), "CACHE_TLS": "false",
        "CACHE_USER": "", "CACHE_NAME": cache, "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    for body in (b"one", b"two"):
        clients.s3.put_object(Bucket=outputs.bucket, Key="runs/x/results.json", Body=body)
    clients.s3.delete_object(Bucket=outputs.bucket, Key="runs/x/results.json")
    clean_up(clients, NAME)
    assert inventory(clients) == before
    clean_up(clients, NAME)  # nothing there: nothing happens


def test_uploads_to_training_input_start_the_launch_function(clients: Clients) -> None:
    outputs = deploy_stack(clients, options())
    (target,) = clients.s3.get_bucket_notification_configuration(Bucket=outputs.bucket)["LambdaFunctionConfigurations"]
    assert target["LambdaFunctionArn"].endswith(f":function:{outputs.launch_function}")
    assert target["Events"] == ["s3:ObjectCreated:*"]
    rules = {rule["Name"].lower(): rule["Value"] for rule in target["Filter"]["Key"]["FilterRules"]}
    assert rules == {"prefix": "training_input/", "suffix": ".h5"}
    policy = json.loads(clients.lambda_.get_policy(FunctionName=outputs.launch_function)["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"]["ArnLike"] == {"AWS:SourceArn": f"arn:aws:s3:::{outputs.bucket}"}
    assert clients.s3.get_bucket_versioning(Bucket=outputs.bucket)["Status"] == "Enabled"


def test_a_stack_of_an_earlier_version_is_told_of_new_data_after_a_deployment(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("snn_client.stack.artifacts.templates", _templates_without_the_queue)
        before = deploy_stack(clients, options())
    assert before.new_data_queue == ""
    clients.s3.put_object(Bucket=before.bucket, Key="runs/kept", Body=b"kept")
    after = deploy_stack(clients, options())
    assert after.new_data_queue.endswith(f"/{NAME}-new-data")
    assert after == StackOutputs.from_dict({**before.to_dict(), "new_data_queue": after.new_data_queue})
    assert clients.s3.get_object(Bucket=after.bucket, Key="runs/kept")["Body"].read() == b"kept"
    listeners = clients.s3.get_bucket_notification_configuration(Bucket=after.bucket)
    assert [target["QueueArn"] for target in listeners["QueueConfigurations"]] == [
        f"arn:aws:sqs:us-east-1:000000000000:{NAME}-new-data"
    ]
    assert len(listeners["LambdaFunctionConfigurations"]) == 1


def _templates_without_the_queue() -> dict[str, str]:
    texts = templates()
    root, training = (decode_str(texts[name])[0] for name in ("root", "training"))
    for template in (root, training):
        del template["Outputs"]["NewDataQueue"]
    for name in ("NewData", "NewDataDeadLetters", "BucketMayTell"):
        del training["Resources"][name]
    training["Resources"]["Bucket"]["DependsOn"] = "BucketMayLaunch"
    del training["Resources"]["Bucket"]["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    return {**texts, "root": json.dumps(root), "training": json.dumps(training)}


def test_the_functions_start(clients: Clients) -> None:
    outputs = deploy_stack(clients, options())
    for function in (outputs.launch_function, outputs.trainer_function, outputs.neuron_function):
        answer = clients.lambda_.invoke(FunctionName=function, Payload=b"{}")["Payload"].read().decode()
        assert "import" not in answer.lower(), answer
        assert "No module" not in answer, answer


def test_an_update_changes_what_changed_and_nothing_is_nothing(clients: Clients) -> None:
    lines: list[str] = []
    outputs = deploy_stack(clients, options(), lines.append)
    assert f"creating the stack {NAME}" in lines
    assert len([line for line in lines if line.startswith("uploading ")]) == 11  # code, two layers, eight templates
    clients.s3.put_object(Bucket=outputs.bucket, Key="runs/kept", Body=b"kept")

    lines.clear()
    assert deploy_stack(clients, options(neuron_concurrency=3), lines.append) == outputs
    assert variables(clients, outputs.trainer_function)["NEURON_CONCURRENCY"] == "3"
    assert reserved(clients, outputs.trainer_function) is None
    assert [line for line in lines if not line.startswith("UPDATE_")] == [f"updating the stack {NAME}"]
    assert clients.s3.get_object(Bucket=outputs.bucket, Key="runs/kept")["Body"].read() == b"kept"

    lines.clear()
    assert deploy_stack(clients, options(neuron_concurrency=3), lines.append) == outputs
    assert lines == [f"updating the stack {NAME}", f"the stack {NAME} is up to date"]


def test_runs_above_the_limit_on_trainers_wait(clients: Clients, data: bytes) -> None:
    outputs = deploy_stack(clients, options(reserve_trainer_concurrency=1))
    assert (reserved(clients, outputs.trainer_function), reserved(clients, outputs.neuron_function)) == (1, None)
    assert variables(clients, outputs.launch_function)["TRAINER_CONCURRENCY"] == "1"
    key, names = places.input_dataset("waiting", "0" * 64), ("one", "two", "three")
    clients.s3.put_object(Bucket=outputs.bucket, Key=key, Body=data)
    chosen = Parameters.load(oracle.small_network(epochs=3_000))
    ledger = Ledger(clients.dynamodb, outputs.table)
    runs.launch(clients, outputs, "before", key, chosen.model_copy(update={"epochs": 10_000_000}))
    wait_until(lambda: ledger.get("before").epoch, "no epoch")
    for name in names:
        runs.launch(clients, outputs, name, key, chosen)
    before = runs.stop(clients, outputs, "before")
    waiting: Any = {"every_seconds": 0.1, "limit_seconds": 60}
    ended = [runs.watch(clients, outputs, name, lambda *_: None, **waiting) for name in names]
    assert [run.epoch for run in ended] == [3_000] * 3
    assert max(run.created_at for run in ended) < before.ended_at  # all were there while it trained
    first, second, third = sorted(ended, key=lambda run: run.started_at)
    assert before.ended_at <= first.started_at
    assert first.ended_at <= second.started_at
    assert second.ended_at <= third.started_at


def reserved(clients: Clients, function: str) -> int | None:
    return clients.lambda_.get_function_concurrency(FunctionName=function).get("ReservedConcurrentExecutions")


def test_the_cache_comes_and_goes(clients: Clients, emulator: Emulator) -> None:
    deploy_stack(clients, options())
    before = inventory(clients)
    assert deploy_stack(clients, options(with_cache=True)).has_cache
    with_cache = variables(clients, f"{NAME}-TrainerLambda")
    assert (with_cache["CACHE_PORT"], with_cache["CACHE_TLS"]) == (str(emulator.redis_port), "false")
    outputs = deploy_stack(clients, options())
    assert not outputs.has_cache
    assert variables(clients, outputs.trainer_function)["CACHE_HOST"] == ""
    assert inventory(clients) == before


def test_what_nobody_says_stays_as_it_is(clients: Clients, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    said = options(
        with_cache=True, neuron_concurrency=3, log_retention_days=7, email="a@b.example", tags={"team": "ml"}
    )
    outputs = deploy_stack(clients, said)
    before = inventory(clients)
    for name in ("WITH_CACHE", "RUNTIME", "ARCHITECTURE"):  # another worker, which knows nothing of this stack
        monkeypatch.delenv(f"SNN_{name}", raising=False)
    silent = StackOptions.from_environment(stack_name=NAME)
    assert (silent.with_cache, silent.architecture, silent.neuron_concurrency) == (False, "arm64", 8)

    assert deploy_stack(clients, StackOptions.from_environment(stack_name=NAME, neuron_concurrency=5)) == outputs
    assert outputs.has_cache
    assert inventory(clients) == before
    assert variables(clients, outputs.trainer_function)["NEURON_CONCURRENCY"] == "5"
    lines: list[str] = []
    assert deploy_stack(clients, silent, lines.append) == outputs
    assert lines == [f"updating the stack {NAME}", f"the stack {NAME} is up to date"]
    found = clients.cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
    assert found["Tags"] == [{"Key": "team", "Value": "ml"}]
    present = {item["ParameterKey"]: item["ParameterValue"] for item in found["Parameters"]}
    kept = {**said.parameters, "NeuronConcurrency": "5"}
    assert {name: present[name] for name in kept} == kept

    without = deploy_stack(clients, StackOptions.from_environment(stack_name=NAME, with_cache=False))
    assert not without.has_cache
    assert inventory(clients)["caches"] == before["caches"] - {name for name in before["caches"] if NAME in name}
    assert variables(clients, without.trainer_function)["CACHE_HOST"] == ""


def test_a_deployment_is_waited_for_only_so_long(clients: Clients) -> None:
    with held_creation(clients, NAME):
        late = rf"the stack .*{NAME}.* is still CREATE_IN_PROGRESS after \d+ s, and continues"
        with pytest.raises(StackFailed, match=late):
            deploy_stack(clients, options(), limit_seconds=0.0)
        with pytest.raises(StackFailed, match="is still CREATE_IN_PROGRESS"):
            start_deploy(clients, options(), limit_seconds=0.0)
    assert deploy_stack(clients, options(), limit_seconds=60.0).stack_name == NAME


def test_without_waiting(clients: Clients) -> None:
    operation = start_deploy(clients, options())
    assert operation.startswith(f"arn:aws:cloudformation:us-east-1:000000000000:stack/{NAME}/")
    deadline = time.monotonic() + 60
    while not stack_status(clients, operation).done:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stack_status(clients, operation).status == "CREATE_COMPLETE"
    assert finish_deploy(clients, NAME, operation) == StackOutputs.load(clients, NAME)
    assert start_deploy(clients, options()) == ""
    assert finish_deploy(clients, NAME, "") == StackOutputs.load(clients, NAME)


def test_a_creation_that_fails_says_what_failed_and_takes_the_stack_away(clients: Clients) -> None:
    with pytest.raises(StackFailed, match=f"{NAME} could not be deployed: Training.*{MISSING_LAYER} does not"):
        deploy_stack(clients, options(layer_arn=MISSING_LAYER))
    assert stack_status(clients, NAME).status == "MISSING"
    with pytest.raises(StackFailed, match=f"the stack {NAME} is not deployed"):
        StackOutputs.load(clients, NAME)
    assert deploy_stack(clients, options()).stack_name == NAME


def test_an_update_that_fails_leaves_the_stack_as_it_was(clients: Clients) -> None:
    outputs = deploy_stack(clients, options(neuron_concurrency=4))
    with pytest.raises(StackFailed, match=f"could not be deployed: Training.*{MISSING_LAYER} does not exist"):
        deploy_stack(clients, options(neuron_concurrency=9, layer_arn=MISSING_LAYER))
    assert stack_status(clients, NAME).status == "UPDATE_ROLLBACK_COMPLETE"
    assert variables(clients, outputs.trainer_function)["NEURON_CONCURRENCY"] == "4"
    assert deploy_stack(clients, options(neuron_concurrency=4)) == outputs
    assert deploy_stack(clients, options(neuron_concurrency=5)) == outputs
    assert stack_status(clients, NAME).ok


def test_what_a_failed_attempt_left_is_removed_first(clients: Clients) -> None:
    ours = f"{NAME}-artifacts-000000000000-us-east-1"  # as all of ours have it
    function = {
        "Code": {"ZipFile": "x"}, "Role": "arn:aws:iam::000000000000:role/x", "Handler": "x.y", "Runtime": "python3.13",
        "Layers": [MISSING_LAYER],
    }  # fmt: skip
    broken = {
        "Parameters": {"ArtifactBucket": {"Type": "String", "Default": ours}},
        "Resources": {"F": {"Type": "AWS::Lambda::Function", "Properties": function}},
    }
    clients.cloudformation.create_stack(StackName=NAME, TemplateBody=json.dumps(broken))
    deadline = time.monotonic() + 60
    while not stack_status(clients, NAME).done:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stack_status(clients, NAME).status == "ROLLBACK_COMPLETE"
    lines: list[str] = []
    assert deploy_stack(clients, options(), lines.append).stack_name == NAME
    assert f"removing what an earlier attempt left of the stack {NAME} (ROLLBACK_COMPLETE)" in lines


def test_two_deployments_at_the_same_time_both_end_well(clients: Clients) -> None:
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: deploy_stack(clients, options()), range(2))
    assert first == second == StackOutputs.load(clients, NAME)


def test_the_artifact_bucket_is_private_and_encrypted(clients: Clients) -> None:
    bucket = deploy_stack(clients, options()).artifact_bucket
    block = clients.s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert block == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    (rule,) = clients.s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    keys = [item["Key"] for item in clients.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted(key.split("/")[0] for key in keys) == ["code", "layers", "layers"] + ["templates"] * 8
