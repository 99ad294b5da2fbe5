"""Requests are counted as AWS bills them, by clients whose answers are made up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from snn_cloud.clients import Clients
from snn_cloud.record import Run, Usage

KEY: Any = {"run_id": {"S": "r"}}


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return Clients(lambda service: boto3.client(service, region_name="us-east-1"))


def test_dynamodb_says_its_units(clients: Clients) -> None:
    table, units = {"TableName": "t"}, {"ReturnConsumedCapacity": "TOTAL"}
    with Stubber(clients.dynamodb) as stub:
        stub.add_response("put_item", {"ConsumedCapacity": {"CapacityUnits": 24.0}}, {**table, "Item": KEY, **units})
        stub.add_response("get_item", {"ConsumedCapacity": {"CapacityUnits": 1.5}}, {**table, "Key": KEY, **units})
        stub.add_response("update_item", {}, {**table, "Key": KEY, **units})
        clients.dynamodb.put_item(**table, Item=KEY)
        clients.dynamodb.get_item(**table, Key=KEY)
        clients.dynamodb.update_item(**table, Key=KEY)
    assert clients.requests.take() == {"write_units": 25, "read_units": 2}
    assert clients.requests.take() == {}


def test_a_refused_write_is_billed_and_a_throttled_one_is_not(clients: Clients) -> None:
    with Stubber(clients.dynamodb) as stub:
        for code, status in [("ConditionalCheckFailedException", 400), ("ThrottlingException", 400), ("Oops", 500)]:
            stub.add_client_error("put_item", code, http_status_code=status)
            with pytest.raises(ClientError):
                clients.dynamodb.put_item(TableName="t", Item=KEY)
    assert clients.requests.take() == {"write_units": 1}


def test_s3_has_two_classes_and_deleting_is_free(clients: Clients) -> None:
    with Stubber(clients.s3) as stub:
        for method in ("put_object", "list_objects_v2", "get_object", "head_object", "delete_object"):
            stub.add_response(method, {})
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_client_error("get_object", "SlowDown", http_status_code=503)
        clients.s3.put_object(Bucket="b", Key="k", Body=b"")
        clients.s3.list_objects_v2(Bucket="b")
        clients.s3.get_object(Bucket="b", Key="k")
        clients.s3.head_object(Bucket="b", Key="k")
        clients.s3.delete_object(Bucket="b", Key="k")
        for _ in range(2):
            with pytest.raises(ClientError):
                clients.s3.get_object(Bucket="b", Key="k")
    assert clients.requests.take() == {"s3_puts": 2, "s3_gets": 3}


def test_messages_are_counted_and_what_else_is_asked_of_sns_is_not(clients: Clients) -> None:
    with Stubber(clients.sns) as stub:
        stub.add_response("publish", {})
        stub.add_response("list_topics", {})
        stub.add_client_error("publish", "AuthorizationError", http_status_code=403)
        clients.sns.publish(TopicArn="t", Message="m")
        clients.sns.list_topics()
        with pytest.raises(ClientError):
            clients.sns.publish(TopicArn="t", Message="m")
    assert clients.requests.take() == {"publishes": 1}


def test_no_count_is_lost_between_threads(clients: Clients) -> None:
    requests, total = clients.requests, 0
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(lambda: [requests._add("s3_gets") for _ in range(2_000)]) for _ in range(8)]
        while not all(each.done() for each in work):
            total += requests.take().get("s3_gets", 0)
    assert total + requests.take().get("s3_gets", 0) == 16_000


def test_usages_add_up() -> None:
    one = Usage(1, 20, 512, 1, 2, 3, 4, 5)
    assert one + Usage(milliseconds=5, write_units=2) == Usage(1, 25, 512, 1, 2, 5, 4, 5)
    run = Run("r", usage={"launch": one, "trainer": one})
    assert run.requests == {"s3_puts": 2, "s3_gets": 4, "write_units": 6, "read_units": 8, "publishes": 10}
