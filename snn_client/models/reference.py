"""What a version was trained on, kept for the endpoint: by it what is asked is compared with what was learned."""

from __future__ import annotations

import logging
from io import BytesIO

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_client.data.staging import read_source
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE
from snn_cloud.registry.record import Version
from snn_data.dataset import load_dataset
from snn_data.drift.reference import Reference

log = logging.getLogger(__name__)


def write_reference(clients: Clients, bucket: str, version: Version) -> bool:
    """Write what a version was trained on beside its report, unless it is there; return whether it is there now.

    Data that are gone, or cannot be compared, are told in the log: the model answers all the same.
    """
    key = places.drift_reference(version["run_id"])
    try:
        clients.s3.head_object(Bucket=bucket, Key=key)
        return True
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_THERE | NOT_ALLOWED:
            raise
    source = f"s3://{bucket}/{version['dataset']}"
    try:
        data = load_dataset(BytesIO(read_source(clients.s3, source)), source)
        reference = Reference.of(data)
    except InvalidInput as problem:
        log.warning("what the endpoint is asked will not be compared with what was learned: %s", problem)
        return False
    clients.s3.put_object(Bucket=bucket, Key=key, Body=reference.to_json().encode())
    return True
