"""Packs: how features lie in S3. What one invocation computed is one object, and its key says of which photos.

A listing of a backbone's packs is therefore an index of all photos that it has seen. An object a photo would cost five
times as much as computing what is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snn_cloud.features.task import DTYPE

_HINT = 8  # hexadecimal digits of a photo's SHA-256 in the key of its pack; the whole of it stands in the pack


def pack_key(half: str, photos: Sequence[str]) -> str:
    """Return the key of the pack with the features of these photos, each by the SHA-256 of its file.

    `half` is the prefix of a backbone's features of photos, or of mirror images (`places.features_of`).
    """
    name = hashlib.sha256("".join(photos).encode()).hexdigest()[:16]
    return f"{half}{name}-{''.join(map(hint, photos))}"


def half_of(key: str) -> str:
    """Return the prefix of the half that a pack belongs to."""
    return key[: key.rindex("/") + 1]


def hint(photo: str) -> str:
    """Return what of a photo's SHA-256 stands in keys."""
    return photo[:_HINT]


def hints(key: str) -> list[str]:
    """Return the hints of all photos in a pack, by its key."""
    text = key.rpartition("-")[2]
    return [text[at : at + _HINT] for at in range(0, len(text), _HINT)]


def to_pack(photos: Sequence[str], features: NDArray[np.float32]) -> bytes:
    """Return the contents of a pack: for each photo the 32 bytes of its SHA-256, and its features of (m, d)."""
    rows = np.empty(len(photos), _row(features.shape[1]))
    rows["photo"] = [list(bytes.fromhex(photo)) for photo in photos]
    rows["features"] = features
    return rows.tobytes()


def from_pack(content: bytes, key: str) -> dict[str, NDArray[np.float32]]:
    """Return the features (d,) of each photo in a pack, by its SHA-256; of one that was cut off, nothing."""
    size, cut = divmod(len(content), len(hints(key)) or 1)
    if cut or size <= 32 or (size - 32) % DTYPE.itemsize:
        return {}
    rows = np.frombuffer(content, _row((size - 32) // DTYPE.itemsize))
    return {row["photo"].tobytes().hex(): row["features"].astype(np.float32) for row in rows}


def _row(width: int) -> np.dtype[np.void]:
    return np.dtype([("photo", np.uint8, (32,)), ("features", DTYPE, (width,))])
