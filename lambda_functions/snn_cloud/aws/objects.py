"""Objects in S3: whole, or as a file of which only those parts travel that are looked at."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_cloud.aws.clients import Clients
from snn_data.files import check_size

BLOCK_BYTES = 4 * 1024**2
KEPT_BLOCKS = 4


def read_object(
    clients: Clients,
    bucket: str,
    key: str,
    version: str = "",
    most: int | None = None,
    too_large: type[InvalidInput] = InvalidInput,
) -> bytes:
    """Return an object's bytes, of that version where one is named.

    Raises InvalidInput when there is none, and `too_large` for more than `most` bytes, which are not read then.
    """
    with _refusing(bucket, key):
        answer = clients.s3.get_object(Bucket=bucket, Key=key, **_named(version))
        if most is not None:
            check_size(answer["ContentLength"], most, too_large, f"s3://{bucket}/{key}")
        return answer["Body"].read()


class ObjectFile(io.RawIOBase):
    """An object as a file to read, a block at a time; it holds a few blocks only. Raises InvalidInput if there is none.

    All blocks are of one version: if the object is replaced meanwhile, S3 refuses the next one (a ClientError).
    """

    def __init__(self, clients: Clients, bucket: str, key: str, version: str = "") -> None:
        super().__init__()
        self._clients, self._bucket, self._key, self._named = clients, bucket, key, _named(version)
        self._position, self._blocks = 0, OrderedDict[int, bytes]()
        with _refusing(bucket, key):
            answer = self._get(0)
            first = self._blocks[0] = answer["Body"].read()
        self._named = {**self._named, "IfMatch": answer["ETag"]}
        # A server may ignore the range (the emulator does where a version is named), and send everything.
        ranged = "ContentRange" in answer
        self.size = int(answer["ContentRange"].rpartition("/")[2]) if ranged else len(first)
        self._block_bytes = BLOCK_BYTES if ranged else max(1, len(first))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the file; return it."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        return self._position

    def tell(self) -> int:
        """Return the place in the file."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read from the block at this place, at most to its end; return how many bytes."""
        number, start = divmod(self._position, self._block_bytes)
        wanted = memoryview(buffer).cast("B")
        part = self._block(number)[start : start + len(wanted)] if self._position < self.size else b""
        wanted[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            with _refusing(self._bucket, self._key):
                self._blocks[number] = self._get(number)["Body"].read()
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _get(self, number: int) -> Any:
        part = f"bytes={number * BLOCK_BYTES}-{(number + 1) * BLOCK_BYTES - 1}"
        return self._clients.s3.get_object(Bucket=self._bucket, Key=self._key, Range=part, **self._named)


def _named(version: str) -> Any:
    return {"VersionId": version} if version else {}


@contextmanager
def _refusing(bucket: str, key: str) -> Iterator[None]:
    """Turn S3's "no such object" into InvalidInput.

    To a role that may not list the bucket (ours may not), S3 says AccessDenied of an object that is not there.
    """
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("NoSuchKey", "NoSuchVersion", "AccessDenied"):
            raise InvalidInput("does not exist, or may not be read", source=f"s3://{bucket}/{key}") from None
        if code == "InvalidRange":
            raise InvalidInput("is empty", source=f"s3://{bucket}/{key}") from None
        raise
