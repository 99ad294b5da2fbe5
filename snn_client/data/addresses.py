"""Addresses in S3, in whichever of their spellings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from snn.errors import InvalidInput

SPELLING = "write s3://bucket/key"

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):/{2,}.*", re.DOTALL)
# One slash is what is left of the two where an address was taken for a path, as by pathlib.
_S3 = re.compile(r"s3[an]?:/+(?P<rest>.*)", re.DOTALL | re.IGNORECASE)
_BUCKET = r"[A-Za-z0-9._-]{1,255}"
_ACCESS_POINT = (
    r"arn:aws[a-z-]*:(?:s3|s3-object-lambda):[a-z0-9-]*:\d{12}:accesspoint[/:][A-Za-z0-9.-]+"
    r"|arn:aws[a-z-]*:s3-outposts:[a-z0-9-]+:\d{12}:outpost[/:][A-Za-z0-9-]+[/:]accesspoint[/:][A-Za-z0-9-]+"
)
_PLACE = re.compile(rf"(?P<bucket>{_ACCESS_POINT}|{_BUCKET})/(?P<key>.*)", re.DOTALL)
# An ARN's own spelling: of an object in a bucket, or behind an access point.
_ARN = re.compile(
    rf"arn:aws[a-z-]*:s3:::(?P<named>{_BUCKET}/.+)|(?:{_ACCESS_POINT})/(?:object/)?(?P<key>.+)", re.DOTALL
)
_ASIDE = re.compile(r"\?(?P<query>(?:(?:versionId=[^&?]+|requestPayer=requester)(?:&(?!$)|$))+)$")
_S3_HOST = re.compile(
    r"(?:(?P<bucket>.+)\.)?s3(?:-accelerate|-fips|-[a-z]{2}(?:-[a-z]+)+-\d)?(?:\.dualstack)?(?:\.[a-z]{2}(?:-[a-z]+)+-\d)?"
    r"\.amazonaws\.com(?:\.cn)?"
)


@dataclass(frozen=True)
class Address:
    """An object in S3: its newest version, or the one that is named; or all that begins with a key.

    `bucket` may be an access point's ARN. `requester_pays` says that whoever reads it agrees to pay for that, as some
    buckets ask for.
    """

    bucket: str
    key: str
    version: str = ""
    requester_pays: bool = False

    def __str__(self) -> str:
        """Return the address as we spell it."""
        aside = [f"versionId={self.version}"] * bool(self.version)
        aside += ["requestPayer=requester"] * self.requester_pays
        return f"s3://{self.bucket}/{self.key}" + ("?" if aside else "") + "&".join(aside)


def address_of(text: str | Path) -> Address | None:
    """Return the object in S3 that a text names; None if it is a path on this machine.

    Understood are `s3://bucket/key`, other programs' `s3a://`, `s3n://`, `S3://` and `s3:/`, S3's own https addresses,
    and ARNs of objects and access points. Behind the key may stand `?versionId=version`, `?requestPayer=requester`, or
    both, joined by `&`. Raises InvalidInput for any other address, with the spelling that is meant.
    """
    source = str(text)
    if spelt := _S3.fullmatch(source):
        return _placed(spelt["rest"], source)
    if source.startswith("arn:"):
        return _of_arn(source)
    if not (spelt := _SCHEME.fullmatch(source)):
        return None
    if spelt["scheme"].lower() in ("http", "https"):
        return _of_the_web(source)
    hint = "write the path alone" if spelt["scheme"].lower() == "file" else f"{SPELLING}, or a path"
    raise InvalidInput("is no address that can be read", source=source, hint=hint)


def address_in_s3(source: str) -> Address:
    """Return the object in S3 that a text names. Raises InvalidInput also for a path."""
    address = address_of(source)
    if address is None:
        raise InvalidInput("not an address in S3", source=source, hint=SPELLING)
    return address


def _placed(rest: str, source: str) -> Address:
    """Return what stands behind s3://. Raises InvalidInput if that is no bucket and key."""
    aside = _ASIDE.search(rest)
    said = dict(part.split("=", 1) for part in aside["query"].split("&")) if aside else {}
    place = _PLACE.fullmatch(rest[: aside.start()] if aside else rest)
    if place is None:
        raise InvalidInput("not an address in S3", source=source, hint=SPELLING)
    return Address(place["bucket"], place["key"], said.get("versionId", ""), "requestPayer" in said)


def _of_arn(source: str) -> Address:
    spelt = _ARN.fullmatch(source)
    if spelt is None:
        hint = f"{SPELLING}, or the ARN of an access point and /object/key behind it"
        raise InvalidInput("is no ARN of an object in S3", source=source, hint=hint)
    if spelt["named"]:
        return _placed(spelt["named"], source)
    point = source[: spelt.start("key")].removesuffix("object/").removesuffix("/")
    return _placed(f"{point}/{spelt['key']}", source)


def _of_the_web(source: str) -> Address:
    _, server, path, asked, _ = urlsplit(source)
    host = _S3_HOST.fullmatch(server.lower())
    place = unquote(path).lstrip("/") if host else ""
    if host and host["bucket"]:
        place = f"{host['bucket']}/{place}"
    bucket, _, key = place.partition("/")
    meant = Address(bucket, key) if bucket and key else None
    if meant is None:
        hint = f"download it, or copy it to S3 and {SPELLING}"
        raise InvalidInput("is an address of the web, which is not read", source=source, hint=hint)
    if asked:
        said = dict(parse_qsl(asked.replace("+", "%2B")))
        if set(said) != {"versionId"}:
            raise InvalidInput("is signed or asks for more than an object", source=source, hint=f"write {meant}")
        meant = Address(bucket, key, said["versionId"])
    return _placed(str(meant).removeprefix("s3://"), source)
