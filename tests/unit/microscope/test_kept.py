"""Kept epochs: which, in how many bytes, exact, and what is computed again from them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from answers import Answers, Refused, body
from botocore.exceptions import ClientError
from training import Lesson, photos, saved

from snn.errors import InvalidInput, InvalidModel
from snn.network import Params
from snn.training import Training
from snn_client.microscope import epochs as microscope
from snn_client.microscope.epochs import Epochs, GaveUp, within
from snn_cloud.aws import places
from snn_cloud.cost import kept as cost_of_kept
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_cloud.train import keeping
from snn_cloud.train.keeping import Keeper
from snn_data.checkpoint import dump_checkpoint, load_checkpoint
from snn_data.dataset import Dataset
from snn_data.kept import dump_epochs, grid, kept_between, kept_from, load_epoch, state_of, stride_of

DATASET = "runs/r1/input/datasets-000000000000.h5"
IN_BATCHES: dict[str, Any] = {"batch_size": 7, "strategy": "sgd", "optimizer": "adam", "learning_rate": 0.01}
WAYS: dict[str, dict[str, Any]] = {
    "full batch, span": {"first_layer": "span"},
    "momentum and L2 in the span": {
        "first_layer": "span", "l2": 0.05, "optimizer": {"name": "gradient_descent", "momentum": 0.9},
    },
    "best of the mini-batches, span": {"first_layer": "span", "batch_size": 7},
    "best of the mini-batches": {"first_layer": "direct", "batch_size": 7},
    "average": {"first_layer": "direct", "batch_size": 7, "strategy": "average"},
    "sgd, adam": IN_BATCHES,
    "dropout": {**IN_BATCHES, "dropout": {"layer0": 0.2, "layer1": 0.4}},
    "augmentation": {**IN_BATCHES, "augmentation": {"mirror": True, "shift": 1}},
    "scaling": {**IN_BATCHES, "input_scaling": {"mean": 0.5, "scale": 0.25}},
    "float32": {**IN_BATCHES, "dtype": "float32"},
    "schedule": {**IN_BATCHES, "schedule": {"name": "cosine", "warmup": 2.0}},
    "validation and patience": {**IN_BATCHES, "validation": 0.25, "patience": 5, "min_delta": 10.0},
}  # fmt: skip
ON_GRID = [*range(12), 13, 15, 17, 19, 21, 24]


def parameters(epochs: int = 25, **fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network((3, 1), ("relu", "sigmoid"), epochs=epochs, **fields))


def a_run(run_id: str = "r1", chosen: Parameters | None = None, **fields: Any) -> Run:
    return Run(run_id, parameters=chosen or parameters(), dataset=DATASET, **{"fence": 1, **fields})


Put = Callable[[str, bytes], object]


def keep(run: Run, lesson: Lesson, put: Put, until: int = 10**9, killed: bool = False, stride: int = 1) -> Keeper:
    """Train as far as that many epochs, storing every second step; a killed trainer does not store the rest."""
    keeper = Keeper(run, lesson.training, put, stride)
    keeper._due = 0.5
    keeper.look(0.0)
    for now, _ in enumerate(lesson.steps()):
        keeper._due = now + 0.5 * (now % 2)
        keeper.look(now + 0.1)
        if lesson.training.epoch >= until and not lesson.training.step:
            break
    if not killed:
        keeper.last()
    return keeper


class Cloud:
    """S3 with a data set, and what keepers store."""

    def __init__(self, data: Dataset | None = None) -> None:
        data = data or photos()
        test = data.test
        content = saved(data.train.stored, data.train.y, test.stored, test.y, classes=data.classes)
        self.stored = {DATASET: content}
        self.reads = 0
        self.answers = Answers({"s3.ListObjectsV2": self._list, "s3.GetObject": self._get})

    def put(self, key: str, content: bytes) -> None:
        self.stored[key] = content

    @property
    def files(self) -> list[str]:
        return [key.rpartition("/")[2] for key in self.stored if "/epochs/" in key]

    def epochs(self, run: Run) -> Epochs:
        if run.parameters is not None:  # what LaunchLambda stores
            first = run.parameters.network(photos().features).first_params(run.parameters.seed, run.parameters.dtype)
            self.stored.setdefault(places.checkpoint(run.run_id), dump_checkpoint(Training(first)))
        return Epochs(self.answers.clients, "bucket", run)

    def _list(self, asked: dict[str, Any]) -> Any:
        return {"Contents": [{"Key": key} for key in sorted(self.stored) if key.startswith(asked["Prefix"])]}

    def _get(self, asked: dict[str, Any]) -> Any:
        self.reads += 1
        return body(self.stored[asked["Key"]])


def alone(epoch: int, fields: dict[str, Any], epochs: int = 25) -> Params:
    """The network after so many epochs of a training of its own, which nobody kept."""
    chosen = parameters(epochs, **fields).model_copy(update={"patience": None})
    lesson = Lesson(chosen, photos())
    for _ in lesson.steps() if epoch else ():
        if lesson.training.epoch == epoch and not lesson.training.step:
            break
    return chosen.in_own_units(lesson.job.first.network(lesson.training.params))


def same(one: Params, other: Params) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one
    )


def test_the_grid_grows_by_a_tenth_and_depends_on_the_epoch_alone() -> None:
    first = list(itertools.islice(grid(), 20))
    assert first == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 21, 24, 27, 30]
    assert list(itertools.islice(grid(4), 5)) == first[::4]
    assert 60 <= len(kept_between(0, 3_000)) <= 70
    assert (kept_from(12), kept_from(13), kept_from(0), kept_from(12, 4)) == (13, 13, 0, 13)
    assert kept_between(0, 12, 4) == [0, 4, 8, 12]
    assert kept_between(12, 12) == [12]
    assert len(kept_between(0, 10_000_000)) < 200


def test_of_a_large_network_a_part_of_the_grid_is_kept() -> None:
    assert stride_of(1, 3_000, 100) == 1
    for size in (2, 5, 30):
        stride = stride_of(size, 3_000, 100)
        assert len(list(itertools.takewhile(lambda epoch: epoch <= 3_000, grid(stride)))) * size <= 100
        assert len(list(itertools.takewhile(lambda epoch: epoch <= 3_000, grid(stride // 2)))) * size > 100
    assert kept_between(0, 3_000, stride_of(1_000, 3_000, 100)) == [0, 3_000]


@pytest.mark.parametrize("way", WAYS)
def test_kept_epochs_are_those_of_the_training_and_others_are_computed_again_bit_for_bit(way: str) -> None:
    run, cloud = a_run(chosen=parameters(**WAYS[way])), Cloud()
    lesson = Lesson(run.parameters or parameters(), photos())
    keep(run, lesson, cloud.put)
    last = lesson.training.epoch
    epochs = cloud.epochs(replace(run, epoch=last))
    assert epochs.exact
    assert epochs.kept == sorted({*(epoch for epoch in ON_GRID if epoch <= last), last})
    assert len(cloud.files) > 3
    assert last == (6 if "patience" in way else 25)
    for epoch in {0, 1, 6, 10, 12, 14, 16, 22, 23, 24, 25} & set(range(last + 1)):
        seen = epochs.look(epoch)
        assert seen.recomputed == (epoch not in epochs.kept)
        assert same(seen.params, alone(epoch, WAYS[way])), epoch
    then = epochs.next(4)
    assert then is not None
    assert (then.epoch, then.recomputed) == (5, False)
    assert epochs.next(last) is None
    if last == 25:
        then = epochs.next(15)
        assert then is not None
        assert (then.epoch, then.recomputed) == (16, True)
        assert same(then.params, alone(16, WAYS[way]))
        assert [epochs.nearest(epoch) for epoch in (0, 12, 13, 25)] == [0, 11, 13, 25]
    assert len(epochs.data.dataset.train) == len(photos().train)


def test_the_best_epoch_is_the_stored_model_where_it_is_not_the_last() -> None:
    fields = {**IN_BATCHES, "validation": 0.25, "patience": 5, "learning_rate": 0.3}
    run, cloud = a_run(chosen=parameters(60, **fields)), Cloud()
    lesson = Lesson(run.parameters or parameters(), photos())
    keep(run, lesson, cloud.put)
    best, last = lesson.training.best_epoch + 1, lesson.training.epoch
    assert 0 < best < last
    epochs = cloud.epochs(run)
    assert same(epochs.look(best).params, lesson.params)
    assert not same(epochs.look(last).params, lesson.params)


def test_play_goes_on_from_what_it_computed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    run, cloud = a_run(), Cloud()
    keep(run, Lesson(parameters(), photos()), cloud.put)
    epochs, steps = cloud.epochs(run), list[int]()
    real = microscope.train
    monkeypatch.setattr(microscope, "train", lambda *given: (steps.append(n) or n for n in real(*given)))
    epochs.look(22)
    epochs.look(23)
    assert len(steps) == 2
    assert same(epochs.look(22).params, alone(22, {}))
    assert len(steps) == 2, "it was seen"
    assert same(epochs.look(20).params, alone(20, {}))
    assert len(steps) == 3
    reads = cloud.reads
    epochs.look(23)
    assert cloud.reads == reads


def test_who_will_not_wait_is_told_what_is_kept() -> None:
    run, cloud = a_run(), Cloud()
    keep(run, Lesson(parameters(), photos()), cloud.put)
    epochs = cloud.epochs(run)
    with pytest.raises(GaveUp) as refused:
        epochs.look(23, lambda: True)
    assert str(refused.value) == (
        "run r1: epoch 23 is not kept, and to compute it again takes longer (kept beside it: 21 and 24)"
    )
    # How far it came is not lost: from 21 to 22; one step more needs no answer to whether to stop.
    assert same(epochs.look(23, lambda: True).params, alone(23, {}))
    with pytest.raises(GaveUp):
        cloud.epochs(run).next(22, within(-1.0))
    assert same(epochs.look(23, within(60.0)).params, alone(23, {}))
    for wrong in (-1, 26):
        with pytest.raises(InvalidInput, match=rf"run r1: there is no epoch {wrong} \(0 to 25\)"):
            epochs.look(wrong)
    with pytest.raises(InvalidInput, match=r"run r1: epoch 12 is not kept \(kept beside it: 11 and 13\)"):
        epochs.state(12)


def test_a_run_that_goes_on_is_looked_at_up_to_where_it_is() -> None:
    run, cloud = a_run(), Cloud()
    keep(run, Lesson(parameters(), photos()), cloud.put, until=12, killed=True)
    epochs = cloud.epochs(replace(run, epoch=14))
    assert (epochs.kept[-1], epochs.last) == (11, 14)
    assert same(epochs.look(14).params, alone(14, {}))
    assert epochs.next(14) is None


@pytest.mark.parametrize("way", ["momentum and L2 in the span", "dropout", "average"])
def test_a_trainer_that_takes_over_keeps_what_the_killed_one_did_not(way: str) -> None:
    """The second one begins at a checkpoint before epochs that were stored already: it stores them once more."""
    run, cloud = a_run(chosen=parameters(**WAYS[way])), Cloud()
    chosen = run.parameters or parameters()
    lesson = Lesson(chosen, photos())
    keeper = keep(run, lesson, cloud.put, until=8, killed=True)
    keeper.flush()
    state = dump_checkpoint(lesson.training)
    keep(run, Lesson(chosen, photos(), load_checkpoint(state)), cloud.put, until=15, killed=True)
    keep(replace(run, fence=3), Lesson(chosen, photos(), load_checkpoint(state)), cloud.put)
    assert len(cloud.files) > len({name[:8] for name in cloud.files}) - 1
    epochs = cloud.epochs(run)
    assert epochs.kept == [*ON_GRID, 25]
    for epoch in (5, 8, 9, 14, 15, 20, 25):
        assert same(epochs.look(epoch).params, alone(epoch, WAYS[way])), epoch


@pytest.mark.parametrize("way", ["full batch, span", "sgd, adam"])
@pytest.mark.parametrize("first", ["stored", "killed before"])
def test_a_resumed_run_has_its_predecessors_epochs(way: str, first: str) -> None:
    cloud, chosen = Cloud(), parameters(**WAYS[way])
    lesson = Lesson(chosen, photos())
    keep(a_run("a", chosen), lesson, cloud.put, until=5)
    middle = Lesson(chosen, photos(), load_checkpoint(dump_checkpoint(lesson.training)))
    keep(a_run("b", chosen, resumed_from="a"), middle, cloud.put, until=12)
    state = dump_checkpoint(middle.training)
    resumed = a_run("c", chosen, resumed_from="b", fence=1 if first == "stored" else 2)
    last = Lesson(chosen, photos(), load_checkpoint(state))
    keep(resumed, last, cloud.put)
    cloud.put(places.checkpoint("c"), dump_checkpoint(last.training))
    epochs = cloud.epochs(resumed)
    assert epochs.kept == sorted({*ON_GRID, 12, 25})
    for epoch in (0, 3, 5, 6, 12, 14, 25):
        assert same(epochs.look(epoch).params, alone(epoch, WAYS[way])), epoch
    # Without those before it has what is its own, and needs no more.
    for key in [key for key in cloud.stored if key.startswith(("runs/a/", "runs/b/"))]:
        del cloud.stored[key]
    own = cloud.epochs(resumed)
    assert own.kept == [*([12] if first == "stored" else []), 13, 15, 17, 19, 21, 24, 25]
    assert same(own.look(14).params, alone(14, WAYS[way]))
    with pytest.raises(InvalidInput, match=rf"run c: no epoch up to 7 is kept \(kept beside it: {own.kept[0]}\)"):
        own.look(7)


def test_a_run_that_ends_before_its_time_has_its_last_state() -> None:
    run, cloud = a_run(chosen=parameters(**IN_BATCHES)), Cloud()
    lesson = Lesson(run.parameters or parameters(), photos())
    keep(run, lesson, cloud.put, until=12)
    assert cloud.epochs(run).kept[-2:] == [11, 12]
    # In the middle of an epoch there is none that could be told from its number.
    middle, other = Lesson(run.parameters or parameters(), photos()), Cloud()
    keeper = Keeper(run, middle.training, other.put)
    keeper.look(0.0)
    for _ in itertools.islice(middle.steps(), 6):
        keeper.look(0.0)
    assert (middle.training.epoch, middle.training.step) == (1, 2)
    keeper.last()
    assert other.files == ["00000000-00000001-1.h5"]


def test_weights_that_are_no_numbers_are_not_kept() -> None:
    cloud, lesson = Cloud(), Lesson(parameters(), photos())
    keeper = keep(a_run(), lesson, cloud.put, until=4)
    lesson.training.params["W2"][0, 0] = np.inf
    lesson.training.history.costs.append(1.0)
    keeper.look(0.0)
    keeper.last()
    assert cloud.epochs(a_run()).kept == [0, 1, 2, 3, 4]


def test_nothing_is_kept_where_nobody_wants_it() -> None:
    cloud, run = Cloud(), a_run(chosen=parameters(12, keep_epochs=False))
    keep(run, Lesson(run.parameters or parameters(), photos()), cloud.put)
    assert cloud.files == []
    with pytest.raises(InvalidInput, match=r"run r1: has no kept epochs \(set keep_epochs, or look at a later run\)"):
        cloud.epochs(run)


@pytest.mark.parametrize(("stride", "kept"), [(4, [0, 4, 8, 13, 21, 30]), (32, [0, 30])])
def test_of_too_much_every_second_or_fourth_is_kept_and_always_first_and_last(stride: int, kept: list[int]) -> None:
    cloud, run = Cloud(), a_run(chosen=parameters(30))
    keep(run, Lesson(parameters(30), photos()), cloud.put, stride=stride)
    epochs = cloud.epochs(run)
    assert epochs.kept == kept
    for epoch in (0, kept[-2], 9, 30):
        assert same(epochs.look(epoch).params, alone(epoch, {}, 30))


def test_how_much_is_kept_goes_with_how_long_it_trains() -> None:
    def stride(samples: int, **fields: Any) -> int:
        sizes, functions = (20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid")
        chosen = Parameters.load(oracle.small_network(sizes, functions, **fields))
        return cost_of_kept.stride(Workload(chosen, Size(12_288, samples)))

    adam = {"optimizer": "adam", "strategy": "sgd", "batch_size": 64}
    # In the span 35 KB a state: 2.3 MB of 2.6 s of mini-batches, or of 0.6 s of full batches.
    assert stride(209, epochs=5_000, batch_size=64) == 1
    assert stride(209, epochs=3_000) == 2
    assert stride(209, epochs=100, **adam) > 20  # 6 MB a state, of a training of a second
    assert 1 < stride(209, epochs=3_000, **adam) < stride(209, epochs=100, **adam)
    assert stride(209, epochs=3_000, **adam, granularity="layer") == 8  # 100 MB of 6 MB each, and time enough


def test_what_waits_is_bounded_and_a_large_state_is_stored_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    lesson, sizes = Lesson(parameters(**IN_BATCHES), photos()), list[int]()
    size = 3 * sum(array.nbytes for array in lesson.training.params.values())
    for most, files in ((3 * size, 9), (size - 1, 20)):
        monkeypatch.setattr(keeping, "MOST_WAITING", most)
        cloud, lesson = Cloud(), Lesson(parameters(**IN_BATCHES), photos())
        keeper = Keeper(a_run(chosen=lesson.parameters), lesson.training, cloud.put)
        for _ in itertools.chain([0], lesson.steps()):
            keeper.look(0.0)
            sizes.append(sum(state.nbytes for state in keeper._waiting))
        keeper.last()
        assert max(sizes) <= 3 * size
        assert sizes[-1] == (0 if most < size else sizes[-1])
        # The first state has no memory yet, so it may wait.
        assert len(cloud.files) in (files, files - 1, files - 2)
        assert cloud.epochs(a_run(chosen=lesson.parameters)).kept == [*ON_GRID, 25]


def test_what_cannot_be_stored_waits_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    cloud, tries = Cloud(), list[str]()

    def put(key: str, content: bytes) -> None:
        tries.append(key)
        if len(tries) < 3:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "reduce your rate"}}, "PutObject")
        cloud.put(key, content)

    keep(a_run(), Lesson(parameters(), photos()), put)
    assert "r1: epochs 0 to 1 are not kept: An error occurred (SlowDown)" in capsys.readouterr().out
    assert cloud.epochs(a_run()).kept == [*ON_GRID, 25]

    def full(key: str, content: bytes) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    lesson = Lesson(parameters(), photos())
    keep(a_run(), lesson, full)
    assert lesson.training.epoch == 25


def test_puts_are_grouped_by_pauses_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: clock[0])
    put_at, training = list[float](), Training({"W1": np.zeros((1, 1))})
    keeper = Keeper(a_run(chosen=parameters(10**6)), training, lambda *_: put_at.append(clock[0] - 100))
    keeper._next = 0
    for _ in range(400):
        keeper._next = training.epoch  # every epoch is kept
        keeper.look(clock[0])
        training.history.costs.append(0.0)
        clock[0] += 0.5
    assert put_at == [1.5, 4.0, 8.5, 17.0, 33.5, 66.0, 126.5, 187.0]


def test_a_file_gives_back_what_went_in_and_refuses_what_it_has_not(tmp_path: Path) -> None:
    lesson = Lesson(parameters(4, **IN_BATCHES), photos())
    for _ in lesson.steps():
        pass
    state = state_of(lesson.training)
    content = dump_epochs([replace(state, epoch=0, memory={}), replace(state, epoch=3), state], "before")
    found = load_epoch(content, 4)
    assert (found.epoch, found.steps) == (4, lesson.training.steps)
    assert same(found.params, state.params)
    assert found.memory.keys() == {"mean", "squares"} == state.memory.keys()
    assert all(same(found.memory[kind], arrays) for kind, arrays in state.memory.items())
    assert all(not array.any() for arrays in load_epoch(content, 0).memory.values() for array in arrays.values())
    assert microscope.load_resumed_from(content) == "before"
    with pytest.raises(InvalidModel, match=r"epochs.h5: has no epoch 2 \(name one that is kept\)"):
        load_epoch(content, 2)
    for damaged in (content[: len(content) // 2], b"", b"nonsense" * 100):
        with pytest.raises(InvalidModel, match=r"epochs\.h5: "):
            load_epoch(damaged, 4)


def test_keys_name_what_they_have() -> None:
    key = places.kept_epochs("r1", 12, 10_000_000, 4)
    assert key == "runs/r1/epochs/00000012-10000000-4.h5"
    assert places.kept_range(key) == (12, 10_000_000, 4)
    assert key.startswith(places.run_prefix("r1"))
    assert places.kept_range("runs/r1/epochs/notes.txt") is None


def test_a_run_without_parameters_is_refused() -> None:
    with pytest.raises(InvalidInput, match="run r1: has no parameters"):
        Epochs(Answers({"s3.ListObjectsV2": Refused("AccessDenied")}).clients, "bucket", Run("r1"))
