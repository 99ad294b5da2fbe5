"""Addresses in S3, however they are spelt, and what is said of an object that S3 does not hand out."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from snn.errors import InvalidInput
from snn_client.data.addresses import Address, address_of
from snn_client.data.staging import Item, _version_holding, read_source
from snn_cloud.aws.clients import Clients

POINT = "arn:aws:s3:eu-central-1:123456789012:accesspoint/photos"
PLAIN = Address("my-bucket", "cats/my cats.h5")


@pytest.fixture
def clients() -> Clients:
    make: Any = boto3.session.Session("x", "y", region_name="eu-central-1").client
    s3 = make("s3")
    return Clients(lambda service: s3)


@pytest.fixture
def s3(clients: Clients) -> Any:
    with Stubber(clients.s3) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *[
            (text, PLAIN)
            for text in (
                "s3://my-bucket/cats/my cats.h5",
                "S3://my-bucket/cats/my cats.h5",
                "s3a://my-bucket/cats/my cats.h5",
                "s3n://my-bucket/cats/my cats.h5",
                "s3:/my-bucket/cats/my cats.h5",
                Path("s3://my-bucket/cats/my cats.h5"),
                "https://my-bucket.s3.eu-central-1.amazonaws.com/cats/my%20cats.h5",
                "https://my-bucket.s3.amazonaws.com/cats/my%20cats.h5",
                "https://my-bucket.s3-eu-west-1.amazonaws.com/cats/my%20cats.h5",
                "https://my-bucket.s3.dualstack.us-east-1.amazonaws.com/cats/my%20cats.h5",
                "https://my-bucket.s3-accelerate.amazonaws.com/cats/my%20cats.h5",
                "https://s3.cn-north-1.amazonaws.com.cn/my-bucket/cats/my%20cats.h5",
                "https://S3.us-gov-west-1.amazonaws.com/my-bucket/cats/my%20cats.h5",
                "arn:aws:s3:::my-bucket/cats/my cats.h5",
                "arn:aws-cn:s3:::my-bucket/cats/my cats.h5",
            )
        ],
        ("https://a.b.c.s3.eu-central-1.amazonaws.com/x", Address("a.b.c", "x")),
        ("https://my-bucket.s3.amazonaws.com/x.h5?versionId=3/L4k%2B+q", Address("my-bucket", "x.h5", "3/L4k++q")),
        ("s3://my-bucket/x.h5?versionId=3/L4k+q", Address("my-bucket", "x.h5", "3/L4k+q")),
        ("s3://my-bucket/x.h5?requestPayer=requester", Address("my-bucket", "x.h5", requester_pays=True)),
        ("s3a://my-bucket/x.h5?versionId=v&requestPayer=requester", Address("my-bucket", "x.h5", "v", True)),
        ("s3://my-bucket/x.h5?requestPayer=requester&versionId=v", Address("my-bucket", "x.h5", "v", True)),
        ("s3://my-bucket/what?.h5", Address("my-bucket", "what?.h5")),
        ("s3://my-bucket/what?versionId=", Address("my-bucket", "what?versionId=")),
        (f"{POINT}/object/cats/x.h5", Address(POINT, "cats/x.h5")),
        (f"{POINT}/cats/x.h5", Address(POINT, "cats/x.h5")),
        (f"s3://{POINT}/cats/x.h5", Address(POINT, "cats/x.h5")),
        ("s3://photos-abc123-s3alias/x.h5", Address("photos-abc123-s3alias", "x.h5")),
    ],
)
def test_an_address_is_understood_however_it_is_spelt(text: str | Path, meant: Address) -> None:
    assert address_of(text) == meant
    assert address_of(str(meant)) == meant


@pytest.mark.parametrize("path", ["datasets/faces.h5", "/data/s3/x.h5", "C:/data/x.h5", "s3", "a?versionId=1", ""])
def test_a_path_is_none(path: str) -> None:
    assert address_of(path) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("s3://my-bucket", "not an address in S3 (write s3://bucket/key)"),
        ("s3:///x.h5", "not an address in S3 (write s3://bucket/key)"),
        ("s3://my bucket/x.h5", "not an address in S3 (write s3://bucket/key)"),
        ("gs://my-bucket/x.h5", "is no address that can be read (write s3://bucket/key, or a path)"),
        ("file:///data/x.h5", "is no address that can be read (write the path alone)"),
        (
            "https://example.org/x.h5",
            "is an address of the web, which is not read (download it, or copy it to S3 and write s3://bucket/key)",
        ),
        (
            "https://my-bucket.s3.amazonaws.com/x.h5?X-Amz-Signature=abc",
            "is signed or asks for more than an object (write s3://my-bucket/x.h5)",
        ),
        (
            "arn:aws:s3:::my-bucket",
            "is no ARN of an object in S3 (write s3://bucket/key, or the ARN of an access point and /object/key behind "
            "it)",
        ),
    ],
)
def test_any_other_address_is_refused_with_the_right_spelling(text: str, line: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        address_of(text)
    assert str(caught.value) == f"{text}: {line}"


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("s3a://my-bucket/x.h5", {"Bucket": "my-bucket", "Key": "x.h5"}),
        (f"{POINT}/object/x.h5", {"Bucket": POINT, "Key": "x.h5"}),
        (
            "s3://my-bucket/x.h5?versionId=v&requestPayer=requester",
            {"Bucket": "my-bucket", "Key": "x.h5", "VersionId": "v", "RequestPayer": "requester"},
        ),
    ],
)
def test_s3_is_asked_for_what_was_meant(clients: Clients, s3: Any, source: str, asked: dict[str, str]) -> None:
    body = {"Body": StreamingBody(BytesIO(b"abc"), 3), "ContentLength": 3}  # type: ignore[no-untyped-call]
    s3.add_response("get_object", body, asked)
    assert read_source(clients.s3, source) == b"abc"


def test_boto3_knows_an_access_point_s_arn(clients: Clients) -> None:
    asked: list[str] = []

    def answer(request: Any, **_: Any) -> Any:
        asked.append(request.url)
        raise InterruptedError

    clients.s3.meta.events.register("before-send.s3.GetObject", answer)
    with pytest.raises(InterruptedError):
        read_source(clients.s3, f"{POINT}/object/x.h5")
    assert asked == ["https://photos-123456789012.s3-accesspoint.eu-central-1.amazonaws.com/x.h5"]


WORDS = "User: arn:aws:iam::1:user/me is not authorized to perform: {} on resource: it, as no policy allows it"
DENIED = "S3 denies access, or there is no such object"
HINT = (
    "allow s3:GetObject on it, and kms:Decrypt on its key if it has one; where the requester pays, add "
    "?requestPayer=requester to the address"
)


@pytest.mark.parametrize(
    ("code", "words", "more", "line"),
    [
        ("NoSuchKey", "", {}, "no such object in S3"),
        ("NoSuchVersion", "", {}, "no such object in S3"),
        ("NoSuchBucket", "", {}, "no such bucket in S3 (check the address)"),
        ("InvalidArgument", "Invalid version id specified", {}, "S3 knows no such version (check what stands behind "
         "?versionId=)"),
        ("MethodNotAllowed", "", {}, "was deleted in this version (name another one)"),
        ("InvalidObjectState", "", {"StorageClass": "DEEP_ARCHIVE"}, "is archived in DEEP_ARCHIVE (restore it (aws "
         "s3api restore-object), which takes minutes to days)"),
        ("KMS.DisabledException", "the key is disabled", {}, "its key cannot be used: the key is disabled (enable its "
         "KMS key, or store it under another one)"),
        ("AccessDenied", "Access Denied", {}, f"{DENIED} ({HINT})"),
        ("AccessDenied", WORDS.format("kms:Decrypt"), {}, f"its key may not be used: {WORDS.format('kms:Decrypt')} "
         "(allow kms:Decrypt on that key)"),
        ("AccessDenied", WORDS.format("s3:GetObject"), {}, f"{DENIED}: {WORDS.format('s3:GetObject')} (allow "
         "s3:GetObject on it, s3:GetObjectVersion on a version)"),
        ("AccessDenied", WORDS.format("s3:ListBucket"), {}, f"{DENIED}: {WORDS.format('s3:ListBucket')} (check the "
         "address; S3 tells only whoever may s3:ListBucket)"),
    ],
)  # fmt: skip
def test_what_s3_says_of_an_object_that_cannot_be_read_is_one_line(
    clients: Clients, s3: Any, code: str, words: str, more: dict[str, str], line: str
) -> None:
    s3.add_client_error("get_object", code, words, service_error_meta=more)
    with pytest.raises(InvalidInput) as caught:
        read_source(clients.s3, "s3://my-bucket/x.h5")
    assert str(caught.value) == f"s3://my-bucket/x.h5: {line}"


@pytest.mark.parametrize("code", ["404", "403", "Forbidden", "NoSuchKey"])
def test_who_may_not_list_the_bucket_may_still_put_into_it(clients: Clients, s3: Any, code: str) -> None:
    """The notebook's role may list some folders only, and to such a role S3 says 403 of an object that is not there."""
    item = Item("runs/x/input/a", "", "1" * 64, BytesIO, "a")
    s3.add_client_error("head_object", code, http_status_code=403, expected_params={"Bucket": "b", "Key": item.key})
    assert _version_holding(clients.s3, "b", item) is None
