"""What names a backbone: by its contents, and not by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from snn.errors import InvalidInput
from snn_photos.preprocessing import Preprocessing
from snn_photos.reference import BackboneReference

PREPROCESSING = Preprocessing(height=224, width=192, mean=[1.0, 2.0, 3.0], scale=58.5, crop=None)
REFERENCE = BackboneReference(name="resnet-18", sha256="ab" * 32, features=512, preprocessing=PREPROCESSING)


def changed(**fields: Any) -> BackboneReference:
    return BackboneReference.model_validate({**REFERENCE.model_dump(), **fields})


def test_it_survives_json_in_a_file_and_in_a_task() -> None:
    again = BackboneReference.load(REFERENCE.to_json(), "backbones/resnet-18.json")
    assert again == REFERENCE
    assert again.preprocessing == PREPROCESSING
    assert again.digest == REFERENCE.digest
    assert BackboneReference.model_validate(json.loads(json.dumps(REFERENCE.model_dump()))) == REFERENCE
    assert json.loads(REFERENCE.to_json()) == {
        "name": "resnet-18",
        "sha256": "ab" * 32,
        "features": 512,
        "preprocessing": {
            "height": 224, "width": 192, "resize": "bilinear", "crop": None, "mean": [1.0, 2.0, 3.0], "scale": 58.5,
            "channels": "RGB", "layout": "NCHW",
        },
    }  # fmt: skip


def test_a_digest_is_always_the_same() -> None:
    """Features that were computed lie under it, and models name it."""
    assert REFERENCE.digest == "09172287ebcb3654"


def test_the_digest_does_not_change_with_the_name() -> None:
    other = changed(name="mine")
    assert other != REFERENCE
    assert other.digest == REFERENCE.digest


def test_the_digest_changes_with_the_network_and_with_anything_in_the_preprocessing() -> None:
    networks = [changed(sha256="ab" * 31 + "ac").digest]
    others = {
        "height": 192, "width": 224, "resize": "bicubic", "crop": 0.875, "mean": [3.0, 2.0, 1.0], "scale": 58.6,
        "channels": "BGR", "layout": "NHWC",
    }  # fmt: skip
    assert others.keys() == Preprocessing.model_fields.keys()
    read = [
        changed(preprocessing={**PREPROCESSING.model_dump(), field: value}).digest for field, value in others.items()
    ]
    digests = [REFERENCE.digest, *networks, *read]
    assert len(set(digests)) == len(digests) == 10
    assert {len(digest) for digest in digests} == {16}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Resnet"),
        ("name", ""),
        ("name", "a" * 42),
        ("name", "-a"),
        ("name", "a\n"),
        ("name", "a/../b"),
        ("sha256", "ab" * 31),
        ("sha256", "AB" * 32),
        ("features", 1),
        ("features", "many"),
    ],
)
def test_a_bad_field_is_one_line_that_names_it_and_the_file(field: str, value: Any) -> None:
    text = json.dumps({**json.loads(REFERENCE.to_json()), field: value})
    with pytest.raises(InvalidInput) as raised:
        BackboneReference.load(text, "runs/a/input/datasets.h5")
    assert str(raised.value).startswith(f"runs/a/input/datasets.h5: backbone.{field}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff"])
def test_what_is_no_reference_is_one_line_that_names_the_file(text: str | bytes) -> None:
    with pytest.raises(InvalidInput) as raised:
        BackboneReference.load(text, "datasets.h5")
    assert str(raised.value).startswith("datasets.h5: backbone: ")
    assert "\n" not in str(raised.value)


def test_a_bad_preprocessing_is_named_down_to_its_field() -> None:
    given = json.loads(REFERENCE.to_json())
    given["preprocessing"]["height"] = 7
    with pytest.raises(InvalidInput, match=r"^a\.h5: backbone\.preprocessing\.height: "):
        BackboneReference.load(json.dumps(given), "a.h5")
    del given["preprocessing"]
    with pytest.raises(InvalidInput, match=r"^a\.h5: backbone\.preprocessing: "):
        BackboneReference.load(json.dumps(given), "a.h5")


def test_what_a_later_version_adds_is_left_out() -> None:
    text = json.dumps({**json.loads(REFERENCE.to_json()), "licence": "MIT"})
    assert BackboneReference.load(text, "a.json") == REFERENCE


@pytest.mark.parametrize("name", ["a", "0", "efficientnet-lite0", "a" * 41, "9-"])
def test_names(name: str) -> None:
    assert changed(name=name).name == name
