"""
### Have a model answer many photos, or the rows of a table

**predict** cuts the source into parts, which PredictLambda answers many at a time. The answers are one file in S3, and
what could not be read is listed beside it.

Fill in the form and trigger it. A run that was stopped goes on where it was: clear the task.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, AssetAlias

from snn_operators.batch import SnnBatchPredictOperator
from snn_operators.form import batch_form

with DAG(
    "snn_batch_predict",
    schedule=None,
    params=batch_form(),
    default_args={"retries": 1, "retry_delay": timedelta(seconds=15)},
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["snn"],
):
    SnnBatchPredictOperator(
        task_id="predict",
        stack="{{ params.stack_name }}",
        source="{{ params.source }}",
        model="{{ params.model }}",
        version="{{ params.version }}",
        format="{{ params.format }}",
        max_usd="{{ params.max_usd }}",
        at_once="{{ params.at_once }}",
        outlets=[AssetAlias("snn-predictions")],
    )
