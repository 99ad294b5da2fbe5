"""What the stack tells its functions, by environment variables that the template sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The names of the stack's other parts; an empty one means this function has no business with it."""

    bucket: str
    table: str
    topic_arn: str
    trainer_function: str
    neuron_function: str = ""
    neuron_concurrency: int = 8
    has_cache: bool = False
    require_approval: bool = False
    cache_node_type: str = "cache.t4g.micro"
    architecture: str = "arm64"
    region: str = ""
    trainer_concurrency: int = 0  # of all runs; 0: as the account has it
    memory_mb: int = 0  # of this function; 0 outside of Lambda
    trainer_mb: int = 0
    neuron_mb: int = 0

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; a variable that the template forgot is a KeyError that names it."""
        return cls(
            bucket=env["BUCKET"],
            table=env["TABLE"],
            topic_arn=env["TOPIC_ARN"],
            trainer_function=env["TRAINER_FUNCTION"],
            neuron_function=env.get("NEURON_FUNCTION", ""),
            neuron_concurrency=int(env.get("NEURON_CONCURRENCY", "8")),
            has_cache=env.get("HAS_CACHE", "true" if env.get("CACHE_HOST") else "false") == "true",
            require_approval=env.get("REQUIRE_APPROVAL", "false") == "true",
            cache_node_type=env.get("CACHE_NODE_TYPE", "cache.t4g.micro"),
            architecture=env.get("ARCHITECTURE", "arm64"),
            region=env.get("AWS_REGION", ""),
            trainer_concurrency=int(env.get("TRAINER_CONCURRENCY", "0")),
            memory_mb=int(env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0")),
            trainer_mb=int(env.get("TRAINER_MEMORY_MB", "0")),
            neuron_mb=int(env.get("NEURON_MEMORY_MB", "0")),
        )
