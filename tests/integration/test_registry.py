"""The registry in a real (emulated) table, and the champions that it names: in peace, in races, after a crash."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
from served import KINDS, put_run

from snn.errors import InvalidInput
from snn_client.models import versions
from snn_client.models.champion import Change
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import ChampionChanged, CloudError, NotApproved
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run, State
from snn_cloud.registry.record import Status
from snn_cloud.registry.registry import AlreadyDecided, Registry

KIND = KINDS["features of three classes"]
FACTS: Any = {"dataset": "d.h5", "sha256": "0" * 64, "parameters": {"epochs": 3}, "metrics": {}}
JUDGED = {"accuracy": 0.75, "log_loss": 0.5, "intervals": {"accuracy": {"low": 0.6, "high": 0.86}}, "mislabelled": [1]}
BOTH = (Status.APPROVED, Status.REJECTED)


class Models:
    """A model of its own, and what one does with its versions."""

    def __init__(self, clients: Clients, stack: StackOutputs) -> None:
        self.clients, self.stack, self.name = clients, stack, f"m-{uuid.uuid4().hex[:12]}"
        self.registry = versions.registry_of(clients, stack)
        self._numbers = itertools.count()

    def run(self) -> str:
        """Leave what a completed run leaves; return its id."""
        run_id = f"{self.name}-{next(self._numbers)}"
        put_run(self.clients, self.stack, run_id, KIND.file(run_id))
        return run_id

    def register(self, run_id: str = "", **facts: Any) -> str:
        run_id = run_id or self.run()
        versions.register(self.clients, self.stack, run_id, self.name, **facts)
        return run_id

    def promote(self, version: str | int, **options: Any) -> Change:
        return versions.promote(self.clients, self.stack, version, self.name, **options)

    def roll_back(self) -> Change:
        return versions.roll_back(self.clients, self.stack, self.name)

    @property
    def statuses(self) -> dict[int, str]:
        shown = versions.standing(self.clients, self.stack, self.name)["versions"]
        return {one["version"]["number"]: one["status"] for one in shown}

    def serves(self, run_id: str) -> bool:
        """Return whether what predictions are made with is this run's model, byte for byte."""
        keys = places.champion(self.name).params, places.params(run_id)
        held, own = (self.clients.s3.get_object(Bucket=self.stack.bucket, Key=key)["Body"].read() for key in keys)
        return bool(held == own)


@pytest.fixture
def models(clients: Clients, stack: StackOutputs) -> Models:
    return Models(clients, stack)


def before(client: Any, operation: str, act: Callable[[dict[str, Any]], object]) -> None:
    """Have `act` called before every such request of a client."""

    def handler(params: dict[str, Any], **_: Any) -> None:  # what it returned would be taken for the answer
        act(params)

    client.meta.events.register(f"before-call.{client.meta.service_model.service_id.hyphenize()}.{operation}", handler)


def race(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Do work in so many threads that begin in one moment; return what each returned."""
    ready = threading.Barrier(number)

    def begin(one: int) -> Any:
        ready.wait(30)
        return work(one)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begin, range(number)))


def test_a_run_is_registered_once_with_what_it_is_and_what_it_is_worth(models: Models) -> None:
    run_id, began = models.run(), time.time()
    found = versions.register(models.clients, models.stack, run_id, models.name, "ann", JUDGED)
    content = models.clients.s3.get_object(Bucket=models.stack.bucket, Key=places.params(run_id))["Body"].read()
    assert found == {
        "model": models.name, "number": 1, "run_id": run_id, "status": "candidate",
        "dataset": f"runs/{run_id}/input/datasets.h5", "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": found["parameters"], "backbone": "",
        "metrics": {"accuracy": {"value": 0.75, "low": 0.6, "high": 0.86}, "log_loss": {"value": 0.5}},
        "by": "ann", "created": found["created"], "asked_at": 0.0, "decided": None, "promoted_at": 0.0,
    }  # fmt: skip
    assert found["parameters"]["neurons"] == {"layer1": 1}
    assert began <= found["created"] <= time.time()
    assert versions.register(models.clients, models.stack, run_id, models.name, "bob", {"accuracy": 0.1}) == found
    assert models.registry.find(models.name, run_id) == models.registry.find(models.name, 1) == found
    assert models.registry.find(models.name, "1") == found
    assert models.registry.find(models.name, 2) is models.registry.find(models.name, "nobody") is None
    assert models.name in models.registry.models()
    with pytest.raises(InvalidInput, match=f"the model {models.name} has no version 2"):
        models.registry.get(models.name, 2)


def test_only_a_completed_run_becomes_a_version(models: Models) -> None:
    run_id = f"{models.name}-broken"
    Ledger(models.clients.dynamodb, models.stack.table).create(Run(run_id, state=State.FAILED, reason="x"))
    with pytest.raises(CloudError, match=f"run {run_id} is FAILED: only a completed run has a model"):
        models.register(run_id)
    with pytest.raises(InvalidInput, match="'My Model' is not the name of a model"):
        versions.register(models.clients, models.stack, models.run(), "My Model")
    assert models.registry.versions(models.name) == []


def test_a_run_whose_name_is_a_number_is_not_taken_for_the_version_of_that_number(models: Models) -> None:
    first = models.register()
    number = str(uuid.uuid4().int)[:20]
    for run_id in (number, "1"):
        if Ledger(models.clients.dynamodb, models.stack.table).find(run_id) is None:
            put_run(models.clients, models.stack, run_id, KIND.file(run_id))
        models.register(run_id)
    assert [one["run_id"] for one in models.registry.versions(models.name)] == ["1", number, first]
    assert models.registry.get(models.name, "1")["run_id"] == first  # of a person, who means the number
    assert models.registry.held(models.name, "1")["number"] == 3
    assert models.registry.decide(models.name, 3, Status.REJECTED, "ann")["number"] == 3
    assert models.statuses == {1: "candidate", 2: "candidate", 3: "rejected"}


def test_a_run_that_is_called_as_the_registry_s_own_keys_are_shows_no_model(models: Models) -> None:
    ledger = Ledger(models.clients.dynamodb, models.stack.table)
    for name in ("models", "endpoint"):
        if ledger.find(name) is None:
            ledger.create(Run(name, state=State.COMPLETED))
    models.register()
    assert "run" not in models.registry.models()
    assert models.registry.spend("2026-12-01", 5) >= 5
    assert ledger.get("endpoint").state is State.COMPLETED


def test_of_eight_who_register_a_run_at_once_each_gets_the_same_version(models: Models) -> None:
    for _ in range(12):
        run_id = f"{models.name}-{uuid.uuid4().hex[:8]}"
        found = race(8, lambda one, run_id=run_id: models.registry.register(models.name, run_id, by=str(one), **FACTS))
        assert all(one == found[0] for one in found)
        assert found[0]["run_id"] == run_id
    held = models.registry.versions(models.name)
    assert len(held) == 12
    numbers = [one["number"] for one in held]
    assert numbers == sorted(set(numbers), reverse=True)  # some are left out, none is given twice


def test_of_eight_runs_registered_at_once_each_gets_a_number_of_its_own(models: Models) -> None:
    found = race(8, lambda one: models.registry.register(models.name, f"{models.name}-{one}", **FACTS))
    assert sorted(one["number"] for one in found) == list(range(1, 9))


def test_of_eight_who_decide_at_once_the_first_wins_and_the_others_are_told_who_it_was(models: Models) -> None:
    """A hundred races; half of them approve, half reject."""
    for number in range(1, 101):
        run_id = f"{models.name}-{number}"
        models.registry.register(models.name, run_id, **FACTS)

        def decide(one: int, run_id: str = run_id) -> Any:
            try:
                return models.registry.decide(models.name, run_id, BOTH[one % 2], f"person {one}", f"because {one}")
            except AlreadyDecided as error:
                return str(error)

        said = race(8, decide)
        held = models.registry.held(models.name, run_id)
        assert held["decided"] is not None
        winner = int(held["decided"]["by"].removeprefix("person "))
        status = BOTH[winner % 2]
        assert (held["status"], held["decided"]["status"]) == (status, status)
        assert held["decided"]["reason"] == f"because {winner}"
        for one, told in enumerate(said):
            if BOTH[one % 2] is status:
                assert told == held
            else:
                assert told == f"version {number} of {models.name} is {status} by person {winner}"


def test_a_decision_whose_answer_got_lost_is_recognized_and_stays(models: Models) -> None:
    """botocore repeats such a write by itself, and the condition then no longer holds."""
    models.registry.register(models.name, "r", **FACTS)
    first, given = boto3.client("dynamodb"), dict[str, Any]()
    own = boto3.client("dynamodb")
    own.meta.events.register("provide-client-params.dynamodb.UpdateItem", lambda params, **_: given.update(params))
    before(own, "UpdateItem", lambda _: first.update_item(**given))
    found = Registry(own, models.stack.table).decide(models.name, "r", Status.APPROVED, "ann", "looks well")
    assert (found["status"], found["decided"] and found["decided"]["by"]) == ("approved", "ann")
    with pytest.raises(AlreadyDecided, match=f"^version 1 of {models.name} is approved by ann$"):
        models.registry.decide(models.name, "r", Status.REJECTED, "bob")
    again = models.registry.decide(models.name, 1, Status.APPROVED, "bob")
    assert again == found


def test_a_registration_whose_answer_got_lost_is_one_version(models: Models) -> None:
    first, given = boto3.client("dynamodb"), dict[str, Any]()
    own = boto3.client("dynamodb")
    own.meta.events.register("provide-client-params.dynamodb.PutItem", lambda params, **_: given.update(params))
    before(own, "PutItem", lambda _: first.put_item(**given))
    found = Registry(own, models.stack.table).register(models.name, "r", **FACTS)
    assert models.registry.versions(models.name) == [found]


def test_people_are_asked_once(models: Models) -> None:
    models.registry.register(models.name, "r", **FACTS)
    began = time.time()
    assert sorted(race(8, lambda _: models.registry.ask(models.name, "r"))) == [False] * 7 + [True]
    assert began <= models.registry.held(models.name, "r")["asked_at"] <= time.time()
    assert models.registry.ask(models.name, "nobody") is False
    assert models.registry.find(models.name, "nobody") is None


def test_where_each_version_stands(models: Models) -> None:
    runs = [models.register() for _ in range(4)]
    assert models.statuses == dict.fromkeys((1, 2, 3, 4), "candidate")
    models.registry.decide(models.name, 2, Status.APPROVED, "ann")
    models.registry.decide(models.name, 3, Status.REJECTED, "ann")
    assert models.promote(1) == Change(runs[0], "")
    assert models.statuses == {1: "champion", 2: "approved", 3: "rejected", 4: "candidate"}
    assert models.promote(runs[1]) == Change(runs[1], runs[0])
    assert models.statuses == {1: "retired", 2: "champion", 3: "rejected", 4: "candidate"}
    assert models.serves(runs[1])
    assert models.roll_back() == Change(runs[0], runs[1])
    assert models.statuses == {1: "champion", 2: "retired", 3: "rejected", 4: "candidate"}
    assert models.serves(runs[0])
    assert models.roll_back() == Change(runs[1], runs[0])
    assert models.statuses == {1: "retired", 2: "champion", 3: "rejected", 4: "candidate"}
    with pytest.raises(NotApproved, match=f"^version 3 of {models.name} was rejected by ann: it cannot become champ"):
        models.promote(3)
    assert models.serves(runs[1])
    assert versions.champion_of(models.clients, models.stack, models.name) == models.registry.get(models.name, 2)


def test_promoting_a_run_registers_it_and_the_number_lies_beside_the_champion(models: Models) -> None:
    run_id = models.run()
    models.promote(run_id, by="ann")
    key = places.champion(models.name).params
    told = models.clients.s3.head_object(Bucket=models.stack.bucket, Key=key)["Metadata"]
    assert (told["run-id"], told["number"]) == (run_id, "1")
    assert models.registry.get(models.name, 1)["by"] == "ann"


def test_where_approval_is_required_only_an_approved_version_is_promoted(models: Models) -> None:
    models.stack = replace(models.stack, require_approval=True)
    run_id = models.run()
    with pytest.raises(NotApproved, match=f"^version 1 of {models.name} waits for approval: snn models approve 1 "):
        models.promote(run_id)
    assert models.statuses == {1: "candidate"}
    models.registry.decide(models.name, 1, Status.APPROVED, "ann")
    assert models.promote(1) == Change(run_id, "")
    assert models.statuses == {1: "champion"}


def test_a_former_champion_that_was_rejected_does_not_come_back(models: Models) -> None:
    for _ in range(2):
        models.promote(models.run())
    models.registry.decide(models.name, 1, Status.REJECTED, "ann", "blind to grey cats")
    said = rf"^version 1 of {models.name} was rejected by ann \(blind to grey cats\): it cannot become champion$"
    with pytest.raises(NotApproved, match=said):
        models.roll_back()
    assert models.statuses == {1: "rejected", 2: "champion"}


def test_two_models_do_not_touch_each_other(clients: Clients, stack: StackOutputs) -> None:
    one, two = Models(clients, stack), Models(clients, stack)
    shared = one.run()
    other = two.register()
    assert one.register(shared) == two.register(shared)
    assert one.registry.get(one.name, shared)["number"] == 1
    assert two.registry.get(two.name, shared)["number"] == 2
    one.registry.decide(one.name, shared, Status.REJECTED, "ann")
    two.promote(other)
    two.promote(shared)
    assert (one.statuses, two.statuses) == ({1: "rejected"}, {1: "retired", 2: "champion"})
    with pytest.raises(InvalidInput, match="there is no previous champion to go back to"):
        one.roll_back()
    assert {one.name, two.name} <= set(one.registry.models())


def test_of_many_promoted_at_once_over_the_same_champion_one_wins(models: Models) -> None:
    first = models.run()
    models.promote(first)
    key = places.champion(models.name).params
    etag = models.clients.s3.head_object(Bucket=models.stack.bucket, Key=key)["ETag"]
    runs = [models.register() for _ in range(6)]

    def promote(number: int) -> str:
        try:
            return models.promote(runs[number], over=etag).champion
        except ChampionChanged:
            return ""

    (winner,) = filter(None, race(6, promote))
    assert models.serves(winner)
    assert sorted(models.statuses.values()) == ["candidate"] * 5 + ["champion", "retired"]


@pytest.mark.parametrize("then", ["again", "another", "back"])
def test_what_a_crash_leaves_between_champion_and_registry_the_next_change_settles(models: Models, then: str) -> None:
    """The worker dies when the champion is written, and the registry has not heard of it."""
    former, run_id = models.run(), models.run()
    models.promote(former)
    models.register(run_id)
    trial = models.registry.begin_trial(models.name, run_id, "canary", 0.1)
    gone = Clients(boto3.client)

    def crash(_: dict[str, Any]) -> None:
        raise ConnectionError("the worker is gone")

    before(gone.dynamodb, "UpdateItem", crash)
    with pytest.raises(ConnectionError):
        versions.promote(gone, models.stack, run_id, models.name)
    assert models.serves(run_id)
    assert models.registry.get(models.name, run_id)["promoted_at"] == 0.0
    assert models.statuses == {1: "retired", 2: "champion"}  # S3 says who serves
    if then == "again":
        assert models.promote(run_id) == Change(run_id, former)
        assert models.statuses == {1: "retired", 2: "champion"}
    elif then == "another":
        models.promote(models.run())
        assert models.statuses == {1: "retired", 2: "retired", 3: "champion"}
    else:
        assert models.roll_back() == Change(former, run_id)
        assert models.statuses == {1: "champion", 2: "retired"}
    assert models.registry.get(models.name, run_id)["promoted_at"] > 0
    ended = models.registry.trial(models.name)
    assert ended == {**trial, "ended": "promoted", "reason": "it became champion"}


def test_a_candidate_that_is_rejected_is_no_longer_on_trial(models: Models) -> None:
    models.register()
    trial = models.registry.begin_trial(models.name, 1, "shadow")
    models.registry.decide(models.name, 1, Status.REJECTED, "ann")
    ended = models.registry.trial(models.name)
    assert ended == {**trial, "ended": "withdrawn", "reason": "it was rejected by ann"}
    with pytest.raises(InvalidInput, match=re.escape(f"version: version 1 of {models.name} was rejected")):
        models.registry.begin_trial(models.name, 1, "canary", 0.1)


def test_what_a_version_is_asked_is_counted_from_the_trial_on(models: Models) -> None:
    models.register()
    (held,) = models.registry.versions(models.name)
    models.registry.count(models.name, held["run_id"], {"requests": 7, "errors": 1})
    models.registry.begin_trial(models.name, 1, "canary", 0.1)
    assert models.registry.served(models.name) == {}
    race(8, lambda _: models.registry.count(models.name, held["run_id"], {"requests": 1, "milliseconds": 5}))
    served = versions.standing(models.clients, models.stack, models.name)["versions"][0]["served"]
    assert served is not None
    assert (served["requests"], served["errors"], served["milliseconds"]) == (8, 0, 40)


def test_a_trial_that_its_rule_ends_is_withdrawn_when_somebody_concludes_it(models: Models) -> None:
    champion, slow = models.run(), models.run()
    models.promote(champion)
    models.register(slow)
    models.registry.begin_trial(models.name, slow, "canary", 0.5, {"min_requests": 10, "max_slower": 2.0})
    models.registry.count(models.name, champion, {"requests": 90, "milliseconds": 900})
    models.registry.count(models.name, slow, {"requests": 10, "milliseconds": 990})
    ended = versions.conclude(models.clients, models.stack, models.name)
    assert (ended["ended"], ended["reason"]) == ("withdrawn", "it takes 99 ms, the champion 10")
    assert models.serves(champion)
