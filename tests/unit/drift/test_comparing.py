"""Two data sets by where they lie: what is new in one of them, what its schema is, and reports that fit into XCom."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import drift_data
import numpy as np
import pytest
from typer.testing import CliRunner

from snn.batches import Samples
from snn.errors import InvalidInput
from snn_cli.main import app
from snn_client.drift.comparing import compare_data, find_drift, fitting, is_name
from snn_client.runs.lists import size
from snn_data.dataset import Dataset, save_dataset

NOWHERE: Any = SimpleNamespace(s3=None)
CLASSES = ("dark", "bright")


def photos(count: int, seed: int, brighter: int = 0) -> tuple[Any, Any]:
    chance = np.random.default_rng(seed)
    base = chance.integers(20, 150, (count, 1, 1, 1)) + brighter
    return drift_data.as_bytes(base + chance.normal(0, 20, (count, 8, 8, 3))), chance.integers(0, 2, count)


def write(path: Path, x: Any, y: Any, classes: tuple[str, ...] = CLASSES) -> Path:
    save_dataset(path, x, y, x[:3], y[:3], classes)
    return path


def test_only_what_is_new_is_compared() -> None:
    """1,000 former photos and 100 brighter ones: 1 in 11 has changed of all, and each of those that are new."""
    (old, y), (new, z) = photos(1_000, 1), photos(100, 2, brighter=80)
    champion = drift_data.dataset(old, y, CLASSES)
    both = drift_data.dataset(np.concatenate([new, old]), np.concatenate([z, y]), CLASSES)
    report = compare_data(both, champion)
    assert report["notes"] == ["1,000 of 1,100 samples are in the former data too and were left out"]
    assert (report["new"], report["reference"]) == (100, 1_000)
    assert report["findings"][0]["name"] == "brightness"
    assert report["findings"][0]["distance"] > 0.5
    same = compare_data(champion, champion)
    assert same["notes"] == ["all 1,000 samples are in the former data: there is nothing new"]
    assert (same["drifted"], same["tests"]) == (False, [])


def test_photos_that_moved_from_the_test_part_are_known_too() -> None:
    old, y = photos(100, 3)
    champion = Dataset(Samples(old[:80], y[:80]), Samples(old[80:], y[80:]), CLASSES)
    report = compare_data(drift_data.dataset(old[20:], y[20:], CLASSES), champion)
    assert report["notes"] == ["all 80 samples are in the former data: there is nothing new"]


def test_equal_rows_of_a_table_stay() -> None:
    x = np.random.default_rng(4).integers(0, 2, (500, 2)).astype(np.float64)
    report = compare_data(drift_data.dataset(x), drift_data.dataset(x))
    assert (report["new"], report["drifted"]) == (500, False)


def test_of_wide_rows_those_that_are_known_are_left_out() -> None:
    rows = np.random.default_rng(5).standard_normal((200, 5_000)).astype(np.float32)
    assert compare_data(drift_data.dataset(rows), drift_data.dataset(rows))["drifted"] is False


@pytest.mark.parametrize(
    ("change", "name", "text"),
    [
        ({"classes": ("dark", "bright", "grey")}, "classes", "class grey is new"),
        ({"classes": ("dark", "white")}, "classes", "class bright is gone"),
        ({"classes": ("bright", "dark")}, "classes", "classes are numbered in another order than in the training data"),
        ({"classes": ()}, "classes", "labels are numbers, in the training data classes"),
        ({"size": 9}, "shape", "samples are 9×9×3, in the training data 8×8×3"),
        ({"features": True}, "dtype", "features, the training data were photos"),
    ],
)
def test_another_schema_is_an_error_that_is_named(change: dict[str, Any], name: str, text: str) -> None:
    (old, y), (new, z) = photos(200, 6), photos(200, 7)
    if "size" in change:
        new = np.pad(new, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    stored = new.reshape(200, -1)[:, :10].astype(np.float64) if "features" in change else new
    classes = change.get("classes", CLASSES)
    report = compare_data(drift_data.dataset(stored, z, classes), drift_data.dataset(old, y, CLASSES))
    assert report["drifted"]
    assert (report["findings"][0]["level"], report["findings"][0]["kind"]) == ("error", "schema")
    assert report["findings"][0]["name"] == name
    assert text in [finding["text"] for finding in report["findings"]]
    others = {test["name"] for test in report["tests"]} - {"labels"}
    assert bool(others) == ("classes" in change)
    assert ("nothing but the labels was compared, since samples are of another kind" in report["notes"]) != bool(others)


def test_features_of_another_backbone() -> None:
    rows = drift_data.features(np.random.default_rng(8), 200)
    names = [json.dumps({"name": name}) for name in ("efficientnet-lite0", "other")]
    report = compare_data(
        drift_data.dataset(rows[:100], backbone=names[1]), drift_data.dataset(rows, backbone=names[0])
    )
    assert "features are those of other, in the training data of efficientnet-lite0" in report["findings"][0]["text"]


def test_few_samples_are_said_to_be_few() -> None:
    (old, y), (new, z) = photos(200, 9), photos(12, 10)
    report = compare_data(drift_data.dataset(new, z, CLASSES), drift_data.dataset(old, y, CLASSES))
    assert report["notes"] == ["the new data have 12 samples that say something each: only a large change can be found"]
    assert min(test["detectable"] for test in report["tests"]) > 0.6


def test_files_are_compared_without_any_stack(tmp_path: Path) -> None:
    old = write(tmp_path / "old.h5", *photos(300, 11))
    new = write(tmp_path / "new.h5", *photos(300, 12, brighter=60))
    found = find_drift(NOWHERE, None, new, str(old))
    assert (found["outcome"], found["reason"], found["data"], found["against"]) == ("compared", "", str(new), str(old))
    assert found["findings"][0]["name"] == "brightness"
    assert find_drift(NOWHERE, None, old, str(old))["outcome"] == "nothing new"


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("gone.h5", r"gone\.h5: no such file"),
        ("bad.h5", r"bad\.h5"),
        ("champion", "against: champion is neither a file nor an address"),
        ("my-run", "against: my-run is neither a file nor an address"),
    ],
)
def test_what_cannot_be_read_is_named(against: str, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.h5").write_bytes(b"no HDF5 at all")
    new = write(tmp_path / "new.h5", *photos(50, 13))
    with pytest.raises(InvalidInput, match=message):
        find_drift(NOWHERE, None, new, against)
    with pytest.raises(InvalidInput, match="missing"):
        find_drift(NOWHERE, None, "missing.h5", str(new))
    with pytest.raises(InvalidInput, match=r"alpha: is 2.0"):
        find_drift(NOWHERE, None, write(tmp_path / "other.h5", *photos(50, 14)), str(new), alpha=2.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.h5", "new.h5", "other.h5"]


def test_a_name_is_a_run_unless_there_is_such_a_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_name("my-run-7")
    assert is_name("champion")
    assert not is_name("old.h5")
    assert not is_name("s3://bucket/old")
    Path("my-run-7").mkdir()
    assert not is_name("my-run-7")


def test_a_report_of_very_many_columns_fits_into_xcom(tmp_path: Path) -> None:
    x = np.random.default_rng(15).standard_normal((200, 64))
    old = write(tmp_path / "old.h5", x, np.zeros(200, np.int64))
    new = write(tmp_path / "new.h5", x + 1, np.zeros(200, np.int64))
    found = find_drift(NOWHERE, None, new, str(old))
    assert (len(found["tests"]), len(found["findings"])) == (65, 64)
    assert fitting(found) is found or size(found) > 48_000
    small = fitting(found, 30_000)
    assert size(small) <= 30_000
    assert 0 < len(small["tests"]) < 65
    assert small["tests"] == found["tests"][: len(small["tests"])]
    assert small["findings"] == found["findings"]
    assert small["notes"][-1].endswith("of 65 tests, which weigh least, are left out here")
    smaller = fitting(found, 9_000)
    assert size(smaller) <= 9_000
    assert smaller["tests"] == []
    assert 0 < len(smaller["findings"]) < 64
    assert smaller["drifted"]


def test_the_command_is_a_gate(tmp_path: Path, monkeypatch: Any) -> None:
    """Exit code, table and JSON; two files ask nothing of AWS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    old = write(tmp_path / "old.h5", *photos(300, 16))
    alike = write(tmp_path / "alike.h5", *photos(300, 17))
    bright = write(tmp_path / "bright.h5", *photos(300, 18, brighter=60))

    def snn(*words: str) -> Any:
        return CliRunner().invoke(app, ["drift", *words, "--against", str(old)])

    passed = snn(str(alike))
    assert passed.exit_code == 0
    assert "no change that matters" in passed.stdout
    assert "300, 300" in passed.stdout
    stopped = snn(str(bright))
    assert stopped.exit_code == 1
    assert "brightness" in stopped.stdout.splitlines()[1]
    assert "changed" in stopped.stdout.splitlines()[1]
    assert "the data have changed" in stopped.stdout
    as_json = snn(str(bright), "--json")
    assert as_json.exit_code == 1
    told = json.loads(as_json.stdout)
    assert told["drifted"] is True
    assert told["findings"][0]["name"] == "brightness"
    lenient = snn(str(bright), "--alpha", "1e-200")
    assert lenient.exit_code == 0
    same = snn(str(old))
    assert same.exit_code == 0
    assert "nothing new" in same.stderr
    for words, message in ((("nowhere.h5",), "nowhere.h5"), ((str(bright), "--alpha", "7"), "alpha: is 7.0")):
        refused = snn(*words)
        assert refused.exit_code == 1
        assert refused.stderr.count("error:") == 1
        assert message in refused.stderr
