"""What lies in S3, copied to a disk: one object, or all below a prefix."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError, ParamValidationError

from snn.errors import InvalidInput
from snn_client.data.addresses import SPELLING, Address, address_in_s3
from snn_client.data.archives import MAX_ENTRIES, SPARE_BYTES
from snn_client.data.options import Progress
from snn_cloud.aws.objects import refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AT_ONCE = 8  # objects
_BLOCK = 2**20


def refused(problem: Exception, source: str) -> InvalidInput | None:
    """Return what an answer of S3 means that no retry mends; None for others."""
    if isinstance(problem, ParamValidationError):  # by boto3, of a name that no bucket can have
        return InvalidInput(f"not an address in S3: {problem}", source=source, hint=SPELLING)
    if isinstance(problem, ClientError) and (said := refusal(problem.response["Error"])):
        return InvalidInput(said[0], source=source, hint=said[1])
    return None


def open_object(s3: S3Client, source: str) -> tuple[Any, int]:
    """Return the stream of an object in S3 (see `addresses.address_of`), and its length in bytes.

    Raises InvalidInput when there is none or it may not be read; other errors of S3, which a retry may fix, go on.
    """
    named = address_in_s3(source)
    options: Any = {"VersionId": named.version} if named.version else {}
    if named.requester_pays:
        options["RequestPayer"] = "requester"
    try:
        answer = s3.get_object(Bucket=named.bucket, Key=named.key, **options)
    except (ClientError, ParamValidationError) as problem:
        raise refused(problem, source) or problem from None
    return answer["Body"], answer["ContentLength"]


def fetch(s3: S3Client, source: str, folder: Path, progress: Progress) -> Path:
    """Copy what is at an `s3://` address into a new folder: return the file, or the folder if the address is a prefix.

    A prefix ends in "/". Raises InvalidInput as `open_object` does, and for a key that would lead out of the folder.
    """
    named = address_in_s3(source)
    bucket, key, who = named.bucket, named.key, named.requester_pays
    folder.mkdir(parents=True)
    room = shutil.disk_usage(folder).free - SPARE_BYTES
    if key and not key.endswith("/"):
        target = folder / PurePosixPath(key).name
        _copy(s3, source, target, room, progress)
        return target
    found = list(_below(s3, source, named))
    if not found:
        raise InvalidInput("nothing lies in S3 below this", source=source, hint="check bucket and prefix")
    total = sum(size for _, size in found)
    if total > room:
        raise InvalidInput(f"{total:,} bytes are more than the disk has room for", source=source)
    done = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        copies = [
            pool.submit(
                _copy,
                s3,
                str(Address(bucket, name, requester_pays=who)),
                _target(folder, name[len(key) :], source),
                room,
            )
            for name, _ in found
        ]
        try:
            for copy, (_, size) in zip(copies, found, strict=True):
                copy.result()
                done += size
                progress.at("downloading, bytes", done, total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return folder


def _below(s3: S3Client, source: str, named: Address) -> Iterator[tuple[str, int]]:
    """Yield the keys below a prefix, and their sizes, but for those that stand for folders."""
    count, payer = 0, cast(Any, {"RequestPayer": "requester"} if named.requester_pays else {})
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=named.bucket, Prefix=named.key, **payer):
            for item in page.get("Contents", []):
                count += 1
                if count > MAX_ENTRIES:
                    raise InvalidInput(f"holds more than {MAX_ENTRIES:,} objects", source=source)
                if not item["Key"].endswith("/"):
                    yield item["Key"], item["Size"]
    except (ClientError, ParamValidationError) as problem:
        raise refused(problem, source) or problem from None


def _target(folder: Path, name: str, source: str) -> Path:
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in name:
        raise InvalidInput("no file can have this name", field=name, source=source, hint="rename the object")
    return folder.joinpath(*parts)


def _copy(s3: S3Client, source: str, target: Path, room: int, progress: Progress | None = None) -> None:
    stream, size = open_object(s3, source)
    if size > room:
        raise InvalidInput(f"{size:,} bytes are more than the disk has room for", source=source)
    target.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with target.open("wb") as file:
        while block := stream.read(_BLOCK):
            file.write(block)
            done += len(block)
            if progress:
                progress.at("downloading, bytes", done, size)
