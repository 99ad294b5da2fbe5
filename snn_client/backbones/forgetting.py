"""Deleting features before they expire: of photos, of what a run learned from, of a backbone."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from snn.errors import InvalidInput
from snn_client.backbones.catalogue import listed
from snn_client.data.staging import Version, read_source, versions_below
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.aws.objects import read_object
from snn_cloud.features.pack import from_pack, half_of, hint, hints, pack_key, to_pack
from snn_photos.reference import BackboneReference

_AT_ONCE = 1_000  # keys that S3 deletes by one request

Versions = dict[str, list[Version]]
"""All versions of objects, by their keys."""


def forget(
    clients: Clients, bucket: str, photos: Collection[str] | None = None, backbone: BackboneReference | None = None
) -> int:
    """Delete features with all their versions, and return of how many photos and mirror images there were some.

    `photos` are those concerned, by the SHA-256 of their files (None: all); `backbone` is the one whose features go
    (None: those of all, and what of the photos was on its way to FeatureLambda). A pack with others in it is written
    anew without them before it goes. Raises CloudError if S3 keeps some.
    """
    packs = _versions(clients, bucket, places.features_of(backbone.digest) if backbone else places.FEATURES)
    travelling = {} if backbone else _versions(clients, bucket, places.PHOTOS)
    if photos is None:
        gone = {(half_of(key), each) for key in packs for each in hints(key)}
    else:
        wanted = set(photos)
        looked_for = {hint(photo) for photo in wanted}
        packs = {key: versions for key, versions in packs.items() if looked_for & {*hints(key)}}
        taken = {key: _take_out(clients, bucket, key, wanted) for key in packs}
        packs = {key: versions for key, versions in packs.items() if taken[key]}
        gone = {(half_of(key), photo) for key in packs for photo in taken[key]}
        travelling = {key: versions for key, versions in travelling.items() if key.rpartition("/")[2] in wanted}
    _delete(clients, bucket, [one for versions in (*packs.values(), *travelling.values()) for one in versions])
    return len(gone)


def photos_of(clients: Clients, bucket: str, run_id: str) -> list[str]:
    """Return the SHA-256 of the photos that a run, or a sweep, learned from. Raises InvalidInput if none are known."""
    source = f"s3://{bucket}/{places.input_photos(places.check_run_id(run_id))}"
    try:
        return list(json.loads(read_source(clients.s3, source))["photos"])
    except InvalidInput:
        hint_ = "its features were staged ready-made, it learned none, or its input is gone: name the photos"
        raise InvalidInput("has no list of photos", source=f"run {run_id}", hint=hint_) from None


def remove(clients: Clients, bucket: str, backbone: BackboneReference) -> int:
    """Delete a backbone and its features; return of how many photos there were some.

    Its network stays if a backbone of another name has the same. A model that learned its features cannot be handed
    photos until the backbone is added again.
    """
    forgotten = forget(clients, bucket, backbone=backbone)
    # The name first: what is cut short then is found by nobody, and `remove` after `add` ends it.
    clients.s3.delete_object(Bucket=bucket, Key=places.backbone(backbone.name))
    if backbone.sha256 not in {other.sha256 for other in listed(clients, bucket)}:
        clients.s3.delete_object(Bucket=bucket, Key=places.backbone_model(backbone.sha256))
    return forgotten


def _take_out(clients: Clients, bucket: str, key: str, wanted: set[str]) -> set[str]:
    """Return which of these photos a pack has; if it has others too, those are first written to a pack of their own."""
    try:
        pack = from_pack(read_object(clients, bucket, key), key)
    except InvalidInput:  # only older versions are left
        pack = {}
    if not pack:
        return {photo for photo in wanted if hint(photo) in hints(key)}
    rest = [photo for photo in pack if photo not in wanted]
    if 0 < len(rest) < len(pack):
        content = to_pack(rest, np.stack([pack[photo] for photo in rest]))
        clients.s3.put_object(Bucket=bucket, Key=pack_key(half_of(key), rest), Body=content)
    return wanted & pack.keys()


def _versions(clients: Clients, bucket: str, prefix: str) -> Versions:
    found: Versions = {}
    for version in versions_below(clients, bucket, prefix):
        found.setdefault(version["Key"], []).append(version)
    return found


def _delete(clients: Clients, bucket: str, versions: Sequence[Version]) -> None:
    for begin in range(0, len(versions), _AT_ONCE):
        some: Any = versions[begin : begin + _AT_ONCE]
        answer = clients.s3.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise CloudError(f"S3 keeps {first['Key']}: {first.get('Message', first['Code'])} (try again)")
