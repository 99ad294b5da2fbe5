"""The features that a stack's bucket has already: found by what the keys of packs say, each pack read once."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from concurrent.futures import Future
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import read_object
from snn_cloud.features.pack import from_pack, hint, hints
from snn_photos.reference import BackboneReference


class Known:
    """What a bucket has of a backbone's features, of photos or of their mirror images, at the time it is made.

    Photos come in an order of their own, so what is read of a pack waits in a temporary file: of 100,000 photos it has
    half a gigabyte.
    """

    def __init__(self, clients: Clients, bucket: str, backbone: BackboneReference, mirrored: bool = False) -> None:
        self._clients, self._bucket, self._width = clients, bucket, backbone.features
        self._keys = defaultdict[str, list[str]](list)
        self._read, self._lock = dict[str, Future[None]](), Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- `close` ends it
        self._end, self._at = 0, dict[str, int]()
        prefix = places.features_of(backbone.digest, mirrored)
        for page in clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                for each in hints(item["Key"]):
                    self._keys[each].append(item["Key"])

    def close(self) -> None:
        """Give back the temporary file."""
        self._file.close()

    def find(self, photo: str) -> NDArray[np.float32] | None:
        """Return the features (d,) of a photo, by the SHA-256 of its file; None if there are none. Threads may ask."""
        for key in self._keys.get(hint(photo), ()):
            self._see_to(key)
            if photo in self._at:
                stored = os.pread(self._file.fileno(), 4 * self._width, self._at[photo])
                return np.frombuffer(stored, np.float32)
        return None

    def _see_to(self, key: str) -> None:
        """See that a pack was read: by whoever asks for it first, the others wait."""
        with self._lock:
            read = self._read.get(key)
            first = read is None
            if read is None:
                read = self._read[key] = Future()
        if first:
            try:
                self._keep(self._content(key), key)
                read.set_result(None)
            except BaseException as problem:  # who waits for it must not wait for ever
                read.set_exception(problem)
        read.result()

    def _keep(self, content: bytes, key: str) -> None:
        for photo, features in from_pack(content, key).items():
            if len(features) == self._width:
                with self._lock:
                    place, self._end = self._end, self._end + 4 * self._width
                os.pwrite(self._file.fileno(), features.astype(np.float32).tobytes(), place)
                self._at[photo] = place

    def _content(self, key: str) -> bytes:
        try:
            return read_object(self._clients, self._bucket, key)
        except InvalidInput:  # it has just expired, or was deleted
            return b""
