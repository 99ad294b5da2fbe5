"""What is asked of CloudFormation for a stack's options: the template, its parameters, and the artifacts these name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_client.stack.artifacts import upload_artifacts
from snn_client.stack.options import StackOptions, template_value
from snn_cloud.aws.clients import Clients

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef


def stack_request(
    clients: Clients, options: StackOptions, live: StackTypeDef | None, on_progress: Callable[[str], None]
) -> dict[str, Any]:
    """Return what to ask of CloudFormation, after uploading what that names.

    Options that nobody gave stay as they are in `live`, the stack as it is there. Raises InvalidInput or CloudError.
    """
    if live is not None:
        if not options.bucket:  # says nothing of a stack that is there
            options = replace(options, given=options.given - {"bucket"})
        options = options.keeping(
            {item["ParameterKey"]: item.get("ParameterValue", "") for item in live.get("Parameters", [])},
            {tag["Key"]: tag["Value"] for tag in live.get("Tags", [])},
        )
    check_bucket(clients, options.bucket, live)
    # An endpoint without TLS is not AWS; what runs there has no TLS of its own to offer either.
    secure = clients.cloudformation.meta.endpoint_url.startswith("https:")
    if secure and options.runtime == "python3.11" and not options.layer_arn:
        raise InvalidInput(
            "python3.11 cannot load the dependencies on AWS",
            field="runtime",
            source="stack options",
            hint="python3.12 or later: its Amazon Linux 2 has glibc 2.26, numpy and h5py need 2.28",
        )
    artifacts = upload_artifacts(
        clients,
        options.stack_name,
        runtime=options.runtime,
        architecture=options.architecture,
        build_layer=not options.layer_arn,
        build_features=options.with_features,
        build_predict=options.endpoint != "none",
        build_package=options.with_notebook,
        secure_transport=secure,
        data_bucket=options.bucket,
        on_progress=on_progress,
    )
    values = {**artifacts.parameters, **options.parameters, "SecureTransport": template_value(secure)}
    return {
        "StackName": options.stack_name,
        "TemplateBody": artifacts.root_template,
        "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()],
        "Tags": [{"Key": key, "Value": value} for key, value in options.tags.items()],
    }


def check_bucket(clients: Clients, bucket: str, live: StackTypeDef | None) -> None:
    """Raise InvalidInput unless a data bucket of this name can be made for a new stack, or is that of `live`."""
    if not bucket:
        return
    wrong = {"field": "bucket", "source": "stack options"}
    if live is not None:
        there = {item["OutputKey"]: item["OutputValue"] for item in live.get("Outputs", [])}.get("Bucket", "")
        if bucket != there:
            problem = f"{bucket} cannot replace {there}"
            raise InvalidInput(problem, hint="leave it out: a stack keeps its bucket, and the data in it", **wrong)
        return
    try:
        clients.s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchBucket", "NotFound"):
            return
    hint = "bucket names are unique across all of S3: choose another, or leave it out"
    raise InvalidInput(f"there is already a bucket {bucket}", hint=hint, **wrong)
