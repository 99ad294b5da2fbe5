"""A part of a batch: some inputs in, their answers as one object in S3.

Pure: the same part has the same answers, byte for byte, under the same key, so repeating a part changes nothing.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NotRequired, TypedDict, cast

from botocore.exceptions import ClientError

from snn.errors import InvalidImage, InvalidInput
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.metering import Requests
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE
from snn_cloud.serve.deployed import Deployed
from snn_cloud.serve.http import Asked, Refused
from snn_cloud.serve.loaded import Loaded, Prediction
from snn_data.files import check_size
from snn_photos.pictures import MAX_BYTES as MAX_PHOTO

READS_AT_ONCE = 8
CHANGED = NOT_THERE | {"PreconditionFailed", "412"}
"""What S3 says of an object that is no longer the one that was listed."""


class Photo(TypedDict):
    """A photo: its file as base64 (`content`), or the key in the stack's bucket, with the ETag that it must have.

    Of one that could not even be sent there is nothing but what is wrong with it, `problem`.
    """

    content: NotRequired[str]
    key: NotRequired[str]
    etag: NotRequired[str]
    problem: NotRequired[str]


class Part(TypedDict):
    """What PredictLambda is asked: which version, and either photos or rows, each with its name.

    The answers go to part `number` of `batch_id`. `digest` stands for all that decides them; it is kept beside them.
    Rows are lists of JSON values: of `columns`, or of the model's features where there are none. `first` is the first
    row's number in its table.
    """

    batch_id: str
    number: int
    digest: str
    model: str
    run_id: str
    names: list[str]
    photos: NotRequired[list[Photo]]
    rows: NotRequired[list[list[Any]]]
    columns: NotRequired[list[str]]
    first: NotRequired[int]


class Event(TypedDict):
    """What Lambda is invoked with."""

    batch: Part


class Done(TypedDict):
    """A part's answers are stored: of how many inputs, and how many of these are bad."""

    inputs: int
    bad: int


class Stored(TypedDict):
    """What stands beside a part's answers, as S3's metadata: counts as text, and `took` as JSON text."""

    digest: str
    inputs: str
    bad: str
    took: str


class Took(TypedDict):
    """What answering a part took, so far; `requests` are counted under the names of `Usage`'s fields."""

    milliseconds: int
    memory_mb: int
    requests: dict[str, int]


class Taking:
    """Tells what one invocation took so far. `init` are milliseconds that were taken before it began."""

    def __init__(self, requests: Requests, memory_mb: int, init: int) -> None:
        requests.take()  # of others before
        self._requests, self._memory_mb, self._init = requests, memory_mb, init
        self._started, self._counts = time.perf_counter(), Counter[str]()

    def __call__(self) -> Took:
        """Return it."""
        self._counts.update(self._requests.take())
        milliseconds = math.ceil((time.perf_counter() - self._started) * 1000) + self._init
        return {"milliseconds": milliseconds, "memory_mb": self._memory_mb, "requests": dict(self._counts)}


class Answered(TypedDict):
    """A line of a part: an input by its name, and either the answer or what is wrong with the input."""

    input: str
    prediction: NotRequired[Prediction]
    error: NotRequired[str]


class Changed(Refused):
    """A photo is no longer the one that was listed."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message)


def work(part: Part, deployed: Deployed, bucket: str, clients: Clients, took: Callable[[], Took]) -> Done:
    """Answer a part and store that, and beside it what it took: whoever goes on with the batch knows the costs.

    Raises Refused or InvalidInput for one that cannot be answered at all: there is no such version; and Changed.
    """
    key = places.batch_part(part["batch_id"], part["number"])
    loaded = deployed.version(part["model"], part["run_id"])
    if "photos" in part:
        found = _of_photos(loaded, part["photos"], partial(_content, clients, bucket))
    else:
        found = _of_rows(loaded, part)
    lines = [_line(name, said) for name, said in zip(part["names"], found, strict=True)]
    bad = sum(isinstance(said, str) for said in found)
    so_far = took()
    requests = {**so_far["requests"], "s3_puts": so_far["requests"].get("s3_puts", 0) + 1}  # this one
    beside: Stored = {
        "digest": part["digest"], "inputs": str(len(lines)), "bad": str(bad),
        "took": json.dumps({**so_far, "requests": requests}, separators=(",", ":")),
    }  # fmt: skip
    clients.s3.put_object(
        Bucket=bucket, Key=key, Body="".join(lines).encode(), ContentType="application/x-ndjson",
        Metadata=cast(dict[str, str], beside),
    )  # fmt: skip
    return {"inputs": len(lines), "bad": bad}


def each(loaded: Loaded, asked: Sequence[Asked], together: Asked) -> list[Prediction | str]:
    """Return the answer to each input, or in words what is wrong with it.

    `together` are all of them. One that cannot be answered spoils the others' answer, so each is asked for alone then.
    """
    try:
        return list(loaded.answers(together))
    except (Refused, InvalidInput):
        return [_alone(loaded, one) for one in asked]


def _alone(loaded: Loaded, asked: Asked) -> Prediction | str:
    try:
        return loaded.answers(asked)[0]
    except (Refused, InvalidInput) as problem:
        return str(problem).removeprefix("photo 1: ").removeprefix("instances: ")


def _of_photos(loaded: Loaded, photos: Sequence[Photo], read: Any) -> list[Prediction | str]:
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        contents = list(pool.map(read, photos))
    good = [content for content in contents if isinstance(content, bytes)]
    if not good:
        return [str(content) for content in contents]
    answers = iter(each(loaded, [Asked(photos=(content,)) for content in good], Asked(photos=tuple(good))))
    return [next(answers) if isinstance(content, bytes) else content for content in contents]


def _of_rows(loaded: Loaded, part: Part) -> list[Prediction | str]:
    rows: list[Any] = part["rows"]
    if columns := part.get("columns"):
        # By their names: a row of a list that reads like a header would be taken for one.
        rows = [dict(zip(columns, row, strict=True)) for row in rows]
    found = each(loaded, [Asked(rows=(row,)) for row in rows], Asked(rows=tuple(rows)))
    first = part.get("first", 1)
    # Asked alone, each is called the first.
    return [
        said.replace("row 1", f"row {number:,}", 1).replace("instance 1 ", f"row {number:,} ", 1)
        if isinstance(said, str)
        else said
        for number, said in enumerate(found, first)
    ]


def _content(clients: Clients, bucket: str, photo: Photo) -> bytes | str:
    """Return a photo's file, or what is wrong with it. Raises Changed if it is no longer what was listed."""
    if "problem" in photo:
        return photo["problem"]
    if "content" in photo:
        return base64.b64decode(photo["content"])
    key = photo["key"]
    try:
        answer = clients.s3.get_object(Bucket=bucket, Key=key, **_as_listed(photo))
    except ClientError as error:
        code, source = error.response["Error"]["Code"], f"s3://{bucket}/{key}"
        if code in CHANGED:
            raise Changed(f"{source} was replaced or deleted since it was listed") from None
        if code in NOT_ALLOWED:  # which is what S3 tells of one that is gone, to whom may not list the bucket
            raise Changed(f"{source}: S3 denies access, or it was deleted since it was listed") from None
        raise
    try:
        check_size(answer["ContentLength"], MAX_PHOTO, InvalidImage, "")
    except InvalidImage as problem:
        return str(problem)
    return answer["Body"].read()


def _as_listed(photo: Photo) -> Any:
    return {"IfMatch": photo["etag"]} if photo.get("etag") else {}


def _line(name: str, said: Prediction | str) -> str:
    line: Answered = {"input": name}
    if isinstance(said, str):
        line["error"] = said
    else:
        line["prediction"] = said
    return json.dumps(line, separators=(",", ":")) + "\n"
