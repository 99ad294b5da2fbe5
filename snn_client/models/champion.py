"""The champion: the model that predictions are made with, and the one that it replaced.

    runs/<run_id>/                                          what a run left: params.h5 and results.json
    predict_input/params.h5, training_results/results.json  the champion
    predict_input/previous/                                 the one before it

That is the default model; other models of the registry have the same below models/<name>/.

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
from snn_cloud.registry.record import DEFAULT_MODEL
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


def find_champion(clients: Clients, bucket: str, model: str = DEFAULT_MODEL) -> Candidate | None:
    """Return the champion, None if there is none."""
    return _find(clients.s3, bucket, places.champion(model).params)


def find_previous(clients: Clients, bucket: str, model: str = DEFAULT_MODEL) -> Candidate | None:
    """Return the one before the champion, None if there is none."""
    return _find(clients.s3, bucket, places.champion(model).previous_params)


class Reign(TypedDict):
    """A model that is the champion, or was: its run, "" if it does not say, and from when until when.

    Times are seconds since 1970; `until` is None of the one that is.
    """

    run_id: str
    since: float
    until: float | None
    version: str


def reigns(clients: Clients, bucket: str, most: int = 50, model: str = DEFAULT_MODEL) -> list[Reign]:
    """Return the champion and those before it, the newest first, as far as the bucket keeps their versions."""
    s3, key = clients.s3, places.champion(model).params
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


def promote(
    clients: Clients, bucket: str, run_id: str, *, over: str | None = None, model: str = DEFAULT_MODEL, number: int = 0
) -> Change:
    """Make a completed run's model the champion and keep the former one; nothing changes if it is the champion already.

    `number` is its number in the registry, 0 if it has none. `over` is the ETag of the champion that it was compared
    with, with or without its quotes, "" if there was none; None: whichever there is.
    Raises ChampionChanged if the champion is another one by now, InvalidInput if the run left no model.
    """
    throne = _Throne(clients.s3, bucket, places.champion(model))
    held = throne.settled()
    if held is not None and held.run_id == run_id:
        return Change(run_id, held.metadata.get("former-run", ""))
    if over is not None and over.strip('"') != (held.etag if held else "").strip('"'):
        raise _changed(held)
    content = read_source(clients.s3, f"s3://{bucket}/{places.params(run_id)}")
    return throne.change(held, content, throne.newest(places.results(run_id)), str(number or ""))


def roll_back(clients: Clients, bucket: str, model: str = DEFAULT_MODEL) -> Change:
    """Swap the champion and the previous one: done twice, all is as it was.

    Raises InvalidInput if there is no previous champion, ChampionChanged if someone else changes it just now.
    """
    throne = _Throne(clients.s3, bucket, places.champion(model))
    held = throne.settled()
    previous = _find(clients.s3, bucket, throne.keys.previous_params)
    if previous is None:
        raise InvalidInput(
            "there is no previous champion to go back to",
            source=f"s3://{bucket}/{throne.keys.previous_params}",
            hint="there is one once a second model has been promoted",
        )
    results = throne.newest(throne.keys.previous_results)
    return throne.change(held, previous.content, results, previous.metadata.get("number", ""))


class _Throne:
    """A model's champion and what lies beside it."""

    def __init__(self, s3: S3Client, bucket: str, keys: places.ChampionPlaces) -> None:
        self._s3, self._bucket, self.keys = s3, bucket, keys

    def change(self, held: Candidate | None, model: bytes, results: str, number: str) -> Change:
        """Put `model` in the place of `held`; `results` says where its results lie, as `newest` does."""
        metadata = {"run-id": Candidate(model, "", "", {}).run_id, "number": number, "results": results}
        condition: Any = {"IfNoneMatch": "*"}
        if held is not None:
            condition = {"IfMatch": held.etag}
            metadata["former-run"] = held.run_id
            metadata["former-params"] = f"{self.keys.params}?versionId={held.version}"
            metadata["former-results"] = self.newest(self.keys.results)
        metadata = {name: value for name, value in metadata.items() if value}
        try:
            self._s3.put_object(Bucket=self._bucket, Key=self.keys.params, Body=model, Metadata=metadata, **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _REFUSED:
                raise
            found = _find(self._s3, self._bucket, self.keys.params)
            if found is None or found.metadata != metadata:  # else it was this write, repeated: its answer got lost
                raise _changed(found) from None
        self._settle(metadata)
        return Change(metadata.get("run-id", ""), metadata.get("former-run", ""))

    def settled(self) -> Candidate | None:
        """Return the champion, with all done that its coming left to do."""
        held = _find(self._s3, self._bucket, self.keys.params)
        if held is not None:
            self._settle(held.metadata)
        return held

    def newest(self, key: str) -> str:
        """Return the version of an object that is there now, as key?versionId=version; "nowhere" if there is none."""
        try:
            return f"{key}?versionId={self._s3.head_object(Bucket=self._bucket, Key=key)['VersionId']}"
        except ClientError as error:
            if error.response["Error"]["Code"] in NOT_THERE:
                return _NOWHERE
            raise

    def _settle(self, metadata: Mapping[str, str]) -> None:
        """Do what the champion's metadata leaves to do; nothing for one that an upload or a hand put there."""
        if "results" not in metadata:
            return
        if "former-params" in metadata:
            self._copy(metadata["former-params"], self.keys.previous_params)
            self._copy(metadata["former-results"], self.keys.previous_results)
        self._copy(metadata["results"], self.keys.results)

    def _copy(self, source: str, key: str) -> None:
        """Make `key` hold what `source` does, a version of an object, or nothing."""
        if source == _NOWHERE:
            self._s3.delete_object(Bucket=self._bucket, Key=key)
            return
        try:
            self._s3.copy_object(Bucket=self._bucket, Key=key, CopySource=f"{self._bucket}/{source}")
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


def _changed(found: Candidate | None) -> ChampionChanged:
    now = f"run {found.run_id or 'that it does not name'}" if found else "gone"
    return ChampionChanged(
        f"the champion has changed in the meantime, it is now {now}: compare with that one (clear the task)"
    )
