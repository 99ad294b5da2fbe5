"""Who looks at the page, and what they may see and do. Airflow's rules are the plugin's; here are those without it."""

from __future__ import annotations

from typing import Protocol

from snn_cloud.ledger.record import Run


class Viewer(Protocol):
    """A person who is known, for one request."""

    @property
    def name(self) -> str:
        """What they are called."""

    def sees(self, run: Run) -> bool:
        """Return whether they may look at a run."""

    def changes(self, run: Run) -> bool:
        """Return whether they may stop a run and write notes on it."""

    @property
    def sees_models(self) -> bool:
        """Return whether they may look at the champion and try photos on it."""


class Owner:
    """Whoever started the page on their own machine: they have the credentials, and may do all."""

    name = "you"
    sees_models = True

    def sees(self, run: Run) -> bool:
        """Return True."""
        return True

    def changes(self, run: Run) -> bool:
        """Return True."""
        return True
