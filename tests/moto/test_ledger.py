"""What is tested on the other emulator of the ledger holds on moto too: the very same tests."""

from __future__ import annotations

from integration.test_ledger import *  # noqa: F403
