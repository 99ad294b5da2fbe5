"""Which training samples belong together: written with a data set, read back, and refused where it is wrong."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import pytest
from training import saved

from snn.batches import Groups
from snn.errors import InvalidDataset
from snn_client.data.making import Writer
from snn_data.dataset import check_dataset, load_dataset
from snn_data.groups import write_groups

X, Y = np.linspace(0, 1, 24).reshape(12, 2), np.arange(12) % 2


def file(numbers: Any = None, by: Any = None) -> Any:
    """A data set whose training samples have groups."""
    written = io.BytesIO(saved(X, Y, X[:3], Y[:3], classes=("no", "yes")))
    with h5py.File(written, "a") as h5:
        if numbers is not None:
            h5["train_set_groups"] = numbers
        if by is not None:
            h5["train_set_groups"].attrs["groups_by"] = by
    return written


@pytest.mark.parametrize("in_time", [False, True])
def test_groups_are_read_back(in_time: bool, tmp_path: Any) -> None:
    numbers = np.arange(12)[::-1] // 3
    with h5py.File(written := file(), "a") as h5:
        write_groups(h5, Groups(numbers, in_time))
    with Writer(tmp_path / "d.h5", (2,), np.float32, ("no", "yes")) as writer:
        for half in (slice(0, 5), slice(5, 12)):
            writer.add("train", X[half], Y[half], groups=Groups(numbers[half], in_time))
        writer.add("test", X[:3], Y[:3], groups=Groups(numbers[:3]))
    for one in (written, tmp_path / "d.h5"):
        data = load_dataset(one)
        assert data.train.groups is not None
        assert data.train.groups.numbers.tolist() == numbers.tolist()
        assert data.train.groups.in_time == in_time
        assert data.test.groups is None
        assert check_dataset(one).train.groups is not None
    assert load_dataset(file()).train.groups is None


@pytest.mark.parametrize(
    ("numbers", "by", "says"),
    [
        (np.arange(11), None, r"train_set_groups: is \(11,\) int64"),
        (np.arange(12.0), None, r"train_set_groups: is \(12,\) float64"),
        (np.arange(24).reshape(12, 2), None, r"train_set_groups: is \(12, 2\) int64"),
        (np.arange(12), "town", "train_set_groups: are by 'town'"),
        (np.arange(12), np.arange(3), "train_set_groups: are by "),
    ],
)
def test_groups_that_do_not_fit_are_refused(numbers: Any, by: Any, says: str) -> None:
    for read in (load_dataset, check_dataset):
        with pytest.raises(InvalidDataset, match=says):
            read(file(numbers, by))
