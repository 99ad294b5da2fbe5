"""A training in a file: bit for bit what it was, of today and of an older version, and refused if it is damaged."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn.errors import InvalidModel
from snn.training import History, Training
from snn_data.checkpoint import dump_checkpoint, load_checkpoint

OLDER = Path(__file__).parents[2] / "upgrade" / "0.1" / "bucket" / "runs"
RANDOM = np.random.default_rng(8)


def params(dtype="float64"):
    shapes = {"C1": (3, 7), "s1": (1, 1), "b1": (3, 1), "W2": (1, 3), "b2": (1, 1)}
    return {name: RANDOM.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def training(dtype="float64"):
    history = History([0.7, 1 / 3, 5e-324], [0.9, 0.8, 0.85], [0.5, 0.75, 0.25])
    return Training(
        params(dtype), {"mean": params(dtype), "squares": params(dtype)}, history, RANDOM.standard_normal((3, 12)), 23,
        2, 1.25, 14.0, params(dtype), 1,
    )  # fmt: skip


def same(one, other):
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() and one[name].dtype == other[name].dtype for name in one
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_checkpoint_reads_back_bit_for_bit(dtype):
    before = training(dtype)
    after = load_checkpoint(dump_checkpoint(before))
    assert list(after.params) == list(before.params)
    assert same(after.params, before.params)
    assert same(after.best, before.best)
    assert after.memory.keys() == before.memory.keys()
    assert all(same(after.memory[kind], before.memory[kind]) for kind in before.memory)
    assert after.history == before.history
    assert after.origin.tobytes() == before.origin.tobytes()
    for name in ("steps", "step", "cost_sum", "weight_sum", "best_epoch"):
        assert getattr(after, name) == getattr(before, name)
        assert type(getattr(after, name)) is type(getattr(before, name))
    assert dump_checkpoint(after) == dump_checkpoint(before)


def test_a_training_that_has_not_begun_is_a_checkpoint_too():
    first = load_checkpoint(dump_checkpoint(Training({"W1": np.ones((1, 2)), "b1": np.zeros((1, 1))})))
    assert (first.epoch, first.steps, first.memory, first.best, first.origin, first.best_epoch) == (
        0,
        0,
        {},
        None,
        None,
        -1,
    )


@pytest.mark.parametrize("name", ["stopped-full-batch", "stopped-full-batch-direct"])
def test_a_full_batch_checkpoint_of_an_older_version_goes_on(name):
    content = (OLDER / name / "checkpoint.h5").read_bytes()
    older = load_checkpoint(content, in_batches=False)
    with h5py.File(io.BytesIO(content)) as h5:
        assert older.history.costs == h5["costs"][()].tolist()
        assert older.steps == older.epoch == len(h5["costs"]) > 50
        assert (older.origin is None) == ("origin" not in h5)
        first = "C1" if "origin" in h5 else "W1"
        assert older.params[first].tobytes() == h5["W1"][()].tobytes()
        assert all(older.params[each].tobytes() == h5[each][()].tobytes() for each in ("b1", "W2", "b2", "W3", "b3"))
    again = load_checkpoint(dump_checkpoint(older))
    assert same(again.params, older.params)


@pytest.mark.parametrize("name", ["stopped-best-batch", "stopped-average"])
def test_one_with_mini_batches_that_were_shuffled_once_does_not(name):
    content = (OLDER / name / "checkpoint.h5").read_bytes()
    with pytest.raises(InvalidModel, match=r"^mine: was started by an older version, which .* \(start a new run\)$"):
        load_checkpoint(content, "mine", in_batches=True)


def group(h5, name):
    h5.create_group(name)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("costs", group, "costs: is not a plain data set"),
        ("costs", 0.5, r"costs: is \(\) float64"),
        ("origin", np.zeros(3), r"origin: is \(3,\)"),
        ("params/W2", np.full((1, 3), np.nan), "W2: holds values that are not numbers"),
        ("params/x", np.zeros((1, 1)), "params/x: is not part of a checkpoint"),
        ("params", None, "params: is missing"),
        ("params", np.zeros((1, 1)), "params: is missing"),
        ("memory", None, "memory: is missing"),
        ("memory/mean", np.zeros((1, 1)), "memory/mean: is missing"),
        ("best", group, "best: is not part of a checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused(name, value, says):
    buffer = io.BytesIO(dump_checkpoint(training()))
    with h5py.File(buffer, "a") as h5:
        if name in h5:
            del h5[name]
        if callable(value):
            value(h5, name)
        elif value is not None:
            h5.create_dataset(name, data=value)
    with pytest.raises(InvalidModel, match=f"^checkpoint.h5: {says}"):
        load_checkpoint(buffer.getvalue())


@pytest.mark.parametrize("name", ["steps", "step", "best_epoch", "cost_sum", "weight_sum"])
@pytest.mark.parametrize("value", [None, "many", np.array([1, 2])])
def test_a_counter_that_is_no_number_is_named(name, value):
    buffer = io.BytesIO(dump_checkpoint(training()))
    with h5py.File(buffer, "a") as h5:
        del h5.attrs[name]
        if value is not None:
            h5.attrs[name] = value
    with pytest.raises(InvalidModel, match=f"^checkpoint.h5: {name}: is missing or not a number"):
        load_checkpoint(buffer.getvalue())


def test_a_checkpoint_of_a_newer_version_is_refused():
    buffer = io.BytesIO(dump_checkpoint(training()))
    with h5py.File(buffer, "a") as h5:
        h5.attrs["format"] = 3
    with pytest.raises(InvalidModel, match=r"format: was written by a newer version .deploy the stack again"):
        load_checkpoint(buffer.getvalue())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_file_cut_short_is_refused(data):
    whole = dump_checkpoint(training())
    with pytest.raises(InvalidModel, match="cannot be read as HDF5"):
        load_checkpoint(whole[: data.draw(st.integers(0, len(whole) - 1))])
