"""`snn export`: what a run's ONNX file says, by onnxruntime, is what `snn predict` says of the same photos and rows."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from backbones import PREPROCESSING, tiny
from click.testing import Result
from PIL import Image
from portable import Ran
from sklearn.datasets import load_iris
from typer.testing import CliRunner

from snn.decision import predicted_classes
from snn_cli import datasets
from snn_cli.main import app
from snn_client.backbones import catalogue
from snn_client.data.tables import rows_in
from snn_client.portable.runs import model_in
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_data.columns import Columns
from snn_data.dataset import load_dataset


@pytest.fixture(scope="module")
def seeing(clients: Clients) -> StackOutputs:
    """A stack with a FeatureLambda and a small backbone."""
    wanted = StackOptions.from_environment(stack_name="snn-exports", with_cache=False, with_features=True)
    outputs = deploy_stack(clients, wanted)
    catalogue.add(clients, outputs.bucket, tiny(), catalogue.check(tiny(), PREPROCESSING, "tiny", "tiny.onnx"))
    return outputs


def command(folder: Path, *words: str | Path, code: int = 0) -> Result:
    with contextlib.chdir(folder):
        ended = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200", "SNN_STACK_NAME": "snn-exports"})
    assert ended.exit_code == code, (words, ended.stdout, ended.stderr)
    return ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, seeing: StackOutputs) -> Path:
    """A folder with data of three kinds; on each a network was trained in Lambda."""
    folder = tmp_path_factory.mktemp("exports")
    datasets.build_faces(folder / "faces.h5")
    iris = load_iris()
    kinds = [iris.target_names[y] for y in iris.target]
    lines = ["sepal length,sepal-width,petal length,soil,kind"]
    for row, kind, number in zip(iris.data, kinds, range(150), strict=True):
        lines.append(f"{row[0]},{row[1]},{row[2] if number % 11 else ''},{('clay', 'sand', '')[number % 3]},{kind}")
    (folder / "iris.csv").write_text("\n".join(lines))
    random = np.random.default_rng(5)
    for label, low, high in (("dark", 0, 140), ("light", 100, 256)):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(low, high, (30, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / label / f"{number}.png")
    for name, *more in (
        ("faces", "faces.h5", "--epochs", "30"),
        ("iris", "iris.csv", "--label", "kind", "--epochs", "30"),
        ("seen", "photos", "--backbone", "tiny", "--epochs", "30"),
    ):
        command(folder, "train", "--name", f"exported-{name}", "--dataset", *more, "--json")
    return folder


def test_photos(folder: Path, clients: Clients, seeing: StackOutputs) -> None:
    (folder / "faces.onnx").write_bytes(b"what was there before")
    made = json.loads(
        command(folder, "export", "--run-id", "exported-faces", "--output", "faces.onnx", "--json").stdout
    )
    content = (folder / "faces.onnx").read_bytes()
    assert (made["bytes"], made["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert made["inputs"] == [{"name": "photos", "type": "uint8", "shape": ["m", 25, 25, 3]}]
    assert [each["name"] for each in made["outputs"]] == ["probabilities", "label"]
    assert made["metadata"]["run_id"] == "exported-faces"
    assert json.loads(made["metadata"]["classes"]) == ["non-face", "face"]
    assert not list(folder.glob(".*"))

    data, ran = load_dataset(folder / "faces.h5"), Ran(content)
    outputs = ran(photos=data.test.stored)
    model = model_in(clients, seeing.bucket, "exported-faces")
    wanted = model.judge(data.test)
    assert np.abs(outputs["probabilities"][:, 1] - wanted[0]).max() <= 1e-6
    told = json.loads(command(folder, "evaluate", "exported-faces", "--json").stdout)
    assert float((outputs["label"] == data.test.y).mean()) == pytest.approx(told["accuracy"], abs=1e-9)
    assert told["accuracy"] > 0.6


def test_a_table(folder: Path, clients: Clients, seeing: StackOutputs) -> None:
    command(folder, "export", "--run-id", "exported-iris", "--output", "new/folder/iris.onnx")
    ran = Ran((folder / "new" / "folder" / "iris.onnx").read_bytes())
    assert list(ran.inputs) == ["sepal_length", "sepal_width", "petal_length", "soil"]
    header, *lines = (folder / "iris.csv").read_text().splitlines()
    assert header.endswith(",soil,kind")
    rows = [line.split(",") for line in lines]
    numbers = {
        name: np.array([[float(row[place] or "nan")] for row in rows])
        for place, name in enumerate(["sepal_length", "sepal_width", "petal_length"])
    }
    outputs = ran(**numbers, soil=np.array([[row[3]] for row in rows], object))
    model = model_in(clients, seeing.bucket, "exported-iris")
    columns = Columns.from_json(str(model.attributes["columns"]), "iris")
    wanted = model.answers(np.vstack(list(rows_in((folder / "iris.csv").read_bytes(), columns, "iris.csv"))).T)
    assert np.abs(outputs["probabilities"].T - wanted).max() <= 1e-6
    assert outputs["label"].tolist() == predicted_classes(wanted).tolist()
    said = json.loads(command(folder, "predict", "iris.csv", "--run", "exported-iris", "--json").stdout)
    assert [one["predicted"] for one in said] == outputs["label"].tolist()
    assert [one["class_name"] for one in said] == [
        json.loads(ran.metadata["classes"])[number] for number in outputs["label"]
    ]


def test_a_backbone_s_head_alone_and_both_together(
    folder: Path, clients: Clients, seeing: StackOutputs, tmp_path: Path
) -> None:
    photos = sorted((folder / "photos").rglob("*.png"))
    told = json.loads(command(folder, "predict", *photos, "--run", "exported-seen", "--json").stdout)
    command(folder, "export", "--run", "exported-seen", "--output", tmp_path / "whole.onnx")
    whole = Ran((tmp_path / "whole.onnx").read_bytes())
    pictures = np.stack([PREPROCESSING.apply(Image.open(photo).convert("RGB")) for photo in photos])
    outputs = whole(pictures=pictures)
    wanted = np.array([one["probability"] for one in told])
    assert np.abs(outputs["probabilities"][:, 1] - wanted).max() <= 1e-6
    assert outputs["label"].tolist() == [one["predicted"] for one in told]
    assert np.ptp(wanted) > 0.1

    # In the report: the head alone, which names the backbone; the same as the command writes when it is asked to.
    made = json.loads(command(folder, "report", "exported-seen", "--json").stdout)
    assert made["artifacts"]["model_onnx"] == f"s3://{seeing.bucket}/runs/exported-seen/report/model.onnx"
    stored = clients.s3.get_object(Bucket=seeing.bucket, Key=places.model_onnx("exported-seen"))["Body"].read()
    command(folder, "export", "--run", "exported-seen", "--head", "--output", tmp_path / "head.onnx")
    assert (tmp_path / "head.onnx").read_bytes() == stored
    head = Ran(stored)
    assert head.inputs == {"features": ("tensor(float)", ["m", 16])}
    named = json.loads(head.metadata["backbone"])
    assert (named["name"], named["sha256"]) == ("tiny", hashlib.sha256(tiny()).hexdigest())


def test_a_file_on_this_machine_needs_no_aws(
    folder: Path, clients: Clients, seeing: StackOutputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(folder, "export", "--run-id", "exported-faces", "--output", tmp_path / "run.onnx")
    params = clients.s3.get_object(Bucket=seeing.bucket, Key=places.params("exported-faces"))["Body"].read()
    (tmp_path / "params.h5").write_bytes(params)
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    done = command(tmp_path, "export", "--model-file", "params.h5")
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "run.onnx").read_bytes()
    assert "photos" in done.stdout
    assert "(m, 25, 25, 3)" in done.stdout
    (tmp_path / "params.h5").write_bytes(b"no model")
    refused = command(tmp_path, "export", "--model-file", "params.h5", "--output", "bad.onnx", code=1)
    assert refused.stderr.startswith("error: params.h5: ")
    assert len(refused.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "params.h5", "run.onnx"]


def test_the_newest_run_is_meant_if_none_is_named(folder: Path, tmp_path: Path) -> None:
    done = command(tmp_path, "export")
    assert "run exported-seen, the newest completed run" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert Ran((tmp_path / "model.onnx").read_bytes()).metadata["run_id"] == "exported-seen"


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    folder: Path, clients: Clients, seeing: StackOutputs, tmp_path: Path
) -> None:
    def refused(*words: str, code: int = 1) -> str:
        done = command(tmp_path, "export", *words, code=code)
        assert done.stdout == ""
        assert list(tmp_path.iterdir()) == []
        return done.stderr.splitlines()[-1]

    assert refused("--run-id", "nobody") == "error: the ledger snn-exports-runs has no run 'nobody'"
    detached = json.loads(
        command(folder, "train", "--dataset", "faces.h5", "--epochs", "1000000", "--learning-rate", "0.000001",
                "--name", "cut", "--detach", "--json").stdout
    )  # fmt: skip
    assert detached["run_id"] == "cut"
    command(folder, "cancel", "cut")
    assert refused("--run-id", "cut") == "error: run cut is CANCELLED: only a completed run has a model"
    assert "give --model-file or a run" in " ".join(
        command(tmp_path, "export", "--run", "a", "--model-file", "b", code=2).stderr.split()
    )
    key = places.params("exported-iris")
    kept = clients.s3.get_object(Bucket=seeing.bucket, Key=key)["Body"].read()
    clients.s3.delete_object(Bucket=seeing.bucket, Key=key)
    try:
        assert refused("--run-id", "exported-iris") == f"error: s3://{seeing.bucket}/{key}: no such object in S3"
    finally:
        clients.s3.put_object(Bucket=seeing.bucket, Key=key, Body=kept)
    key = places.backbone_model(hashlib.sha256(tiny()).hexdigest())
    clients.s3.delete_object(Bucket=seeing.bucket, Key=key)
    try:
        assert "this stack lacks tiny" in refused("--run-id", "exported-seen")
    finally:
        clients.s3.put_object(Bucket=seeing.bucket, Key=key, Body=tiny())
