"""The Airflow plugin: operators, sensor, triggers, hook, links."""
