"""What to deploy: the options of the stack, from a form, a command line or the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, get_type_hints

from snn.errors import InvalidInput

RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
ARCHITECTURES = ("arm64", "x86_64")
ENDPOINTS = ("iam", "key", "jwt", "none")
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365)
# The longest name made of it is the artifact bucket's: 63 = this + "-artifacts-" + 12 digits + "-" + "ap-southeast-1".
MAX_NAME = 25
# A name that ends so would give its data bucket the name of another stack's artifact bucket.
NAME_PATTERN = "(?!.*-artifacts$)[a-z](-?[a-z0-9])*"
# As S3 has it; without dots, which its certificate does not cover, and not the name of a stack's artifact bucket.
BUCKET_PATTERN = (
    "(?!xn--|sthree-|amzn-s3-demo-)(?!.*(-s3alias|--ol-s3|--x-s3|--table-s3)$)(?!.*-artifacts-[0-9]{12}-)"
    "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
)
# The options that the root template has a parameter for, and its name there.
PARAMETERS = {
    "with_cache": "WithCache",
    "cache_node_type": "CacheNodeType",
    "runtime": "Runtime",
    "architecture": "Architecture",
    "neuron_concurrency": "NeuronConcurrency",
    "reserve_neuron_concurrency": "ReservedNeuronConcurrency",
    "reserve_trainer_concurrency": "ReservedTrainerConcurrency",
    "bucket": "BucketName",
    "email": "Email",
    "log_retention_days": "LogRetentionDays",
    "layer_arn": "LayerArn",
    "with_features": "WithFeatures",
    "endpoint": "Endpoint",
    "endpoint_key_sha256": "EndpointKeySha256",
    "endpoint_jwt_issuer": "EndpointJwtIssuer",
    "endpoint_jwt_audience": "EndpointJwtAudience",
    "endpoint_concurrency": "EndpointConcurrency",
    "endpoint_daily_usd": "EndpointDailyUsd",
    "require_approval": "RequireApproval",
    "with_events": "WithEvents",
    "with_notebook": "WithNotebook",
    "notebook_instance_type": "NotebookInstanceType",
    "permissions_boundary": "PermissionsBoundary",
}


@dataclass(frozen=True)
class StackOptions:
    """What to deploy. Raises InvalidInput, naming the field, if it cannot be.

    `given` names the options that somebody gave; the others are defaults, which a stack that is there overrides. Made
    directly, the options are all meant as they are.
    """

    stack_name: str = "snn"
    with_cache: bool = False
    runtime: str = "python3.13"
    architecture: str = "arm64"
    neuron_concurrency: int = 8  # simultaneous neuron invocations of one run
    reserve_neuron_concurrency: int = 0  # of all runs; 0 reserves none
    reserve_trainer_concurrency: int = 0  # of all runs, which wait above it; 0 reserves none
    bucket: str = ""  # the data bucket to make; empty: <stack>-<account>-<region>. It stays for the stack's life
    email: str = ""
    cache_node_type: str = "cache.t4g.micro"
    log_retention_days: int = 30
    tags: Mapping[str, str] = field(default_factory=dict)
    layer_arn: str = ""  # an existing dependency layer, instead of building one
    with_features: bool = False  # FeatureLambda, which turns photos into features by a backbone
    endpoint: str = "iam"  # how the champion is asked, see ENDPOINTS
    endpoint_key_sha256: str = ""  # of the key of an endpoint that asks for one
    endpoint_jwt_issuer: str = ""
    endpoint_jwt_audience: str = ""
    endpoint_concurrency: int = 0  # reserved; 0 reserves none
    endpoint_daily_usd: float = 1.0  # then it answers 429; 0: no limit
    require_approval: bool = False  # a person approves a version before it becomes champion
    with_events: bool = False  # on EventBridge's default bus
    with_notebook: bool = False  # a SageMaker notebook instance
    notebook_instance_type: str = "ml.t3.medium"
    permissions_boundary: str = ""  # the policy that limits all roles of the stack; empty: none
    given: frozenset[str] = field(default=frozenset((*PARAMETERS, "tags")), compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check every field."""
        check_stack_name(self.stack_name)
        checks = {
            "runtime": (self.runtime in RUNTIMES, f"one of {', '.join(RUNTIMES)}"),
            "architecture": (self.architecture in ARCHITECTURES, f"one of {', '.join(ARCHITECTURES)}"),
            "neuron_concurrency": (1 <= self.neuron_concurrency <= 512, "1 to 512"),
            "reserve_neuron_concurrency": (self.reserve_neuron_concurrency >= 0, "0 or more"),
            "reserve_trainer_concurrency": (self.reserve_trainer_concurrency >= 0, "0 or more"),
            "endpoint": (self.endpoint in ENDPOINTS, f"one of {', '.join(ENDPOINTS)}"),
            "endpoint_key_sha256": (
                bool(re.fullmatch("[0-9a-f]{64}", self.endpoint_key_sha256)) or self.endpoint != "key",
                "the SHA-256 of the endpoint's key: 64 hexadecimal digits (snn deploy --endpoint key makes one)",
            ),
            "endpoint_jwt_issuer": (
                bool(re.fullmatch(r"https?://\S+", self.endpoint_jwt_issuer)) or self.endpoint != "jwt",
                "the address of who issues the tokens",
            ),
            "endpoint_jwt_audience": (
                bool(self.endpoint_jwt_audience) or self.endpoint != "jwt",
                "for whom the tokens are",
            ),
            "endpoint_concurrency": (self.endpoint_concurrency >= 0, "0 or more"),
            "endpoint_daily_usd": (0 <= self.endpoint_daily_usd < 1e6, "USD a day, such as 0.5; 0 is no limit"),
            "bucket": (
                not self.bucket or re.fullmatch(BUCKET_PATTERN, self.bucket),
                "3 to 63 lower-case letters, digits and hyphens that S3 allows, or nothing",
            ),
            "email": (not self.email or re.fullmatch(r"[^@\s]+@[^@\s]+", self.email), "an e-mail address, or nothing"),
            "cache_node_type": (
                re.fullmatch(r"cache\.[a-z0-9]+\.[a-z0-9]+", self.cache_node_type),
                "a node type such as cache.t4g.micro",
            ),
            "log_retention_days": (
                self.log_retention_days in LOG_RETENTION_DAYS,
                f"one of {', '.join(map(str, LOG_RETENTION_DAYS))}",
            ),
            "layer_arn": (
                not self.layer_arn or re.fullmatch(r"arn:\S+:layer:\S+:\d+", self.layer_arn),
                "the ARN of a layer version, or nothing",
            ),
            "notebook_instance_type": (
                re.fullmatch(r"ml\.[a-z0-9]+\.[a-z0-9]+", self.notebook_instance_type),
                "an instance type such as ml.t3.medium",
            ),
            "permissions_boundary": (
                not self.permissions_boundary
                or re.fullmatch(r"arn:[\w-]+:iam::(\d{12}|aws):policy/\S+", self.permissions_boundary),
                "the ARN of a managed policy, or nothing",
            ),
        }
        for name, (good, hint) in checks.items():
            if not good:
                raise InvalidInput(
                    f"{getattr(self, name)!r} is not possible", field=name, source="stack options", hint=hint
                )

    @classmethod
    def from_environment(cls, **overrides: Any) -> Self:
        """Return the options that SNN_STACK_NAME, SNN_WITH_CACHE, … and, before these, `overrides` give.

        Overrides that are None count as not given. Text is converted, as from a form ("true", "8", tags
        "team=ml,env=dev").
        """
        values: dict[str, Any] = {}
        for name in (option.name for option in fields(cls) if option.name != "given"):
            value = overrides.pop(name, None)
            if value is None:
                value = os.environ.get(f"SNN_{name.upper()}")
            if value is not None:
                values[name] = _converted(name, value)
        if overrides:
            raise InvalidInput("no such option", field=", ".join(sorted(overrides)), source="stack options")
        return cls(**values, given=frozenset(values))

    def keeping(self, parameters: Mapping[str, str], tags: Mapping[str, str]) -> Self:
        """Return the options for an existing stack: what was not given stays as in its parameters and tags."""
        kept: dict[str, Any] = {} if "tags" in self.given else {"tags": dict(tags)}
        for option in fields(self):
            name = PARAMETERS.get(option.name, "")
            if name in parameters and option.name not in self.given:
                kept[option.name] = _converted(option.name, parameters[name])
        return replace(self, **kept)

    @property
    def parameters(self) -> dict[str, str]:
        """Return the root template's parameters."""
        values = {parameter: getattr(self, name) for name, parameter in PARAMETERS.items()}
        return {name: template_value(value) for name, value in values.items()}


def template_value(value: Any) -> str:
    """Return a value as CloudFormation has it."""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_stack_name(name: str) -> str:
    """Return `name`. Raises InvalidInput unless it is a valid name for a stack of ours."""
    if not isinstance(name, str) or len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, name):
        raise InvalidInput(
            f"{name!r} is not possible", field="stack_name", source="stack options",
            hint=f"use at most {MAX_NAME} lower-case letters, digits and single hyphens; begin with a letter, do not "
            "end in -artifacts",
        )  # fmt: skip
    return name


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}[text.lower()]


def _tags(text: str) -> dict[str, str]:
    return {key.strip(): tag.strip() for key, tag in (pair.split("=", 1) for pair in text.split(",") if pair)}


# How an option of each type is written as text, and what to say of a text that is not.
_CONVERSIONS: dict[Any, tuple[Callable[[str], Any], str]] = {
    bool: (_truth, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    Mapping[str, str]: (_tags, "key=value,key=value"),
}


def _converted(name: str, value: Any) -> Any:
    """Return an option's value, converted if it is the text of one that is no text."""
    kind = get_type_hints(StackOptions)[name]
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # a bucket's name may be all digits
    if not isinstance(value, str) or kind is str:
        return value
    convert, hint = _CONVERSIONS[kind]
    try:
        return convert(value.strip())
    except (KeyError, ValueError) as error:
        raise InvalidInput(f"{value!r} is not possible", field=name, source="stack options", hint=hint) from error
