"""All runs of a stack, the newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.record import Run, from_item, pack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE, AT_ONCE = 25, 100  # runs; DynamoDB hands out at most 100 at once


def newest_runs(dynamodb: DynamoDBClient, table: str) -> Iterator[Run]:
    """Yield the runs in a ledger, the one launched last first; of those launched this very moment some may be missing.

    Reads as many runs as are taken, a page at a time, and none of their epochs: the table's index has runs only.
    Raises CloudError when the table was deployed by an earlier version, without that index.
    """
    for ids in _pages(dynamodb, table, PAGE):
        yield from sorted(map(from_item, _items(dynamodb, table, ids)), key=lambda run: -run.created_at)


def newest_ids(dynamodb: DynamoDBClient, table: str) -> list[str]:
    """Return the names of all runs in a ledger, as `newest_runs` orders them: one request for some thousand."""
    return [name for ids in _pages(dynamodb, table) for name in ids]


def read_runs(dynamodb: DynamoDBClient, table: str, ids: Sequence[str]) -> tuple[list[Run], list[str]]:
    """Return these runs, in any order, as far as they are there; and the names of those that cannot be read."""
    found, unreadable = list[Run](), list[str]()
    for first in range(0, len(ids), AT_ONCE):
        for item in _items(dynamodb, table, ids[first : first + AT_ONCE]):
            try:
                found.append(from_item(item))
            except (InvalidInput, ValueError, KeyError):  # an earlier or a later version's
                unreadable.append(item["run_id"]["S"])
    return found, unreadable


def _pages(dynamodb: DynamoDBClient, table: str, size: int | None = None) -> Iterator[list[str]]:
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        IndexName="newest",
        KeyConditionExpression="#item = :run",
        ExpressionAttributeNames={"#item": "item"},
        ExpressionAttributeValues=pack({":run": "run"}),
        ScanIndexForward=False,  # times are texts, which sort like numbers of ten digits: until the year 2286
        PaginationConfig={"PageSize": size} if size else {},
    )
    try:
        for page in pages:
            yield [item["run_id"]["S"] for item in page["Items"]]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationException" and "index" in str(error):
            raise CloudError(f"the ledger {table} cannot list its runs yet: deploy the stack again") from None
        raise


def _items(dynamodb: DynamoDBClient, table: str, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the items of runs of these names, in any order."""
    keys = [pack({"run_id": name, "item": "run"}) for name in ids]
    asked: Any = {table: {"Keys": keys, "ConsistentRead": True}} if keys else {}
    while asked:
        answer = dynamodb.batch_get_item(RequestItems=asked)
        yield from answer["Responses"][table]
        asked = answer.get("UnprocessedKeys")
