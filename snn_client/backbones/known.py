"""The features that a stack's bucket has already: found by what the keys of packs say, and read a pack at a time."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from snn_cloud.aws import places
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE
from snn_cloud.features.pack import from_pack, hint, hints
from snn_photos.reference import BackboneReference

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Pack = dict[str, NDArray[np.float32]]
"""Features by the SHA-256 of their photos."""

MOST_HELD = 1_000
"""Packs in memory, 160 KB each with 1,280 features; those read first go first."""


class Known:
    """What a bucket has of a backbone's features, of photos or of their mirror images, at the time it is made."""

    def __init__(self, s3: S3Client, bucket: str, backbone: BackboneReference, mirrored: bool = False) -> None:
        self._s3, self._bucket, self._width = s3, bucket, backbone.features
        self._keys = defaultdict[str, list[str]](list)
        self._packs, self._lock = OrderedDict[str, Future[Pack]](), Lock()
        prefix = places.features_of(backbone.digest, mirrored)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                for each in hints(item["Key"]):
                    self._keys[each].append(item["Key"])

    def find(self, photo: str) -> NDArray[np.float32] | None:
        """Return the features (d,) of a photo, by the SHA-256 of its file; None if there are none. Threads may ask."""
        for key in self._keys.get(hint(photo), ()):
            features = self._pack(key).get(photo)
            if features is not None and len(features) == self._width:
                return features
        return None

    def _pack(self, key: str) -> Pack:
        """Return a pack, which is read by whoever asks for it first."""
        with self._lock:
            pack = self._packs.get(key)
            first = pack is None
            if pack is None:
                pack = self._packs[key] = Future()
            if len(self._packs) > MOST_HELD:
                self._packs.popitem(last=False)
        if first:
            try:
                pack.set_result(self._read(key))
            except BaseException as problem:  # who waits for it must not wait for ever
                pack.set_exception(problem)
        return pack.result()

    def _read(self, key: str) -> Pack:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            # It has just expired, or was deleted. To whom may not list the bucket, S3 says Forbidden of what is gone.
            if error.response["Error"]["Code"] in NOT_THERE | NOT_ALLOWED:
                return {}
            raise
        return from_pack(answer["Body"].read(), key)
