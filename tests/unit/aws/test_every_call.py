"""Every call that the product makes is made once against answers that hold all that they may hold.

A call without a scene (tests/scenes) fails here, and so does one whose answers may have pages of which only the first
is read, unless it is named below with the reason.
"""

from __future__ import annotations

from functools import cache

import pytest
from answers import Answers, Heard
from aws_calls import NO_CALLS, Place, in_source, places, places_at, tokens
from documentation import ROOT
from scenes import scenes

# (file, function, operation): why the first page is enough.
ONE_PAGE = {
    ("lambda_functions/snn_cloud/ledger/ledger.py", "_chunk_at", "dynamodb.Query"): "the last chunk is the first item",
    ("snn_client/models/champion.py", "reigns", "s3.ListObjectVersions"): "the newest fifty are told",
    ("snn_client/stack/belongings.py", "_logs_of_the_notebook", "s3.ListObjectsV2"): "is there any object?",
    ("snn_client/stack/change_set.py", "look", "cloudformation.DescribeChangeSet"): "_changes goes on from it",
    ("snn_client/stack/cleanup.py", "_first_versions", "s3.ListObjectVersions"): "these are deleted, and it asks anew",
    ("snn_client/stack/status.py", "describe_stack", "cloudformation.DescribeStacks"): "one stack is asked for",
}


@cache
def played(name: str) -> Answers:
    return scenes()[name]()


@cache
def heard() -> dict[Place, list[Heard]]:
    found: dict[Place, list[Heard]] = {place: [] for place in places()}
    for name in scenes():
        for one in played(name).heard:
            for place in places_at(one.operation, one.where) if one.where else ():
                found[place].append(one)
    return found


@pytest.mark.parametrize("name", sorted(scenes()))
def test_the_scene_ends_as_it_should(name: str) -> None:
    assert played(name).heard
    unknown = [one for one in played(name).heard if one.where and not places_at(one.operation, one.where)]
    assert not unknown, "calls that tests/aws_calls.py does not find in the source"


def test_every_call_has_a_scene() -> None:
    without = [str(place) for place, calls in heard().items() if not calls]
    assert not without, "\n".join(["calls that no scene makes:", *without])


def test_every_page_is_read() -> None:
    paged = {place: calls for place, calls in heard().items() if tokens(place.operation)[0]}
    first_only = {place for place, calls in paged.items() if not any(one.goes_on for one in calls)}
    named = {(place.file, place.function, place.operation) for place in first_only}
    assert named == set(ONE_PAGE), "calls of which only the first page is read"


def test_calls_are_found_however_they_are_made() -> None:
    source = """
def direct(clients):
    clients.s3.get_object(Bucket="b")

def by_another_name(clients):
    ask = clients.lambda_.invoke
    ask()

def pages(logs):
    logs.get_paginator("filter_log_events")

def waiter(self):
    self._dynamodb.get_waiter("table_exists")
"""
    found = {(place.function, place.operation) for place in in_source(source, "somewhere.py")}
    assert found == {
        ("direct", "s3.GetObject"), ("by_another_name", "lambda.Invoke"), ("pages", "logs.FilterLogEvents"),
        ("waiter", "dynamodb.DescribeTable"),
    }  # fmt: skip


def test_what_only_looks_like_a_call_is_there() -> None:
    for file, before, method in NO_CALLS:
        assert f"{before}.{method}(" in (ROOT / file).read_text()
