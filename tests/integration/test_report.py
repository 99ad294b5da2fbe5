"""Judging a run, classifying photos and writing the report, with everything where a run leaves it in a real bucket."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import oracle
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from portable import Ran

from snn.errors import InvalidImage, InvalidInput
from snn.network import Params
from snn_cli.datasets import build_faces, sample_images
from snn_cli.local.emulator import Emulator
from snn_client.data.staging import Staged, StagedImage, stage
from snn_client.reports.metrics import evaluate
from snn_client.reports.page import MAX_PHOTOS
from snn_client.reports.predicting import predict_images
from snn_client.reports.report import build_report, evaluate_run, to_json, write_report
from snn_client.runs.estimate import Machine
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy, Usage
from snn_data.dataset import Dataset, load_dataset
from snn_data.model import save_model

PARAMETERS = Parameters.load(oracle.small_network((10, 1), ("relu", "sigmoid"), epochs=60, learning_rate=0.02))


@dataclass
class Trained:
    """A run as TrainerLambda leaves it, its network trained right here."""

    clients: Clients
    bucket: str
    run: Run
    staged: Staged
    params: Params
    costs: list[float]
    dataset: Dataset
    photos: list[str]

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """What the network says of (m, h, w, 3) pixels, computed apart from the product's model file."""
        A = oracle.as_inputs(pixels, np.float64)
        for number, name in enumerate(PARAMETERS.activation_per_layer, start=1):
            A = oracle.G[name][0](self.params[f"W{number}"] @ A + self.params[f"b{number}"])
        return A[0]


@pytest.fixture(scope="module")
def trained(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("report")
    build_faces(folder / "faces.h5")
    photos = [str(path) for path in sample_images(folder)]
    dataset = load_dataset(folder / "faces.h5")

    clients, bucket = Clients(boto3.client), f"report-{uuid.uuid4().hex[:12]}"
    clients.s3.create_bucket(Bucket=bucket)
    staged = stage(clients, bucket, "run-1", folder / "faces.h5", PARAMETERS, photos)

    params, costs = oracle.train_on(PARAMETERS, dataset)
    save_model(
        folder / "params.h5",
        params,
        PARAMETERS.activation_per_layer,
        {"image_shape": dataset.shape, "classes": dataset.classes},
    )
    epochs = {f"epoch{epoch}": {"cost": cost} for epoch, cost in enumerate(costs)}
    results = json.dumps({"Start": "2026-11-01 00:00:00.000000", **epochs, "End": "2026-11-01 00:00:01.000000"})
    clients.s3.put_object(Bucket=bucket, Key=places.params("run-1"), Body=(folder / "params.h5").read_bytes())
    clients.s3.put_object(Bucket=bucket, Key=places.results("run-1"), Body=results.encode())
    run = Run(
        "run-1",
        State.COMPLETED,
        PARAMETERS,
        dataset=staged.dataset_key,
        started_at=1_700_000_000.0,
        ended_at=1_700_000_002.5,
        epoch=60,
        cost=costs[-1],
        stopped_by=StoppedBy.EPOCHS,
        usage={"launch": Usage(1, 200, 256), "trainer": Usage(1, 2_500, 1769)},
    )
    return Trained(clients, bucket, run, staged, params, costs, dataset, photos)


def test_the_test_set_is_judged_as_the_network_itself_would(trained: Trained) -> None:
    answer = evaluate_run(trained.clients, trained.bucket, "run-1", trained.staged.dataset_key)

    probabilities = trained.probabilities(trained.dataset.test.stored)
    right = (probabilities > 0.5) == trained.dataset.test.y
    assert answer["accuracy"] == pytest.approx(right.mean())
    assert answer["accuracy"] > 0.8  # it did learn
    assert [wrong["index"] for wrong in answer["mislabelled"]] == np.flatnonzero(~right).tolist()
    wanted = evaluate(trained.dataset.test.y, probabilities)
    assert rounded(answer) == rounded({**wanted, "mislabelled_left_out": 0})


def rounded(values: object) -> Any:
    """Return JSON values without the last digits, which another order of summing has otherwise."""
    return json.loads(json.dumps(values, allow_nan=False), parse_float=lambda text: round(float(text), 9))


def seen(path: str, draft: int = 0) -> NDArray[np.int64]:
    """Return what Pillow makes of a photo; a JPEG decoded at no less than a size, if one is given."""
    with Image.open(path) as picture:
        if draft:
            picture.draft(None, (draft, draft))
        if profile := picture.info.get("icc_profile"):  # a camera's colours are made the screen's
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            picture = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return np.asarray(picture.convert("RGB").resize((25, 25), Image.Resampling.BILINEAR), np.int64)


def test_new_photos_are_answered_in_order_and_by_the_name_they_were_given(trained: Trained) -> None:
    answers = predict_images(trained.clients, trained.bucket, "run-1", trained.staged.images)

    assert [answer["uri"] for answer in answers] == trained.photos
    for path, answer in zip(trained.photos, answers, strict=True):
        small = seen(path, 50)  # a JPEG is decoded at twice the size or more, which is quicker
        assert np.abs(seen(path) - small).mean() < 2
        expected = trained.probabilities(small.astype(np.uint8)[np.newaxis])[0]
        assert answer["probability"] == pytest.approx(expected, abs=1e-12)
        assert answer["predicted"] == int(expected > 0.5)
        assert answer["class_name"] == ("non-face", "face")[answer["predicted"]]
    assert answers[0]["class_name"] == "face"  # the astronaut's
    assert answers[2]["class_name"] == "non-face"  # the cat's does not count


def test_photos_may_be_given_as_xcom_brings_them_or_as_addresses(trained: Trained) -> None:
    first = trained.staged.images[0]
    as_dict = trained.staged.to_dict()["images"][:1]
    whole = predict_images(trained.clients, trained.bucket, "run-1", [first])
    assert predict_images(trained.clients, trained.bucket, "run-1", as_dict) == whole
    by_address = predict_images(trained.clients, trained.bucket, "run-1", [first.uri])
    assert by_address == [{**whole[0], "uri": first.uri}]


def test_a_photo_that_is_none_stops_with_one_line_that_names_it(trained: Trained) -> None:
    trained.clients.s3.put_object(Bucket=trained.bucket, Key="notes.txt", Body=b"no picture")
    bad = {"uri": f"s3://{trained.bucket}/notes.txt", "name": "my/notes.txt"}
    with pytest.raises(InvalidImage, match=r"^my/notes\.txt: not a picture \(give a JPEG.*\)$"):
        predict_images(trained.clients, trained.bucket, "run-1", [trained.staged.images[0], bad])


def test_all_photos_that_are_none_are_named(trained: Trained) -> None:
    trained.clients.s3.put_object(Bucket=trained.bucket, Key="notes.txt", Body=b"no picture")
    notes, gone = {"uri": f"s3://{trained.bucket}/notes.txt", "name": "notes.txt"}, f"s3://{trained.bucket}/gone.png"
    with pytest.raises(InvalidImage) as caught:
        predict_images(trained.clients, trained.bucket, "run-1", [notes, trained.staged.images[0], gone])
    assert str(caught.value) == (
        f"2 of 3 photos cannot be used: notes.txt: not a picture; {gone}: no such object in S3 "
        "(replace them, or leave them out)"
    )


def test_a_run_without_a_model_says_which_object_is_missing(trained: Trained) -> None:
    with pytest.raises(InvalidInput, match=r"runs/run-2/params\.h5: no such object in S3$"):
        evaluate_run(trained.clients, trained.bucket, "run-2", trained.staged.dataset_key)


def test_the_report_and_its_page_are_left_in_the_runs_folder(trained: Trained) -> None:
    test_set = evaluate_run(trained.clients, trained.bucket, "run-1", trained.staged.dataset_key)
    answers = predict_images(trained.clients, trained.bucket, "run-1", trained.staged.images)
    report = build_report(trained.run, test_set, answers, cost_of(trained.run, Machine()))

    written = write_report(trained.clients, trained.bucket, trained.run, report, trained.staged.to_dict()["images"])

    assert written["artifacts"] == {
        "report_html": f"s3://{trained.bucket}/runs/run-1/report/report.html",
        "report_json": f"s3://{trained.bucket}/runs/run-1/report/report.json",
        "params": f"s3://{trained.bucket}/runs/run-1/params.h5",
        "results": f"s3://{trained.bucket}/runs/run-1/results.json",
        "model_card": f"s3://{trained.bucket}/runs/run-1/report/model_card.md",
        "model_onnx": f"s3://{trained.bucket}/runs/run-1/report/model.onnx",
    }
    exported = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/model.onnx")
    said = Ran(exported["Body"].read())(photos=trained.dataset.test.stored)["probabilities"][:, 1]
    assert np.abs(said - trained.probabilities(trained.dataset.test.stored)).max() < 1e-12
    card = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/model_card.md")
    assert card["ContentType"] == "text/markdown; charset=utf-8"
    assert card["Body"].read().decode().startswith("# Model card: run-1\n")
    assert {**written, "artifacts": {}} == {**report, "data": {"findings": []}}  # what was found in the data set
    stored = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/report.json")
    assert stored["ContentType"] == "application/json"
    assert stored["Body"].read().decode() == to_json(written)

    stored = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/report.html")
    assert stored["ContentType"] == "text/html; charset=utf-8"
    page = stored["Body"].read().decode()
    assert len(page) < 2_000_000
    assert hashlib.sha256(Path(trained.photos[0]).with_name("faces.h5").read_bytes()).hexdigest() in page
    assert f"{trained.costs[0]:.4g}" in page
    assert page.count('class="photo"') == len(answers) + len(test_set["mislabelled"])
    assert "no picture" not in page


def test_a_report_does_without_the_model_that_cannot_be_exported(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    test_set = evaluate_run(trained.clients, trained.bucket, "run-1", trained.staged.dataset_key)
    report = build_report(trained.run, test_set, [], {})
    monkeypatch.setattr("snn_client.portable.layers.ACTIVATIONS", {})
    written = write_report(trained.clients, trained.bucket, trained.run, report)
    assert "model_onnx" not in written["artifacts"]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("the report has no model.onnx: s3://")
    assert "has no form in ONNX yet" in line

    def broken(*_: object) -> bytes:
        raise RuntimeError("a library's own mistake")

    monkeypatch.setattr("snn_client.portable.runs.to_onnx", broken)
    assert "model_onnx" not in write_report(trained.clients, trained.bucket, trained.run, report)["artifacts"]
    assert "a library's own mistake" in caplog.text
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    caplog.set_level(logging.INFO)
    assert "model_onnx" not in write_report(trained.clients, trained.bucket, trained.run, report)["artifacts"]
    assert "the extra `backbones` is not installed here" in caplog.text


def test_photos_of_another_test_set_are_not_shown_as_if_they_were_the_ones(trained: Trained) -> None:
    test_set = evaluate_run(trained.clients, trained.bucket, "run-1", trained.staged.dataset_key)
    other = {**test_set, "confusion_matrix": {"tn": 500, "fp": 0, "fn": 3, "tp": 7}}
    write_report(trained.clients, trained.bucket, trained.run, build_report(trained.run, other, [], {}))
    page = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/report.html")["Body"].read()
    assert page.decode().count("no picture") == len(test_set["mislabelled"]) > 0


def test_the_report_can_be_written_without_the_photos(trained: Trained) -> None:
    test_set = evaluate_run(trained.clients, trained.bucket, "run-1", trained.staged.dataset_key)
    answers = predict_images(trained.clients, trained.bucket, "run-1", trained.staged.images)
    write_report(trained.clients, trained.bucket, trained.run, build_report(trained.run, test_set, answers, {}))
    stored = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/report.html")
    assert stored["Body"].read().decode().count("no picture") == len(answers)


def test_only_the_photos_that_the_page_shows_are_fetched(trained: Trained) -> None:
    test_set = evaluate_run(trained.clients, trained.bucket, "run-1", trained.staged.dataset_key)
    many = [StagedImage(trained.staged.images[0].uri, f"{number}.png") for number in range(MAX_PHOTOS + 7)]
    answers = [{"uri": one.name, "predicted": 1, "class_name": "face", "probability": 0.9} for one in many]
    clients, fetched = Clients(boto3.client), []
    clients.s3.meta.events.register("before-call.s3.GetObject", lambda params, **_: fetched.append(params["url_path"]))
    write_report(clients, trained.bucket, trained.run, build_report(trained.run, test_set, answers, {}), many)
    assert sum("/images/" in path for path in fetched) == MAX_PHOTOS
    stored = trained.clients.s3.get_object(Bucket=trained.bucket, Key="runs/run-1/report/report.html")
    page = stored["Body"].read().decode()
    assert page.count('class="photo"') == MAX_PHOTOS + len(test_set["mislabelled"])
    assert "no picture" not in page
    assert "7 more" in page
