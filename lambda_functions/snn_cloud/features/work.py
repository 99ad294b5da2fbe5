"""FeatureLambda's work: decode photos, let the backbone see them, store the features and answer them.

Pure: the same photos have the same features, stored under a name made of both, so repeating a task changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidImage, InvalidInput
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import read_object
from snn_cloud.features.pack import pack_key, to_pack
from snn_cloud.features.task import Bad, Computed, PhotoTask, Task, to_text
from snn_photos.backbone import MAX_BYTES, Backbone
from snn_photos.pictures import MAX_BYTES as MAX_PHOTO
from snn_photos.pictures import mirrored, open_picture
from snn_photos.preprocessing import InvalidBackbone
from snn_photos.reference import BackboneReference

SECONDS = 30.0
"""After which no further photo is begun, and the answer has those that are done: whoever asks waits a minute."""


class Kept:
    """The last backbone that was loaded: a warm environment that is asked for it again has it."""

    def __init__(self) -> None:
        self._backbone: Backbone | None = None

    def load(self, reference: BackboneReference, read: Callable[[], bytes]) -> Backbone:
        """Return a backbone, whose file `read` reads. Raises InvalidBackbone if the file is not the one named."""
        kept = self._backbone
        if kept is None or (kept.sha256, kept.preprocessing) != (reference.sha256, reference.preprocessing):
            self._backbone = None  # the old one goes before a new one comes
            kept = Backbone(read(), reference.preprocessing, reference.name)
            if kept.sha256 != reference.sha256:
                raise InvalidBackbone("its file was replaced", source=reference.name, hint="add the backbone again")
            self._backbone = kept
        return kept


def work(task: Task, kept: Kept, bucket: str, clients: Clients) -> Computed:
    """Do a task and return its answer but for what it took. Raises InvalidInput for one that cannot be done at all."""
    until = time.monotonic() + SECONDS
    reference = BackboneReference.model_validate(task["backbone"])
    backbone = kept.load(
        reference,
        lambda: read_object(clients, bucket, places.backbone_model(reference.sha256), "", MAX_BYTES, InvalidBackbone),
    )
    are_mirrored = task.get("mirrored", False)
    found: dict[int, NDArray[np.float32]] = {}
    bad: list[Bad] = []
    done = 0
    for place, photo in enumerate(task["photos"]):
        if done and time.monotonic() > until:
            break
        done = place + 1
        try:
            picture = open_picture(BytesIO(_content(photo, bucket, clients)))
        except InvalidInput as problem:
            bad.append({"place": place, "problem": problem.problem})
            continue
        features = backbone.of(mirrored(picture) if are_mirrored else picture)
        if np.isfinite(features).all():
            found[place] = features
        else:
            bad.append({"place": place, "problem": f"{reference.name} gives features that are not finite"})
    if not found:
        return {"features": "", "bad": bad, "done": done}
    rows, seen = np.stack(list(found.values())), [task["photos"][place]["sha256"] for place in found]
    key = pack_key(places.features_of(reference.digest, are_mirrored), seen)
    clients.s3.put_object(Bucket=bucket, Key=key, Body=to_pack(seen, rows))
    return {"features": to_text(rows), "bad": bad, "done": done}


def _content(photo: PhotoTask, bucket: str, clients: Clients) -> bytes:
    """Return a photo's file. Raises InvalidImage if it is not the one that was named."""
    if "content" in photo:
        content = base64.b64decode(photo["content"])
    else:
        content = read_object(clients, bucket, places.photo(photo["sha256"]), "", MAX_PHOTO, InvalidImage)
    if hashlib.sha256(content).hexdigest() != photo["sha256"]:
        raise InvalidImage("arrived with other bytes than were sent")
    return content
