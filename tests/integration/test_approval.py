"""Approval on a real (emulated) stack: the tasks where Airflow asks nobody, and an upload that may not promote."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import numpy as np
import oracle
import pytest
from airflow.sdk import DAG
from inbox import receive, subscribe
from other_airflow import TaskDeferred
from served import KINDS, put_run
from small import upload
from typer.testing import CliRunner

from snn_cli.main import app
from snn_client.models import versions
from snn_client.models.champion import find_champion
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.registry.record import Status, Version
from snn_operators import approval, approval_trigger
from snn_operators.approval import SnnApprovalOperator
from snn_operators.champion import SnnPromoteOperator, SnnRollbackOperator
from snn_operators.compat import AirflowFailException, AirflowSkipException
from snn_operators.models import SnnRegisterOperator

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
JUDGED = {"accuracy": 0.9, "intervals": {"accuracy": {"low": 0.75, "high": 0.97}}}
COMPARISON: dict[str, Any] = {
    "champion": None,
    "challenger": {"run_id": "new", "test_set": JUDGED},
    "decision": {"promote": True, "reason": "there is no champion yet"},
}


class Candidate:
    """A run that wants to be champion of a model of its own, and the tasks that are about it."""

    def __init__(self, clients: Clients, stack: StackOutputs) -> None:
        self.clients, self.stack, self.model = clients, stack, f"a-{uuid.uuid4().hex[:10]}"
        self.registry, self._numbers = versions.registry_of(clients, stack), itertools.count()
        self.run_id = self.new()

    def new(self) -> str:
        run_id = f"{self.model}-{next(self._numbers)}"
        kind = KINDS["features of three classes"]
        put_run(self.clients, self.stack, run_id, kind.file(run_id))
        return run_id

    def task(self, of: type[Any], **given: Any) -> Any:
        whose = {} if of is SnnRollbackOperator else {"run_id": self.run_id}
        return of(task_id="task", stack=self.stack.to_dict(), dag=DAG("d"), **{**whose, "model": self.model}, **given,
                  **AWS)  # fmt: skip

    def waiting(self, **given: Any) -> tuple[Any, approval_trigger.ApprovalTrigger]:
        """Return the task that waits, and what it waits with."""
        task = self.task(SnnApprovalOperator, poll_interval=0.05, **given)
        with pytest.raises(TaskDeferred) as deferred:
            task.execute({})
        assert deferred.value.method_name == "execute_complete"
        trigger = deferred.value.trigger
        assert isinstance(trigger, approval_trigger.ApprovalTrigger)
        return task, trigger

    @property
    def version(self) -> Version:
        return self.registry.held(self.model, self.run_id)

    @property
    def champion(self) -> str:
        held = find_champion(self.clients, self.stack.bucket, self.model)
        return held.run_id if held else ""


@pytest.fixture
def candidate(clients: Clients, stack: StackOutputs, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    """A candidate, in an Airflow that asks nobody."""
    for module in (approval, approval_trigger):
        monkeypatch.setattr(module, "hitl", None)
    return Candidate(clients, stack)


@pytest.fixture
def inbox(clients: Clients, stack: StackOutputs) -> Iterator[str]:
    url, subscription = subscribe(stack.topic_arn, f"approval-{time.monotonic_ns()}")
    yield url
    clients.sns.unsubscribe(SubscriptionArn=subscription)
    boto3.client("sqs").delete_queue(QueueUrl=url)


def fired(trigger: Any) -> dict[str, Any]:
    """Return the one event of a trigger."""

    async def all_of_it() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (event,) = asyncio.run(asyncio.wait_for(all_of_it(), 30))
    return dict(event)


def test_a_task_registers_what_the_compare_task_found(candidate: Candidate) -> None:
    task = candidate.task(SnnRegisterOperator, test_set=JUDGED)
    version = task.execute({})
    assert version == candidate.version
    assert (version["number"], version["status"], version["by"]) == (1, "candidate", "DAG d")
    assert version["metrics"] == {"accuracy": {"value": 0.9, "low": 0.75, "high": 0.97}}
    assert json.loads(json.dumps(version)) == version
    assert task.execute({}) == version
    lineage = task.get_openlineage_facets_on_complete(None)
    assert [each.name for each in lineage.inputs] == [places.params(candidate.run_id)]


@pytest.mark.parametrize(("status", "promoted"), [(Status.APPROVED, True), (Status.REJECTED, False)])
def test_without_airflow_s_own_question_it_waits_for_the_registry(
    candidate: Candidate, inbox: str, status: Status, promoted: bool
) -> None:
    task, trigger = candidate.waiting(comparison=COMPARISON)
    assert (trigger.ti_id, trigger.deadline) == ("", None)
    assert candidate.version["metrics"] == {"accuracy": {"value": 0.9, "low": 0.75, "high": 0.97}}
    asked_at = candidate.version["asked_at"]
    task, again = candidate.waiting(comparison=COMPARISON)  # as by a try of a worker that has died
    assert again.serialize() == trigger.serialize()
    assert candidate.version["asked_at"] == asked_at > 0
    assert [told[:2] for told in receive(inbox) + receive(inbox)] == [
        (
            "Training update!",
            f"Version 1 of {candidate.model} (run {candidate.run_id}) waits for approval "
            f"(snn models approve 1 --model {candidate.model}): there is no champion yet",
        )
    ]

    async def answered() -> dict[str, Any]:
        events = aiter(trigger.run())
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(candidate.registry.decide, candidate.model, 1, status, "ann", "looked at it")
        event = await asyncio.wait_for(waiting, 10)
        assert [each async for each in events] == []
        return dict(event.payload)

    event = asyncio.run(answered())
    assert event == {"status": "decided"}
    said = task.execute_complete({}, event)
    told = candidate.version["decided"]
    assert told is not None
    assert said == {
        "model": candidate.model, "number": 1, "run_id": candidate.run_id, "status": str(status), "by": "ann",
        "reason": "looked at it", "at": told["at"],
    }  # fmt: skip
    assert task.execute({}) == said  # whoever asks again is told at once
    promote = candidate.task(SnnPromoteOperator, decision={"promote": True})
    if promoted:
        assert promote.execute({}) == {"champion": candidate.run_id, "previous": ""}
    else:
        with pytest.raises(AirflowSkipException) as skipped:
            promote.execute({})
        assert str(skipped.value) == (
            f"version 1 of {candidate.model} was rejected by ann (looked at it): it cannot become champion"
        )
    assert candidate.champion == (candidate.run_id if promoted else "")


@pytest.mark.parametrize(("default", "status"), [("reject", "rejected"), ("Approve", "approved")])
def test_a_deadline_counts_from_the_first_question(candidate: Candidate, default: str, status: str) -> None:
    _, trigger = candidate.waiting(response_timeout=timedelta(seconds=0.5), default=default)
    time.sleep(0.2)
    task, again = candidate.waiting(response_timeout="0.5", default=default)
    asked_at = candidate.version["asked_at"]
    assert again.deadline == pytest.approx(asked_at + 0.5, abs=1e-6)
    assert trigger.deadline == pytest.approx(asked_at + 0.5, abs=0.3)
    assert fired(again) == {"status": "decided"}
    assert time.time() >= asked_at + 0.5
    said = task.execute_complete({}, {"status": "decided"})
    assert (said["status"], said["by"], said["reason"]) == (status, "deadline", "nobody has answered in time")
    assert fired(trigger) == {"status": "decided"}  # the other trigger, had it lived, changes nothing
    assert candidate.version["decided"]["by"] == "deadline"  # type: ignore[index]


def test_an_answer_in_airflow_is_written_with_the_person_s_name_unless_somebody_was_first(
    candidate: Candidate,
) -> None:
    task, _ = candidate.waiting()
    event = {"chosen_options": ["Approve"], "params_input": {}, "responded_by_user": {"id": "7", "name": "Ann"}}
    said = task.execute_complete({}, event)
    assert (said["status"], said["by"], said["reason"]) == ("approved", "Ann", "answered in DAG d")
    assert task.execute_complete({}, event) == said  # a worker that died after it had written it
    late = {**event, "chosen_options": ["Reject"], "responded_by_user": {"id": "8", "name": "Bob"}}
    assert task.execute_complete({}, late) == said
    assert candidate.version["status"] == "approved"


def test_an_answer_is_written_although_aws_is_away_for_a_while(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import EndpointConnectionError

    task, _ = candidate.waiting()
    monkeypatch.setattr(approval, "NOTED_EVERY", 0.01)
    failures = [EndpointConnectionError(endpoint_url="https://dynamodb") for _ in range(3)]
    client = task.hook.clients.dynamodb

    def fail(**_: Any) -> None:
        if failures:
            raise failures.pop()

    client.meta.events.register("before-call.dynamodb.UpdateItem", fail)
    event = {"chosen_options": ["Reject"], "responded_by_user": {"id": "1", "name": "Ann"}}
    said = task.execute_complete({}, event)
    assert (said["status"], said["by"], failures) == ("rejected", "Ann", [])


def test_who_is_not_to_be_asked_is_not(candidate: Candidate) -> None:
    no: Any = {**COMPARISON, "decision": {"promote": False, "reason": "the challenger is not better"}}
    with pytest.raises(AirflowSkipException, match=r"^the challenger is not better$"):
        candidate.task(SnnApprovalOperator, comparison=no).execute({})
    with pytest.raises(AirflowSkipException, match=r"^neither the DAG run nor the stack asks for approval$"):
        candidate.task(SnnApprovalOperator, comparison=COMPARISON, wanted=False).execute({})
    assert candidate.registry.versions(candidate.model) == []
    candidate.stack = replace(candidate.stack, require_approval=True)
    candidate.waiting(comparison=COMPARISON, wanted=False)
    with pytest.raises(
        AirflowSkipException, match=f"^version 1 of {candidate.model} waits for approval: snn models ap"
    ):
        candidate.task(SnnPromoteOperator).execute({})
    assert candidate.champion == ""


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"default": "perhaps"}, r"default: 'perhaps' is no answer \(use approve or reject\)"),
        ({"response_timeout": 0}, r"response_timeout: is 0 \(give seconds, or None to wait for ever\)"),
        ({"model": "My Model"}, r"model: 'My Model' is not the name of a model"),
    ],
)
def test_what_cannot_be_asked_is_one_line(candidate: Candidate, given: dict[str, Any], problem: str) -> None:
    if model := given.pop("model", ""):
        candidate.model = model
    with pytest.raises(AirflowFailException, match=f"^{problem}"):
        candidate.task(SnnApprovalOperator, **given).execute({})


def test_a_trigger_that_may_not_look_fails_the_task_in_one_line(candidate: Candidate) -> None:
    task, trigger = candidate.waiting()
    trigger.stack = {**candidate.stack.to_dict(), "table": "gone"}
    event = fired(trigger)
    assert event["status"] == "error"
    assert "ResourceNotFound" in event["message"]
    with pytest.raises(Exception, match="ResourceNotFound"):
        task.execute_complete({}, event)


def test_a_former_champion_that_was_rejected_fails_the_rollback(candidate: Candidate) -> None:
    first, candidate.run_id = candidate.run_id, candidate.new()
    for run_id in (first, candidate.run_id):
        versions.promote(candidate.clients, candidate.stack, run_id, candidate.model)
    assert candidate.task(SnnRollbackOperator).execute({}) == {"champion": first, "previous": candidate.run_id}
    candidate.registry.decide(candidate.model, 2, Status.REJECTED, "ann")
    with pytest.raises(
        AirflowFailException, match=f"^version 2 of {candidate.model} was rejected by ann: it cannot be"
    ):
        candidate.task(SnnRollbackOperator).execute({})
    assert candidate.champion == first


def test_where_approval_is_required_an_upload_becomes_a_candidate_and_is_promoted_once_approved(
    clients: Clients, data: bytes
) -> None:
    stack = deploy_stack(
        clients, StackOptions.from_environment(stack_name="snn-approve", with_cache=False, require_approval=True)
    )
    assert stack.require_approval
    url, subscription = subscribe(stack.topic_arn, "approval-of-an-upload")
    parameters = json.dumps(oracle.small_network((3, 1), ("relu", "sigmoid")))
    run_id = upload(clients, stack, "cats", data, parameters)
    run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=90)
    assert run.cost is not None
    told, limit = list[str](), time.monotonic() + 30
    while not (told and "completed" in told[-1]):
        assert time.monotonic() < limit, told
        told += [text for subject, text, _ in receive(url) if subject == "Training update!"]
    assert told[-1] == (
        f"Training completed: cost after epoch 2 = {run.cost!r}; version 1 waits for approval (snn models approve 1)"
    )
    assert find_champion(clients, stack.bucket) is None
    (version,) = versions.registry_of(clients, stack).versions("default")
    assert (version["run_id"], version["status"], version["by"]) == (run_id, "candidate", "upload")

    def snn(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["models", *arguments, "--stack", stack.stack_name])
        return done.exit_code, " ".join((done.output if done.exit_code else done.stdout).split())

    code, said = snn("promote", "1")
    assert code == 1
    assert "version 1 of default waits for approval: snn models approve 1" in said
    assert find_champion(clients, stack.bucket) is None
    assert snn("approve", "1", "--by", "ann") == (0, f"version 1 of default, run {run_id}: approved")
    assert snn("promote", "1") == (0, f"champion: run {run_id}; before: none")
    held = find_champion(clients, stack.bucket)
    assert held is not None
    own = clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run_id))["Body"].read()
    assert np.array_equal(np.frombuffer(held.content, np.uint8), np.frombuffer(own, np.uint8))
    code, said = snn("reject", "1", "--by", "bob")
    assert code == 1
    assert "version 1 of default is approved by ann" in said
    clients.sns.unsubscribe(SubscriptionArn=subscription)
    boto3.client("sqs").delete_queue(QueueUrl=url)
