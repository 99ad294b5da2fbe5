"""Deleting features before they expire: of photos, of what a run learned from, of a backbone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from snn.errors import InvalidInput
from snn_client.data.staging import read_source
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_photos.reference import BackboneReference

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_AT_ONCE = 1_000  # keys that S3 deletes by one request


def forget(
    clients: Clients, bucket: str, photos: Collection[str] | None = None, backbone: BackboneReference | None = None
) -> int:
    """Delete features with all their versions, and return of how many photos and mirror images there were some.

    `photos` are those concerned, by the SHA-256 of their files (None: all); `backbone` is the one whose features go
    (None: those of all, and what of the photos was on its way to FeatureLambda). Raises CloudError if S3 keeps some.
    """
    prefixes = [places.features_of(backbone.digest)] if backbone else [places.FEATURES, places.PHOTOS]
    wanted = None if photos is None else set(photos)
    versions = list(_versions(clients, bucket, prefixes, wanted))
    for begin in range(0, len(versions), _AT_ONCE):
        some = versions[begin : begin + _AT_ONCE]
        answer = clients.s3.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise CloudError(f"S3 keeps {first['Key']}: {first.get('Message', first['Code'])} (try again)")
    return len({one["Key"] for one in versions if one["Key"].startswith(places.FEATURES)})


def photos_of(clients: Clients, bucket: str, run_id: str) -> list[str]:
    """Return the SHA-256 of the photos that a run, or a sweep, learned from. Raises InvalidInput if none are known."""
    source = f"s3://{bucket}/{places.input_photos(places.check_run_id(run_id))}"
    try:
        return list(json.loads(read_source(clients.s3, source))["photos"])
    except InvalidInput:
        hint = "its features were staged ready-made, it learned none, or its input is gone: name the photos"
        raise InvalidInput("has no list of photos", source=f"run {run_id}", hint=hint) from None


def remove(clients: Clients, bucket: str, backbone: BackboneReference) -> int:
    """Delete a backbone and its features; return of how many photos there were some.

    A model that learned them cannot be handed photos until the backbone is added again.
    """
    forgotten = forget(clients, bucket, backbone=backbone)
    # The name first: what is cut short then is found by nobody, and `remove` after `add` ends it.
    for key in (places.backbone(backbone.name), places.backbone_model(backbone.sha256)):
        clients.s3.delete_object(Bucket=bucket, Key=key)
    return forgotten


def _versions(
    clients: Clients, bucket: str, prefixes: Collection[str], photos: set[str] | None
) -> Iterator[ObjectIdentifierTypeDef]:
    """Yield all versions of what lies below these prefixes and is of one of the photos."""
    for prefix in prefixes:
        pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for item in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                if photos is None or places.photo_of(item["Key"]) in photos:
                    yield {"Key": item["Key"], "VersionId": item["VersionId"]}
