"""What FeatureLambda does with a task: within its time, and with features that are no numbers."""

from __future__ import annotations

import base64
import hashlib

import numpy as np
import pytest
from answers import Answers, body
from backbones import FEATURES, PREPROCESSING, tiny
from odd_photos import encoded
from PIL import Image

from snn_client.backbones import catalogue
from snn_cloud.features import work as working
from snn_cloud.features.pack import from_pack, hints, pack_key, to_pack
from snn_cloud.features.task import PhotoTask, Task, from_text
from snn_cloud.features.work import Kept, work
from snn_photos.backbone import Backbone


def task(count: int) -> Task:
    reference = catalogue.check(tiny(), PREPROCESSING, "tiny", "tiny.onnx")
    photos = []
    for number in range(count):
        content = encoded(Image.new("RGB", (40, 30), (number, 10, 20)), "PNG")
        photos.append(PhotoTask(sha256=hashlib.sha256(content).hexdigest(), content=base64.b64encode(content).decode()))
    return Task(backbone=reference.model_dump(), photos=photos)


def answers() -> Answers:
    return Answers({"s3.GetObject": lambda asked: body(tiny())})


def test_when_time_is_up_the_answer_has_what_is_done_and_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, aws = task(3), answers()
    everything = work(asked, Kept(), "bucket", aws.clients)
    assert (everything["done"], everything["bad"]) == (3, [])
    monkeypatch.setattr(working, "SECONDS", -1.0)
    first = work(asked, Kept(), "bucket", aws.clients)
    assert first["done"] == 1
    np.testing.assert_array_equal(
        from_text(first["features"], FEATURES), from_text(everything["features"], FEATURES)[:1]
    )


def test_features_that_are_no_numbers_are_a_bad_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = Backbone.of, list[int]()

    def of(self: Backbone, picture: Image.Image) -> np.ndarray:
        seen.append(1)
        features = original(self, picture).copy()
        features[3] = np.nan if len(seen) == 2 else features[3]
        return features

    asked, aws = task(3), answers()
    monkeypatch.setattr(Backbone, "of", of)
    said = work(asked, Kept(), "bucket", aws.clients)
    assert said["bad"] == [{"place": 1, "problem": "tiny gives features that are not finite"}]
    assert len(from_text(said["features"], FEATURES)) == 2
    (put,) = aws.asked("s3.PutObject")
    assert len(hints(put["Key"])) == 2


def test_a_pack_gives_back_what_went_in_and_nothing_if_it_was_cut() -> None:
    photos, rows = ["ab" * 32, "cd" * 32], np.arange(10, dtype=np.float32).reshape(2, 5)
    key, content = pack_key("features/d/plain/", photos), to_pack(photos, rows)
    found = from_pack(content, key)
    assert list(found) == photos
    np.testing.assert_array_equal(np.stack(list(found.values())), rows)
    assert hints(key) == ["abababab", "cdcdcdcd"]
    for cut in range(len(content)):
        assert all(len(features) < 5 for features in from_pack(content[:cut], key).values())
    assert from_pack(b"", key) == {}
