"""Staging: from files on a disk or in S3 to a run's own input folder.

Everything is checked before anything is uploaded, so a mistake costs seconds and leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypedDict

from botocore.exceptions import BotoCoreError, ClientError

from snn.errors import InvalidInput
from snn_client.data import judging
from snn_client.data.addresses import address_of
from snn_client.data.featured import Features
from snn_client.data.fetching import open_object
from snn_client.data.folds import Places, held_out, hold_out
from snn_client.data.images import refuse_photos
from snn_client.data.options import AUTO, NONE, Logged, Options, Progress
from snn_client.data.sources import prepare
from snn_client.data.tables import check_rows
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE
from snn_cloud.cost.workload import Size
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset, Header, check_dataset, load_dataset, save_dataset
from snn_data.files import check_size, read_file
from snn_data.fitting import check_recipe
from snn_photos.pictures import MAX_BYTES as MAX_IMAGE
from snn_photos.pictures import open_picture
from snn_photos.reading import Reading, load_image
from snn_photos.reference import BackboneReference

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

MAX_BYTES = 3_000_000_000
"""Of any file that is read whole: a data set has at most 2 GB of photos to train on, and a test set."""


Choose = Callable[[Header], Parameters]

FeaturesBy = Callable[[str | BackboneReference], Features | None]
"""Gives what computes features by a backbone: the stack's of this name, or the very one; None if there is no AUTO."""


class Version(TypedDict):
    """A version of an object, as S3 takes it to delete it."""

    Key: str
    VersionId: str


class StagedImageFields(TypedDict):
    """A staged photo as plain values."""

    uri: str
    name: str


class StagedFields(TypedDict):
    """What was staged as plain values."""

    run_id: str
    dataset_key: str
    parameters_key: str
    images: list[StagedImageFields]
    sha256: str
    features: int
    samples: int
    parameters: dict[str, Any]


@dataclass(frozen=True)
class StagedImage:
    """A photo to classify: `uri` is where the run reads it, `name` is what the user called it."""

    uri: str
    name: str


@dataclass(frozen=True)
class Staged:
    """Where a run's input is. `sha256` is the data set's, `size` says how much there is to train on.

    `parameters` are those it is trained with.
    """

    run_id: str
    dataset_key: str
    parameters_key: str
    images: list[StagedImage]
    sha256: str
    size: Size
    parameters: Parameters

    def to_dict(self) -> StagedFields:
        """Return it as plain JSON values, as XCom wants them."""
        return {
            "run_id": self.run_id, "dataset_key": self.dataset_key, "parameters_key": self.parameters_key,
            "images": [{"uri": image.uri, "name": image.name} for image in self.images], "sha256": self.sha256,
            "features": self.size.features, "samples": self.size.samples,
            "parameters": json.loads(self.parameters.to_json()),
        }  # fmt: skip


@dataclass(frozen=True)
class StagedFolds:
    """Where the data sets of a validation are, and how large each is."""

    dataset_keys: list[str]
    sizes: list[Size]


@dataclass(frozen=True)
class Item:
    """An object to be. It is read a second time when it is uploaded, so that nothing need be kept."""

    key: str
    content_type: str
    sha256: str
    open: Callable[[], BinaryIO]
    source: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_text(cls, key: str, text: str) -> Self:
        """Return JSON text as an object to be."""
        content = text.encode()
        return cls(key, "application/json", _sha256(content), partial(BytesIO, content), PurePosixPath(key).name)


def stage(
    clients: Clients,
    bucket: str,
    run_id: str,
    dataset: str | Path,
    parameters: Parameters | Choose,
    images: Sequence[str | Path] = (),
    options: Options | None = None,
    progress: Progress | None = None,
    features_by: FeaturesBy | None = None,
) -> Staged:
    """Check a data set and the photos to classify, then put them and the parameters into the run's input folder.

    Paths are local or s3://bucket/key; `dataset` may be all that `sources.prepare` takes, and is made as `options` say.
    `parameters` may be what chooses them for the data set (`snn_client.runs.recipe`).
    What is there already with the same contents is not uploaded again. When an upload fails, what this call uploaded
    is removed and the error goes on to the caller.
    Where a backbone is named, by options or parameters, the data set is one of features, which `features_by` computes.
    What is suspicious about the data is told, or, if asked, refused (`judging`).
    Raises InvalidInput (InvalidDataset, InvalidImage), naming the file, or all photos, that cannot be used.
    """
    places.check_run_id(run_id)
    s3, source, options, progress = clients.s3, str(dataset), options or Options(), progress or Logged()
    with tempfile.TemporaryDirectory(prefix="snn-") as folder:
        if options.backbone == NONE and isinstance(parameters, Parameters):
            parameters = parameters.model_copy(update={"backbone": None})
        chosen = parameters.backbone or "" if isinstance(parameters, Parameters) else ""
        if chosen and options.backbone not in ("", AUTO, chosen):
            raise InvalidInput(
                f"is {options.backbone}, but {chosen} in the parameters", field="backbone", hint="name one"
            )
        options = options.model_copy(update={"backbone": chosen or options.backbone})
        see = _See(options.backbone, features_by) if features_by else None
        file = prepare(dataset, options, Path(folder), progress, s3, see)
        features = see.features if see else None
        header = check_dataset(file, source)
        if not isinstance(parameters, Parameters):
            parameters = parameters(header)
        check_recipe(parameters, header)
        if header.backbone:
            reference = BackboneReference.load(header.backbone, source)
            parameters = parameters.model_copy(update={"backbone": reference.name})
        judging.check(file, options.strict, source, progress.warn)
        opened = partial(_open, file)
        sha256 = _sha256_of(opened)
        dataset_key, parameters_key = places.input_dataset(run_id, sha256), places.input_parameters(run_id)
        items = [
            Item(dataset_key, "application/x-hdf5", sha256, opened, source, features.used if features else {}),
            Item.of_text(parameters_key, parameters.to_json()),
        ]
        asked = _asked(s3, run_id, images, header)
        upload(s3, bucket, [*items, *_photos(run_id, features), *asked])
    staged_images = [StagedImage(uri=f"s3://{bucket}/{one.key}", name=one.source) for one in asked]
    size = Size.of(header, parameters)
    return Staged(run_id, dataset_key, parameters_key, staged_images, sha256, size, parameters)


def _asked(s3: S3Client, run_id: str, images: Sequence[str | Path], header: Header) -> list[Item]:
    """Return photos, or tables of rows, to predict as objects to be. Raises InvalidInput, naming what is of no use."""
    shape = photo_shape(header)
    if images and shape is None and not header.columns and not header.backbone:
        hint = "leave the photos out"
        raise InvalidInput("is a photo, but the data set has features", source=str(images[0]), hint=hint)
    items, bad, how = list[Item](), list[InvalidInput](), Reading.of(header.photos)
    for index, path in enumerate(images):
        try:
            content = read_source(s3, path, MAX_IMAGE)
            if header.backbone:
                open_picture(BytesIO(content), str(path))
            elif shape is None:
                check_rows(content, header.columns, str(path))
            else:
                load_image(BytesIO(content), shape, str(path), how)
        except InvalidInput as problem:
            if header.columns:
                raise
            bad.append(problem)
            continue
        key = places.input_image(run_id, index, PurePosixPath(path).name)
        items.append(Item(key, "application/octet-stream", _sha256(content), _again(s3, path), str(path)))
    refuse_photos(bad, len(images))
    return items


def _photos(run_id: str, features: Features | None) -> list[Item]:
    """Return what names the photos whose features a data set was made of: who deletes those of a run goes by it."""
    if features is None or not features.seen:
        return []
    text = json.dumps({"backbone": features.backbone.digest, "photos": features.seen})
    return [Item.of_text(places.input_photos(run_id), text)]


class _See:
    """Gives what computes the features of a backbone when it is asked for them, and keeps it."""

    def __init__(self, named: str, features_by: FeaturesBy) -> None:
        self._named, self._by = named, features_by
        self.features: Features | None = None

    def __call__(self) -> Features | None:
        self.features = self._by(self._named)
        return self.features


def _again(s3: S3Client, path: str | Path) -> Callable[[], BinaryIO]:
    return lambda: BytesIO(read_source(s3, path))


def photo_shape(dataset: Dataset | Header) -> tuple[int, ...] | None:
    """Return the (height, width, channels) of a data set's photos, None if it has features."""
    shape = dataset.shape
    return None if len(shape) == 1 else shape if len(shape) == 3 else (*shape, 1)


def withdraw(clients: Clients, bucket: str, run_id: str) -> None:
    """Remove the input of a run that was staged and then not launched, with all versions."""
    for version in list(versions_below(clients, bucket, f"{places.run_prefix(places.check_run_id(run_id))}input/")):
        clients.s3.delete_object(Bucket=bucket, **version)


def versions_below(clients: Clients, bucket: str, prefix: str) -> Iterator[Version]:
    """Yield all versions of what lies below a prefix, marks of deletion too."""
    for page in clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for item in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            yield {"Key": item["Key"], "VersionId": item["VersionId"]}


def stage_folds(
    clients: Clients,
    bucket: str,
    run_id: str,
    dataset_path: str | Path,
    validation: float,
    seed: int,
    options: Options | None = None,
    progress: Progress | None = None,
    *,
    features_by: FeaturesBy | None = None,
    more: Callable[[list[str]], Iterable[Item]] = lambda keys: (),
) -> StagedFolds:
    """Put data sets for choosing between networks into a run's input folder: one, or one a fold.

    Each is the training set without a part of it, with that part for its test set (see `snn.validation`); the test set
    of the data set is in none of them. `more` returns, given their keys, what else to upload with them. What is there
    already is not uploaded again, and a failed upload leaves nothing.
    Raises InvalidInput (InvalidDataset), naming file or field, when anything cannot be used.
    """
    places.check_run_id(run_id)
    with tempfile.TemporaryDirectory(prefix="snn-") as folder:
        options = options or Options()
        see = _See(options.backbone, features_by) if features_by else None
        file = prepare(dataset_path, options, Path(folder), progress or Logged(), clients.s3, see)
        features = see.features if see else None
        dataset = load_dataset(file, source=str(dataset_path))
    parts = held_out(dataset.train, validation, seed, len(dataset.classes))
    items = []
    for part in parts:
        made = partial(_fold, dataset, part)
        sha256 = _sha256_of(made)
        key = places.input_dataset(run_id, sha256)
        items.append(Item(key, "application/x-hdf5", sha256, made, str(dataset_path)))
    keys = [item.key for item in items]
    upload(clients.s3, bucket, [*items, *_photos(run_id, features), *more(keys)])
    itemsize = dataset.train.stored.itemsize
    sizes = [Size(dataset.features, len(dataset.train) - len(part), itemsize, 2 * len(part)) for part in parts]
    return StagedFolds(keys, sizes)


def read_source(s3: S3Client, path: str | Path, most: int = MAX_BYTES) -> bytes:
    """Return the contents of a local file, or of an object in S3 (see `addresses.address_of`).

    Raises InvalidInput when there is none, it may not be read, or it has more than `most` bytes; other errors of S3,
    which a retry may fix, are raised as they are.
    """
    source = str(path)
    if address_of(source) is None:
        return read_file(source, most)
    stream, length = open_object(s3, source)
    check_size(length, most, InvalidInput, source)
    content: bytes = stream.read()
    return content


def _fold(dataset: Dataset, part: Places) -> BinaryIO:
    """Return a fold as a `datasets.h5`, the same bytes whenever it is made."""
    fold, file = hold_out(dataset, part), BytesIO()
    held = fold.test.stored, fold.test.y
    save_dataset(
        file, fold.train.stored, fold.train.y, *held, fold.classes, *held, fold.photos, fold.columns, fold.backbone
    )
    file.seek(0)
    return file


def upload(s3: S3Client, bucket: str, items: Sequence[Item]) -> None:
    """Upload what is not there yet with the same contents; if one upload fails, remove what this call uploaded."""
    begun: list[Item] = []
    try:
        for item in items:
            if _version_holding(s3, bucket, item) is not None:
                continue
            if _sha256_of(item.open) != item.sha256:
                raise InvalidInput("changed while it was being staged", source=item.source, hint="try again")
            begun.append(item)
            with item.open() as content:
                s3.put_object(
                    Bucket=bucket,
                    Key=item.key,
                    Body=content,
                    ContentType=item.content_type,
                    Metadata={"sha256": item.sha256, **item.metadata},
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
        except (BotoCoreError, ClientError) as problem:
            log.warning("could not remove s3://%s/%s after a failed upload: %s", bucket, item.key, problem)


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


def _open(file: Path) -> BinaryIO:
    return file.open("rb")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(opened: Callable[[], BinaryIO]) -> str:
    digest = hashlib.sha256()
    with opened() as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
