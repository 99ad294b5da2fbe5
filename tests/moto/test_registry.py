"""What is tested on the other emulator of the registry holds on moto too: the very same tests.

They need a table and a versioned bucket, not a stack.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from integration.test_registry import *  # noqa: F403
from scenes.common import OUTPUTS

from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients


@pytest.fixture(scope="module")
def stack(clients: Clients) -> StackOutputs:
    """Return the outputs of a stack of which there is what the registry needs."""
    outputs = replace(OUTPUTS, bucket="registry-data", table="registry-runs")
    keys = ("run_id", "item")
    clients.dynamodb.create_table(
        TableName=outputs.table, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"))],
    )  # fmt: skip
    clients.s3.create_bucket(Bucket=outputs.bucket)
    clients.s3.put_bucket_versioning(Bucket=outputs.bucket, VersioningConfiguration={"Status": "Enabled"})
    return outputs
