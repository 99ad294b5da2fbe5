"""Tables on a stack: trained by a recipe chosen by itself, judged, asked about raw rows; by commands and operators."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_diabetes, load_iris
from typer.testing import CliRunner

from snn.errors import InvalidDataset
from snn_cli.main import app
from snn_client.data.staging import read_source, stage
from snn_client.reports.predicting import predict_images
from snn_client.runs import runs
from snn_client.runs.lists import read_list
from snn_client.runs.recipe import parameters_for
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset
from snn_data.model import load_model
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.stage import SnnStageOperator

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator


def run(folder: Path, stack: StackOutputs, *words: str, code: int = 0) -> Any:
    environment = {**os.environ, "SNN_STACK_NAME": stack.stack_name, "COLUMNS": "200"}
    with contextlib.chdir(folder):
        ended = CliRunner().invoke(app, [*words], env=environment)
    assert ended.exit_code == code, f"{ended.stdout}\n{ended.stderr}"
    return ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """iris.csv and diabetes.parquet, as somebody has them: with a number for each row, a town, and gaps."""
    folder = tmp_path_factory.mktemp("tables")
    iris, diabetes = load_iris(), load_diabetes()
    lines = ["id,sepal length,sepal width,petal length,petal width,town,species"]
    for number, (row, label) in enumerate(zip(iris.data, iris.target)):
        values = [str(value) for value in row]
        values[number % 4] = values[number % 4] if number % 10 else ""
        lines.append(",".join([str(number), *values, "AB"[number % 2], iris.target_names[label]]))
    (folder / "iris.csv").write_text("\n".join(lines))
    columns = {name: diabetes.data[:, k] for k, name in enumerate(diabetes.feature_names)}
    pq.write_table(pa.table({**columns, "progress": diabetes.target}), folder / "diabetes.parquet")
    return folder


@pytest.fixture(scope="module")
def iris(folder: Path, stack: StackOutputs) -> Any:
    return run(folder, stack, "train", "--dataset", "iris.csv", "--name", "tables-iris", "--json")


def test_a_table_is_trained_by_a_recipe_that_fits_it(iris: Any, stack: StackOutputs, clients: Clients) -> None:
    told = json.loads(iris.stdout)
    assert (told["state"], told["epochs_run"]) == ("COMPLETED", 300)
    assert "recipe   layers 128-3, adamw, learning rate 0.003, up to 300 epochs in mini-batches of 32" in iris.stderr
    assert "iris.csv: learns species" in iris.stderr
    assert "iris.csv: left out: id numbers the rows" in iris.stderr
    bucket = f"s3://{stack.bucket}/"
    kept = Parameters.load(read_source(clients.s3, bucket + places.input_parameters("tables-iris")))
    assert kept.neurons_per_layer == (128, 3)


def test_the_model_takes_raw_rows_and_says_what_it_says_of_the_test_set(
    iris: Any, folder: Path, stack: StackOutputs, clients: Clients
) -> None:
    judged = json.loads(run(folder, stack, "evaluate", "tables-iris", "--json").stdout)
    assert judged["accuracy"] >= 0.9
    answered = run(folder, stack, "predict", "iris.csv", "--run", "tables-iris", "--out", "answers.csv", "--json")
    answers = json.loads(answered.stdout)
    assert [answer["uri"] for answer in answers] == [f"iris.csv#{row}" for row in range(1, 151)]
    rows = list(csv.DictReader(io.StringIO((folder / "iris.csv").read_text())))
    right = [answer["class_name"] == row["species"] for answer, row in zip(answers, rows)]
    assert np.mean(right) >= 0.95
    kept = list(csv.DictReader(io.StringIO((folder / "answers.csv").read_text())))
    assert [row["class_name"] for row in kept] == [answer["class_name"] for answer in answers]
    # What the network says of the staged test set it says of the same rows as they were.
    bucket = f"s3://{stack.bucket}/"
    model = load_model(io.BytesIO(read_source(clients.s3, bucket + places.params("tables-iris"))))
    (item,) = [
        each["Key"]
        for each in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix="runs/tables-iris/input/")["Contents"]
        if each["Key"].endswith(".h5")
    ]
    data = load_dataset(io.BytesIO(read_source(clients.s3, bucket + item)))
    said = model.judge(data.test).max(axis=0)
    of_rows = np.array([answer["probability"] for answer in answers])
    assert all(np.abs(of_rows - probability).min() < 1e-6 for probability in said)


def test_a_report_shows_rows(iris: Any, folder: Path, stack: StackOutputs) -> None:
    (folder / "few.csv").write_text(
        "petal length,petal width,sepal length,sepal width,town\n1.4,0.2,5.1,3.5,A\n6,2.5,,3,Z\n"
    )
    made = json.loads(run(folder, stack, "report", "tables-iris", "few.csv", "--out", "reports", "--json").stdout)
    assert [image["class_name"] for image in made["new_images"]] == ["setosa", "virginica"]
    page = (folder / "reports" / "report.html").read_text()
    assert "few.csv#1" in page
    assert "Rows it was asked to predict." in page


def test_numbers_by_operators_in_their_own_units(folder: Path, stack: StackOutputs, clients: Clients) -> None:
    on: Any = {"stack": stack.to_dict(), **AWS}
    asked = pq.read_table(folder / "diabetes.parquet").drop_columns(["progress"])
    pq.write_table(asked, folder / "asked.parquet")
    staged = SnnStageOperator(
        task_id="stage", dataset=str(folder / "diabetes.parquet"), parameters="auto", overrides={"epochs": "40"},
        images=[str(folder / "asked.parquet")], run_id="tables diabetes", data_options={"seed": 3}, **on,
    ).execute({})  # fmt: skip
    assert (staged["parameters"]["epochs"], staged["parameters"]["activations"]["layer2"]) == (40, "identity")
    chosen = Parameters.load(staged["parameters"])
    runs.launch(clients, stack, staged["run_id"], staged["dataset_key"], chosen)
    run(folder, stack, "status", staged["run_id"], "--follow")
    test_set = SnnEvaluateOperator(task_id="evaluate", run_id=staged["run_id"], **on).execute({})
    assert test_set["r2"] >= 0.3
    assert 30 <= test_set["mae"] <= 60  # in the units of the file, whose values go from 25 to 346
    told: Any = SnnPredictOperator(task_id="predict", run_id=staged["run_id"], images=staged["images"], **on).execute(
        {}
    )
    answers = read_list(clients, told["whole"])  # hundreds are too long for XCom
    assert len(told["head"]) < told["count"] == len(answers) == asked.num_rows
    assert told["head"] == answers[: len(told["head"])]
    assert 130 <= np.mean([answer["value"] for answer in answers]) <= 175
    report = SnnReportOperator(
        task_id="report", run_id=staged["run_id"], test_set=test_set, new_images=told, images=staged["images"], **on
    ).execute({})
    assert report["test_set"]["r2"] == test_set["r2"]


def test_a_mistake_in_a_table_or_its_rows_leaves_nothing(
    iris: Any, folder: Path, stack: StackOutputs, clients: Clients
) -> None:
    (folder / "wrong.csv").write_text("petal length\n1\n")
    refused = run(folder, stack, "predict", "wrong.csv", "--run", "tables-iris", code=1)
    assert "wrong.csv: sepal length: is missing: the network was trained on it (it has petal length)" in refused.stderr
    for words in (["--label", "nobody"], ["--drop", "nobody"], ["--time", "nobody"]):
        line = run(folder, stack, "train", "--dataset", "iris.csv", "--name", "tables-none", *words, code=1).stderr
        assert "iris.csv: nobody: is not a column of this table (it has id, sepal length" in line
    with pytest.raises(InvalidDataset, match=r"wrong\.csv: sepal length: is missing"):
        stage(clients, stack.bucket, "tables-none", folder / "iris.csv", parameters_for, [folder / "wrong.csv"])
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix="runs/tables-none/")
    with pytest.raises(Exception, match=r"photo\.png: is not a table"):
        predict_images(clients, stack.bucket, "tables-iris", [_picture(folder)])


def _picture(folder: Path) -> str:
    (folder / "photo.png").write_bytes(b"\x89PNG\r\n")
    return str(folder / "photo.png")
