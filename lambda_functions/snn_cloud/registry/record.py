"""What the registry holds: versions, what was decided on them, and who else than the champion is asked."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

from snn.errors import InvalidInput

DEFAULT_MODEL = "default"
"""Whose champion lies in itsacat's place."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Status(StrEnum):
    """Where a version stands. One that was champion and is it no more is retired."""

    CANDIDATE = "candidate"
    APPROVED = "approved"
    REJECTED = "rejected"
    CHAMPION = "champion"
    RETIRED = "retired"


class Metric(TypedDict):
    """A figure of the test set, with the ends of its 95 % interval where it has one."""

    value: float
    low: NotRequired[float]
    high: NotRequired[float]


class Decided(TypedDict):
    """Who decided what on a version, and when (seconds since 1970)."""

    status: str
    by: str
    at: float
    reason: str


class Version(TypedDict):
    """A version of a model. All but `status`, `asked_at`, `decided` and `promoted_at` stays as it was registered.

    `number` counts from 1 for each model. `dataset` is the key of its data set, `sha256` the hash of its params.h5.
    Times are seconds since 1970: `asked_at` when people were first asked about it, `promoted_at` when it became
    champion; each is 0.0 of one of which that is not so, as is `decided` None of one that nobody has decided on.
    """

    model: str
    number: int
    run_id: str
    status: str
    dataset: str
    sha256: str
    parameters: dict[str, Any]
    backbone: str
    metrics: dict[str, Metric]
    by: str
    created: float
    asked_at: float
    decided: Decided | None
    promoted_at: float


class Rule(TypedDict):
    """When a candidate that answers is withdrawn: after more errors than `max_errors`; or, once `min_requests` were
    asked, if it takes longer than `max_slower` times the champion's time on average, or says otherwise than the
    champion does in more than the share `max_disagreement` (of a shadow, which alone is asked what the champion is).
    """

    max_errors: int
    max_slower: float
    max_disagreement: float
    min_requests: int


RULE: Rule = {"max_errors": 3, "max_slower": 3.0, "max_disagreement": 0.2, "min_requests": 100}


class Trial(TypedDict):
    """A candidate on trial: a canary answers a share of the requests, a shadow is asked all of them silently.

    `id` tells it from other trials of the model. `ended` is "" while it goes on, then "withdrawn", "promoted" or
    "stopped", and `reason` says why.
    """

    id: str
    kind: str
    run_id: str
    number: int
    share: float
    rule: Rule
    by: str
    since: float
    ended: str
    reason: str


class Served(TypedDict):
    """What a version was asked: requests, samples in them, errors, milliseconds together.

    Of a shadow `compared` samples were also answered by the champion, and `disagreed` of these otherwise.
    """

    requests: int
    samples: int
    errors: int
    milliseconds: int
    compared: int
    disagreed: int


def check_model(name: str) -> str:
    """Return `name`. Raises InvalidInput unless it is a model's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        hint = "use 1 to 63 of a-z, 0-9 and -, not starting with -"
        raise InvalidInput(f"{name!r} is not the name of a model", field="model", hint=hint)
    return name
