"""Parts of a batch: those that are stored are taken as they are, the others are asked of PredictLambdas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, cast

from snn.errors import InvalidParameters
from snn_client.serving.batch_contents import Plan
from snn_client.serving.batch_inputs import Inputs, SourceChanged
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, Stopped
from snn_cloud.aws.invoking import insist
from snn_cloud.cost.formats import dollars, plain
from snn_cloud.cost.money import Cost, cost_of
from snn_cloud.ledger.record import Run, Usage
from snn_cloud.serve.batch import Event as Asked
from snn_cloud.serve.batch import Part

FORM = 1
"""Of the answers in a part: those of another form are computed anew."""

MEMORY_MB = 1769
"""Of PredictLambda, where its answer does not say so (predict.yaml)."""

TRIES = 3
LOOK_SECONDS = 0.2
SPARE = 1.5
"""So many times what the dearest part has cost is set aside for each that is under way."""


@dataclass(frozen=True)
class PartDone:
    """A part whose answers are stored: its inputs, and the hash of their names in order."""

    number: int
    inputs: int
    bad: int
    names: bytes
    computed: bool


class Parts:
    """Has the parts of a batch answered, many at a time. `usage` is what all of it took so far, by earlier tries too.

    `expected_usd` is what a part is thought to cost before the first one tells. `over` stops it from outside.
    """

    def __init__(
        self, clients: Clients, stack: StackOutputs, plan: Plan, at_once: int, max_usd: float | None,
        expected_usd: float, over: Event,
    ) -> None:  # fmt: skip
        self._s3, self._lambda, self._stack, self._plan = clients.s3, clients.lambda_, stack, plan
        self._at_once, self._max_usd, self._over = at_once, max_usd, over
        self._lock = Lock()
        self._dearest = expected_usd
        self.wasted = Usage(**plan["wasted"])
        self._stored = dict[int, tuple[str, int, int, Usage]]()
        self._useful = Usage()

    @property
    def usage(self) -> Usage:
        """Return what was used so far: by parts that are stored, and by invocations that came to nothing."""
        return self._useful + self.wasted

    @property
    def cost(self) -> Cost:
        """Return what that costs at list prices."""
        return cost_of(Run("", usage={"predict": self.usage}), self._stack)

    def look(self) -> int:
        """See which parts are stored; return how many."""
        pages = self._s3.get_paginator("list_objects_v2")
        prefix, keys = places.batch_parts(self._plan["batch_id"]), list[str]()
        for page in pages.paginate(Bucket=self._stack.bucket, Prefix=prefix):
            keys += [item["Key"] for item in page.get("Contents", [])]
        with ThreadPoolExecutor(16) as pool:
            for key, told in zip(keys, pool.map(self._beside, keys), strict=True):
                if told is not None:
                    self._stored[int(key.removeprefix(prefix).removesuffix(".jsonl"))] = told
                    self._useful += told[3]
        return len(self._stored)

    def answer(self, inputs: Iterable[Inputs]) -> Generator[PartDone, None, None]:
        """Have all inputs answered, and yield each part as soon as its answers are stored, in any order.

        Raises CloudError for a part that failed three times, with its number and the reason; SourceChanged;
        InvalidParameters before `max_usd` is exceeded; Stopped once `over` is set. However it ends, no invocation is
        begun after, those under way are waited for, and what is stored stays.
        """
        with ThreadPoolExecutor(self._at_once) as pool:
            waiting = set[Future[PartDone]]()
            try:
                for number, some in enumerate(inputs, start=1):
                    if known := self._known(number, some):
                        yield known
                        continue
                    while len(waiting) >= self._at_once or not self._affords(len(waiting)):
                        done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
                        yield from (each.result() for each in done)
                        self._check_stopped()
                    waiting.add(pool.submit(self._ask, number, some))
                while waiting:
                    done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
                    yield from (each.result() for each in done)
                    self._check_stopped()
            except BaseException:
                self._over.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _known(self, number: int, some: Inputs) -> PartDone | None:
        """Return a part that is stored, with the answers to just these inputs."""
        stored = self._stored.get(number)
        if stored is None or stored[0] != self._digest(some):
            return None
        return PartDone(number, stored[1], stored[2], hash_of(some.names), computed=False)

    def _ask(self, number: int, some: Inputs) -> PartDone:
        plan = self._plan
        asked = {
            "batch_id": plan["batch_id"], "number": number, "digest": self._digest(some),
            "model": plan["model"]["name"], "run_id": plan["model"]["run_id"], "names": list(some.names), **some.task(),
        }  # fmt: skip
        event: Asked = {"batch": cast(Part, asked)}
        payload, what = json.dumps(event).encode(), "PredictLambda's turn"
        answer = insist(self._lambda, self._stack.predict_function, payload, self._over, what, self._count)
        if "refused" in answer:
            kind = SourceChanged if answer.get("changed") else CloudError
            raise kind(f"part {number} of {plan['batch_id']} is refused: {answer['refused']}")
        if answer.get("inputs") != len(some.names):
            why = answer.get("errorMessage") or f"it answers {answer}"
            raise CloudError(
                f"part {number} of {plan['batch_id']} failed {TRIES} times: {why} (start the batch again: what is "
                "answered stays)"
            )
        return PartDone(number, answer["inputs"], answer["bad"], hash_of(some.names), computed=True)

    def _count(self, answer: dict[str, Any], waited: int) -> None:
        used = Usage(
            1, answer.get("milliseconds", waited), answer.get("memory_mb", MEMORY_MB), **answer.get("requests", {})
        )
        with self._lock:
            if "inputs" in answer:
                self._useful += used
            else:
                self.wasted += used
            self._dearest = max(self._dearest, cost_of(Run("", usage={"predict": used}), self._stack)["usd"])

    def _affords(self, under_way: int) -> bool:
        """Return whether one more may be begun. Raises InvalidParameters if none is under way, and none may."""
        if self._max_usd is None:
            return True
        with self._lock:
            spent = self.cost["usd"]
            if spent + (under_way + 1) * SPARE * self._dearest <= self._max_usd:
                return True
        if under_way:
            return False
        raise InvalidParameters(
            f"{dollars(spent)} of {plain(self._max_usd)} USD is spent, and another part may cost "
            f"{dollars(SPARE * self._dearest)}",
            field="max_usd",
            hint="raise it and start the batch again: what is answered stays",
        )

    def _check_stopped(self) -> None:
        if self._over.is_set():
            raise Stopped(f"the batch {self._plan['batch_id']}: what is answered stays")

    def _digest(self, some: Inputs) -> str:
        """Return what stands for all that decides a part's answers."""
        decides = [FORM, self._plan["model"]["run_id"], some.first, list(some.names), some.stamp]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def _beside(self, key: str) -> tuple[str, int, int, Usage] | None:
        """Return what stands beside a part that is stored: its digest, its inputs, the bad ones, what it took."""
        said = self._s3.head_object(Bucket=self._stack.bucket, Key=key)["Metadata"]
        try:
            took = json.loads(said["took"])
            used = Usage(1, took["milliseconds"], took["memory_mb"], **took["requests"])
            return said["digest"], int(said["inputs"]), int(said["bad"]), used
        except (KeyError, ValueError, TypeError):
            return None  # nobody's that we know


def hash_of(names: Iterable[str]) -> bytes:
    """Return what stands for names in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(json.dumps(name).encode())
    return digest.digest()
