"""Photos that a batch is asked about: files in a folder, or objects below a prefix in S3."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from botocore.exceptions import ClientError, ParamValidationError

from snn.errors import InvalidInput
from snn_client.data.addresses import Address
from snn_client.data.fetching import refused
from snn_client.data.folders import Walker
from snn_client.serving.batch_contents import Kind
from snn_client.serving.batch_inputs import CHARACTERS_AT_ONCE, Inputs, Survey, changed
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.serve.batch import CHANGED, Photo
from snn_data.files import read_file
from snn_photos.pictures import MAX_BYTES as MAX_PHOTO

PHOTOS_AT_ONCE = 50
"""Of one part: some seconds of work, and what is lost with an invocation that fails is no more."""

BYTES_AT_ONCE = 32_000_000
"""Of the files of a part's photos: decoding large ones takes long."""

MAX_INLINE = 3_000_000
"""Bytes; a larger photo goes by S3."""


class Found(NamedTuple):
    """A photo that was listed: its name, its bytes, and what changes when its contents do."""

    name: str
    size: int
    stamp: str


class _Photos:
    """What photos in S3 and in a folder have in common: the cut, by what is listed."""

    kind: Kind = "photos"

    def __init__(self, clients: Clients, bucket: str, source: str) -> None:
        self._clients, self._bucket, self.source = clients, bucket, source
        self._digest = ""

    def survey(self) -> Survey:
        """List all photos."""
        inputs = parts = size = 0
        digest = hashlib.sha256()
        for some in self._cut(digest):
            parts, inputs, size = parts + 1, inputs + len(some), size + sum(photo.size for photo in some)
        if not inputs:
            raise InvalidInput("holds no photos", source=self.source, hint="check the address; a prefix ends in /")
        self._digest = digest.hexdigest()
        return Survey(inputs, parts, size, self._digest)

    def parts(self) -> Iterator[Inputs]:
        """Yield photos as they are listed, each part with what reads it."""
        first, digest = 1, hashlib.sha256()
        for some in self._cut(digest):
            stamp = json.dumps(some)
            yield Inputs(first, [photo.name for photo in some], stamp, lambda some=some: self._task(some))  # type: ignore[misc]
            first += len(some)
        if self._digest and digest.hexdigest() != self._digest:
            raise changed(self.source)

    def _cut(self, digest: Any) -> Iterator[list[Found]]:
        some, size, characters = list[Found](), 0, 0
        for photo in self._listed():
            digest.update(json.dumps(photo).encode())
            length = self._characters(photo)
            full = size + photo.size > BYTES_AT_ONCE or characters + length > CHARACTERS_AT_ONCE
            if some and (full or len(some) == PHOTOS_AT_ONCE):
                yield some
                some, size, characters = [], 0, 0
            some.append(photo)
            size, characters = size + photo.size, characters + length
        if some:
            yield some

    def _task(self, some: Sequence[Found]) -> dict[str, Any]:
        return {"photos": [self._sent(photo) for photo in some]}

    def _characters(self, photo: Found) -> int:
        """Return how many characters of the event a photo takes."""
        return 500 + len(photo.name) + ((photo.size + 2) // 3 * 4 if photo.size <= MAX_INLINE else 0)

    def _listed(self) -> Iterator[Found]:
        raise NotImplementedError

    def _sent(self, photo: Found) -> Photo:
        try:
            content = self._read(photo)
        except InvalidInput as problem:
            return {"problem": problem.problem}
        if len(content) <= MAX_INLINE:
            return {"content": base64.b64encode(content).decode()}
        key = places.photo(hashlib.sha256(content).hexdigest())
        self._clients.s3.put_object(Bucket=self._bucket, Key=key, Body=content)
        return {"key": key}

    def _read(self, photo: Found) -> bytes:
        """Return a photo's file. Raises InvalidInput if it cannot be read, SourceChanged if it is another by now."""
        raise NotImplementedError


class PhotosInFolder(_Photos):
    """All files below a folder, but for what file managers leave there. A name is the path below the folder."""

    def __init__(self, clients: Clients, bucket: str, folder: Path) -> None:
        super().__init__(clients, bucket, str(folder))
        self._folder = folder

    def _listed(self) -> Iterator[Found]:
        for path in Walker(self._folder).files(self._folder):
            yield self._found(path.relative_to(self._folder).as_posix())

    def _found(self, name: str) -> Found:
        try:
            about = (self._folder / name).stat()
        except FileNotFoundError:
            raise changed(str(self._folder / name)) from None
        return Found(name, about.st_size, str(about.st_mtime_ns))

    def _read(self, photo: Found) -> bytes:
        path = self._folder / photo.name
        if self._found(photo.name) != photo:
            raise changed(str(path))
        return read_file(path, MAX_PHOTO)


class PhotosInS3(_Photos):
    """All objects below a prefix, but for those that stand for folders. A name is the key below the prefix.

    Those that the stack's functions may read travel as keys; others are read here.
    """

    def __init__(self, clients: Clients, bucket: str, address: Address) -> None:
        super().__init__(clients, bucket, str(address))
        self._address = address
        self._in_place = address.bucket == bucket and address.key.startswith((places.BATCH_INPUT, places.PHOTOS))
        self._payer = cast(Any, {"RequestPayer": "requester"} if address.requester_pays else {})

    def _listed(self) -> Iterator[Found]:
        named = self._address
        pages = self._clients.s3.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=named.bucket, Prefix=named.key, **self._payer):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):
                        yield Found(item["Key"][len(named.key) :], item["Size"], item["ETag"])
        except (ClientError, ParamValidationError) as problem:
            raise refused(problem, self.source) or problem from None

    def _characters(self, photo: Found) -> int:
        return 500 + 2 * len(photo.name) if self._in_place else super()._characters(photo)

    def _sent(self, photo: Found) -> Photo:
        if self._in_place:
            return {"key": self._address.key + photo.name, "etag": photo.stamp}
        return super()._sent(photo)

    def _read(self, photo: Found) -> bytes:
        if photo.size > MAX_PHOTO:
            raise InvalidInput(f"is larger than {MAX_PHOTO / 1e6:,.4g} MB")
        key = self._address.key + photo.name
        source = str(Address(self._address.bucket, key))
        try:
            answer = self._clients.s3.get_object(
                Bucket=self._address.bucket, Key=key, IfMatch=photo.stamp, **self._payer
            )
        except (ClientError, ParamValidationError) as problem:
            if isinstance(problem, ClientError) and problem.response["Error"]["Code"] in CHANGED:
                raise changed(source) from None
            raise refused(problem, source) or problem from None
        return answer["Body"].read()
