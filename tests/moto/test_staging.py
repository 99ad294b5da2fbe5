"""What is tested on the other emulator of the staging holds on moto too: the very same tests."""

from __future__ import annotations

from integration.test_staging import *  # noqa: F403
