"""What of a long list goes to XCom, and that all of it can be read again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from answers import Answers, body
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidInput
from snn_client.runs.lists import LIMIT, longest, shortened, size, whole
from snn_cloud.aws import places

KEY_OF = partial(places.input_images, "r1")
PHOTOS = [{"uri": f"s3://b/{number:04d}.png", "name": "é" * (number % 7)} for number in range(1_000)]


def kept() -> Answers:
    """A bucket: what was put is what is read."""

    objects: dict[str, bytes] = {}

    def put(asked: dict[str, Any]) -> Any:
        objects[asked["Key"]] = asked["Body"].read()
        return {}

    return Answers({"s3.PutObject": put, "s3.GetObject": lambda asked: body(objects[asked["Key"]])})


def test_a_list_that_just_fits_travels_as_it_is() -> None:
    answers = kept()
    limit = size(PHOTOS)
    assert shortened(answers.clients, "b", KEY_OF, PHOTOS, limit) == PHOTOS
    assert answers.heard == []
    short = shortened(answers.clients, "b", KEY_OF, PHOTOS, limit - 1)
    assert isinstance(short, dict)
    assert len(answers.heard) == 1


@pytest.mark.parametrize("limit", [200, 1_000, LIMIT])
def test_of_a_longer_one_as_many_items_travel_as_fit(limit: int) -> None:
    answers = kept()
    short: Any = shortened(answers.clients, "b", KEY_OF, PHOTOS, limit)
    length = len(short["head"])
    assert short["head"] == PHOTOS[:length]
    assert short["count"] == 1_000
    assert size(short) <= limit < size({**short, "head": PHOTOS[: length + 1]})
    (put,) = answers.asked("s3.PutObject")
    assert short["whole"] == f"s3://{put['Bucket']}/{put['Key']}"
    assert whole(answers.clients, [short]) == PHOTOS


def test_what_another_task_reads_is_not_overwritten() -> None:
    answers = kept()
    one: Any = shortened(answers.clients, "b", KEY_OF, PHOTOS, 1_000)
    other: Any = shortened(answers.clients, "b", KEY_OF, PHOTOS[::-1], 1_000)
    assert shortened(answers.clients, "b", KEY_OF, PHOTOS, 1_000) == one
    assert one["whole"] != other["whole"]
    assert whole(answers.clients, [one]) == PHOTOS
    assert whole(answers.clients, [other]) == PHOTOS[::-1]


@pytest.mark.parametrize("given", [[], PHOTOS[:1], PHOTOS[:3], ["a.png"], [{"whole": 1}, {"whole": 2}]])
def test_a_list_that_was_not_shortened_is_itself(given: list[Any]) -> None:
    answers = Answers()
    assert whole(answers.clients, given) == given
    assert answers.heard == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[1, ", "is not JSON: Expecting value: line 1 column 5 (char 4)"),
        ('{"head": []}', "is not a list"),
        (None, "no such file or directory (check the path)"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, line: str) -> None:
    path = tmp_path / "images.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput) as caught:
        whole(Answers().clients, [{"head": [], "count": 3, "whole": str(path)}])
    assert str(caught.value) == f"{path}: {line}"


@given(length=st.integers(0, 50), fitting=st.integers(-1, 60))
def test_the_greatest_length_that_fits(length: int, fitting: int) -> None:
    assert longest(length, lambda tried: tried <= fitting) == max(0, min(length, fitting))
