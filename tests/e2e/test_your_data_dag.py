"""What people have, by the form of snn_training alone: a table, folders of photos, an archive in S3; and by a sweep."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dag_run import DagRun, runner
from your_data import lay_out

from snn_data.dataset import load_dataset

DAG = "snn_training"
STACK = "snn-e2e-yours"


@pytest.fixture(scope="module")
def yours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yours")
    lay_out(folder)
    return folder


@pytest.fixture(scope="module")
def run(machine: Any) -> Callable[..., DagRun]:
    return runner(machine, DAG, 240, stack_name=STACK)


@pytest.fixture(scope="module")
def table(run: Callable[..., DagRun], yours: Path) -> DagRun:
    options = {"label": "ill", "drop": ["remarks"], "group": "patient"}
    return run(
        dataset=str(yours / "patients.csv"), data_options=options, images=[str(yours / "new-patients.csv")], epochs=20
    )


def test_a_table_is_trained_by_a_recipe_that_fits_and_predicts_raw_rows(table: DagRun) -> None:
    assert set(table.states.values()) == {"success"}
    data = load_dataset(io.BytesIO(table.read(table.xcom("stage")["dataset_key"])))
    assert data.classes == ("no", "yes")
    assert len(data.train) + len(data.test) == 200
    parameters, report = table.xcom("stage")["parameters"], table.xcom("report")
    assert (parameters["strategy"], parameters["optimizer"]["name"]) == ("sgd", "adamw")
    assert parameters["neurons"] == {"layer1": 128, "layer2": 1}
    assert (report["training"]["epochs_run"], report["training"]["strategy"]) == (20, "sgd")
    answers = report["new_images"]
    assert [Path(answer["uri"]).name for answer in answers] == ["new-patients.csv#1", "new-patients.csv#2"]
    assert {answer["class_name"] for answer in answers} <= {"no", "yes"}
    assert any("a recipe for these data, chosen by itself" in line for line in table.log("stage"))


def test_the_log_of_stage_says_what_is_left_out_and_what_is_suspicious(
    run: Callable[..., DagRun], tmp_path: Path
) -> None:
    """Whether somebody is ill is known from the ward: the log warns, the report repeats it, a strict run ends there."""
    rows = [[f"p{number}", number % 40, "C3" if number % 3 else "A1", number % 3 > 0] for number in range(90)]
    text = io.StringIO()
    csv.writer(text).writerows([["name", "age", "ward", "ill"], *rows])
    (tmp_path / "wards.csv").write_text(text.getvalue())
    suspicious = "alone gives the class of nearly every test sample: ward (100.0%)"
    told = run(dataset=str(tmp_path / "wards.csv"), deploy=False, epochs=2)
    assert set(told.states.values()) == {"success"}
    lines = told.log("stage")
    assert any("wards.csv: learns ill" in line for line in lines)
    assert any("left out: name has another text in every row" in line for line in lines)
    assert any(suspicious in line for line in lines)
    findings = told.xcom("report")["data"]["findings"]
    assert [finding["kind"] for finding in findings if suspicious in finding["text"]] == ["leak"]
    refused = run(dataset=str(tmp_path / "wards.csv"), deploy=False, epochs=2, data_options={"strict": True})
    assert refused.states["stage"] == "failed"
    assert any(suspicious in line and "be less strict" in line for line in refused.log("stage"))


@pytest.mark.parametrize("where", ["a folder", "an archive", "an archive in S3", "a prefix in S3"])
def test_photos_come_by_the_form_whichever_way_they_are_kept(
    where: str, table: DagRun, run: Callable[..., DagRun], yours: Path
) -> None:
    s3, bucket = table.machine.clients.s3, f"yours-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket)
    s3.upload_file(str(yours / "my-photos.zip"), bucket, "pets.zip")
    for path in (yours / "my-photos").rglob("*.png"):
        s3.upload_file(str(path), bucket, f"pets/{path.relative_to(yours / 'my-photos')}")
    source = {
        "a folder": str(yours / "my-photos"),
        "an archive": str(yours / "my-photos.tar.gz"),
        "an archive in S3": f"s3://{bucket}/pets.zip",
        "a prefix in S3": f"s3://{bucket}/pets/",
    }[where]
    done = run(dataset=source, deploy=False, epochs=3, data_options={"classes": ["dog", "cat"], "size": 8})
    assert set(done.states.values()) == {"success"}
    data = load_dataset(io.BytesIO(done.read(done.xcom("stage")["dataset_key"])))
    assert (data.classes, data.shape, len(data.train), len(data.test)) == (("dog", "cat"), (8, 8, 3), 16, 4)
    assert done.xcom("stage")["parameters"]["augmentation"] == {"mirror": True}


def test_a_sweep_learns_the_column_that_is_named(table: DagRun, yours: Path, machine: Any) -> None:
    swept = runner(machine, "snn_sweep", 240, stack_name=STACK)(
        dataset=str(yours / "patients.csv"), deploy=False, data_options={"label": "smokes"}, epochs=2,
        combinations=[{"seed": 1}],
    )  # fmt: skip
    assert swept.mapped_states["table"] == ["success"]
    data = load_dataset(io.BytesIO(swept.read(swept.xcom("plan")[0]["dataset_key"])))
    assert data.classes == ("no", "yes")
    assert len(data.train) + len(data.test) < 134 * 0.81
