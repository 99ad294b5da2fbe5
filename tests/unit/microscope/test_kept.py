"""Kept epochs: which, in how many bytes, exact, and what is computed again from them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
from answers import Answers, body
from training import Lesson, photos, saved

from snn_client.microscope.epochs import Epochs
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_cloud.train import keeping
from snn_cloud.train.keeping import Keeper
from snn_data.kept import KeptEpoch, dump_epochs, grid, kept_from, load_epoch

IN_BATCHES = {"batch_size": 7, "strategy": "sgd", "optimizer": {"name": "adam"}, "learning_rate": 0.01}
WAYS: dict[str, dict[str, Any]] = {"full batch, span": {"first_layer": "span"}, "sgd, adam, direct": IN_BATCHES}


def parameters(epochs: int, **fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network((3, 1), ("relu", "sigmoid"), epochs=epochs, **fields))


def test_the_grid_grows_by_a_tenth_and_depends_on_the_epoch_alone() -> None:
    first = list(itertools.islice(grid(), 20))
    assert first == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 21, 24, 27, 30]
    up_to = list(itertools.takewhile(lambda epoch: epoch <= 3_000, grid()))
    assert 60 <= len(up_to) <= 70
    assert kept_from(12) == (13, 12)
    assert kept_from(0) == (0, 0)
    assert len(list(itertools.takewhile(lambda epoch: epoch <= 10_000_000, grid()))) < 200


def kept_by(lesson: Lesson, wanted: bool = True) -> dict[str, bytes]:
    """Train to the end, and return what was stored on the way."""
    stored: dict[str, bytes] = {}
    keeper = Keeper("r1", lesson.training, stored.__setitem__, wanted)
    keeper.look(0.0)
    for now, _ in enumerate(lesson.steps()):
        keeper.look(float(now))
    keeper.last()
    return stored


@pytest.mark.parametrize("way", WAYS)
def test_kept_epochs_are_those_of_the_training_and_others_are_replayed_bit_for_bit(way: str) -> None:
    data, chosen = photos(), parameters(25, **WAYS[way])
    stored = kept_by(Lesson(chosen, data))
    content = saved(data.train.stored, data.train.y, data.test.stored, data.test.y, classes=data.classes)
    run = Run("r1", parameters=chosen, dataset="runs/r1/input/datasets-000000000000.h5")
    answers = Answers(
        {
            "s3.ListObjectsV2": {"Contents": [{"Key": key} for key in stored]},
            "s3.GetObject": lambda asked: body(stored.get(asked["Key"], content)),
        }
    )
    epochs = Epochs(answers.clients, "bucket", run)
    assert epochs.kept == [*range(12), 13, 15, 17, 19, 21, 24, 25]
    for epoch in (0, 1, 10, 12, 14, 24, 25):
        alone = Lesson(parameters(epoch, **WAYS[way]), data) if epoch else None
        seen = epochs.look(epoch)
        assert seen.recomputed == (epoch not in epochs.kept)
        if alone is None:
            assert np.abs(seen.params["W1"]).max() > 0
            continue
        for _ in alone.steps():
            pass
        for name, array in alone.params.items():
            np.testing.assert_array_equal(seen.params[name], array, err_msg=f"{epoch} {name}")


def test_nothing_is_kept_where_nobody_wants_it() -> None:
    assert kept_by(Lesson(parameters(12), photos()), wanted=False) == {}


def test_what_is_too_much_is_not_kept_but_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = Lesson(parameters(30), photos())
    size = sum(array.nbytes for array in lesson.training.params.values())
    monkeypatch.setattr(keeping, "MOST_BYTES", 3 * size)
    stored = kept_by(lesson)
    assert [key.rpartition("/")[2] for key in stored] == ["00000000-00000030.h5"]
    assert {epoch for epoch in range(31) if _has(next(iter(stored.values())), epoch)} == {0, 1, 2, 30}


def _has(content: bytes, epoch: int) -> bool:
    try:
        load_epoch(content, epoch)
    except Exception:
        return False
    return True


def test_a_file_gives_back_what_went_in() -> None:
    lesson = Lesson(parameters(4, **IN_BATCHES), photos())
    for _ in lesson.steps():
        pass
    kept = KeptEpoch.of(lesson.training)
    found = load_epoch(dump_epochs([replace(kept, epoch=3), kept]), 4)
    assert (found.epoch, found.steps) == (4, lesson.training.steps)
    assert json.dumps(list(found.params)) == json.dumps(list(kept.params))
    for kind, arrays in kept.memory.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.memory[kind][name], array)
