"""What a run cost, in USD at list prices.

A run is charged for what its functions used and asked, and for the cache and the interface endpoints, which are the
stack's and cost by the hour, idle or not, for the time it trained. The quantities are counted where they arise, but
for three that are computed: log lines, data through the interface endpoints, and data between availability zones.
"""

from __future__ import annotations

from typing import Protocol, TypedDict

from snn_cloud.cost import prices
from snn_cloud.cost.prices import Price
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.record import FUNCTIONS, Run, Usage

ENDPOINTS = 2  # Lambda and SNS, in one zone
# Lambda's START, END and REPORT lines (≈ 260 bytes), one of ours (≈ 95), and the 26 that CloudWatch adds to each line.
LOG_BYTES = 500
# A neuron's task (≈ 700 bytes) and answer, and the headers of a signed request with a role's session token (≈ 2 KB).
ENDPOINT_BYTES = 3_000

LEFT_OUT = (
    "what is stored in S3, DynamoDB and the logs (by the month), deliveries of messages to subscribers, what Airflow "
    "and the command line ask of AWS, and invocations that found the run taken or over"
)


class Platform(Protocol):
    """What of a stack decides its prices; the stack's outputs are one, and so are its functions' settings."""

    @property
    def has_cache(self) -> bool:
        """Whether there is a cache, with the interface endpoints that come with it."""

    @property
    def cache_node_type(self) -> str:
        """The cache's node, such as cache.t4g.micro."""

    @property
    def architecture(self) -> str:
        """The functions' processor: arm64 or x86_64."""

    @property
    def region(self) -> str:
        """The AWS region."""


class Line(TypedDict):
    """One line of a bill: `usd` is `quantity` · `price`."""

    what: str
    quantity: float
    unit: str
    price: float
    usd: float


class Source(TypedDict):
    """Which prices: of which region, and of which one those of S3 and DynamoDB are; of which date; the processor."""

    region: str
    requests_region: str
    date: str
    architecture: str


class Cost(TypedDict):
    """What a run used, and its price. `lines` are the arithmetic, and `usd` is their sum.

    `unpriced` names what is used, but has no price in our table, and so counts as nothing; `left_out` says in words
    what no line is for.
    """

    usd: float
    invocations: dict[str, int]
    gb_seconds: float
    requests: dict[str, int]
    cache_hours: float
    lines: list[Line]
    unpriced: list[str]
    left_out: str
    prices: Source


def cost_of(run: Run, platform: Platform) -> Cost:
    """Return what a run used and its price."""
    at = prices.in_region(platform.region)
    usage = {function: run.usage.get(function, Usage()) for function in FUNCTIONS}
    invocations = run.invocations
    hours = run.seconds / 3600 if platform.has_cache else 0.0
    lines = []
    for function, used in usage.items():
        name = f"{function.capitalize()}Lambda"
        lines.append(_line(f"{name} invocations", used.invocations, prices.LAMBDA_REQUEST))
        per_gb_second = prices.LAMBDA_GB_SECOND[platform.architecture]
        lines.append(_line(f"{name} at {used.memory_mb} MB", gb_seconds(used), per_gb_second))
    lines += [
        _line("S3 put-class", run.requests["s3_puts"], at.s3_put),
        _line("S3 get-class", run.requests["s3_gets"], at.s3_get),
        _line("DynamoDB writes", run.requests["write_units"], at.dynamodb_write_unit),
        _line("DynamoDB reads", run.requests["read_units"], at.dynamodb_read_unit),
        _line("SNS", run.requests["publishes"], prices.SNS_PUBLISH),
        _line(
            f"log lines, {LOG_BYTES} bytes an invocation", sum(invocations.values()) * LOG_BYTES / 1e6, prices.LOG_MB
        ),
    ]
    unpriced = []
    if platform.has_cache:
        node, what = prices.CACHE_NODE_HOUR.get(platform.cache_node_type), f"cache node {platform.cache_node_type}"
        unpriced = [] if node else [what]
        lines.append(_line(what if node else f"{what}, price not known", hours, node or Price(0.0, "hours", "")))
        lines.append(_line(f"{ENDPOINTS} interface endpoints", hours * ENDPOINTS, prices.ENDPOINT_HOUR))
        through = invocations["neuron"] * ENDPOINT_BYTES / 1e6
        lines.append(_line(f"endpoint data, {ENDPOINT_BYTES} bytes a neuron invocation", through, prices.ENDPOINT_MB))
        if run.parameters and run.samples:
            # Functions run in two zones and the cache is in one, so half of it crosses; the cache's side is free.
            half = Workload(run.parameters, Size.of_run(run)).cache_bytes * run.epoch / 2 / 1e6
            lines.append(_line("data to and from the cache in the other zone", half, prices.CROSS_ZONE_MB))
    lines = [line for line in lines if line["quantity"]]
    return {
        "usd": sum(line["usd"] for line in lines),
        "invocations": invocations,
        "gb_seconds": sum(gb_seconds(used) for used in usage.values()),
        "requests": run.requests,
        "cache_hours": hours,
        "lines": lines,
        "unpriced": unpriced,
        "left_out": LEFT_OUT,
        "prices": {
            "region": prices.REGION,
            "requests_region": at.region,
            "date": prices.DATE,
            "architecture": platform.architecture,
        },
    }


def usd_of(run: Run, platform: Platform) -> float:
    """Return the price of what a run used so far, in USD."""
    return cost_of(run, platform)["usd"]


def gb_seconds(used: Usage) -> float:
    """Return memory (GB) × time (s), the quantity Lambda bills."""
    return used.memory_mb / 1024 * used.milliseconds / 1000


def _line(what: str, quantity: float, price: Price) -> Line:
    return {"what": what, "quantity": quantity, "unit": price.unit, "price": price.usd, "usd": quantity * price.usd}
