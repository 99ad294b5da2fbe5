"""Staging: from files on a disk or in S3 to a run's own input folder.

Everything is checked before anything is uploaded, so a mistake costs seconds and leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_client.data.folds import Places, held_out, hold_out
from snn_client.data.images import MAX_BYTES as MAX_IMAGE
from snn_client.data.images import load_image, refuse_photos
from snn_client.data.sources import read_source
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE
from snn_cloud.aws.passing import AWS_ERRORS, reason
from snn_cloud.cost.workload import Size
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset, load_dataset, save_dataset
from snn_data.fitting import check_recipe

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagedImage:
    """A photo to classify: `uri` is where the run reads it, `name` is what the user called it."""

    uri: str
    name: str


@dataclass(frozen=True)
class Staged:
    """Where a run's input is. `sha256` is the data set's, `size` says how much there is to train on."""

    run_id: str
    dataset_key: str
    parameters_key: str
    images: list[StagedImage]
    sha256: str
    size: Size

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, as XCom wants them."""
        values = asdict(self)
        size = values.pop("size")
        return {**values, "features": size["features"], "samples": size["samples"]}


@dataclass(frozen=True)
class StagedFolds:
    """Where the data sets of a validation are, and how large each is."""

    dataset_keys: list[str]
    sizes: list[Size]


@dataclass(frozen=True)
class Item:
    """An object to upload. Its bytes are read again for the upload, so that photos need not be kept in memory."""

    key: str
    content_type: str
    sha256: str
    read: Callable[[], bytes]
    source: str

    @classmethod
    def of_text(cls, key: str, text: str) -> Self:
        """Return JSON text as an object to be."""
        content = text.encode()
        return cls(key, "application/json", _sha256(content), lambda: content, PurePosixPath(key).name)


def stage(
    clients: Clients,
    bucket: str,
    run_id: str,
    dataset_path: str | Path,
    parameters: Parameters,
    images: Sequence[str | Path] = (),
) -> Staged:
    """Check a data set and the photos to classify, then put them and the parameters into the run's input folder.

    Paths are local or in S3 (see `address_of`). What is there already with the same contents is not uploaded again.
    When an upload fails, what this call uploaded is removed and the error goes on to the caller.
    Raises InvalidInput (InvalidDataset, InvalidImage), naming the file, or every photo, that cannot be used.
    """
    places.check_run_id(run_id)
    s3 = clients.s3
    dataset_bytes = read_source(clients, dataset_path)
    dataset = load_dataset(BytesIO(dataset_bytes), source=str(dataset_path))
    check_recipe(parameters, dataset)
    sha256 = _sha256(dataset_bytes)
    dataset_key, parameters_key = places.input_dataset(run_id, sha256), places.input_parameters(run_id)
    items = [
        Item(dataset_key, "application/x-hdf5", sha256, lambda: dataset_bytes, str(dataset_path)),
        Item.of_text(parameters_key, parameters.to_json()),
    ]
    photos = _photos(clients, run_id, images, photo_shape(dataset))
    _upload(s3, bucket, [*items, *photos])
    staged_images = [StagedImage(uri=f"s3://{bucket}/{photo.key}", name=photo.source) for photo in photos]
    return Staged(run_id, dataset_key, parameters_key, staged_images, sha256, Size.of(dataset, parameters))


def photo_shape(dataset: Dataset) -> tuple[int, ...] | None:
    """Return the (height, width, channels) of a data set's photos, None if it has features."""
    shape = dataset.shape
    return None if len(shape) == 1 else shape if len(shape) == 3 else (*shape, 1)


def withdraw(clients: Clients, bucket: str, run_id: str) -> None:
    """Remove the input of a run that was staged and then not launched, with all versions."""
    prefix = f"{places.run_prefix(places.check_run_id(run_id))}input/"
    pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    for item in [item for page in pages for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))]:
        clients.s3.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])


def stage_folds(
    clients: Clients,
    bucket: str,
    run_id: str,
    dataset_path: str | Path,
    validation: float,
    seed: int,
    more: Callable[[list[str]], Iterable[Item]] = lambda keys: (),
) -> StagedFolds:
    """Put data sets for choosing between networks into a run's input folder: one, or one a fold.

    Each is the training set without a part of it, with that part for its test set (see `snn.validation`); the test set
    of the data set is in none of them. `more` says, given their keys, what else is to be put with them. What is there
    already is not uploaded again, and a failed upload leaves nothing.
    Raises InvalidInput (InvalidDataset), naming file or field, when anything cannot be used.
    """
    places.check_run_id(run_id)
    dataset = load_dataset(BytesIO(read_source(clients, dataset_path)), source=str(dataset_path))
    parts = held_out(dataset.train, validation, seed, len(dataset.classes))
    items = []
    for part in parts:
        read = partial(_fold, dataset, part)
        sha256 = _sha256(read())
        key = places.input_dataset(run_id, sha256)
        items.append(Item(key, "application/x-hdf5", sha256, read, str(dataset_path)))
    keys = [item.key for item in items]
    _upload(clients.s3, bucket, [*items, *more(keys)])
    itemsize = dataset.train.stored.itemsize
    sizes = [Size(dataset.features, len(dataset.train) - len(part), itemsize, 2 * len(part)) for part in parts]
    return StagedFolds(keys, sizes)


def _photos(clients: Clients, run_id: str, images: Sequence[str | Path], shape: tuple[int, ...] | None) -> list[Item]:
    """Return photos as the objects to be. Raises InvalidInput, naming every one that cannot be used."""
    if shape is None:
        if not images:
            return []
        mend = "leave the photos out"
        raise InvalidInput("is a photo, the data set has features", source=str(images[0]), mend=mend)
    items, bad = list[Item](), list[InvalidInput]()
    for index, path in enumerate(images):
        try:
            content = read_source(clients, path, MAX_IMAGE)
            load_image(BytesIO(content), shape, source=str(path))
        except InvalidInput as problem:
            bad.append(problem)
            continue
        key = places.input_image(run_id, index, PurePosixPath(path).name)
        reread = partial(read_source, clients, path)
        items.append(Item(key, "application/octet-stream", _sha256(content), reread, str(path)))
    refuse_photos(bad, len(images))
    return items


def _fold(dataset: Dataset, part: Places) -> bytes:
    """Return a fold as the bytes of a `datasets.h5`, the same whenever it is made."""
    fold, file = hold_out(dataset, part), BytesIO()
    held = fold.test.stored, fold.test.y
    save_dataset(file, fold.train.stored, fold.train.y, *held, fold.classes, *held)
    return file.getvalue()


def _upload(s3: S3Client, bucket: str, items: Sequence[Item]) -> None:
    begun: list[Item] = []
    try:
        for item in items:
            if _version_holding(s3, bucket, item) is not None:
                continue
            content = item.read()
            if _sha256(content) != item.sha256:
                raise InvalidInput("changed while it was being staged", source=item.source, mend="try again")
            begun.append(item)
            s3.put_object(
                Bucket=bucket,
                Key=item.key,
                Body=content,
                ContentType=item.content_type,
                Metadata={"sha256": item.sha256},
            )
    except BaseException:  # a task killed by its scheduler tidies up as well
        _remove(s3, bucket, begun)
        raise


def _remove(s3: S3Client, bucket: str, items: Sequence[Item]) -> None:
    """Take back uploads, each by its version, so that neither they nor delete markers are left.

    S3 is asked what it holds: an upload whose answer got lost may have arrived.
    """
    for item in items:
        try:
            version = _version_holding(s3, bucket, item)
            if version:
                s3.delete_object(Bucket=bucket, Key=item.key, VersionId=version)
            elif version == "":
                s3.delete_object(Bucket=bucket, Key=item.key)
        except AWS_ERRORS as problem:
            log.warning("could not remove s3://%s/%s after a failed upload: %s", bucket, item.key, reason(problem))


def _version_holding(s3: S3Client, bucket: str, item: Item) -> str | None:
    """Return the version of the object if it holds the item's bytes ("" in a bucket without versions), else None."""
    try:
        head = s3.head_object(Bucket=bucket, Key=item.key)
    except ClientError as problem:
        # To whom may list only a part of the bucket, as the notebook's role, S3 says Forbidden of what is not there.
        if problem.response["Error"]["Code"] in NOT_THERE | NOT_ALLOWED:
            return None
        raise
    return head.get("VersionId", "") if head["Metadata"].get("sha256") == item.sha256 else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
