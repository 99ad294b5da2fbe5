"""What a batch is, as it lies in S3: its plan while it goes on, its manifest once it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:  # the form of a DAG reads this, and all else would be loaded with it
    from snn_client.serving.asking import VersionLabel
    from snn_cloud.cost.money import Cost

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")

AT_ONCE = 8
MAX_AT_ONCE = 64
"""Invocations of one batch."""

Kind = Literal["photos", "rows"]


class Plan(TypedDict):
    """What a batch answers, with which version; written before the first part.

    `source_digest` is of the source's listing, or of a table's bytes. `wasted` is what invocations took that ended
    without an answer, and `usd` what they cost: parts tell their own.
    """

    batch_id: str
    model: VersionLabel
    source: str
    source_digest: str
    kind: Kind
    inputs: int
    started: float
    wasted: dict[str, int]


class Estimate(TypedDict):
    """What a batch will take: `usd` at list prices, of `parts` parts; `seconds` with `at_once` of them at a time."""

    kind: Kind
    inputs: int
    parts: int
    at_once: int
    seconds: float
    usd: float


class Manifest(TypedDict):
    """What became of a batch. Times are seconds since 1970; those of the beginning are of its first try.

    Each of `inputs` is either among the `answered`, in `result`, or among the `bad`, in `errors`, which is "" if there
    are none. `computed` parts were answered by the try that wrote this, the others before. `cost` is that of all tries,
    beside `estimate_usd`, that of the last.
    """

    batch_id: str
    model: VersionLabel
    source: str
    source_digest: str
    kind: Kind
    inputs: int
    answered: int
    bad: int
    parts: int
    computed: int
    format: Format
    result: str
    errors: str
    cost: Cost
    estimate_usd: float
    started: float
    ended: float
