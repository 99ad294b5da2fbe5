"""All runs of a stack, the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.record import Run, from_item, pack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE = 25  # runs; DynamoDB hands out at most 100 at once


def newest_runs(dynamodb: DynamoDBClient, table: str) -> Iterator[Run]:
    """Yield the runs in a ledger, the one launched last first; of those launched this very moment some may be missing.

    Reads as many runs as are taken, a page at a time, and none of their epochs: the table's index has runs only.
    Raises CloudError when the table was deployed by an earlier version, without that index.
    """
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        IndexName="newest",
        KeyConditionExpression="#item = :run",
        ExpressionAttributeNames={"#item": "item"},
        ExpressionAttributeValues=pack({":run": "run"}),
        ScanIndexForward=False,  # times are texts, which sort like numbers of ten digits: until the year 2286
        PaginationConfig={"PageSize": PAGE},
    )
    try:
        for page in pages:
            keys = [{name: item[name] for name in ("run_id", "item")} for item in page["Items"]]
            yield from sorted(_read(dynamodb, table, keys), key=lambda run: -run.created_at)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationException" and "index" in str(error):
            raise CloudError(f"the ledger {table} cannot list its runs yet: deploy the stack again") from None
        raise


def _read(dynamodb: DynamoDBClient, table: str, keys: list[Any]) -> Iterator[Run]:
    """Yield the runs of these keys, in any order."""
    asked: Any = {table: {"Keys": keys, "ConsistentRead": True}} if keys else {}
    while asked:
        answer = dynamodb.batch_get_item(RequestItems=asked)
        yield from map(from_item, answer["Responses"][table])
        asked = answer.get("UnprocessedKeys")
