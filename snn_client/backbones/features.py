"""Features of photos: those computed once are read, the others are asked of FeatureLambdas, many at a time."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event, Lock
from typing import Any

import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from snn.errors import InvalidInput, InvalidParameters
from snn_client.backbones.catalogue import find, keep, listed
from snn_client.backbones.known import Known
from snn_client.data.options import AUTO
from snn_client.data.staging import FeaturesBy
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.aws.invoking import PAUSES, insist
from snn_cloud.aws.objects import NOT_ALLOWED
from snn_cloud.cost.formats import dollars, plain
from snn_cloud.cost.money import cost_of
from snn_cloud.features.task import PhotoTask, Task, from_text
from snn_cloud.ledger.record import USED_BEFORE, Run, Usage
from snn_photos.reference import BackboneReference

log = logging.getLogger(__name__)

MEMORY_MB = 1769
"""Of FeatureLambda, where its answer does not say so (features.yaml)."""

PHOTOS_AT_ONCE = 32
"""Of one invocation: so many take two seconds, and what is lost with one that fails is no more."""

CHARACTERS_AHEAD = 64_000_000
"""Of photos as base64 that are read while others are computed."""

CHARACTERS_AT_ONCE = 5_500_000
"""Of photos as base64 in one invocation, whose event may have 6 MB."""

MAX_INLINE = 3_000_000
"""A larger photo goes by S3."""

READS_AT_ONCE = 16

Told = NDArray[np.float32] | str
"""A photo's features, or what is wrong with it."""

Read = tuple[str, Told | PhotoTask]
"""The SHA-256 of a photo that was read, and its features, or what is wrong with it, or what is to be computed."""

Found = list[tuple[int, Told]]
"""Places of photos, each with its features or with what is wrong with it."""

Begun = tuple[dict[int, str], Found, list[Future[Found]]]
"""Of some photos: their SHA-256 by place, what is known of them, and what is being computed."""

BROKEN_IN_A_ROW = 3
"""Photos that break the function one after the other: more likely it fails whatever the photo."""

_BREAKS = "breaks FeatureLambda: "


class Features:
    """Turns photos into features by a backbone of a stack; `usage` is what that took so far.

    A photo is its file's contents, unopened. `max_usd` is what it may cost. Raises CloudError if the stack has no
    FeatureLambda.
    """

    def __init__(
        self,
        clients: Clients,
        stack: StackOutputs,
        backbone: BackboneReference,
        at_once: int = 8,
        max_usd: float | None = None,
    ) -> None:
        check_function(stack)
        self.backbone, self.usage, self.computed = backbone, Usage(), 0
        self._seen, self._stack, self._max_usd = dict[str, None](), stack, max_usd
        # Made here, not by two threads at once.
        self._clients, self._s3, self._lambda = clients, clients.s3, clients.lambda_
        self._bucket, self._function, self._at_once = stack.bucket, stack.feature_function, at_once
        self._lock, self._over = Lock(), Event()

    @property
    def used(self) -> dict[str, str]:
        """Return what that took so far, as a data set's object in S3 tells it, for the run's bill."""
        return {USED_BEFORE: json.dumps(vars(self.usage))} if self.usage.invocations else {}

    @property
    def seen(self) -> list[str]:
        """Return the SHA-256 of all photos so far that have features, in their order."""
        return list(self._seen)

    @property
    def usd(self) -> float:
        """Return what that cost so far, at list prices."""
        return cost_of(Run("", usage={"feature": self.usage}), self._stack)["usd"] if self.usage.invocations else 0.0

    @property
    def summary(self) -> str:
        """Return in one line what was computed so far, by how many invocations, and for how much."""
        of = f"features of {len(self._seen):,} photos by {self.backbone.name}"
        if not self.usage.invocations:
            return f"{of}: all were computed before"
        return (
            f"{of}: {self.computed:,} were computed, by {self.usage.invocations:,} invocations of FeatureLambda, for "
            f"{dollars(self.usd)} USD"
        )

    def of(
        self, photos: Sequence[Callable[[], bytes]], mirrored: bool = False
    ) -> Iterator[tuple[NDArray[np.float32], list[tuple[int, str]]]]:
        """Yield the features (m, d) of photos in their order, some hundred at a time, and what is wrong with others.

        Each yield is of the next photos: the rows of those that are good, and (place, problem) of each that is bad,
        by its place among all photos. `mirrored` are left and right exchanged. Raises CloudError when an invocation
        fails again and again, InvalidParameters when `max_usd` is spent. However it ends, no invocation is begun after.
        """
        self._over.clear()
        known = Known(self._clients, self._bucket, self.backbone, mirrored)
        read = partial(self._read, known)
        compute = partial(self._compute, mirrored)
        with ThreadPoolExecutor(READS_AT_ONCE) as readers, ThreadPoolExecutor(self._at_once) as invokers:
            begun: deque[Begun] = deque()
            try:
                first = 0
                while first < len(photos):
                    some = self._read_ahead(photos[first:], partial(readers.map, read))
                    begun.append(_begin(enumerate(some, first), partial(invokers.submit, compute)))
                    first += len(some)
                    if len(begun) > 1:
                        yield self._gathered(begun.popleft())
                while begun:
                    yield self._gathered(begun.popleft())
            finally:
                self._over.set()
                for pool in readers, invokers:
                    pool.shutdown(cancel_futures=True)
                known.close()

    def _read_ahead(
        self, photos: Sequence[Callable[[], bytes]], read: Callable[[Sequence[Callable[[], bytes]]], Iterable[Read]]
    ) -> list[Read]:
        """Return the next photos, read: as many as keep the functions busy, or fewer if they are large."""
        found: list[Read] = []
        size = 0
        while len(found) < min(len(photos), PHOTOS_AT_ONCE * self._at_once) and size < CHARACTERS_AHEAD:
            some = list(read(photos[len(found) : len(found) + PHOTOS_AT_ONCE]))
            size += sum(len(task.get("content", "")) for _, task in some if isinstance(task, dict))
            found += some
        return found

    def _gathered(self, begun: Begun) -> tuple[NDArray[np.float32], list[tuple[int, str]]]:
        digests, known, asked = begun
        found = sorted((*known, *(one for future in asked for one in future.result())), key=lambda one: one[0])
        rows = [features for _, features in found if not isinstance(features, str)]
        self._seen |= {digests[place]: None for place, features in found if not isinstance(features, str)}
        bad = [(place, problem) for place, problem in found if isinstance(problem, str)]
        return np.stack(rows) if rows else np.empty((0, 0), np.float32), bad

    def _read(self, known: Known, photo: Callable[[], bytes]) -> Read:
        """Return a photo's features, or what is wrong with it; or else what has to be asked of FeatureLambda."""
        try:
            content = photo()
        except InvalidInput as problem:
            return "", problem.problem
        sha256 = hashlib.sha256(content).hexdigest()
        if (features := known.find(sha256)) is not None:
            return sha256, features
        task = PhotoTask(sha256=sha256)
        if len(content) <= MAX_INLINE:
            task["content"] = base64.b64encode(content).decode()
        else:
            self._s3.put_object(Bucket=self._bucket, Key=places.photo(sha256), Body=content)
        return sha256, task

    def _compute(self, mirrored: bool, photos: list[tuple[int, PhotoTask]]) -> Found:
        """Have the features of photos computed.

        If a photo breaks the function, each of its batch is asked for alone, so that it is known which one it was.
        Raises CloudError if several do in a row: then it is the function that is broken.
        """
        answer = self._ask(mirrored, [task for _, task in photos])
        if "refused" in answer:
            raise CloudError(f"FeatureLambda refuses: {answer['refused']}")
        if "features" not in answer:
            if len(photos) > 1:
                return self._one_by_one(mirrored, photos)
            return [(photos[0][0], f"{_BREAKS}{answer.get('errorMessage', answer)}")]
        good = iter(from_text(answer["features"], self.backbone.features))
        bad = {each["place"]: each["problem"] for each in answer["bad"]}
        done, rest = photos[: answer["done"]], photos[answer["done"] :]
        found: Found = [(place, bad[number] if number in bad else next(good)) for number, (place, _) in enumerate(done)]
        return found + (self._compute(mirrored, rest) if rest else [])

    def _one_by_one(self, mirrored: bool, photos: list[tuple[int, PhotoTask]]) -> Found:
        found: Found = []
        for photo in photos:
            found += self._compute(mirrored, [photo])
            last = [told for _, told in found[-BROKEN_IN_A_ROW:]]
            if len(last) == BROKEN_IN_A_ROW and all(isinstance(one, str) and one.startswith(_BREAKS) for one in last):
                raise CloudError(f"FeatureLambda fails whatever the photo: {str(last[0]).removeprefix(_BREAKS)}")
        return found

    def _ask(self, mirrored: bool, photos: list[PhotoTask]) -> dict[str, Any]:
        """Invoke FeatureLambda until it answers, at most three times, and count it.

        Raises InvalidParameters when `max_usd` is spent, Stopped when nobody waits for the answer any more.
        """
        task = Task(backbone=self.backbone.model_dump(), photos=photos, mirrored=mirrored)
        payload, what = json.dumps(task).encode(), "FeatureLambda's turn"
        return insist(self._lambda, self._function, payload, self._over, what, self._count, self._check_budget, PAUSES)

    def _count(self, answer: dict[str, Any], waited: int) -> None:
        with self._lock:
            self.computed += answer["done"] - len(answer["bad"]) if "features" in answer else 0
            self.usage += Usage(
                1, answer.get("milliseconds", waited), answer.get("memory_mb", MEMORY_MB), **answer.get("requests", {})
            )

    def _check_budget(self) -> None:
        if self._max_usd is not None and self.usd >= self._max_usd:
            raise InvalidParameters(
                f"{dollars(self.usd)} of {plain(self._max_usd)} USD is spent after {self.computed:,} photos' features",
                field="max_usd",
                hint="raise it and try again: what was computed is kept",
            )


def _begin(read: Iterable[tuple[int, Read]], begin: Callable[[list[tuple[int, PhotoTask]]], Future[Found]]) -> Begun:
    """Begin with photos that were read, each with its place among all: as many to an invocation as fit."""
    digests: dict[int, str] = {}
    known: Found = []
    tasks: list[list[tuple[int, PhotoTask]]] = [[]]
    size = 0
    for place, (sha256, found) in read:
        digests[place] = sha256
        if not isinstance(found, dict):
            known.append((place, found))
            continue
        length = len(found.get("content", ""))
        if len(tasks[-1]) == PHOTOS_AT_ONCE or size + length > CHARACTERS_AT_ONCE:
            tasks.append([])
            size = 0
        tasks[-1].append((place, found))
        size += length
    return digests, known, [begin(batch) for batch in tasks if batch]


def check_function(stack: StackOutputs) -> None:
    """Raise CloudError if a stack has no FeatureLambda."""
    if not stack.feature_function:
        raise CloudError(
            f"the stack {stack.stack_name} has no FeatureLambda, which backbone needs (deploy it with the option "
            "with_features)"
        )


def _first(clients: Clients, stack: StackOutputs) -> BackboneReference | None:
    """Return a backbone for who asks for none; None if there is none that can be used: that stops nobody."""
    if not stack.feature_function:
        return None
    try:
        return next(iter(listed(clients, stack.bucket)), None)
    except InvalidInput as problem:
        log.warning("no backbone is used: %s", problem)
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_ALLOWED:
            raise
    return None


def features_by(clients: Clients, stack: StackOutputs, max_usd: float | None = None) -> FeaturesBy:
    """Return what gives the features of a stack's backbone: by its name, the first for AUTO, or as a model names it.

    What it gives raises InvalidInput for a backbone that the stack lacks, CloudError without a FeatureLambda. `max_usd`
    is what each may spend.
    """

    def by(named: str | BackboneReference) -> Features | None:
        if named == AUTO:
            known = _first(clients, stack)
            return Features(clients, stack, known, max_usd=max_usd) if known else None
        check_function(stack)
        if isinstance(named, str):
            return Features(clients, stack, find(clients, stack.bucket, named), max_usd=max_usd)
        keep(clients, stack.bucket, named)
        return Features(clients, stack, named, max_usd=max_usd)

    return by
