"""Promotion and rollback in a real (emulated) versioned bucket: which bytes lie where, in peace, race and crash."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import boto3
import numpy as np
import pytest

from snn.errors import InvalidInput
from snn_client.models.champion import Change, find_champion, promote, roll_back
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import ChampionChanged
from snn_data.model import save_model

PLACES = {
    "params": places.PROMOTED_PARAMS,
    "results": places.PROMOTED_RESULTS,
    "previous params": places.PREVIOUS_PARAMS,
    "previous results": places.PREVIOUS_RESULTS,
}


class Bucket:
    """A versioned bucket of its own, with what three runs left in it."""

    def __init__(self) -> None:
        self.name = f"champion-{uuid.uuid4().hex[:12]}"
        self.s3 = boto3.client("s3")
        self.s3.create_bucket(Bucket=self.name)
        self.s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        self.clients = Clients(boto3.client)
        for number, run_id in enumerate(("one", "two", "three")):
            self.leave(run_id, number)

    def leave(self, run_id: str, seed: int) -> None:
        chance, model = np.random.default_rng(seed), BytesIO()
        params = {"W1": chance.normal(size=(1, 12)), "b1": np.zeros((1, 1))}
        save_model(model, params, ("sigmoid",), {"run_id": run_id, "parameters": '{"epochs": 3}'})
        self.put(places.params(run_id), model.getvalue())
        self.put(places.results(run_id), f"results of {run_id}".encode())

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=content)

    def read(self, key: str) -> bytes | None:
        try:
            return self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None

    def holds(self, champion: str, previous: str | None) -> bool:
        """Return whether both pairs lie where they must, byte for byte."""
        expected = {
            "params": self.read(places.params(champion)),
            "results": self.read(places.results(champion)),
            "previous params": self.read(places.params(previous)) if previous else None,
            "previous results": self.read(places.results(previous)) if previous else None,
        }
        return {name: self.read(key) for name, key in PLACES.items()} == expected

    def before(self, operation: str, act: Callable[[dict[str, Any]], object]) -> None:
        """Have `act` called before every such request of the clients that the functions use."""

        def handler(params: dict[str, Any], **_: Any) -> None:  # what it returned would be taken for S3's answer
            act(params)

        self.clients.s3.meta.events.register(f"before-call.s3.{operation}", handler)


@pytest.fixture
def bucket(emulator: Any) -> Bucket:
    return Bucket()


def test_the_first_champion(bucket: Bucket) -> None:
    assert find_champion(bucket.clients, bucket.name) is None
    assert promote(bucket.clients, bucket.name, "one", over="") == Change("one", "")
    assert bucket.holds("one", None)
    assert bucket.s3.head_object(Bucket=bucket.name, Key=places.PROMOTED_PARAMS)["Metadata"]["run-id"] == "one"
    champion = find_champion(bucket.clients, bucket.name)
    assert champion is not None
    assert (champion.run_id, champion.parameters) == ("one", {"epochs": 3})


def test_the_former_champion_is_kept_and_comes_back_by_a_rollback(bucket: Bucket) -> None:
    promote(bucket.clients, bucket.name, "one")
    assert promote(bucket.clients, bucket.name, "two") == Change("two", "one")
    assert bucket.holds("two", "one")
    assert promote(bucket.clients, bucket.name, "three") == Change("three", "two")
    assert bucket.holds("three", "two")
    assert roll_back(bucket.clients, bucket.name) == Change("two", "three")
    assert bucket.holds("two", "three")
    assert roll_back(bucket.clients, bucket.name) == Change("three", "two")
    assert bucket.holds("three", "two")
    roll_back(bucket.clients, bucket.name)
    assert promote(bucket.clients, bucket.name, "one") == Change("one", "two")
    assert bucket.holds("one", "two")


def test_promoting_twice_is_promoting_once(bucket: Bucket) -> None:
    promote(bucket.clients, bucket.name, "one")
    once = promote(bucket.clients, bucket.name, "two")
    assert promote(bucket.clients, bucket.name, "two") == once == Change("two", "one")
    assert bucket.holds("two", "one")


def test_there_may_be_nothing_to_go_back_to(bucket: Bucket) -> None:
    for _ in range(2):
        with pytest.raises(InvalidInput) as caught:
            roll_back(bucket.clients, bucket.name)
        assert str(caught.value) == (
            f"s3://{bucket.name}/predict_input/previous/params.h5: there is no previous champion to go back to "
            "(there is one once a second model has been promoted)"
        )
        promote(bucket.clients, bucket.name, "one")
    assert bucket.holds("one", None)


def test_a_run_without_a_model_is_not_promoted(bucket: Bucket) -> None:
    promote(bucket.clients, bucket.name, "one")
    with pytest.raises(InvalidInput, match=r"runs/nobody/params\.h5: no such object in S3"):
        promote(bucket.clients, bucket.name, "nobody")
    assert bucket.holds("one", None)


def test_whoever_was_compared_with_a_former_champion_is_refused(bucket: Bucket) -> None:
    promote(bucket.clients, bucket.name, "one")
    champion = find_champion(bucket.clients, bucket.name)
    assert champion is not None
    promote(bucket.clients, bucket.name, "two", over=champion.etag)
    with pytest.raises(
        ChampionChanged, match=r"the champion has changed in the meantime, it is now run two: compare with that"
    ):
        promote(bucket.clients, bucket.name, "three", over=champion.etag)
    with pytest.raises(ChampionChanged):
        promote(bucket.clients, bucket.name, "three", over="")
    assert bucket.holds("two", "one")


def test_of_many_at_the_same_moment_one_wins_and_the_former_champion_is_kept(bucket: Bucket) -> None:
    promote(bucket.clients, bucket.name, "one")
    names = [f"racer-{number}" for number in range(6)]
    for number, name in enumerate(names):
        bucket.leave(name, 100 + number)
    all_have_read = threading.Barrier(len(names))

    def wait(params: dict[str, Any]) -> None:
        if params["url_path"].endswith(places.PROMOTED_PARAMS):
            all_have_read.wait(timeout=30)

    bucket.before("PutObject", wait)

    def race(name: str) -> str:
        try:
            return promote(bucket.clients, bucket.name, name).champion
        except ChampionChanged:
            return ""

    with ThreadPoolExecutor(len(names)) as pool:
        (winner,) = filter(None, pool.map(race, names))
    assert bucket.holds(winner, "one")


def test_the_first_champion_is_one_too_when_two_want_to_be_it(bucket: Bucket) -> None:
    quicker = Clients(boto3.client)
    acts = [lambda: promote(quicker, bucket.name, "two")]
    bucket.before("PutObject", lambda _: acts.pop()() if acts else None)
    with pytest.raises(ChampionChanged, match="it is now run two"):
        promote(bucket.clients, bucket.name, "one")
    assert bucket.holds("two", None)


def test_a_rollback_is_refused_when_someone_promotes_just_then(bucket: Bucket) -> None:
    for run_id in ("one", "two"):
        promote(bucket.clients, bucket.name, run_id)
    quicker = Clients(boto3.client)
    acts = [lambda: promote(quicker, bucket.name, "three")]
    bucket.before("PutObject", lambda _: acts.pop()() if acts else None)
    with pytest.raises(ChampionChanged, match="it is now run three"):
        roll_back(bucket.clients, bucket.name)
    assert bucket.holds("three", "two")


def test_a_write_whose_answer_got_lost_is_recognized(bucket: Bucket) -> None:
    """botocore repeats such a write by itself, and the condition then no longer holds."""
    promote(bucket.clients, bucket.name, "one")
    first = boto3.client("s3")
    given: dict[str, Any] = {}
    bucket.clients.s3.meta.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: given.update(params)
    )
    bucket.before("PutObject", lambda _: first.put_object(**given))
    assert promote(bucket.clients, bucket.name, "two") == Change("two", "one")
    assert bucket.holds("two", "one")


@pytest.mark.parametrize("at", range(1, 7))  # three copies before the write that changes the champion, three after it
@pytest.mark.parametrize("then", ["again", "another", "back"])
def test_what_a_crash_cut_short_is_done_by_the_next(bucket: Bucket, at: int, then: str) -> None:
    for run_id in ("one", "two"):
        promote(bucket.clients, bucket.name, run_id)
    copies = iter(range(1, 100))

    def crash(_: dict[str, Any]) -> None:
        if next(copies) == at:
            raise ConnectionError("the worker is gone")

    bucket.before("CopyObject", crash)
    with pytest.raises(ConnectionError):
        promote(bucket.clients, bucket.name, "three")
    assert bucket.read(places.PROMOTED_PARAMS) == bucket.read(places.params("three" if at > 3 else "two"))
    assert not bucket.holds("three", "two")
    if then == "again":
        assert promote(bucket.clients, bucket.name, "three") == Change("three", "two")
        assert bucket.holds("three", "two")
    elif then == "another":
        promote(bucket.clients, bucket.name, "one")
        assert bucket.holds("one", "three" if at > 3 else "two")
    else:
        assert roll_back(bucket.clients, bucket.name) == (Change("two", "three") if at > 3 else Change("one", "two"))
        assert bucket.holds(*(("two", "three") if at > 3 else ("one", "two")))


def test_a_champion_that_a_hand_put_there_is_kept_and_comes_back(bucket: Bucket) -> None:
    """itsacat's own: no results beside it and nothing in it but arrays."""
    model = BytesIO()
    save_model(model, {"W1": np.ones((1, 12)), "b1": np.zeros((1, 1))}, ("sigmoid",), {})
    bucket.put(places.PROMOTED_PARAMS, model.getvalue())
    assert promote(bucket.clients, bucket.name, "one") == Change("one", "")
    assert bucket.read(places.PREVIOUS_PARAMS) == model.getvalue()
    assert bucket.read(places.PREVIOUS_RESULTS) is None
    assert roll_back(bucket.clients, bucket.name) == Change("", "one")
    assert (bucket.read(places.PROMOTED_PARAMS), bucket.read(places.PROMOTED_RESULTS)) == (model.getvalue(), None)
    assert roll_back(bucket.clients, bucket.name) == Change("one", "")
    assert bucket.read(places.PROMOTED_PARAMS) == bucket.read(places.params("one"))
    assert bucket.read(places.PROMOTED_RESULTS) == b"results of one"


def test_a_champion_that_cannot_be_read_can_still_be_replaced(bucket: Bucket) -> None:
    bucket.put(places.PROMOTED_PARAMS, b"meow")
    champion = find_champion(bucket.clients, bucket.name)
    assert champion is not None
    assert (champion.run_id, champion.parameters) == ("", None)
    promote(bucket.clients, bucket.name, "one")
    assert bucket.read(places.PREVIOUS_PARAMS) == b"meow"


def test_a_former_version_that_has_expired_since_stops_nothing(bucket: Bucket) -> None:
    promote(bucket.clients, bucket.name, "one")
    promote(bucket.clients, bucket.name, "two")
    for item in bucket.s3.list_object_versions(Bucket=bucket.name)["Versions"]:
        if not item["IsLatest"]:
            bucket.s3.delete_object(Bucket=bucket.name, Key=item["Key"], VersionId=item["VersionId"])
    assert promote(bucket.clients, bucket.name, "two") == Change("two", "one")
    assert bucket.holds("two", "one")
    assert roll_back(bucket.clients, bucket.name) == Change("one", "two")
    assert bucket.holds("one", "two")
