"""What tests import from Airflow and what has moved between its releases, as `snn_operators.compat` for the plugin."""

from __future__ import annotations

try:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import ParamValidationError, TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import ParamValidationError, TaskDeferred
    from airflow.models.dagbag import DagBag

__all__ = ["DagBag", "ParamValidationError", "TaskDeferred"]
