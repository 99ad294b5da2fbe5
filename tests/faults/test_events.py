"""Lambda's events delivered twice, late, out of order, to handlers that hang or are killed between two calls of AWS.

The handlers are the real ones, called in this process against the emulator's DynamoDB and S3; Lambda's part, when each
event is delivered how often to whom, is played here, as Hypothesis draws it. The times of the lease are shortened, and
nothing else is changed: 20 s of silence are 0.4 s.
"""

from __future__ import annotations

import json
import threading
import time
import types
from dataclasses import dataclass, field
from typing import Any

import pytest
from faults import tally
from faults.cloud import DRAWN, Cloud, network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import photos
from snn_handlers import launch, trainer

from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.launch import uploading
from snn_cloud.ledger import messages
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.train import peers, reporter, training

BUCKET = "snn-faults-events"
DATA = photos()
PATIENCE = 0.4
SHORTER: list[tuple[Any, str, Any]] = [
    (Ledger.acquire, "__defaults__", (PATIENCE,)), (Ledger.abandon, "__defaults__", (PATIENCE,)),
    (reporter, "FLUSH_SECONDS", 0.05), (training, "CHECKPOINT_SECONDS", 0.03), (messages, "PAUSE_SECONDS", 0.0),
    (peers, "HEARTBEAT_SECONDS", 0.1), (peers, "DEAD_SECONDS", 1), (peers, "START_SECONDS", 2.0),
    (peers, "LEAVE_SECONDS", 0.5), (uploading, "PARAMETERS_GRACE_SECONDS", 0.2),
]  # fmt: skip
LIMIT = 60.0


class Killed(SystemExit):
    """The machine under a handler is gone: no `except Exception` of the product's hears of it."""


@dataclass(frozen=True)
class Fate:
    """What befalls a delivery: it comes `late`, and before or after its `call`-th call of AWS it dies or hangs.

    So do Lambda's first `times` tries of it.
    """

    late: float = 0.0
    call: int = 0
    what: str = ""
    times: int = 1

    def __str__(self) -> str:
        return f"{self.late:.2f} s late" + (f", {self.times} times {self.what} call {self.call}" if self.what else "")


FATES = st.builds(
    Fate,
    late=st.sampled_from([0.0, 0.0, 0.05, 0.2, 0.6, 1.2]),
    call=st.integers(0, 25),
    what=st.sampled_from(["", "", "killed before", "killed after", "hangs before", "hangs after"]),
    times=st.sampled_from([1, 1, 2, 3]),
)
# The fates of what is delivered for an event in turn; an event delivered twice has two deliveries at once.
SCHEDULES = st.lists(st.lists(FATES, min_size=1, max_size=2), min_size=1, max_size=12)


class Unlucky:
    """A client whose calls obey a fate, and that hands asynchronous invocations to Lambda as it is played here."""

    def __init__(self, real: Any, delivery: Delivery) -> None:
        self._real, self._delivery = real, delivery

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if name in ("meta", "exceptions", "get_paginator"):
            return method

        def call(**request: Any) -> Any:
            self._delivery.suffer("before")
            if name == "invoke" and request.get("InvocationType") == "Event":
                self._delivery.world.post(request["FunctionName"], json.loads(request["Payload"]))
                answer: Any = {"StatusCode": 202}
            else:
                answer = method(**request)
            self._delivery.suffer("after")
            return answer

        return call


class Delivery:
    """One delivery of one event, with AWS clients of its own: killed or hanging, all its threads are."""

    def __init__(self, world: World, fate: Fate) -> None:
        self.world, self._fate, self._lock = world, fate, threading.Lock()
        self._calls, self._woken, self._dead = 0, 0.0, False
        self.clients = Clients(lambda service: None)
        for name in ("s3", "dynamodb", "lambda_", "sns"):
            setattr(self.clients, name, Unlucky(getattr(world.cloud.clients, name), self))

    def suffer(self, when: str) -> None:
        with self._lock:
            mine = self._calls
            self._calls += when == "before"
            number = mine if when == "before" else mine - 1
            if number == self._fate.call and self._fate.what.endswith(when):
                self._dead = self._fate.what.startswith("killed")
                self._woken = time.monotonic() + (3 * PATIENCE if self._fate.what.startswith("hangs") else 0)
        time.sleep(max(0.0, self._woken - time.monotonic()))
        if self._dead:
            raise Killed


@dataclass
class World:
    """Lambda, as far as it delivers events: at least once, late, in any order, thrice if it fails, then it tells so."""

    cloud: Cloud
    fates: list[list[Fate]]
    posted: int = 0
    threads: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, function: str, event: Any) -> None:
        with self.lock:
            fates = self.fates[self.posted] if self.posted < len(self.fates) else [Fate()]
            self.posted += 1
        for fate in fates:
            thread = threading.Thread(target=self._deliver, args=(function, event, fate), daemon=True)
            with self.lock:
                self.threads.append(thread)
            thread.start()

    def _deliver(self, function: str, event: Any, fate: Fate) -> None:
        time.sleep(fate.late)
        handler = launch.handler if function == "launch" else trainer.handler
        for attempt in range(1, 4):
            delivery = Delivery(self, fate)
            # The handler with clients of its own, as every environment of Lambda's has.
            run = types.FunctionType(handler.__code__, {**handler.__globals__, "clients": delivery.clients})
            context = types.SimpleNamespace(
                aws_request_id=f"{threading.get_ident()}-{attempt}",
                get_remaining_time_in_millis=lambda: (training.MARGIN_SECONDS + 600) * 1000,
            )
            try:
                run(event, context)
                return
            except (Exception, Killed) as error:
                failure = repr(error)
            if attempt >= fate.times:
                fate = Fate()
            time.sleep(0.05)
        if function != "launch":
            self.post("launch", gone(event, failure))

    def settle(self) -> bool:
        """Wait until nothing is under way; return whether that came within the limit."""
        deadline, number = time.monotonic() + LIMIT, 0
        while number < len(self.threads):
            self.threads[number].join(max(0.0, deadline - time.monotonic()))
            if self.threads[number].is_alive():
                return False
            number += 1
        return True


@pytest.fixture(scope="module")
def shorter(cloud: Cloud) -> Any:
    """The lease's times, shortened, and the environment that the template gives the functions."""
    cloud.clients.s3.create_bucket(Bucket=BUCKET)
    cloud.clients.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in SHORTER:
            patch.setattr(owner, name, value)
        patch.setattr(training, "MAX_ATTEMPTS", 3)
        patch.setenv("BUCKET", BUCKET)
        patch.setenv("TABLE", cloud.stack.table)
        patch.setenv("TOPIC_ARN", "")
        patch.setenv("TRAINER_FUNCTION", "trainer")
        patch.setenv("CACHE_HOST", cloud.emulator.redis_host)
        patch.setenv("CACHE_PORT", str(cloud.emulator.redis_port))
        yield


def upload(cloud: Cloud, chosen: Parameters) -> tuple[str, dict[str, Any]]:
    """Upload a data set with its parameters; return the run's name and S3's event."""
    key = f"training_input/{time.monotonic_ns()}/a.h5"
    beside = key.replace("a.h5", "parameters.json")
    cloud.clients.s3.put_object(Bucket=BUCKET, Key=beside, Body=chosen.to_json().encode())
    version = cloud.clients.s3.put_object(Bucket=BUCKET, Key=key, Body=DATA)["VersionId"]
    item = {"bucket": {"name": BUCKET}, "object": {"key": key, "versionId": version}}
    return places.run_id_for_upload(BUCKET, key, version), {"Records": [{"s3": item}]}


@pytest.mark.usefixtures("shorter")
def test_schedules(cloud: Cloud) -> None:
    row = tally.row("events twice, late, out of order; handlers that hang or die between two calls", "schedules", 100)
    kinds = [
        network(epochs=400, first_layer="direct"),
        network(epochs=60, batch_size=7, strategy="average", workers=2),
        network(epochs=100, batch_size=7, **DRAWN),
        network(epochs=20, batch_size=8, sub_batches=2, workers=2, **DRAWN),
    ]
    wanted = [cloud.reference(chosen, DATA) for chosen in kinds]

    @settings(max_examples=100 if tally.FULL else 6, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fates=SCHEDULES, kind=st.sampled_from([0, 0, 1, 2, 3]), old=st.sampled_from([None, None, 0.1, 0.5, 1.5]))
    def schedule(fates: list[list[Fate]], kind: int, old: float | None) -> None:
        began, world = time.monotonic(), World(cloud, fates)
        run_id, event = upload(cloud, kinds[kind])
        world.post("launch", event)
        if old is not None:  # an event of long ago comes again, and Lambda tells that it gave one up
            time.sleep(old)
            world.post("trainer", {"run_id": run_id})
            world.post("launch", gone({"run_id": run_id}, "out of memory"))
        outcome = cloud.judge(run_id, wanted[kind], 0, BUCKET, cloud.ledger) if world.settle() else "hung"
        row.add(outcome, time.monotonic() - began, injected=1)
        assert outcome in ("right", "failed"), [[str(fate) for fate in each] for each in fates]

    schedule()
    row.check()


def gone(event: Any, failure: str) -> dict[str, Any]:
    """Return what Lambda sends to a failure destination."""
    context = {"condition": "RetriesExhausted", "approximateInvokeCount": 3}
    return {"requestContext": context, "requestPayload": event, "responsePayload": {"errorMessage": failure}}
