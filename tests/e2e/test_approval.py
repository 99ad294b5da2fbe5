"""A candidate waits for a person in a real Airflow: answers there and by command, deadlines, and parts that die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dag_run import DagRun
from inbox import receive, subscribe
from served import KINDS, put_run

from snn_cli.local.airflow_api import AirflowError
from snn_client.models import versions
from snn_client.models.champion import find_champion
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.registry.record import Version

DAG, MODEL = "approving", "approving"
PERSON = "admin"  # who the tests are logged in as
SNN = Path(sys.executable).with_name("snn")
TASKS = ("register", "approve", "promote")
COMPARISON = {
    "champion": {
        "run_id": "old-1",
        "test_set": {"accuracy": 0.7, "log_loss": 0.61, "intervals": {"accuracy": {"low": 0.5, "high": 0.85}}},
    },
    "challenger": {
        "run_id": "new",
        "test_set": {"accuracy": 0.9, "log_loss": 0.25, "intervals": {"accuracy": {"low": 0.75, "high": 0.97}}},
    },
    "decision": {"promote": True, "reason": "the challenger is better by 0.200 (McNemar, p = 0.012), cats*dogs"},
}
READING = 1.5  # seconds
WEAK = {
    "epochs": 1, "layers": 1, "neurons": {"layer1": 1}, "activations": {"layer1": "sigmoid"}, "learning_rate": 1e-6,
}  # fmt: skip


@dataclass(frozen=True)
class Waiting(DagRun):
    """A DAG run whose task `approve` asks."""

    trained: str  # the run that wants to be champion
    stack: StackOutputs

    @property
    def version(self) -> Version:
        return versions.registry_of(self.machine.clients, self.stack).held(MODEL, self.trained)

    @property
    def question(self) -> Any:
        return self.machine.api.question(self.dag, self.run_id, "approve")

    @property
    def champion(self) -> str:
        held = find_champion(self.machine.clients, self.stack.bucket, MODEL)
        return held.run_id if held else ""

    def waits(self) -> Any:
        """Wait until the task has asked and is deferred, and a person has had time to read; return its question.

        Airflow fails a task that is woken up before its scheduler has heard from the executor that the worker is done.
        """
        self.machine.until(lambda: self.states["approve"] == "deferred", 60)
        time.sleep(READING)
        return self.question

    def answer(self, option: str) -> None:
        self.machine.api.answer(self.dag, self.run_id, "approve", option)

    def decide(self, word: str, by: str) -> None:
        """Approve or reject by the command."""
        arguments = [
            "models",
            word,
            str(self.version["number"]),
            "--model",
            MODEL,
            "--by",
            by,
            "--reason",
            "by command",
        ]
        where = {**os.environ, **self.machine.emulator.environment(), "SNN_STACK_NAME": self.stack.stack_name}
        done = subprocess.run([SNN, *arguments], env=where, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def ended(self) -> tuple[str, str, str]:
        """Wait for the end; return the states of its tasks."""
        self.wait(90)
        assert self.machine.api.run_state(self.dag, self.run_id) == "success", (
            self.machine.api.failure(self.dag, self.run_id),
            self.log("approve"),
        )
        states = self.states
        return states["register"], states["approve"], states["promote"]

    def skipped(self, task: str) -> str:
        """Return why a task was skipped, as its log says."""
        log = self.machine.api.log(self.dag, self.run_id, task, 1)
        (why,) = [entry["reason"] for entry in log if isinstance(entry, dict) and "reason" in entry]
        return str(why)

    def decided(self) -> tuple[str, str]:
        """Return what the task has returned, which the registry has too."""
        told, held = self.xcom("approve"), self.version["decided"]
        assert held is not None
        assert (told["status"], told["by"], told["reason"]) == (held["status"], held["by"], held["reason"])
        assert (told["number"], told["run_id"]) == (self.version["number"], self.trained)
        return told["status"], told["by"]


@pytest.fixture(scope="module")
def ask(machine: Any, stack: StackOutputs) -> Callable[..., Waiting]:
    """Leave a run as a training does, and start the DAG that asks about it."""
    machine.api.wait_for_dag(DAG)

    def ask(**form: Any) -> Waiting:
        trained = f"approving-{time.time_ns()}"
        kind = KINDS["features of three classes"]
        put_run(machine.clients, stack, trained, kind.file(trained))
        filled = {"stack_name": stack.stack_name, "run_id": trained, "model": MODEL, **form}
        return Waiting(machine, DAG, machine.api.trigger(DAG, filled), trained, stack)

    return ask


@pytest.fixture
def inbox(machine: Any, stack: StackOutputs, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A queue that hears what the stack's topic says."""
    for name, value in machine.emulator.environment().items():
        monkeypatch.setenv(name, value)
    url, subscription = subscribe(stack.topic_arn, f"approval-{time.monotonic_ns()}")
    yield url
    machine.clients.sns.unsubscribe(SubscriptionArn=subscription)
    machine.clients.sqs.delete_queue(QueueUrl=url)


@pytest.mark.usefixtures("retraining")
def test_people_see_both_models_and_who_approves_promotes(ask: Callable[..., Waiting], inbox: str) -> None:
    run = ask(comparison=COMPARISON)
    asked, number = run.waits(), run.version["number"]
    assert asked["subject"] == f"Version {number} of {MODEL}: become champion?"
    assert (asked["options"], asked["defaults"], asked["response_received"]) == (
        ["Approve", "Reject"],
        ["Reject"],
        False,
    )
    body = asked["body"].replace("\N{NO-BREAK SPACE}", " ")
    for line in (
        f"Version {number} of {MODEL}, trained by run `{run.trained}`, wants to become champion. "
        "The champion is run `old-1`.",
        "| on the test set | champion | candidate |",
        "| Accuracy | 70 % (50 % to 85 %) | 90 % (75 % to 97 %) |",
        "| Log loss | 0.6100 | 0.2500 |",
        "**Decision by rule:** the challenger is better by 0.200 (McNemar, p = 0.012), cats\\*dogs.",
        f"Data set: `runs/{run.trained}/input/datasets.h5`. "
        f"[Report]({run.machine.emulator.endpoint_url}/{run.stack.bucket}/runs/{run.trained}/report/report.html)",
        f"The first answer counts, here or by `snn models approve {number} --model {MODEL}` or "
        f"`snn models reject {number} --model {MODEL}`.",
    ):
        assert line in body.splitlines(), body
    run.machine.until(lambda: run.version["asked_at"] > 0, 5)
    assert [told[:2] for told in receive(inbox)] == [
        (
            "Training update!",
            f"Version {number} of {MODEL} (run {run.trained}) waits for approval (snn models approve {number} "
            f"--model {MODEL}): the challenger is better by 0.200 (McNemar, p = 0.012), cats*dogs",
        )
    ]
    assert run.champion != run.trained
    run.answer("Approve")
    assert run.ended() == ("success", "success", "success")
    assert run.decided() == ("approved", PERSON)
    assert run.champion == run.trained
    assert run.xcom("promote")["champion"] == run.trained
    assert receive(inbox) == []


def test_who_rejects_has_the_promotion_skipped_and_a_deadline_does_too(ask: Callable[..., Waiting]) -> None:
    refused, late, soon = ask(), ask(timeout=4), ask(timeout=4, default="approve")
    before = refused.champion
    refused.waits()
    refused.answer("Reject")
    assert refused.ended() == late.ended() == ("success", "success", "skipped")
    assert soon.ended() == ("success", "success", "success")
    assert refused.decided() == ("rejected", PERSON)
    assert late.decided() == ("rejected", "deadline")
    assert soon.decided() == ("approved", "deadline")
    assert before not in (refused.trained, late.trained)
    assert soon.champion == soon.trained
    told = f"version {refused.version['number']} of {MODEL} was rejected by {PERSON} (answered in DAG {DAG})"
    assert refused.skipped("promote") == f"{told}: it cannot become champion"
    for run, option in ((late, "Reject"), (soon, "Approve")):  # Airflow's own question is over too
        asked = run.question
        assert "If nobody answers until 20" in asked["body"]
        assert (asked["response_received"], asked["chosen_options"]) == (True, [option])
        with pytest.raises(AirflowError, match="409"):
            run.answer("Approve")


def test_who_answers_by_the_command_first_wins(ask: Callable[..., Waiting]) -> None:
    run = ask()
    run.waits()
    run.decide("approve", "ann")
    assert run.ended() == ("success", "success", "success")
    assert run.decided() == ("approved", "ann")
    assert run.xcom("approve")["reason"] == "by command"
    assert run.champion == run.trained
    assert run.question["chosen_options"] == ["Approve"]
    with pytest.raises(AirflowError, match="409"):
        run.answer("Reject")


@pytest.fixture(scope="module")
def retraining(machine: Any, stack: StackOutputs, faces: Path) -> Iterator[DagRun]:
    """A run of snn_retraining that is to ask; it trains while other tests go on. Others begin without a champion."""
    dag = "snn_retraining"
    machine.api.wait_for_dag(dag)
    form = {"stack_name": stack.stack_name, "dataset": str(faces), "parameters": WEAK, "approval": True}
    yield DagRun(machine, dag, machine.api.trigger(dag, {**form, "approval_hours": 1}))
    for key in places.champion():
        machine.clients.s3.delete_object(Bucket=stack.bucket, Key=key)


def test_the_retraining_asks_if_its_form_says_so(retraining: DagRun, machine: Any, stack: StackOutputs) -> None:
    run, api = retraining, machine.api
    machine.until(lambda: run.states.get("approve") == "deferred", 120)
    assert {name: run.states[name] for name in ("register", "promote")} == {"register": "success", "promote": None}
    asked = api.question(run.dag, run.run_id, "approve")
    assert asked is not None
    assert "**Decision by rule:** there is no champion yet; the challenger's accuracy is 0." in asked["body"]
    assert "| Accuracy | – | " in asked["body"]
    api.answer(run.dag, run.run_id, "approve", "Approve")
    run.wait(60)
    assert (run.states["approve"], run.states["promote"]) == ("success", "success")
    version = run.xcom("register")
    held = versions.registry_of(machine.clients, stack).held("default", version["run_id"])
    assert held["decided"] is not None
    assert (held["status"], held["decided"]["by"], held["by"]) == ("approved", PERSON, f"DAG {run.dag}")
    assert set(held["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert run.xcom("promote") == {"champion": version["run_id"], "previous": ""}


@pytest.mark.parametrize(
    "parts", [("triggerer",), pytest.param(("triggerer", "scheduler"), marks=pytest.mark.slow)], ids=" and ".join
)
def test_whatever_is_answered_while_airflow_is_down_counts(
    ask: Callable[..., Waiting], machine: Any, parts: tuple[str, ...]
) -> None:
    """Parts are killed, with the scheduler its workers; one answer is given in Airflow, one by command, one by nobody.

    What Airflow 3.3 hears itself goes on without a triggerer.
    """
    there, by_command, later = ask(), ask(), ask()
    for run in (there, by_command, later):
        run.waits()
    nobody = ask(timeout=10)
    nobody.waits()
    asked_at = [run.version["asked_at"] for run in (there, by_command, nobody, later)]
    for part in parts:
        machine.kill(part)
    there.answer("Approve")
    by_command.decide("reject", "bob")
    time.sleep(max(0.0, nobody.version["asked_at"] + 10 - time.time()))
    assert [run.version["status"] for run in (by_command, nobody, later)] == ["rejected", "candidate", "candidate"]
    assert by_command.states["approve"] == nobody.states["approve"] == "deferred"
    machine.revive()
    assert there.ended() == ("success", "success", "success")
    assert by_command.ended() == nobody.ended() == ("success", "success", "skipped")
    assert there.decided() == ("approved", PERSON)
    assert by_command.decided() == ("rejected", "bob")
    assert nobody.decided() == ("rejected", "deadline")
    assert later.states["approve"] == "deferred"  # and goes on waiting
    later.answer("Reject")
    assert later.ended() == ("success", "success", "skipped")
    assert [run.version["asked_at"] for run in (there, by_command, nobody, later)] == asked_at
    tasks = machine.api.task_instances(DAG, nobody.run_id)
    assert {task["task_id"]: task["try_number"] for task in tasks} == dict.fromkeys(TASKS, 1)
