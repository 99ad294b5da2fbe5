"""What AWS charges: the only price table, at one date.

List prices in USD without free tiers, discounts and taxes, of `REGION` but for what `in_region` knows of others.
Compiled without access to the web, from knowledge of the pages that `source` names and, where it says so, from what
stored copies of public pages say: before an offer is based on it, look at the pages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

REGION = "us-east-1"
DATE = "2026-11-01"


@dataclass(frozen=True)
class Price:
    """USD for one `unit`; `source` says in words where AWS publishes it."""

    usd: float
    unit: str
    source: str


_LAMBDA = "AWS Lambda pricing, first tier"
LAMBDA_REQUEST = Price(0.20 / 1_000_000, "requests", f"{_LAMBDA}: requests, $0.20 a million")
LAMBDA_GB_SECOND = {
    "x86_64": Price(0.0000166667, "GB-s", f"{_LAMBDA}: x86, duration; INIT included since August 2025"),
    # 20 % less, and what the stack takes unless told otherwise
    "arm64": Price(0.0000133334, "GB-s", f"{_LAMBDA}: Arm, duration; INIT included since August 2025"),
}

_S3 = "Amazon S3 pricing, S3 Standard, requests"
S3_PUT = Price(0.005 / 1_000, "requests", f"{_S3}: PUT, COPY, POST, LIST")
S3_GET = Price(0.0004 / 1_000, "requests", f"{_S3}: GET, SELECT and all other")

# Halved in November 2024; a write unit is 1 KB, a read unit 4 KB read consistently.
_DYNAMODB = "Amazon DynamoDB pricing, on-demand, Standard table class"
DYNAMODB_WRITE_UNIT = Price(0.625 / 1_000_000, "write units", f"{_DYNAMODB}: write request units")
DYNAMODB_READ_UNIT = Price(0.125 / 1_000_000, "read units", f"{_DYNAMODB}: read request units")

SNS_PUBLISH = Price(0.50 / 1_000_000, "messages", "Amazon SNS pricing, standard topics: requests, $0.50 a million")

LOG_MB = Price(0.50 / 1_000, "MB", "Amazon CloudWatch pricing, logs from Lambda, first tier: $0.50 a GB taken in")

_VPC = "AWS PrivateLink pricing, interface endpoints"
ENDPOINT_HOUR = Price(0.01, "hours", f"{_VPC}: each, in each availability zone")
ENDPOINT_MB = Price(0.01 / 1_000, "MB", f"{_VPC}: data processed, $0.01 a GB, first tier")
CROSS_ZONE_MB = Price(0.01 / 1_000, "MB", "Amazon EC2 pricing, data transfer between zones: $0.01 a GB, each direction")

# Valkey nodes cost 20 % less than Redis OSS nodes.
CACHE_NODE_HOUR = {
    node: Price(usd, "hours", "Amazon ElastiCache pricing, on-demand nodes, Valkey")
    for node, usd in {
        "cache.t4g.micro": 0.0128,
        "cache.t4g.small": 0.0256,
        "cache.t4g.medium": 0.052,
        "cache.m7g.large": 0.1264,
        "cache.r7g.large": 0.1752,
        "cache.r7g.xlarge": 0.3496,
        "cache.r7g.2xlarge": 0.6984,
        "cache.r7g.4xlarge": 1.3976,
        "cache.r7g.8xlarge": 2.7952,
        "cache.r7g.16xlarge": 5.5904,
    }.items()
}


class Regional(NamedTuple):
    """What is charged by the request: of all prices, those that this table knows of ten regions."""

    region: str
    s3_put: Price
    s3_get: Price
    dynamodb_write_unit: Price
    dynamodb_read_unit: Price


# S3: put-class and get-class requests, USD a thousand; DynamoDB: write and read request units, USD a million. Lambda
# charges the same in all of these regions, by the request and by the GB-second.
_BY_REGION = {
    "us-east-1": (0.005, 0.0004, 0.625, 0.125),
    "us-east-2": (0.005, 0.0004, 0.625, 0.125),
    "us-west-2": (0.005, 0.0004, 0.625, 0.125),
    "ca-central-1": (0.0055, 0.00044, 0.6875, 0.1375),
    "eu-west-1": (0.005, 0.0004, 0.7065, 0.1415),
    "eu-west-2": (0.0053, 0.00042, 0.742, 0.1485),
    "eu-central-1": (0.0054, 0.00043, 0.7625, 0.1525),
    "ap-southeast-1": (0.005, 0.0004, 0.7115, 0.1425),
    "ap-southeast-2": (0.0055, 0.00044, 0.7115, 0.1425),
    "ap-northeast-1": (0.0047, 0.00037, 0.715, 0.1425),
}


def in_region(region: str) -> Regional:
    """Return the prices of a region; those of `REGION`, and its name, where this table does not know the region's."""
    known = region if region in _BY_REGION else REGION
    put, get, write, read = _BY_REGION[known]
    return Regional(
        known,
        replace(S3_PUT, usd=put / 1_000),
        replace(S3_GET, usd=get / 1_000),
        replace(DYNAMODB_WRITE_UNIT, usd=write / 1_000_000),
        replace(DYNAMODB_READ_UNIT, usd=read / 1_000_000),
    )
