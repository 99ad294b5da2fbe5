"""The endpoint answers as `snn predict` does, a thousand samples of every kind; onnxruntime is the second witness."""

from __future__ import annotations

import base64
import csv
import json
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backbones import PREPROCESSING, tiny
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from odd_photos import encoded
from PIL import Image
from served import KINDS, picture_of, put_run, witnessed

from snn_client.backbones import catalogue
from snn_client.backbones.features import features_by
from snn_client.data.options import Options
from snn_client.data.staging import stage
from snn_client.models import versions
from snn_client.reports.predicting import predict_images
from snn_client.runs import runs
from snn_client.runs.recipe import parameters_for
from snn_client.serving.asking import CSV_TYPE, JSON_TYPE, Answer, NotAnswered, Prediction, ask
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_data.model import Model
from snn_photos.reading import load_image

COUNT = 1_000
SECRETS = ("test", "test", None)


@pytest.fixture(scope="module")
def serving(clients: Clients) -> StackOutputs:
    """A stack with an endpoint, and a FeatureLambda, which `snn predict` asks."""
    wanted = StackOptions.from_environment(stack_name="snn-same", with_cache=False, with_features=True)
    return deploy_stack(clients, wanted)


def asked(clients: Clients, stack: StackOutputs, body: bytes, kind: str, target: str) -> Answer:
    return ask(clients, stack, body, kind, secrets=SECRETS, target=target)


def together(photos: list[bytes]) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(photo).decode()} for photo in photos]}).encode()


def promoted(clients: Clients, stack: StackOutputs, kind: str) -> tuple[str, str, Model]:
    name = kind.replace(",", "").replace(" ", "-")
    put_run(clients, stack, f"same-{name}", KINDS[kind].file(f"same-{name}", 3))
    versions.promote(clients, stack, f"same-{name}", name)
    return name, f"same-{name}", KINDS[kind].model(f"same-{name}", 3)


def are_the_same(said: list[Prediction], predicted: Any, digits: float) -> None:
    """Classes and names are equal, numbers within `digits`, and so is what is unlike all that is known."""
    assert len(said) == len(predicted) > 0
    for one, other in zip(said, predicted):
        assert one.get("predicted") == other.get("predicted")
        assert one.get("class_name") == other.get("class_name")
        assert one.get("unlike", False) == other.get("unlike", False)
    for name in ("probability", "value"):
        if name in said[0]:
            ours, theirs = [one[name] for one in said], [other[name] for other in predicted]  # type: ignore[literal-required]
            assert_allclose(ours, theirs, rtol=digits, atol=digits)


def are_witnessed(said: list[Prediction], outputs: NDArray[Any], digits: float) -> None:
    if "value" in said[0]:
        assert_allclose([one["value"] for one in said], outputs[:, 0], rtol=digits, atol=digits)
        return
    both = np.column_stack([1 - outputs[:, 0], outputs[:, 0]]) if outputs.shape[1] == 1 else outputs
    assert_allclose([one["probabilities"] for one in said], both, rtol=0, atol=digits)


def digits_of(model: Model) -> float:
    return 1e-5 if model.params["W1"].dtype == np.float32 else 1e-12


PHOTOS = ["grey photos of three classes", *(kind for kind in KINDS if kind.startswith("photos"))]


@pytest.mark.parametrize("kind", [PHOTOS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in PHOTOS[1:])])
def test_a_thousand_photos(clients: Clients, serving: StackOutputs, tmp_path: Path, kind: str) -> None:
    name, run_id, model = promoted(clients, serving, kind)
    random = np.random.default_rng(7)
    photos = [picture_of(random, (6 + place % 9, 7 + place % 5)) for place in range(COUNT)]
    files = [tmp_path / f"{place}.png" for place in range(COUNT)]
    for file, photo in zip(files, photos):
        file.write_bytes(photo)
    predicted = predict_images(clients, serving.bucket, run_id, [str(file) for file in files])
    said = list[Prediction]()
    for start in range(0, COUNT, 100):
        said += asked(clients, serving, together(photos[start : start + 100]), JSON_TYPE, name)["predictions"]
        with pytest.raises(NotAnswered, match="422: photo 2: "):  # changes nothing of what comes after it
            asked(clients, serving, together([photos[0], photos[1][:60]]), JSON_TYPE, name)
    are_the_same(said, predicted, digits_of(model))
    inputs = np.hstack([load_image(BytesIO(photo), model.shape) for photo in photos])
    are_witnessed(said, witnessed(model, inputs), digits_of(model))
    for place in range(0, COUNT, 50):  # alone, not a digit differs
        assert asked(clients, serving, photos[place], "image/png", name)["predictions"] == [said[place]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "table" in kind])
def test_a_thousand_rows(clients: Clients, serving: StackOutputs, tmp_path: Path, kind: str) -> None:
    name, run_id, model = promoted(clients, serving, kind)
    random = np.random.default_rng(8)
    rows = [
        {"height": repr(random.normal(1.7, 0.1)), "weight": "" if place % 7 == 0 else repr(random.normal(70, 12)),
         "colour": str(random.choice(["red", "blue", "green", ""]))}
        for place in range(COUNT)
    ]  # fmt: skip
    text = StringIO()
    writer = csv.DictWriter(text, ["colour", "height", "weight"])
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "rows.csv").write_text(text.getvalue())
    predicted = predict_images(clients, serving.bucket, run_id, [str(tmp_path / "rows.csv")])
    said = asked(clients, serving, text.getvalue().encode(), CSV_TYPE, name)["predictions"]
    are_the_same(said, predicted, digits_of(model))
    columns = KINDS[kind].columns
    assert columns is not None
    are_witnessed(said, witnessed(model, columns.encode_rows(rows, "here").T), digits_of(model))
    with pytest.raises(NotAnswered, match="422: instances: height: holds 'tall' in row 1 "):
        asked(clients, serving, json.dumps({"instances": [{**rows[0], "height": "tall"}]}).encode(), JSON_TYPE, name)
    alone = [
        asked(clients, serving, json.dumps({"instances": [rows[place]]}).encode(), JSON_TYPE, name)["predictions"][0]
        for place in range(0, COUNT, 50)
    ]
    are_the_same(alone, said[::50], digits_of(model))
    numbers = [[float(row["height"]), float(row["weight"]) if row["weight"] else None, row["colour"]] for row in rows]
    assert asked(clients, serving, json.dumps({"instances": numbers}).encode(), JSON_TYPE, name)["predictions"] == said


def test_a_thousand_rows_of_features(clients: Clients, serving: StackOutputs) -> None:
    """Nothing but the endpoint takes features as they are: onnxruntime is the witness."""
    name, _, model = promoted(clients, serving, "features of three classes")
    rows = np.random.default_rng(9).standard_normal((COUNT, model.features))
    said = asked(clients, serving, json.dumps({"instances": rows.tolist()}).encode(), JSON_TYPE, name)["predictions"]
    outputs = witnessed(model, rows.T)
    are_witnessed(said, outputs, 1e-12)
    assert [one["predicted"] for one in said] == outputs.argmax(axis=1).tolist()
    text = "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    assert asked(clients, serving, text.encode(), CSV_TYPE, name)["predictions"] == said


def test_a_thousand_photos_that_a_backbone_sees(clients: Clients, serving: StackOutputs, tmp_path: Path) -> None:
    """A run that was trained here on its features, and photos like those that it knows, and unlike."""
    catalogue.add(clients, serving.bucket, tiny(), catalogue.check(tiny(), PREPROCESSING, "tiny", "tiny.onnx"))
    random, folder, by = np.random.default_rng(10), tmp_path / "colours", features_by(clients, serving)
    for name, channel in (("blue", 2), ("red", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = random.integers(0, 60, (24, 30, 3), np.uint8)
            pixels[..., channel] += np.uint8(150)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    options = Options(backbone="tiny")
    staged = stage(clients, serving.bucket, "same-eyes", folder, parameters_for, (), options, features_by=by)
    runs.launch(clients, serving, staged.run_id, staged.dataset_key, staged.parameters)
    runs.watch(clients, serving, staged.run_id, lambda *_: None, every_seconds=0.1, limit_seconds=120)
    versions.promote(clients, serving, "same-eyes", "eyes")
    photos = list[bytes]()
    for place in range(COUNT):
        pixels = random.integers(0, 60, (20 + place % 7, 30, 3), np.uint8)
        pixels[..., place % 3] += np.uint8(150)  # nobody has seen a green one
        photos.append(encoded(Image.fromarray(pixels if place % 10 else pixels[..., :1].repeat(3, axis=2)), "PNG"))
        (tmp_path / f"{place}.png").write_bytes(photos[-1])
    files = [str(tmp_path / f"{place}.png") for place in range(COUNT)]
    predicted = predict_images(clients, serving.bucket, "same-eyes", files, by)
    said = list[Prediction]()
    for start in range(0, COUNT, 100):
        said += asked(clients, serving, together(photos[start : start + 100]), JSON_TYPE, "eyes")["predictions"]
    are_the_same(said, predicted, 1e-5)
    unlike = [one["unlike"] for one in said]
    assert 100 < sum(unlike) < 900, sum(unlike)
    for place in range(0, COUNT, 50):
        assert asked(clients, serving, photos[place], "image/png", "eyes")["predictions"] == [said[place]]
