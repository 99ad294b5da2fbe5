"""A Redis client whose cable a test can pull, and plug in again."""

from __future__ import annotations

from typing import Any

import redis

NOWHERE = redis.Redis("127.0.0.1", 1, retry=None)


class Cable:
    """Passes everything on to a client; to one that nothing answers while it is `pulled`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.pulled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(NOWHERE if self.pulled else self._client, name)
