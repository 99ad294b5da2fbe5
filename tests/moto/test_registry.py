"""What is tested on the other emulator of the registry holds on moto too: the very same tests."""

from __future__ import annotations

from integration.test_registry import *  # noqa: F403
