"""What S3 writes into the queue, and what is read from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from snn.errors import InvalidInput
from snn_client.runs.uploads import Upload, newest_first, upload_key, uploads_in


def record(key: str, time: str = "2026-11-22T10:00:00.000Z", **item: Any) -> dict[str, Any]:
    return {
        "eventSource": "aws:s3",
        "eventTime": time,
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "b"}, "object": {"key": key, "versionId": "v1", **item}},
    }


def test_keys_are_decoded_and_versions_are_kept() -> None:
    message = json.dumps(
        {
            "Records": [
                record("retraining_input/my+cats/caf%C3%A9%2B1.h5"),
                record("retraining_input/d.h5", versionId="v2"),
            ]
        }
    )
    first, second = uploads_in(message)
    assert first == Upload("b", "retraining_input/my cats/café+1.h5", "v1", "2026-11-22T10:00:00.000Z")
    assert first.address == "s3://b/retraining_input/my cats/café+1.h5?versionId=v1"
    assert second.address == "s3://b/retraining_input/d.h5?versionId=v2"


def test_the_test_message_and_other_files_are_nothing() -> None:
    assert uploads_in('{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}') == []
    others = ["retraining_input/notes.txt", "training_input/d.h5", "runs/x/params.h5"]
    assert uploads_in(json.dumps({"Records": [record(key) for key in others]})) == []


@pytest.mark.parametrize(
    "message", ["", "meow", "[]", "7", "{}", '{"Records": 3}', '{"Records": [{}]}', '{"Records": ["x"]}']
)
def test_what_is_not_s3_s_is_refused(message: str) -> None:
    with pytest.raises(InvalidInput, match="message: is no notification of S3"):
        uploads_in(message)


def test_the_newest_comes_first_and_each_comes_once() -> None:
    old, new = (Upload("b", "retraining_input/d.h5", version, f"2026-11-22T10:00:0{version}.000Z") for version in "12")
    assert newest_first([old, new, old]) == [new, old]
    assert newest_first([new, old]) == [new, old]


@pytest.mark.parametrize(
    "address",
    [
        "training_input/cats/d.h5",
        "/training_input/cats/d.h5",
        "s3://bucket/training_input/cats/d.h5",
        "S3://bucket/training_input/cats/d.h5",
        "s3a://bucket/training_input/cats/d.h5",
    ],
)
def test_an_upload_is_known_by_its_key_and_by_its_address(address: str) -> None:
    assert upload_key(address, "bucket") == "training_input/cats/d.h5"


@pytest.mark.parametrize(
    "address",
    [
        "training_input/cats/datasets.H5",
        "training_input/cats/parameters.json",
        "training_input/cats/",
        "retraining_input/d.h5",
        "runs/r/input/d.h5",
        "datasets.h5",
        "bucket/training_input/d.h5",
        "s3://other/training_input/d.h5",
        "s3://bucket/d.h5",
        "s3://bucket",
        "https://bucket.s3.amazonaws.com/training_input/d.h5",
        "training_input/d.h5?versionId=3",
    ],
)
def test_what_never_starts_a_run_is_refused_with_the_rule(address: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        upload_key(address, "bucket")
    assert str(raised.value) == (
        f"upload: an upload to {address!r} starts no run "
        "(name a .h5 under s3://bucket/training_input/, by its address or its key)"
    )
