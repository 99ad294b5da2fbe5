"""A real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsers import chromium
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with chromium() as running:
        yield running
