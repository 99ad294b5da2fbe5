"""Invocations of an epoch: noted from many threads, stored with the epoch, added up; and their lines in the logs."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import h5py
import pytest
from answers import ABSENT, Answers, Refused
from training import Lesson, photos

from snn.batches import Batch
from snn_client.microscope.invocations import summary_of, waves_of
from snn_client.runs.logs import lines_of_invocation
from snn_cloud.cost.kept import ROW_BYTES
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_cloud.train import recording
from snn_cloud.train.keeping import Keeper
from snn_cloud.train.recording import Recorder
from snn_data.invocations import EpochInvocations, Invocation, write_invocations
from snn_data.kept import dump_epochs, load_epoch, state_of

ID = "0f0e0d0c-0b0a-0908-0706-050403020100"
STREAM = "2026/11/30/[$LATEST]0123456789abcdef0123456789abcdef"
TASK: Any = {"run_id": "r1", "layer": 2, "neurons": (3, 5), "direction": "backward"}
BATCH = Batch(1, slice(None), 7, 7.0, 4, 2)
ANSWER = {"milliseconds": 12, "init_ms": 0, "memory_mb": 512, "request_id": ID, "log_stream": STREAM}


def one(layer: int, direction: str, sent: float, answered: float, first: int = 0, **fields: Any) -> Invocation:
    plain = Invocation(
        0, 0, layer, first, first, direction, 1, 1, "done", sent, answered, round(1000 * (answered - sent)), 0, 1024,
        f"id {layer} {first}", "stream",
    )  # fmt: skip
    return plain._replace(**fields)


def test_what_is_noted_of_an_invocation() -> None:
    before = time.time()
    recorder = Recorder()
    now = time.perf_counter()
    recorder.note(TASK, BATCH, (1, 2), (now, now + 0.5), ANSWER)
    found = recorder.ended(5)
    assert (found.epoch, found.left_out) == (5, 0)
    assert before <= found.started_at <= found.ended_at <= time.time() + 0.01
    (noted,) = found.invocations
    assert noted[:9] == (2, 1, 2, 3, 4, "backward", 1, 2, "done")
    assert noted.answered - noted.sent == pytest.approx(0.5)
    assert noted[11:] == (12, 0, 512, ID, STREAM)
    assert (noted.cold, noted.again) == (False, True)


@pytest.mark.parametrize(
    ("answer", "outcome", "request_id"),
    [
        ({"errorMessage": "out of luck", "errorType": "ValueError", "requestId": ID}, "failed", ID),
        ({"errorMessage": f"2026-11-30T12:00:00Z {ID} Task timed out after 60.00 seconds"}, "failed", ID),
        ({"errorMessage": f"RequestId: {ID} Error: Runtime exited", "errorType": "Runtime.ExitError"}, "failed", ID),
        ({"errorMessage": "Read timeout"}, "failed", ""),
        ({**ANSWER, "lost": "W1 is not in the cache"}, "lost", ID),
        ({**ANSWER, "refused": "layer: is missing"}, "refused", ID),
    ],
)
def test_a_failed_one_is_noted_with_what_its_answer_names(answer: Any, outcome: str, request_id: str) -> None:
    recorder = Recorder()
    now = time.perf_counter()
    recorder.note(TASK, BATCH, (2, 1), (now, now + 0.25), answer)
    (noted,) = recorder.ended(1).invocations
    assert (noted.outcome, noted.request_id, noted.again) == (outcome, request_id, True)
    assert noted.milliseconds == (250 if outcome == "failed" else 12)


def test_threads_note_at_once_and_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST", 300)
    recorder = Recorder()
    with ThreadPoolExecutor(8) as pool:
        for number in range(1_000):
            task = {**TASK, "neurons": (number, number + 1)}
            pool.submit(recorder.note, task, BATCH, (1, 1), (float(-number), 0.0), ANSWER)
    found = recorder.ended(1)
    assert (len(found.invocations), found.left_out) == (300, 700)
    assert [noted.sent for noted in found.invocations] == sorted(noted.sent for noted in found.invocations)
    assert len({noted.first for noted in found.invocations}) == 300


def test_they_are_stored_with_their_epoch_and_come_back_as_they_were() -> None:
    lesson = Lesson(Parameters.load(NETWORK), photos())
    ones = (
        one(1, "forward", 0.25, 0.5, init_ms=310, milliseconds=340, memory_mb=512, request_id=ID, log_stream=STREAM),
        one(2, "backward", 0.5, 1e-9 + 0.5, outcome="failed", attempt=3, round=2, request_id="", log_stream=""),
    )
    found = EpochInvocations(0, 1_780_000_000.25, 1_780_000_001.75, ones, left_out=7)
    content = dump_epochs([state_of(lesson.training, found), replace(state_of(lesson.training), epoch=3)])
    assert load_epoch(content, 0).invocations == found
    assert load_epoch(content, 3).invocations is None
    empty = EpochInvocations(0, 1.0, 2.0, ())
    assert load_epoch(dump_epochs([state_of(lesson.training, empty)]), 0).invocations == empty


def test_a_thousand_take_as_many_bytes_as_are_counted() -> None:
    draw = Random(1)
    ones = tuple(
        one(
            1, "forward", n * 1e-3 + draw.random(), n * 1e-3 + 1 + draw.random(), n, log_stream=STREAM,
            request_id=str(UUID(int=draw.getrandbits(128))),
        )
        for n in range(1_000)
    )  # fmt: skip
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        write_invocations(h5.create_group("x"), EpochInvocations(1, 0.0, 2.0, ones))
    assert 30_000 < len(buffer.getvalue()) < 1_000 * ROW_BYTES


def test_who_waited_for_whom() -> None:
    ones = (
        one(1, "forward", 0.1, 0.2, 0), one(1, "forward", 0.1, 0.5, 1), one(1, "forward", 0.1, 0.3, 2),
        one(1, "forward", 0.1, 0.4, 0, batch=1), one(2, "forward", 0.45, 0.6, 0, batch=1),
        one(2, "forward", 0.6, 0.9, 0, init_ms=200), one(2, "backward", 1.0, 1.25, 0),
        one(2, "backward", 1.3, 1.5, 0, attempt=2), one(2, "backward", 1.3, 1.4, 0, batch=1),
    )  # fmt: skip
    found = EpochInvocations(5, 100.0, 102.0, ones)
    waves = waves_of(found)
    assert [(wave.batch, wave.layer, wave.direction, wave.invocations) for wave in waves] == [
        (0, 1, "forward", 3), (1, 1, "forward", 1), (1, 2, "forward", 1), (0, 2, "forward", 1), (0, 2, "backward", 2),
        (1, 2, "backward", 1),
    ]  # fmt: skip
    first = waves[0]
    assert (first.slowest.first, first.seconds, first.alone) == (1, pytest.approx(0.4), pytest.approx(0.2))
    assert waves[4].alone == pytest.approx(0.2)  # it was sent when the other had failed
    found = found._replace(invocations=(*ones[:6], ones[6]._replace(outcome="failed"), *ones[7:]))
    summary = summary_of(found, trainer_mb=2048)
    assert [wave.slowest.first for wave in summary.path] == [1, 0, 0]
    assert {wave.batch for wave in summary.path} == {0}
    assert (summary.invocations, summary.cold, summary.failed, summary.repeated, summary.init_ms) == (9, 1, 1, 1, 200)
    # At work: 0.1 to 0.9, 1.0 to 1.25 and 1.3 to 1.5 of 2 seconds.
    assert summary.waiting_seconds == pytest.approx(1.25)
    assert (summary.seconds, summary.trainer_seconds) == (2.0, pytest.approx(0.75))
    assert summary.neuron_ms == 100 + 400 + 200 + 300 + 150 + 300 + 250 + 200 + 100
    assert summary.neuron_gb_seconds == pytest.approx(2.0)
    assert summary.neuron_usd == pytest.approx(2.0 * 0.0000133334 + 9 * 0.20 / 1e6)
    assert (summary.trainer_gb_seconds, summary.trainer_usd) == (4.0, pytest.approx(4.0 * 0.0000133334))
    dearer = summary_of(found, 2048, "x86_64")
    assert dearer.trainer_usd == pytest.approx(4.0 * 0.0000166667)


def test_of_a_step_that_was_done_again_both_rounds_are_on_the_path() -> None:
    ones = one(1, "forward", 0.0, 0.1, outcome="lost"), one(1, "forward", 0.2, 0.3, round=2)
    summary = summary_of(EpochInvocations(1, 0.0, 1.0, ones), 1024)
    assert [(wave.round, wave.layer) for wave in summary.path] == [(1, 1), (2, 1)]
    assert (summary.failed, summary.repeated) == (1, 1)
    nothing = summary_of(EpochInvocations(1, 0.0, 1.0, ()), 1024)
    assert (nothing.path, nothing.neuron_usd, nothing.trainer_seconds) == ((), 0.0, 1.0)


NETWORK = {
    "epochs": 16, "layers": 2, "activations": {"layer1": "relu", "layer2": "sigmoid"},
    "neurons": {"layer1": 3, "layer2": 1}, "learning_rate": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(("fields", "last"), [({}, 16), ({"pause_after": 12}, 12), ({"epochs": 3}, 3)])
def test_recorded_are_the_epochs_that_will_be_kept(fields: dict[str, Any], last: int) -> None:
    chosen = Parameters.load({**NETWORK, **fields})
    lesson, stored = Lesson(chosen, photos()), list[bytes]()
    pool: Any = SimpleNamespace(recorder=None)
    keeper = Keeper(Run("r1", parameters=chosen, fence=1), lesson.training, lambda _, content: stored.append(content))
    keeper.pool = pool
    keeper.look(0.0)
    recorded = []
    for _ in lesson.steps():
        if pool.recorder is not None:
            recorded.append(lesson.training.epoch)
            pool.recorder.note(TASK, BATCH, (1, 1), (0.0, 1.0), ANSWER)
        keeper.look(0.0)
        if lesson.training.epoch == last:
            break
    keeper.last()
    assert recorded == sorted({epoch for epoch in (*range(1, 12), 13, 15) if epoch <= last} | {last})
    (content,) = stored
    for epoch in recorded:
        found = load_epoch(content, epoch).invocations
        assert found is not None
        assert (found.epoch, len(found.invocations)) == (epoch, 1)
    assert load_epoch(content, 0).invocations is None
    assert pool.recorder is None


def test_an_epoch_that_two_trainers_share_is_not_recorded() -> None:
    chosen = Parameters.load({**NETWORK, "batch_size": 7, "strategy": "sgd"})
    lesson, pool = Lesson(chosen, photos()), SimpleNamespace(recorder=None)
    steps = lesson.steps()
    next(steps)
    keeper = Keeper(Run("r1", parameters=chosen, fence=2), lesson.training, lambda *_: None)
    keeper.pool = pool  # type: ignore[assignment]
    keeper.look(0.0)
    assert pool.recorder is None
    while lesson.training.step:
        next(steps)
        keeper.look(0.0)
    assert pool.recorder is not None


def _event(message: str, stream: str = STREAM) -> dict[str, Any]:
    return {"eventId": message, "timestamp": 1_780_000_000_000, "message": message, "logStreamName": stream}


LINES = [
    f"START RequestId: {'1' * 8}{ID[8:]} Version: $LATEST\n", "r1: layer 1\n", "END\n",
    f"REPORT RequestId: {'1' * 8}{ID[8:]}\tDuration: 3 ms\n",
    f"START RequestId: {ID} Version: $LATEST\n", "r1: layer 2 neurons [3, 5] backward 12 ms\n",
    f"END RequestId: {ID}\n", f"REPORT RequestId: {ID}\tDuration: 12 ms\n", "START RequestId: other\n", "r1: more\n",
]  # fmt: skip
OWN = [line.rstrip() for line in LINES[4:8]]


def test_the_lines_of_an_invocation_are_those_between_its_start_and_its_report() -> None:
    answers = Answers({"logs.FilterLogEvents": {"events": [_event(line) for line in LINES], "nextToken": ABSENT}})
    found = lines_of_invocation(answers.clients.logs, "neuron", ID, STREAM, 1_780_000_000.0)
    assert [line.text for line in found] == OWN
    asked = answers.asked("logs.FilterLogEvents")[0]
    assert asked["logStreamNames"] == [STREAM]
    assert asked["startTime"] == 1_780_000_000_000 - 10_000
    killed = [_event(line) for line in [*LINES[4:6], "START RequestId: other\n"]]
    answers = Answers({"logs.FilterLogEvents": {"events": killed, "nextToken": ABSENT}})
    found = lines_of_invocation(answers.clients.logs, "neuron", ID, STREAM, 1_780_000_000.0)
    assert [line.text for line in found] == OWN[:2]


@pytest.mark.parametrize("gone", [Refused("ResourceNotFoundException"), {"events": [], "nextToken": ABSENT}])
def test_an_invocation_in_another_stream_is_found_by_its_name(gone: Any) -> None:
    def events(asked: dict[str, Any]) -> Any:
        if asked.get("logStreamNames") == [STREAM]:
            return gone
        if "filterPattern" in asked:
            assert asked["filterPattern"] == f'"START RequestId: {ID}"'
            return {"events": [_event(LINES[4], "another")], "nextToken": ABSENT}
        assert asked["logStreamNames"] == ["another"]
        return {"events": [_event(line, "another") for line in LINES], "nextToken": ABSENT}

    answers = Answers({"logs.FilterLogEvents": events})
    found = lines_of_invocation(answers.clients.logs, "neuron", ID, STREAM, 1_780_000_000.0)
    assert [line.text for line in found] == OWN
    assert {line.stream for line in found} == {"another"}
    nothing = Answers({"logs.FilterLogEvents": {"events": [], "nextToken": ABSENT}})
    assert lines_of_invocation(nothing.clients.logs, "neuron", ID, "", 1_780_000_000.0) == []
