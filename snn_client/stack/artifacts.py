"""The artifact bucket: what a deployment reads. It is the one thing that exists before, and beside, the stack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from snn_client.stack.layer import DEPENDENCIES, FEATURES, PREDICT, Layer, layer_key, layer_zip
from snn_client.stack.package import function_zip, templates
from snn_client.stack.wheel import wheel
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError

# On the artifact bucket: whose it is, which its name alone does not prove; and the data bucket, if somebody named it.
STACK_TAG, DATA_TAG = "snn:stack", "snn:data-bucket"
NOTEBOOK_PREFIX = "notebook/"  # all that the notebook instance may read of the artifact bucket


@dataclass(frozen=True)
class Artifacts:
    """Where the uploaded artifacts are, and the root template's text."""

    bucket: str
    root_template: str
    parameters: dict[str, str]  # of the root template: CodeKey, LayerKey, NetworkTemplate, …


def bucket_name(stack_name: str, account: str, region: str) -> str:
    """Return the name of a stack's artifact bucket."""
    return f"{stack_name}-artifacts-{account}-{region}"


def upload_artifacts(
    clients: Clients,
    stack_name: str,
    *,
    runtime: str,
    architecture: str,
    build_layer: bool,
    build_features: bool,
    build_predict: bool,
    build_package: bool,
    secure_transport: bool,
    data_bucket: str = "",
    on_progress: Callable[[str], None],
) -> Artifacts:
    """Build and upload what the stack is made of; whatever is there already is not uploaded again.

    `data_bucket` is the name that was chosen for it, if one was: a cleanup must know it even when the stack is gone.
    Keys are made from contents, so a change of anything is a change of a parameter, which CloudFormation notices.
    Raises CloudError if the bucket belongs to someone else or something cannot be built.
    """
    account = clients.sts.get_caller_identity()["Account"]
    region = clients.cloudformation.meta.region_name
    bucket = bucket_name(stack_name, account, region)
    _ensure_bucket(clients, bucket, stack_name, account, region, secure_transport)
    if data_bucket:
        _tag(clients, bucket, {**tags_of_bucket(clients, bucket, account), DATA_TAG: data_bucket}, account)

    def put(key: str, content: bytes | Callable[[], bytes]) -> str:
        if _missing(clients, bucket, key, account):
            body = content if isinstance(content, bytes) else content()
            on_progress(f"uploading {key} ({len(body) / 1e6:.1f} MB)")
            clients.s3.put_object(Bucket=bucket, Key=key, Body=body, ExpectedBucketOwner=account)
        return key

    code = function_zip()
    parameters = {"ArtifactBucket": bucket, "CodeKey": put(f"code/{_digest(code)}.zip", code)}
    texts = templates()
    root = texts.pop("root")
    for name, text in sorted(texts.items()):
        parameters[f"{name.title()}Template"] = put(f"templates/{name}-{_digest(text.encode())}.yaml", text.encode())

    def put_layer(layer: Layer) -> str:
        return put(
            f"layers/{layer_key(layer, runtime, architecture)}.zip",
            lambda: layer_zip(layer, runtime, architecture, on_progress=on_progress).read_bytes(),
        )

    if build_layer:
        parameters["LayerKey"] = put_layer(DEPENDENCIES)
    if build_features:
        parameters["FeatureLayerKey"] = put_layer(FEATURES)
    if build_predict:
        # The feature layer holds all of the other one, and what backbones need.
        parameters["PredictLayerKey"] = put_layer(FEATURES if build_features else PREDICT)
    if build_package:
        name, content = wheel()
        parameters["PackageKey"] = put(f"{NOTEBOOK_PREFIX}{_digest(content)}/{name}", content)
    return Artifacts(bucket, root, parameters)


def tags_of_bucket(clients: Clients, bucket: str, account: str) -> dict[str, str]:
    """Return a bucket's tags; none if there is no such bucket. Raises CloudError for one that is not this account's."""
    try:
        answer = clients.s3.get_bucket_tagging(Bucket=bucket, ExpectedBucketOwner=account)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("404", "NoSuchBucket", "NotFound", "NoSuchTagSet"):
            return {}
        if code == "AccessDenied":
            line = f"the bucket {bucket} does not belong to account {account}, or this role may not access it"
            raise CloudError(line) from error
        raise
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def _tag(clients: Clients, bucket: str, tags: Mapping[str, str], account: str) -> None:
    tag_set: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
    clients.s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_set}, ExpectedBucketOwner=account)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _missing(clients: Clients, bucket: str, key: str, account: str) -> bool:
    try:
        clients.s3.head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return True
        raise
    return False


def _ensure_bucket(
    clients: Clients, bucket: str, stack_name: str, account: str, region: str, secure_transport: bool
) -> None:
    """Make the bucket if it is missing, and keep it private.

    Its name can be guessed, so somebody else may have taken it in order to be handed code to change: it is used only if
    this account owns it.
    """
    try:
        clients.s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        return
    except ClientError as error:
        if error.response["Error"]["Code"] == "403":
            raise CloudError(
                f"the bucket {bucket} does not belong to account {account}, or this role may not use it"
            ) from error
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket", "NotFound"):
            raise
    settings: dict[str, Any] = (
        {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    clients.s3.create_bucket(Bucket=bucket, **settings)
    _tag(clients, bucket, {STACK_TAG: stack_name}, account)
    clients.s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
    )
    clients.s3.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    if secure_transport:
        partition = clients.s3.meta.partition
        arn = f"arn:{partition}:s3:::{bucket}"
        clients.s3.put_bucket_policy(
            Bucket=bucket,
            Policy=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "NothingWithoutTls",
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": [arn, f"{arn}/*"],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ],
                }
            ),
        )
