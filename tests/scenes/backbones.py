"""Backbones of a stack, features of photos, and what FeatureLambda does for them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from answers import ABSENT, Answers, body
from backbones import FEATURES, PREPROCESSING, tiny
from botocore.response import StreamingBody
from odd_photos import encoded
from PIL import Image

from scenes.common import BUCKET, NO_KEY, NOT_THERE, OUTPUTS
from snn.errors import InvalidInput
from snn_client.backbones import builtin, catalogue
from snn_client.backbones.features import MAX_INLINE, Features
from snn_client.backbones.forgetting import forget, photos_of, remove
from snn_cloud.aws import places
from snn_cloud.features.pack import pack_key, to_pack
from snn_cloud.features.task import PhotoTask, Task, from_text, to_text
from snn_cloud.features.work import Kept, work
from snn_photos.backbone import Backbone
from snn_photos.reference import BackboneReference


@cache
def reference() -> BackboneReference:
    """A small backbone."""
    return catalogue.check(tiny(), PREPROCESSING, "tiny", "tiny.onnx")


def _half(mirrored: bool = False) -> str:
    return places.features_of(reference().digest, mirrored)


def scene_a_backbone_is_added_and_found() -> Answers:
    other = replace_name("other")
    pages = [{"Contents": [{"Key": places.backbone(name)}]} for name in ("other", "tiny")]
    texts = {places.backbone(one.name): one.to_json().encode() for one in (reference(), other)}
    answers = Answers({"s3.ListObjectsV2": pages, "s3.GetObject": lambda asked: body(texts[asked["Key"]])})
    catalogue.add(answers.clients, BUCKET, tiny(), reference())
    assert [asked["Key"] for asked in answers.asked("s3.PutObject")] == [
        places.backbone_model(reference().sha256), places.backbone("tiny"),
    ]  # fmt: skip
    assert catalogue.named(answers.clients, BUCKET, "tiny") == reference()
    return answers


def replace_name(name: str) -> BackboneReference:
    """Return the small backbone by another name."""
    return reference().model_copy(update={"name": name})


def scene_a_model_s_backbone_is_gone() -> Answers:
    answers = Answers({"s3.HeadObject": NOT_THERE})
    with pytest.raises(InvalidInput, match=r"^backbone: this stack lacks tiny \("):
        catalogue.keep(answers.clients, BUCKET, reference())
    return answers


def scene_a_model_s_backbone_is_built_in() -> Answers:
    answers = Answers({"s3.HeadObject": NOT_THERE})
    known = replace_name("efficientnet-lite0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "make", lambda name: (tiny(), PREPROCESSING))
        catalogue.keep(answers.clients, BUCKET, known)
    # Its name may be another network's by now, so only the network is put back.
    assert [asked["Key"] for asked in answers.asked("s3.PutObject")] == [places.backbone_model(known.sha256)]
    return answers


def scene_features_are_computed_but_for_what_is_known() -> Answers:
    known, large = b"known", b"\0" * (MAX_INLINE + 1)
    contents = [known, large, *(b"%d" % number for number in range(64))]
    features = np.arange(FEATURES, dtype=np.float32)
    photo = hashlib.sha256(known).hexdigest()
    pages = [{"Contents": [{"Key": pack_key(_half(), [one])}]} for one in ("0" * 64, photo)]

    def invoked(asked: dict[str, Any]) -> dict[str, Any]:
        """Answer as if time had run out after 20 photos."""
        done = min(20, len(json.loads(asked["Payload"])["photos"]))
        said = {
            "features": to_text(np.stack([features + 1] * done)), "bad": [], "done": done, "milliseconds": 7,
            "memory_mb": 1769, "requests": {"s3_puts": 1},
        }  # fmt: skip
        text = json.dumps(said).encode()
        return {"Payload": StreamingBody(io.BytesIO(text), len(text)), "FunctionError": ABSENT}

    answers = Answers(
        {
            "s3.ListObjectsV2": pages,
            "s3.GetObject": lambda asked: body(to_pack([photo], features[None])),
            "lambda.Invoke": invoked,
        }
    )
    by = Features(answers.clients, replace(OUTPUTS, feature_function="snn-FeatureLambda"), reference())
    rows = np.concatenate([rows for rows, _ in by.of([partial(bytes, content) for content in contents])])
    np.testing.assert_array_equal(rows, [features] + [features + 1] * 65)
    assert (by.computed, by.usage.invocations, by.usage.s3_puts, len(by.seen)) == (65, 5, 5, 66)
    assert {asked["Key"] for asked in answers.asked("s3.PutObject")} == {
        places.photo(hashlib.sha256(large).hexdigest())
    }
    return answers


def scene_feature_lambda_sees_a_photo() -> Answers:
    picture = Image.new("RGB", (40, 30), (10, 100, 200))
    photo = encoded(picture, "PNG")
    sha256 = hashlib.sha256(photo).hexdigest()
    files = {places.backbone_model(reference().sha256): tiny(), places.photo(sha256): photo}
    answers = Answers({"s3.GetObject": lambda asked: body(files[asked["Key"]])})
    inline = PhotoTask(sha256=sha256, content=base64.b64encode(photo).decode())
    task = Task(backbone=reference().model_dump(), photos=[PhotoTask(sha256=sha256), inline], mirrored=True)
    said = work(task, Kept(), BUCKET, answers.clients)
    expected = Backbone(tiny(), PREPROCESSING, "here").of(picture)  # of one colour
    np.testing.assert_array_equal(from_text(said["features"], FEATURES), [expected, expected])
    assert [asked["Key"] for asked in answers.asked("s3.PutObject")] == [pack_key(_half(True), [sha256] * 2)]
    return answers


def scene_features_are_forgotten() -> Answers:
    rows = np.arange(2 * FEATURES, dtype=np.float32).reshape(2, FEATURES)
    mine, theirs = "a" * 64, "b" * 64
    both, others, mirrored = (
        pack_key(_half(), [mine, theirs]),
        pack_key(_half(), [theirs]),
        pack_key(_half(True), [mine]),
    )
    packs = {both: to_pack([mine, theirs], rows), others: to_pack([theirs], rows[1:]), mirrored: b"cut off"}
    gone = [
        {"Versions": [{"Key": both, "VersionId": "1"}, {"Key": others, "VersionId": "2"}], "DeleteMarkers": ABSENT},
        {"Versions": [{"Key": mirrored, "VersionId": "3"}], "DeleteMarkers": [{"Key": both, "VersionId": "4"}]},
    ]  # fmt: skip
    listed = json.dumps({"backbone": reference().digest, "photos": ["a" * 64]}).encode()
    answers = Answers(
        {
            "s3.GetObject": lambda asked: body(packs.get(asked["Key"], listed)),
            "s3.ListObjectVersions": lambda asked: gone["KeyMarker" in asked],
            "s3.DeleteObjects": {"Errors": ABSENT},
        }
    )
    photos = photos_of(answers.clients, BUCKET, "r1")
    assert forget(answers.clients, BUCKET, photos, reference()) == 2
    (asked,) = answers.asked("s3.DeleteObjects")
    assert [(one["Key"], one["VersionId"]) for one in asked["Delete"]["Objects"]] == [
        (both, "1"), (both, "4"), (mirrored, "3"),
    ]  # fmt: skip
    (kept,) = answers.asked("s3.PutObject")
    assert (kept["Key"], kept["Body"].read()) == (others, packs[others])
    assert remove(answers.clients, BUCKET, reference()) == 3
    assert [asked["Key"] for asked in answers.asked("s3.DeleteObject")] == [
        places.backbone("tiny"), places.backbone_model(reference().sha256),
    ]  # fmt: skip
    return answers


def scene_a_run_learned_no_features() -> Answers:
    answers = Answers({"s3.GetObject": NO_KEY})
    with pytest.raises(InvalidInput, match=r"^run r1: has no list of photos"):
        photos_of(answers.clients, BUCKET, "r1")
    return answers
