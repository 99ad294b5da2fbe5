"""Data sets that someone uploaded to retrain on, as S3's notifications tell of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from snn.errors import InvalidInput
from snn_client.data.addresses import Address
from snn_cloud.aws import places


@dataclass(frozen=True)
class Upload:
    """One version of an uploaded data set; `time` is S3's, as ISO 8601 in UTC."""

    bucket: str
    key: str
    version: str
    time: str

    @property
    def address(self) -> str:
        """Return the address of this very version, whatever is put there meanwhile."""
        return str(Address(self.bucket, self.key, self.version))


def upload_key(address: str, bucket: str) -> str:
    """Return the key of an upload that starts a run in the stack of `bucket`, given its key or its address in S3.

    Raises InvalidInput for what never starts one, however long anybody waits.
    """
    named = re.fullmatch(r"s3[an]?://([^/]+)/(.*)", address, re.IGNORECASE)
    key = (named[2] if named else address).lstrip("/")
    if (named and named[1] != bucket) or not places.starts_run(key):
        raise InvalidInput(
            f"an upload to {address!r} starts no run",
            field="upload",
            hint=f"name a .h5 under s3://{bucket}/{places.UPLOAD_PREFIX}, by its address or its key",
        )
    return key


def uploads_in(message: str) -> list[Upload]:
    """Return the data sets to retrain on that a message of S3 tells of: none for its test message and other files.

    Raises InvalidInput when the message is not S3's.
    """
    try:
        body = json.loads(message)
        if body.get("Event") == "s3:TestEvent":  # sent whenever the bucket is told of the queue
            return []
        uploads = [_upload(record) for record in body["Records"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"is no notification of S3: {error!r}", source="message") from None
    return [one for one in uploads if one.key.startswith(places.RETRAINING_PREFIX) and one.key.endswith(".h5")]


def newest_first(uploads: Iterable[Upload]) -> list[Upload]:
    """Return the uploads, each once, the newest first: S3 tells of one at least once, and in any order."""
    return sorted(dict.fromkeys(uploads), key=lambda one: one.time, reverse=True)


def _upload(record: Any) -> Upload:
    bucket, item = record["s3"]["bucket"]["name"], record["s3"]["object"]
    return Upload(bucket, unquote_plus(item["key"]), item.get("versionId", ""), record["eventTime"])
