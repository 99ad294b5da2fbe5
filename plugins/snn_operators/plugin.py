"""What Airflow loads: the plugin `snn`."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class SnnPlugin(AirflowPlugin):
    """Registers the project with Airflow: the page that shows neural networks, in the navigation and as a tab.

    Operators, sensor, triggers and their links are ordinary imports and need no registration. Every Airflow process
    imports this module when it starts, so it imports nothing of them; only the API server asks for the page.
    """

    name = "snn"

    @property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """Return the app of the page."""
        from snn_operators.ui import PREFIX, app

        return [{"app": app(), "url_prefix": f"/{PREFIX}", "name": "Neural networks"}]

    @property
    def external_views(self) -> list[Any]:  # type: ignore[override]
        """Return where the page stands in Airflow's UI."""
        from snn_operators.ui import views

        return views()
