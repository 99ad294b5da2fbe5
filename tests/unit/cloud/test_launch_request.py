"""What LaunchLambda takes and what it refuses, with one line that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from snn.errors import InvalidInput
from snn_cloud.launch.request import LaunchRequest

GOOD = {"run_id": "r", "dataset": "runs/r/input/d.h5", "parameters": {"epochs": 1}}


def test_what_is_not_said_has_a_default() -> None:
    asked = LaunchRequest.load(GOOD)
    assert (asked.dataset_version, asked.promote, asked.trainer_seconds, asked.resume_from) == ("", False, 0.0, "")
    assert LaunchRequest.load({**GOOD, "trainer_seconds": 2}).trainer_seconds == 2.0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"promote": "false"}, "promote: Input should be a valid boolean, got 'false'"),
        ({"promote": 1}, "promote: Input should be a valid boolean, got 1"),
        ({"trainer_seconds": "10"}, "trainer_seconds: Input should be a valid number, got '10'"),
        ({"trainer_seconds": -1}, "trainer_seconds: Input should be greater than or equal to 0, got -1"),
        ({"trainer_seconds": float("nan")}, "trainer_seconds: Input should be a finite number, got nan"),
        ({"trainer_seconds": float("inf")}, "trainer_seconds: Input should be a finite number, got inf"),
        ({"trainer_seconds": True}, "trainer_seconds: Input should be a valid number, got True"),
        ({"dataset_version": None}, "dataset_version: Input should be a valid string, got None"),
        ({"parameters": "epochs"}, "parameters: Input should be a valid dictionary, got 'epochs'"),
        ({"resume_from": 5}, "resume_from: Input should be a valid string, got 5"),
        (
            {"Records": 5},
            "Records: is not a known field (known are run_id, dataset, dataset_version, parameters, promote, "
            "trainer_seconds, resume_from, started_by)",
        ),
        (
            {"dataset": "runs/r/results.json"},
            "dataset: 'runs/r/results.json' is not a place for data sets "
            "(put it under runs/<a run>/input/ or training_input/)",
        ),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        LaunchRequest.load({**GOOD, **change})
    assert str(refused.value) == f"launch request: {line}"


def test_every_bad_field_is_named_in_one_line() -> None:
    with pytest.raises(InvalidInput) as refused:
        LaunchRequest.load({"run_id": "r", "promote": "x" * 5_000, "Records": "a\nb"})
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) <= 1_000
    assert [line.count(f"{name}: is missing") for name in ("dataset", "parameters")] == [1, 1]
    assert "promote: " in line
    assert "Records: is not a known field" in line


@pytest.mark.parametrize("given", [5, [1], None, "run"])
def test_what_is_no_object_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match=r"launch request: Input should be .*\(send an object with run_id, dataset"):
        LaunchRequest.load(given)


@pytest.mark.parametrize("run_id", ["", "Ab", "a/b", "x" * 64])
def test_a_run_id_is_checked(run_id: str) -> None:
    with pytest.raises(InvalidInput, match=r"run_id: .* is not a run id"):
        LaunchRequest.load({**GOOD, "run_id": run_id})


@pytest.mark.parametrize("key", ["runs/another/input/datasets-0123456789ab.h5", "runs/r/input/a/b", "training_input/x"])
def test_any_run_s_input_and_uploads_may_be_the_data_set(key: str) -> None:
    assert LaunchRequest.load({**GOOD, "dataset": key}).dataset == key


@pytest.mark.parametrize(
    "key",
    ["", "runs/r/input/", "runs/input/d.h5", "runs/R/input/d.h5", "runs/r/checkpoint.h5", "runs/r/a/input/d.h5",
     "training_input/", "predict_input/params.h5", "/runs/r/input/d.h5", "runs/r/input/d\n.h5"],
)  # fmt: skip
def test_no_other_place_may(key: str) -> None:
    with pytest.raises(InvalidInput, match=r"dataset: .* is not a place for data sets"):
        LaunchRequest.load({**GOOD, "dataset": key})
