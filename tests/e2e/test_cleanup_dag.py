"""The DAG snn_cleanup in a real Airflow, driven through its REST API: it looks, it asks twice, it leaves nothing."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import oracle
import pytest
from dag_run import DagRun, runner
from inventory import Inventory, contents, inventory
from small import photos, wait_for_last_word

from snn_cli.local.airflow_api import AirflowError
from snn_client.runs import runs
from snn_client.stack.cleanup import clean_up, plan
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Parameters

DAG = "snn_cleanup"
STACK, OTHER = "snn-e2e-old", "snn-e2e"


@dataclass(frozen=True)
class Used:
    """A stack in which a run was trained, and what there was before it."""

    outputs: StackOutputs
    before: Inventory


@pytest.fixture(scope="module")
def run(machine: Any) -> Callable[..., DagRun]:
    return runner(machine, DAG, 240)


@pytest.fixture(scope="module")
def used(machine: Any) -> Iterator[Used]:
    clients, before = machine.clients, inventory(machine.clients)
    options = StackOptions(
        stack_name=STACK, runtime=f"python3.{sys.version_info.minor}",
        architecture="arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
    )  # fmt: skip
    outputs = deploy_stack(clients, options)
    key = places.input_dataset("used", "0" * 64)
    clients.s3.put_object(Bucket=outputs.bucket, Key=key, Body=photos())
    runs.launch(clients, outputs, "used", key, Parameters.load(oracle.small_network()))
    runs.watch(clients, outputs, "used", lambda *_: None, every_seconds=0.1, limit_seconds=60)
    wait_for_last_word(clients, outputs, "used")
    yield Used(outputs, before)
    clean_up(clients, STACK)


def state(machine: Any, stack: StackOutputs) -> tuple[Inventory, dict[str, Any]]:
    """Return all that there is in the account, and what is in the stack."""
    functions = {stack.launch_function, stack.trainer_function, stack.neuron_function}
    theirs = {
        "buckets": {stack.bucket, stack.artifact_bucket},
        "tables": {stack.table},
        "functions": functions,
        "log groups": {f"/aws/lambda/{name}" for name in functions},
    }
    return inventory(machine.clients), contents(machine.clients, theirs)


def test_as_it_is_it_lists_and_changes_nothing(machine: Any, run: Callable[..., DagRun], used: Used) -> None:
    before = state(machine, used.outputs)
    looked = run(stack_name=STACK)
    assert looked.states == {"list": "success", "clean_up": "skipped"}
    assert state(machine, used.outputs) == before
    assert looked.xcom("list") == plan(machine.clients, STACK).for_xcom()
    items = {(item["kind"], item["name"]): item for item in looked.xcom("list")["items"]}
    # The run, and its costs: in one item, or in several where a slow machine gave signs of life meanwhile.
    assert items["table", used.outputs.table]["count"] == len(before[1][f"table {used.outputs.table}"]) >= 2
    assert items["bucket", used.outputs.bucket]["count"] == len(before[1][f"bucket {used.outputs.bucket}"]) >= 4
    rows = [line.split() for line in looked.log("list") if line.startswith("  ")]
    assert [row[0] for row in rows].count("stack") == 4
    assert ["table", used.outputs.table, str(items["table", used.outputs.table]["count"]), "items"] in rows


@pytest.mark.parametrize(
    ("confirm", "wrong"), [(None, "the stack's name is missing"), (OTHER, f"'{OTHER}' is not the stack's name")]
)
def test_without_the_name_once_more_it_fails_with_one_line_and_changes_nothing(
    machine: Any, run: Callable[..., DagRun], used: Used, confirm: str | None, wrong: str
) -> None:
    before = state(machine, used.outputs)
    unconfirmed = run(stack_name=STACK, dry_run=False, confirm=confirm)
    assert unconfirmed.states == {"list": "success", "clean_up": "failed"}
    line = f"confirm: {wrong} (enter {STACK})"
    assert line in unconfirmed.log("clean_up")
    assert machine.api.failure(DAG, unconfirmed.run_id) == f"task clean_up failed: {line}"
    assert state(machine, used.outputs) == before


def test_the_form_takes_no_name_that_is_no_stack_s(run: Callable[..., DagRun]) -> None:
    for name in ("snn-*", "snn-artifacts", "arn:aws:s3:::other"):
        with pytest.raises(AirflowError, match=r"400: Invalid input for param stack_name: .*does not match"):
            run(stack_name=name)


def test_with_the_name_once_more_nothing_is_left(machine: Any, run: Callable[..., DagRun], used: Used) -> None:
    cleaned = run(stack_name=STACK, dry_run=False, confirm=STACK)
    assert cleaned.states == {"list": "success", "clean_up": "success"}
    assert inventory(machine.clients) == used.before
    assert cleaned.xcom("clean_up")["deleted"] == cleaned.xcom("list")["items"]
    lines = cleaned.log("clean_up")
    assert any(line.startswith("Pausing task as DEFERRED") for line in lines)
    wanted = [f"deleting the stack {STACK}", "DELETE_COMPLETE", f"deleting the bucket {used.outputs.artifact_bucket}"]
    assert [line for line in lines if line in wanted] == wanted
    nothing = run(stack_name=STACK)
    assert f"found nothing of a stack {STACK}" in nothing.log("list")
