"""What is tested on the other emulator of the champion holds on moto too: the very same tests."""

from __future__ import annotations

from integration.test_champion import *  # noqa: F403
