"""Airflow makes a home for itself as soon as it is imported: here, one that goes away."""

from __future__ import annotations

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
