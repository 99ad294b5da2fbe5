"""What is asked of DynamoDB is counted as AWS bills it, by every operation that botocore knows."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from snn_cloud.aws.metering import Requests

CLIENT = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
SERVICE: Any = CLIENT.meta.service_model
READS = {"GetItem", "BatchGetItem", "TransactGetItems", "Query", "Scan"}
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}
# The product asks for none of these.
OTHERS = {"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction", "SearchVectors"}
FINE = AWSResponse("", 200, {}, None)
SHAPES = {name: SERVICE.operation_model(name).output_shape for name in SERVICE.operation_names}
BILLED = {name for name, shape in SHAPES.items() if shape is not None and "ConsumedCapacity" in shape.members}


def counted(operation: str, answer: dict[str, Any]) -> dict[str, int]:
    """Return what is counted of an operation that is answered so."""
    client = boto3.client("dynamodb", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    requests = Requests()
    requests.watch(client)
    model = SERVICE.operation_model(operation)
    client.meta.events.emit(
        f"after-call.dynamodb.{operation}", http_response=FINE, parsed=answer, model=model, context={}
    )
    return requests.take()


def test_the_operations_are_those_that_botocore_knows() -> None:
    assert BILLED == READS | WRITES | OTHERS


@pytest.mark.parametrize("operation", sorted(READS | WRITES))
def test_units_are_told_by_one_object_or_by_a_list(operation: str) -> None:
    shape = SHAPES[operation].members["ConsumedCapacity"]
    one = {"TableName": "snn-runs", "CapacityUnits": 2.5}
    told: Any = [one, {**one, "CapacityUnits": 1.0}] if shape.type_name == "list" else one
    kind = "read_units" if operation in READS else "write_units"
    assert counted(operation, {"ConsumedCapacity": told}) == {kind: 4 if shape.type_name == "list" else 3}
    assert counted(operation, {}) == {kind: 1}  # an emulator may leave it out


def test_what_is_free_or_failed_is_not_counted() -> None:
    assert counted("DescribeTable", {"Table": {}}) == {}
    assert counted("TagResource", {}) == {}
