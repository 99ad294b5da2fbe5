"""Objects in S3: whole, or as a file of which only those parts travel that are looked at."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_cloud.aws.clients import Clients
from snn_data.files import check_size

BLOCK_BYTES = 4 * 1024**2
KEPT_BLOCKS = 4

NOT_THERE = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})
NOT_ALLOWED = frozenset({"AccessDenied", "403", "Forbidden"})
"""Of an object that is not there as well, to whom may not list the bucket."""


def read_object(
    clients: Clients,
    bucket: str,
    key: str,
    version: str = "",
    most: int | None = None,
    too_large: type[InvalidInput] = InvalidInput,
) -> bytes:
    """Return an object's bytes, of that version where one is named.

    Raises InvalidInput when it cannot be read, and `too_large` for more than `most` bytes, which are not read then.
    """
    source = f"s3://{bucket}/{key}"
    with _refusing(source):
        answer = clients.s3.get_object(Bucket=bucket, Key=key, **_named(version))
        if most is not None:
            check_size(answer["ContentLength"], most, too_large, source)
        return answer["Body"].read()


class ObjectFile(io.RawIOBase):
    """An object as a file to read, a block at a time; it holds a few blocks only. `metadata` is stored beside it.

    All blocks are of one version: if the object is replaced meanwhile, S3 refuses the next one (a ClientError).
    Raises InvalidInput if there is none.
    """

    def __init__(self, clients: Clients, bucket: str, key: str, version: str = "") -> None:
        super().__init__()
        self._clients, self._bucket, self._key, self._named = clients, bucket, key, _named(version)
        self._source = f"s3://{bucket}/{key}"
        self._position, self._blocks = 0, OrderedDict[int, bytes]()
        with _refusing(self._source):
            answer = self._get(0)
            first = self._blocks[0] = answer["Body"].read()
        self.metadata: Mapping[str, str] = answer["Metadata"]
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
            with _refusing(self._source):
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
def _refusing(source: str) -> Iterator[None]:
    """Turn what S3 says of an object that cannot be read into InvalidInput; what a retry may fix goes on."""
    try:
        yield
    except ClientError as error:
        if said := refusal(error.response["Error"]):
            raise InvalidInput(said[0], source=source, hint=said[1]) from None
        raise


def refusal(said: Any) -> tuple[str, str] | None:
    """Return what is wrong with an object that S3 does not hand out, and the hint; None if it is not the object."""
    code, words = said["Code"], said.get("Message", "")
    if code in NOT_THERE:
        return "no such object in S3", ""
    if code == "NoSuchBucket":
        return "no such bucket in S3", "check the address"
    if code == "InvalidArgument" and "version" in words.lower():
        return "S3 knows no such version", "check what stands behind ?versionId="
    if code == "MethodNotAllowed":
        return "was deleted in this version", "name another one"
    if code == "InvalidRange":
        return "is empty", ""
    if code == "InvalidObjectState":
        tier = said.get("StorageClass") or said.get("AccessTier") or "an archive"
        return f"is archived in {tier}", "restore it (aws s3api restore-object), which takes minutes to days"
    if code.startswith("KMS."):
        return f"its key cannot be used: {words}", "enable its KMS key, or store it under another one"
    if code in NOT_ALLOWED:
        return _denied(words)
    return None


def _denied(words: str) -> tuple[str, str]:
    """Return what to say of an object that may not be read. S3 often says no more than that."""
    problem = "S3 denies access, or there is no such object"
    if "kms:" in words.lower():
        return f"its key may not be used: {words}", "allow kms:Decrypt on that key"
    if "s3:ListBucket" in words:
        return f"{problem}: {words}", "check the address; S3 tells only whoever may s3:ListBucket"
    if "s3:" in words:
        return f"{problem}: {words}", "allow s3:GetObject on it, s3:GetObjectVersion on a version"
    hint = "allow s3:GetObject on it, and kms:Decrypt on its key if it has one; where the requester pays, add "
    return problem, hint + "?requestPayer=requester to the address"
