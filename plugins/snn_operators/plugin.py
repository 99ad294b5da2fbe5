"""What Airflow loads: the plugin `snn`."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class SnnPlugin(AirflowPlugin):
    """Registers the project with Airflow.

    Operators, sensor, triggers and their links are ordinary imports and need no registration. Every Airflow process
    imports this module when it starts, so it imports nothing of them.
    """

    name = "snn"
