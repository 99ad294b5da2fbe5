"""What FeatureLambda is asked, and what it answers."""

from __future__ import annotations

import base64
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

DTYPE = np.dtype("<f4")


class PhotoTask(TypedDict):
    """A photo to compute features of: the SHA-256 of its file, and the file as base64; without, it lies in S3."""

    sha256: str
    content: NotRequired[str]


class Task(TypedDict):
    """Photos, and the backbone that is to see them: the fields of a `BackboneReference`.

    `mirrored` asks for the features of the photos with left and right exchanged.
    """

    backbone: dict[str, Any]
    photos: list[PhotoTask]
    mirrored: NotRequired[bool]


class Bad(TypedDict):
    """What is wrong with a photo, by its place in the task."""

    place: int
    problem: str


class Computed(TypedDict):
    """Features of the first `done` photos that are not `bad`, as `to_text` has them.

    The others are to be asked for again. The function's answer has what the invocation took beside it; or it says in
    `refused` why nothing can be done.
    """

    features: str
    bad: list[Bad]
    done: int


def to_text(features: NDArray[np.float32]) -> str:
    """Return features (m, d) as text."""
    return base64.b64encode(features.astype(DTYPE).tobytes()).decode()


def from_text(text: str, width: int) -> NDArray[np.float32]:
    """Return the features (m, d) that `to_text` wrote."""
    return np.frombuffer(base64.b64decode(text), DTYPE).reshape(-1, width).astype(np.float32)
