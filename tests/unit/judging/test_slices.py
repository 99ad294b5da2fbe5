"""Slices: read from a file, made of a column or of folders, judged, and as a gate of a promotion."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from training import saved

from snn.errors import InvalidDataset, InvalidInput
from snn_client.data.options import Logged, Options
from snn_client.data.photos import make
from snn_client.judging.answers import Answers
from snn_client.judging.slices import MAX_SHOWN, by_slice, slices_of
from snn_client.models.challenge import judge
from snn_client.reports.metrics import evaluate
from snn_data.columns import Category, Columns, Number
from snn_data.dataset import check_dataset, load_dataset, save_dataset
from snn_data.slices import write_slices

X = np.column_stack([np.arange(40) % 3, np.linspace(0, 1, 40)])
Y = np.arange(40) % 2


def table(**items: Any) -> Any:
    """A table's data set with more items in its file."""
    file = io.BytesIO(saved(X, Y, X, Y, classes=("no", "yes")))
    with h5py.File(file, "a") as h5:
        for name, item in items.items():
            h5[name] = item
    return file


def sliced(names: list[str]) -> Any:
    file = table()
    with h5py.File(file, "a") as h5:
        write_slices(h5, "hospital", names)
    return load_dataset(file)


def test_what_a_file_says_of_its_slices_is_read_back() -> None:
    names = [("north", "south", "öst")[place % 3] for place in range(40)]
    slices = sliced(names).slices
    assert (slices.by, slices.names) == ("hospital", ("north", "south", "öst"))
    assert [slices.names[place] for place in slices.places] == names
    assert load_dataset(table()).slices is None


@pytest.mark.parametrize(("items", "says"), [
    ({"test_set_slices": np.zeros(39, int), "list_slices": [b"a"]}, r"is \(39,\) int64 \(give each of the 40"),
    ({"test_set_slices": np.zeros(40), "list_slices": [b"a"]}, r"test_set_slices: is \(40,\) float64"),
    ({"test_set_slices": np.full(40, 1), "list_slices": [b"a"]}, "holds numbers other than 0 to 0"),
    ({"test_set_slices": np.full(40, -1), "list_slices": [b"a"]}, "holds numbers other than 0 to 0"),
    ({"test_set_slices": np.zeros(40, int), "list_slices": np.arange(3)}, r"is \(3,\) int64 \(give the names"),
    ({"test_set_slices": np.zeros(40, int)}, "list_slices"),
])  # fmt: skip
def test_slices_that_do_not_fit_are_refused_by_who_trains_and_by_who_checks(items: Any, says: str) -> None:
    for read in (load_dataset, check_dataset):
        with pytest.raises(InvalidDataset, match=says):
            read(table(**items))


def test_a_column_of_few_values_is_a_slice_a_value_and_one_of_many_is_divided_at_its_quartiles() -> None:
    dataset = load_dataset(table())
    few, many = slices_of(dataset, "0"), slices_of(dataset, "1")
    assert few is not None
    assert many is not None
    assert (few.by, few.names) == ("column 0", ("0", "1", "2"))
    assert few.places.tolist() == (np.arange(40) % 3).tolist()
    assert many.names == ("0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1")
    assert np.bincount(many.places).tolist() == [10, 10, 10, 10]
    assert slices_of(dataset) is None


def test_a_column_of_what_was_a_table_is_given_by_its_name() -> None:
    """In its own units and with its own values, whatever a network sees of it."""
    ages, towns = np.arange(40) % 4 * 10 + 30.0, [("Ulm", None, "Bonn", "Rome")[place % 4] for place in range(40)]
    wide = np.linspace(-1, 3, 40)
    columns = Columns((Number("age", 41.7, 11.3), Category("town", ("Bonn", "Ulm", None)), Number("size", 2.0, 0.5)))
    rows = np.column_stack([
        (ages - 41.7) / 11.3, *([float(town == known) for town in towns] for known in ("Bonn", "Ulm", None)),
        (wide - 2.0) / 0.5,
    ]).astype(np.float32)  # fmt: skip
    file = io.BytesIO()
    save_dataset(file, rows, Y, rows, Y, ("no", "yes"), columns=columns.to_json())
    file.seek(0)
    dataset = load_dataset(file)
    age, town, size = (slices_of(dataset, name) for name in ("age", "town", "size"))
    assert age is not None
    assert town is not None
    assert size is not None
    assert (age.by, age.names) == ("age", ("30", "40", "50", "60"))
    assert [float(age.names[place]) for place in age.places] == ages.tolist()
    assert town.names == ("Bonn", "Ulm", "(no value)", "(not in the training part)")
    assert [town.names[place] for place in town.places][:4] == ["Ulm", "(no value)", "Bonn", town.names[3]]
    assert size.names == ("-1 to 0", "0 to 1", "1 to 2", "2 to 3")
    assert np.bincount(size.places).tolist() == [10, 10, 10, 10]
    with pytest.raises(InvalidInput, match=r"slice_by: '0' is nothing that") as refused:
        slices_of(dataset, "0")
    assert refused.value.hint == "give one of the columns that the network sees: age, town, size"


@pytest.mark.parametrize(
    ("by", "hint"), [("2", "give the number of a column, 0 to 1"), ("age", "0 to 1"), ("-1", "0 to 1")]
)
def test_what_there_is_not_cannot_be_divided_by(by: str, hint: str) -> None:
    with pytest.raises(InvalidInput, match=r"slice_by: .* is nothing that the test set can be divided by") as refused:
        slices_of(load_dataset(table()), by)
    assert hint in refused.value.hint


def test_the_worst_slice_comes_first_and_too_small_ones_last() -> None:
    """Accuracies counted by hand; a slice of three samples that are all wrong is no worst one."""
    dataset = sliced(["big"] * 20 + ["weak"] * 17 + ["tiny"] * 3)
    said = np.where(Y == 1, 0.9, 0.1)
    said[22:30] = 1 - said[22:30]
    said[37:] = 1 - said[37:]
    answers = Answers.of(Y, said, dataset.classes)
    found = by_slice(answers, dataset.slices)
    assert (found["by"], found["metric"], found["left_out"]) == ("hospital", "accuracy", 0)
    assert [(one["name"], one["samples"], one["value"]) for one in found["slices"]] == [
        ("weak", 17, pytest.approx(9 / 17)), ("big", 20, 1.0), ("tiny", 3, 0.0),
    ]  # fmt: skip
    assert found["worst"] == found["slices"][0]
    interval = found["worst"]["interval"]
    assert interval["low"] < 9 / 17 < interval["high"]
    # By a loss the largest is the worst.
    losses = by_slice(answers, dataset.slices, "log_loss")
    assert [one["name"] for one in losses["slices"]] == ["weak", "big", "tiny"]
    assert losses["slices"][0]["value"] > losses["slices"][1]["value"]


def test_of_many_slices_the_worst_are_shown() -> None:
    y = np.tile([0, 1], 600)
    said = np.where(y == 1, 0.9, 0.1)
    places = np.repeat(np.arange(60), 20)
    said[places == 41] = 0.5
    slices = type("S", (), {"by": "x", "names": tuple(map(str, range(60))), "places": places})
    found = by_slice(Answers.of(y, said, "ab"), slices)  # type: ignore[arg-type]
    assert (len(found["slices"]), found["left_out"], found["worst"]["name"]) == (MAX_SHOWN, 30, "41")


def test_a_slice_can_be_a_gate() -> None:
    dataset = sliced(["big"] * 20 + ["weak"] * 20)
    said = np.where(Y == 1, 0.9, 0.1)
    said[20:28] = 1 - said[20:28]
    test_set = {**evaluate(Y, said, dataset.classes), "slices": by_slice(Answers.of(Y, said, "ab"), dataset.slices)}
    assert judge(test_set, None, worst_slice=0.6)["promote"]  # type: ignore[arg-type]
    decision = judge(test_set, None, worst_slice=0.7)  # type: ignore[arg-type]
    assert (decision["promote"], decision["reason"]) == (
        False,
        "in the slice weak (by hospital, 20 samples) the challenger's accuracy is 0.600, and 0.7 is required in every "
        "slice",
    )
    with pytest.raises(InvalidInput, match="worst_slice: the test set has no slices"):
        judge(evaluate(Y, said), None, worst_slice=0.7)


def test_folders_below_the_classes_are_slices(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for kind in ("cat", "dog"):
        for place in ("day", "night/rain"):
            folder = tmp_path / "photos" / kind / place
            folder.mkdir(parents=True)
            for number in range(6):
                Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    options = Options(test_share=0.5)
    make(tmp_path / "photos", options, tmp_path / "d.h5", Logged())
    slices = load_dataset(tmp_path / "d.h5").slices
    assert slices is not None
    assert (slices.by, slices.names, len(slices.places)) == ("folder", ("day", "night/rain"), 12)
    assert set(slices.places.tolist()) == {0, 1}
