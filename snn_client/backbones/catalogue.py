"""The backbones of a stack: checked before they are added, listed, and found by name."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn.recipe import BACKBONE_NAME, nearest
from snn_client.backbones import builtin
from snn_client.data.options import AUTO, NONE
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE, read_object
from snn_data.files import read_file
from snn_data.isolated import Broken, isolated, raise_limits
from snn_photos.backbone import MAX_BYTES, Backbone
from snn_photos.preprocessing import InvalidBackbone, Preprocessing
from snn_photos.reference import BackboneReference

_MAX_JSON = 100_000
_MEMORY = 8 * 2**30
"""What checking a backbone may take beside the file: of address space, most of which is never touched."""


def read_backbone(path: Path) -> tuple[bytes, Preprocessing]:
    """Return an ONNX file and what the JSON beside it (`model.onnx`, `model.json`) says. Raises InvalidInput."""
    beside = path.with_suffix(".json")
    if not path.exists():
        raise InvalidBackbone("there is no such file", source=str(path), hint="check the path")
    if not beside.exists():
        hint = 'write one: {"height": 224, "width": 224, "mean": 127.5, "scale": 127.5}, see docs/backbones.md'
        raise InvalidBackbone("says how photos are prepared, and is missing", source=str(beside), hint=hint)
    preprocessing = Preprocessing.load(read_file(beside, _MAX_JSON, InvalidBackbone), str(beside))
    return read_file(path, MAX_BYTES, InvalidBackbone), preprocessing


def check(content: bytes, preprocessing: Preprocessing, name: str, source: str) -> BackboneReference:
    """Return the reference of a backbone that works. Raises InvalidBackbone for one that does not.

    It is run in a child process: a file of a stranger's may break whoever loads it.
    """
    if not re.fullmatch(BACKBONE_NAME, name) or name in (AUTO, NONE):
        raise InvalidInput(
            f"{name!r} is no name for a backbone", field="name", hint="use up to 41 of a-z, 0-9 and -, as in resnet-18"
        )
    builtin.needs_extra("onnxruntime")

    def tried(_: object) -> tuple[str, str] | int:
        raise_limits(_MEMORY)
        try:
            backbone = Backbone(content, preprocessing, source)
            backbone.check()
        except InvalidBackbone as problem:
            return problem.problem, problem.hint
        return backbone.features

    try:
        found = isolated(tried)
    except Broken as problem:
        raise InvalidBackbone(
            f"is so damaged that running it {problem}", source=source, hint="export it again"
        ) from None
    if isinstance(found, tuple):
        raise InvalidBackbone(found[0], source=source, hint=found[1])
    sha256 = hashlib.sha256(content).hexdigest()
    return BackboneReference(name=name, sha256=sha256, features=found, preprocessing=preprocessing)


def add(clients: Clients, bucket: str, content: bytes, reference: BackboneReference) -> None:
    """Put a backbone that was checked into a stack's bucket; one of the same name is replaced, models keep theirs."""
    clients.s3.put_object(Bucket=bucket, Key=places.backbone_model(reference.sha256), Body=content)
    clients.s3.put_object(
        Bucket=bucket,
        Key=places.backbone(reference.name),
        Body=reference.to_json().encode(),
        ContentType="application/json",
    )


def listed(clients: Clients, bucket: str) -> list[BackboneReference]:
    """Return the backbones that a stack has."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=places.BACKBONES)
    keys = [item["Key"] for page in pages for item in page.get("Contents", []) if item["Key"].endswith(".json")]
    return [BackboneReference.load(read_object(clients, bucket, key), key) for key in keys]


def keep(clients: Clients, bucket: str, reference: BackboneReference) -> None:
    """See that a stack has the network that a model names; one that is built in is added. Raises InvalidInput."""
    if _has(clients, bucket, places.backbone_model(reference.sha256)):
        return
    if reference.name in builtin.BUILT_IN:
        content, _ = builtin.make(reference.name)
        if hashlib.sha256(content).hexdigest() == reference.sha256:
            clients.s3.put_object(Bucket=bucket, Key=places.backbone_model(reference.sha256), Body=content)
            return
    hint = "add it: snn backbone add"
    raise InvalidInput(f"this stack lacks {reference.name} ({reference.digest})", field="backbone", hint=hint)


def _has(clients: Clients, bucket: str, key: str) -> bool:
    try:
        clients.s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_THERE | NOT_ALLOWED:
            return False
        raise
    return True


def named(clients: Clients, bucket: str, name: str) -> BackboneReference:
    """Return the backbone of this name that a stack has. Raises InvalidInput if it has none."""
    known = {reference.name: reference for reference in listed(clients, bucket)}
    if name not in known:
        hint = f"{nearest(name, [*known, *builtin.BUILT_IN])}; snn backbone add adds one"
        raise InvalidInput(f"{name!r} is not among this stack's backbones", field="backbone", hint=hint)
    return known[name]


def find(clients: Clients, bucket: str, name: str) -> BackboneReference:
    """Return a stack's backbone of this name; one that is built in is made and added if it is missing.

    Raises InvalidInput for a name that is neither.
    """
    try:
        found = named(clients, bucket, name)
        if _has(clients, bucket, places.backbone_model(found.sha256)):
            return found
        raise InvalidInput(f"the network of {name!r} is gone", field="backbone", hint="add it again: snn backbone add")
    except InvalidInput:
        if name not in builtin.BUILT_IN:
            raise
    content, preprocessing = builtin.make(name)
    reference = check(content, preprocessing, name, name)
    add(clients, bucket, content, reference)
    return reference
