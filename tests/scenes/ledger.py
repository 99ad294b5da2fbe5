"""The ledger, and the list of its runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from answers import ABSENT, Answers

from scenes.common import RUN, TABLE, Ledgers
from snn.training import History
from snn_client.runs.listing import newest_runs
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import State, StoppedBy, Usage, pack, to_item


def scene_a_run_from_its_creation_to_its_end() -> Answers:
    answers = Answers(Ledgers().answers)
    ledger = Ledger(answers.clients.dynamodb, TABLE)
    assert ledger.find("r1") is None
    assert ledger.create(RUN)
    lease = ledger.acquire("r1", "me")
    assert lease is not None
    lease.flush(History([4.0, 3.0]), {"trainer": Usage(milliseconds=7)})
    lease.checkpointed("v2")
    run = lease.finish(State.COMPLETED, StoppedBy.EPOCHS)
    assert (run.state, run.epoch, run.cost, run.checkpoint_version) == (State.COMPLETED, 2, 3.0, "v2")
    assert run.usage["trainer"].milliseconds == 7
    reads = len(answers.asked("dynamodb.GetItem"))
    assert answers.clients.requests.take() == {"read_units": reads, "write_units": len(answers.heard) - reads}
    return answers


def _chunk(first: int, *costs: float) -> dict[str, Any]:
    stored = np.array(costs, "<f8").tobytes()
    return pack({"run_id": "r1", "item": f"costs#{first:08d}", "first": first, "costs": stored})


def scene_the_epochs_after_one() -> Answers:
    def query(asked: dict[str, Any]) -> dict[str, Any]:
        if "Limit" in asked:
            return {"Items": [_chunk(0, 5.0, 4.0)]}
        return {"Items": [_chunk(3, 2.0)] if "ExclusiveStartKey" in asked else [_chunk(2, 3.0)]}

    answers = Answers({**Ledgers(RUN).answers, "dynamodb.Query": query})
    _, rows = Ledger(answers.clients.dynamodb, TABLE).progress("r1", after_epoch=0)
    assert [(row.epoch, row.cost) for row in rows] == [(1, 4.0), (2, 3.0), (3, 2.0)]
    return answers


def scene_the_list_of_runs() -> Answers:
    runs = {name: to_item(replace(RUN, run_id=name, created_at=at)) for name, at in zip("abc", (3.0, 2.0, 1.0))}
    keys = {name: pack({"run_id": name, "item": "run"}) for name in runs}
    answers = Answers(
        {
            "dynamodb.Query": [{"Items": [keys["a"], keys["b"]]}, {"Items": [keys["c"]]}],
            "dynamodb.BatchGetItem": [
                {"Responses": {TABLE: [runs["b"]]}, "UnprocessedKeys": {TABLE: {"Keys": [keys["a"]]}}},
                {"Responses": {TABLE: [runs["a"]]}, "UnprocessedKeys": {}},
                {"Responses": {TABLE: [runs["c"]]}, "UnprocessedKeys": ABSENT},
            ],
        }
    )
    assert [run.run_id for run in newest_runs(answers.clients.dynamodb, TABLE)] == ["a", "b", "c"]
    again = answers.asked("dynamodb.BatchGetItem")[1]["RequestItems"]
    assert again[TABLE]["Keys"] == [keys["a"]]
    assert answers.clients.requests.take() == {"read_units": 5}
    return answers
