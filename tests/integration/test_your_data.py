"""Folders, archives and prefixes of photos: by the lines of `docs/your-data.md` that train, by stage, interrupted."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import boto3
import numpy as np
import oracle
import pexpect
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException
from odd_photos import BLUE, GREEN, RED, Heard, encoded, flat, photos
from typer.testing import CliRunner
from your_data import lay_out, lines_of

from snn.errors import InvalidDataset, InvalidInput
from snn_cli.datasets import make_dataset
from snn_cli.local.emulator import Emulator
from snn_cli.main import app
from snn_client.data.options import Options
from snn_client.data.staging import stage
from snn_client.runs.listing import newest_runs
from snn_client.runs.recipe import parameters_for
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State
from snn_data.dataset import load_dataset
from snn_data.model import load_model
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator

SNN = str(Path(sys.executable).with_name("snn"))
PARAMETERS = Parameters.load(oracle.small_network((4, 1), ("relu", "sigmoid")))
AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
ARCHIVES = ["patients.tar", "patients.tar.gz", "patients.tar.xz", "patients.zip"]
TRAINED, ASKED = lines_of("train"), lines_of("predict")
PREPARED = [["dataset", "make", "patients.csv", "datasets/patients.h5"], *lines_of("parameters")]
SAMPLES = {
    "train_catvnoncat.h5": 20, "patients.csv": 160, "datasets/patients.h5": 160, "mnist.tar.xz": 20,
    "cifar10.tar.xz": 30,
}  # fmt: skip
"""How many there are to train on, where it is not four fifths of 20 photos."""


@pytest.fixture(scope="module")
def bucket(emulator: Emulator) -> str:
    """A bucket with the page's photos: an archive, and a folder of objects."""
    name, s3 = f"yours-{uuid.uuid4().hex[:12]}", boto3.client("s3")
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def yours(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Path:
    folder, s3 = tmp_path_factory.mktemp("yours"), boto3.client("s3")
    lay_out(folder)
    with contextlib.chdir(folder):
        for words in PREPARED:
            assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    s3.put_object(Bucket=bucket, Key="pets.zip", Body=(folder / "my-photos.zip").read_bytes())
    s3.put_object(Bucket=bucket, Key="pets/")  # what consoles make of a new folder
    for path in (folder / "my-photos").rglob("*.png"):
        key = f"pets/{path.relative_to(folder / 'my-photos')}"
        s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    return folder


@pytest.mark.parametrize("words", TRAINED, ids=" ".join)
def test_a_line_of_the_page_trains(
    words: list[str], yours: Path, bucket: str, clients: Clients, stack: StackOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(yours)
    given = [word.replace("my-bucket", bucket) for word in words]
    ended = CliRunner().invoke(
        app, [*given, "--epochs", "3", "--stack", stack.stack_name], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert ended.exit_code == 0, ended.output
    run = next(newest_runs(clients.dynamodb, stack.table))
    assert (run.state, run.epoch) == (State.COMPLETED, 3)
    assert run.samples == SAMPLES.get(words[words.index("--dataset") + 1], 16)


def test_the_page_trains_and_asks() -> None:
    assert (len(TRAINED) >= 8, len(ASKED)) == (True, 2)


def test_the_lines_of_the_page_that_ask_about_rows(
    yours: Path, stack: StackOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(yours)
    on = ["--stack", stack.stack_name]
    for words in (["train", "--dataset", "patients.csv", "--label", "ill", "--epochs", "2"], *ASKED):
        ended = CliRunner().invoke(app, [*words, *on], catch_exceptions=False, env={"COLUMNS": "200"})
        assert ended.exit_code == 0, ended.output
    assert "new-patients.csv#2" in ended.stdout
    uris = [line.partition(",")[0] for line in (yours / "answers.csv").read_text().splitlines()]
    assert uris == ["uri", "new-patients.csv#1", "new-patients.csv#2"]


def contents(bucket: str, run_id: str) -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"runs/{run_id}/")
    return [item["Key"] for item in found.get("Contents", [])]


@pytest.mark.parametrize("source", ["my-photos", "my-photos.zip", "my-photos.tar.gz", "s3 archive", "s3 folder"])
def test_whichever_way_photos_come_the_same_bytes_are_staged(
    source: str, yours: Path, bucket: str, clients: Clients
) -> None:
    address = {"s3 archive": f"s3://{bucket}/pets.zip", "s3 folder": f"s3://{bucket}/pets/"}.get(source)
    heard = Heard()
    before = set(Path(tempfile.gettempdir()).glob("snn-*"))
    staged = stage(clients, bucket, "same", address or yours / source, PARAMETERS, progress=heard)
    assert set(Path(tempfile.gettempdir()).glob("snn-*")) <= before  # others' may have gone meanwhile
    reference = stage(clients, bucket, "same", yours / "my-photos", PARAMETERS, progress=Heard())
    assert staged == reference
    assert len(contents(bucket, "same")) == 2
    assert heard.warnings == [
        "the training part has few samples: 8 of cat; 8 of dog; fewer than 10 say little",
        "the test part has few samples: 2 of cat; 2 of dog; fewer than 10 say little",
    ]
    assert ("downloading, bytes" in {what for what, _, _ in heard.steps}) is bool(address)


@pytest.fixture(scope="module")
def tables(yours: Path, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table in all the ways that tables come, here and in the bucket."""
    folder, s3 = tmp_path_factory.mktemp("tables"), boto3.client("s3")
    content = (yours / "patients.csv").read_bytes()
    (folder / "patients.csv").write_bytes(content)
    (folder / "patients.csv.gz").write_bytes(gzip.compress(content))
    missing = pa_csv.ConvertOptions(strings_can_be_null=True)
    pq.write_table(pa_csv.read_csv(folder / "patients.csv", convert_options=missing), folder / "patients.parquet")
    (folder / "table").mkdir()
    (folder / "table" / "patients.csv").write_bytes(content)
    for ending, kind in (("tar", "w:"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz")):
        with tarfile.open(folder / f"patients.{ending}", kind) as packed:  # type: ignore[call-overload]
            packed.add(folder / "patients.csv", "patients.csv")
    with zipfile.ZipFile(folder / "patients.zip", "w") as packed:
        packed.write(folder / "patients.csv", "patients.csv")
    for path in folder.rglob("*.*"):
        s3.upload_file(str(path), bucket, f"tables/{path.relative_to(folder)}")
    make_dataset(folder / "patients.csv", folder / "patients.h5", Options(), Heard())
    s3.upload_file(str(folder / "patients.h5"), bucket, "tables/patients.h5")
    return folder


@pytest.mark.parametrize("where", ["here", "in S3"])
@pytest.mark.parametrize(
    "name",
    ["patients.csv", "patients.csv.gz", "patients.parquet", "patients.h5", "table/", *ARCHIVES],
)
def test_whichever_way_a_table_comes_the_same_bytes_are_staged(
    name: str, where: str, tables: Path, bucket: str, clients: Clients
) -> None:
    source = f"s3://{bucket}/tables/{name}" if where == "in S3" else str(tables / name)
    staged = stage(clients, bucket, "table", source, parameters_for, progress=Heard())
    assert staged.sha256 == hashlib.sha256((tables / "patients.h5").read_bytes()).hexdigest()
    assert staged.parameters.neurons_per_layer == (128, 1)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nothing/", r"s3://.*/nothing/: nothing lies in S3 below this \(check bucket and prefix\)"),
        ("odd//", r"odd//: nothing lies in S3|odd//: /?a/\.\./b\.png: no file can have this name"),
        ("odd/", r"s3://.*/odd/: .*: no file can have this name \(rename the object\)"),
        ("table.xyz", r"s3://.*/table\.xyz: is nothing that a data set is made of \(give a folder, or \.h5"),
        ("evil.tar.gz", r"s3://.*/evil\.tar\.gz: \.\./x: leads out of the folder it is unpacked into"),
        ("one.zip", r"s3://.*/one\.zip: expected two folders or more, one for each class; found a"),
    ],
)
def test_what_lies_in_s3_and_cannot_be_used(
    key: str, message: str, bucket: str, clients: Clients, tmp_path: Path
) -> None:
    s3 = clients.s3
    s3.put_object(Bucket=bucket, Key="odd/a/../b.png", Body=b"x")
    s3.put_object(Bucket=bucket, Key="table.xyz", Body=b"x")
    photos(tmp_path / "a", 2)
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as packed:
        packed.add(tmp_path / "a" / "000.png", "../x")
    with tarfile.open(tmp_path / "one.zip", "w") as packed:  # whatever its name says
        packed.add(tmp_path / "a", "a")
    for name in ("evil.tar.gz", "one.zip"):
        s3.put_object(Bucket=bucket, Key=name, Body=(tmp_path / name).read_bytes())
    with pytest.raises(InvalidInput, match=message):
        stage(clients, bucket, "refused", f"s3://{bucket}/{key}", PARAMETERS, progress=Heard())
    assert contents(bucket, "refused") == []


def test_suspicious_data_are_an_error_if_asked(yours: Path, bucket: str, clients: Clients) -> None:
    with pytest.raises(
        InvalidDataset, match=r"my-photos: the training part has few samples: 8 of cat; 8 of dog; fewer"
    ):
        stage(clients, bucket, "strict", yours / "my-photos", PARAMETERS, options=Options.of({"strict": True}))
    assert contents(bucket, "strict") == []


def test_from_a_folder_to_a_report_by_the_operators(
    tmp_path: Path, clients: Clients, stack: StackOutputs, caplog: pytest.LogCaptureFixture
) -> None:
    """Wide photos of which only the middle tells the class: cropped when trained on, and cropped when classified."""

    def wide(middle: tuple[int, int, int], number: int) -> bytes:
        picture = flat(RED, (40, 20))
        picture.paste((*middle[:2], number), (10, 0, 30, 20))
        return encoded(picture, "PNG")

    for name, colour in (("blue", BLUE), ("green", GREEN)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(30):
            (tmp_path / "in" / name / f"{number}.png").write_bytes(wide(colour, number))
    (tmp_path / "new.png").write_bytes(wide(GREEN, 99))
    (tmp_path / "in" / "blue" / "again.png").write_bytes(wide(GREEN, 3))  # one photo in both classes
    options = {"size": "10", "fit": "crop", "classes": ["blue", "green"], "test_share": 0.4, "skip_bad": None}
    parameters = oracle.small_network((4, 1), ("relu", "sigmoid"), epochs=60, learning_rate=0.1)

    staged = SnnStageOperator(
        task_id="stage", stack=stack.to_dict(), run_id=f"folder {time.time_ns()}", dataset=str(tmp_path / "in"),
        parameters=parameters, images=[str(tmp_path / "new.png")], data_options=options, **AWS,
    ).execute({})  # fmt: skip
    data = load_dataset(io_of(clients, stack.bucket, staged["dataset_key"]))
    assert (data.shape, data.classes, data.photos) == ((10, 10, 3), ("blue", "green"), '{"fit": "crop", "bits": 0}')
    # Nothing of the red is left, but where it is mixed into the outermost pixels.
    assert np.abs(data.train.stored[..., 1:-1, 0].astype(int) - 25).max() < 10

    task: Any = type("TI", (), {"try_number": 1, "max_tries": 0, "xcom_push": lambda *_, **__: None})()
    about: Any = {"stack": stack.to_dict(), **AWS}
    run = {"run_id": staged["run_id"], "dataset_key": staged["dataset_key"]}
    SnnTrainOperator(
        task_id="train", parameters=staged["parameters"], deferrable=False, poll_interval=0.2, **run, **about
    ).execute({"ti": task})
    judged = SnnEvaluateOperator(task_id="evaluate", run_id=staged["run_id"], **about).execute({})
    answers = SnnPredictOperator(task_id="predict", run_id=staged["run_id"], images=staged["images"], **about).execute(
        {}
    )
    report = SnnReportOperator(
        task_id="report", run_id=staged["run_id"], test_set=judged, new_images=answers, images=staged["images"], **about
    ).execute({})
    model = load_model(io_of(clients, stack.bucket, f"runs/{staged['run_id']}/params.h5"))
    assert model.attributes["photos"] == data.photos
    assert (answers[0]["class_name"], judged["accuracy"] > 0.9) == ("green", True)
    page = io_of(clients, stack.bucket, f"runs/{staged['run_id']}/report/report.html").read().decode()
    for finding in report["data"]["findings"]:
        assert finding["text"] in page
    together = np.concatenate([data.train.stored, data.test.stored])
    assert len(np.unique(together.reshape(len(together), -1), axis=0)) == 60


def io_of(clients: Clients, bucket: str, key: str) -> io.BytesIO:
    return io.BytesIO(clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def test_an_option_that_is_none_fails_the_task_in_one_line(stack: StackOutputs, yours: Path) -> None:
    task = SnnStageOperator(
        task_id="stage", stack=stack.to_dict(), run_id="odd-option", dataset=str(yours / "my-photos"),
        parameters=PARAMETERS.to_json(), data_options={"sise": 3}, **AWS,
    )  # fmt: skip
    said = r"^sise: is no option of a data set \(known are backbone, classes, "
    with pytest.raises(AirflowFailException, match=said):
        task.execute({})


def test_a_terminal_shows_how_far_it_is(yours: Path, tmp_path: Path) -> None:
    environment: Any = {**os.environ, "TERM": "xterm-256color"}
    person = pexpect.spawn(
        SNN, ["dataset", "make", str(yours / "my-photos"), str(tmp_path / "pets.h5")], env=environment,
        dimensions=(40, 110), timeout=120, encoding="utf-8",
    )  # fmt: skip
    person.expect("looking at photos")
    person.expect(r"reading photos[^\n]*━[^\n]*20/20")
    person.expect("warning: the training part has few samples")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_nothing_half_done_stays(number: signal.Signals, tmp_path: Path) -> None:
    big = encoded(flat(RED, (3_000, 2_000)), "PNG", compress_level=1)
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "0.png").write_bytes(big)
        for copy in range(1, 400):
            os.link(tmp_path / "in" / name / "0.png", tmp_path / "in" / name / f"{copy}.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "pets.h5").write_bytes(b"the old file")
    words = [SNN, "dataset", "make", str(tmp_path / "in"), str(out / "pets.h5"), "--size", "300"]
    made = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob(".snn-*/.snn-*/unfinished.h5")):
        assert time.monotonic() < deadline
        assert made.poll() is None, made.communicate()
        time.sleep(0.02)
    made.send_signal(number)
    stdout, stderr = made.communicate(timeout=60)
    assert made.returncode == 130, stderr
    assert "Nothing was written." in stderr
    assert stdout == ""
    assert [path.name for path in out.iterdir()] == ["pets.h5"]
    assert (out / "pets.h5").read_bytes() == b"the old file"
