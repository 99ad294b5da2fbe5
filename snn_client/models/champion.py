"""The champion: the model that predictions are made with, and the one that it replaced.

    runs/<run_id>/                                          what a run left: params.h5 and results.json
    predict_input/params.h5, training_results/results.json  the champion
    predict_input/previous/                                 the one before it

One write changes the champion: that of its params.h5, on the condition that it replaces what it is meant to replace, so
of two that want to, one is refused. The object's metadata says what is left to do then, by versions: what to keep as
the previous champion, and which results belong to the new one. Doing that twice changes nothing; what a crash cut short
is done by whoever changes the champion next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import ClientError

from snn.errors import InvalidInput, InvalidModel
from snn_client.data.staging import read_source
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import ChampionChanged
from snn_cloud.aws.objects import NOT_THERE
from snn_data.model import load_model

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The condition of a write was not met, or another write was under way; or there is nothing any more to be replaced.
_REFUSED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})
_NOWHERE = "nowhere"  # S3 does not promise to keep metadata that is empty


@dataclass(frozen=True)
class Candidate:
    """A model file that is the champion, was it, or is to be: its bytes, and what S3 knows of the object."""

    content: bytes = field(repr=False)
    etag: str
    version: str
    metadata: Mapping[str, str]

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """Return where the model came from; nothing if it does not say, as itsacat's do not."""
        try:
            return load_model(BytesIO(self.content)).attributes
        except InvalidModel:
            return {}

    @property
    def run_id(self) -> str:
        """Return the run that trained it, "" if it does not say."""
        try:
            return places.check_run_id(self.attributes.get("run_id", ""))
        except InvalidInput:
            return ""

    @property
    def parameters(self) -> dict[str, Any] | None:
        """Return what it was trained with, None if it does not say."""
        try:
            return dict(json.loads(self.attributes["parameters"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Change:
    """The runs that trained the champion and the previous one ("" if the file does not say)."""

    champion: str
    previous: str


def find_champion(clients: Clients, bucket: str) -> Candidate | None:
    """Return the champion, None if there is none."""
    return _find(clients.s3, bucket, places.PROMOTED_PARAMS)


class Reign(TypedDict):
    """A model that is the champion, or was: its run, "" if it does not say, and from when until when.

    Times are seconds since 1970; `until` is None of the one that is.
    """

    run_id: str
    since: float
    until: float | None
    version: str


def reigns(clients: Clients, bucket: str, most: int = 50) -> list[Reign]:
    """Return the champion and those before it, the newest first, as far as the bucket keeps their versions."""
    s3, key = clients.s3, places.PROMOTED_PARAMS
    listed = s3.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=most)
    versions = [version for version in listed.get("Versions", []) if version["Key"] == key]
    gone = [marker["LastModified"].timestamp() for marker in listed.get("DeleteMarkers", []) if marker["Key"] == key]
    found: list[Reign] = []
    for version in versions:
        said = s3.head_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])["Metadata"]
        since = version["LastModified"].timestamp()
        after = [one["since"] for one in found] + gone
        until = min((moment for moment in after if moment > since), default=None)
        until = None if version["IsLatest"] else until
        found.append(
            {"run_id": said.get("run-id", ""), "since": since, "until": until, "version": version["VersionId"]}
        )
    return found


def promote(clients: Clients, bucket: str, run_id: str, *, over: str | None = None) -> Change:
    """Make a completed run's model the champion and keep the former one; nothing changes if it is the champion already.

    `over` is the ETag of the champion that it was compared with, with or without its quotes, "" if there was none;
    None: whichever there is.
    Raises ChampionChanged if the champion is another one by now, InvalidInput if the run left no model.
    """
    held = _settled(clients.s3, bucket)
    if held is not None and held.run_id == run_id:
        return Change(run_id, held.metadata.get("former-run", ""))
    if over is not None and over.strip('"') != (held.etag if held else "").strip('"'):
        raise _changed(held)
    model = read_source(clients.s3, f"s3://{bucket}/{places.params(run_id)}")
    return _change(clients.s3, bucket, held, model, _newest(clients.s3, bucket, places.results(run_id)))


def roll_back(clients: Clients, bucket: str) -> Change:
    """Swap the champion and the previous one: done twice, all is as it was.

    Raises InvalidInput if there is no previous champion, ChampionChanged if someone else changes it just now.
    """
    held = _settled(clients.s3, bucket)
    previous = _find(clients.s3, bucket, places.PREVIOUS_PARAMS)
    if previous is None:
        raise InvalidInput(
            "there is no previous champion to go back to",
            source=f"s3://{bucket}/{places.PREVIOUS_PARAMS}",
            hint="there is one once a second model has been promoted",
        )
    results = _newest(clients.s3, bucket, places.PREVIOUS_RESULTS)
    return _change(clients.s3, bucket, held, previous.content, results)


def _change(s3: S3Client, bucket: str, held: Candidate | None, model: bytes, results: str) -> Change:
    """Put `model` in the place of `held`; `results` says where its results lie, as `_newest` does."""
    metadata = {"run-id": Candidate(model, "", "", {}).run_id, "results": results}
    condition: Any = {"IfNoneMatch": "*"}
    if held is not None:
        condition = {"IfMatch": held.etag}
        metadata["former-run"] = held.run_id
        metadata["former-params"] = f"{places.PROMOTED_PARAMS}?versionId={held.version}"
        metadata["former-results"] = _newest(s3, bucket, places.PROMOTED_RESULTS)
    metadata = {name: value for name, value in metadata.items() if value}
    try:
        s3.put_object(Bucket=bucket, Key=places.PROMOTED_PARAMS, Body=model, Metadata=metadata, **condition)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _REFUSED:
            raise
        found = _find(s3, bucket, places.PROMOTED_PARAMS)
        if found is None or found.metadata != metadata:  # else it was this write, repeated because its answer got lost
            raise _changed(found) from None
    _settle(s3, bucket, metadata)
    return Change(metadata.get("run-id", ""), metadata.get("former-run", ""))


def _settled(s3: S3Client, bucket: str) -> Candidate | None:
    """Return the champion, with all done that its coming left to do."""
    held = _find(s3, bucket, places.PROMOTED_PARAMS)
    if held is not None:
        _settle(s3, bucket, held.metadata)
    return held


def _settle(s3: S3Client, bucket: str, metadata: Mapping[str, str]) -> None:
    """Do what the champion's metadata leaves to do; nothing for one that an upload or a hand put there."""
    if "results" not in metadata:
        return
    if "former-params" in metadata:
        _copy(s3, bucket, metadata["former-params"], places.PREVIOUS_PARAMS)
        _copy(s3, bucket, metadata["former-results"], places.PREVIOUS_RESULTS)
    _copy(s3, bucket, metadata["results"], places.PROMOTED_RESULTS)


def _copy(s3: S3Client, bucket: str, source: str, key: str) -> None:
    """Make `key` hold what `source` does, a version of an object, or nothing."""
    if source == _NOWHERE:
        s3.delete_object(Bucket=bucket, Key=key)
        return
    try:
        s3.copy_object(Bucket=bucket, Key=key, CopySource=f"{bucket}/{source}")
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_THERE:
            raise  # a version that has expired since was copied long ago


def _find(s3: S3Client, bucket: str, key: str) -> Candidate | None:
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_THERE:
            return None
        raise
    return Candidate(found["Body"].read(), found["ETag"], found["VersionId"], found["Metadata"])


def _newest(s3: S3Client, bucket: str, key: str) -> str:
    """Return the version of an object that is there now, as key?versionId=version; "nowhere" if there is none."""
    try:
        return f"{key}?versionId={s3.head_object(Bucket=bucket, Key=key)['VersionId']}"
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_THERE:
            return _NOWHERE
        raise


def _changed(found: Candidate | None) -> ChampionChanged:
    now = f"run {found.run_id or 'that it does not name'}" if found else "gone"
    return ChampionChanged(
        f"the champion has changed in the meantime, it is now {now}: compare with that one (clear the task)"
    )
