"""
### Delete a stack and everything in it

1. **list** shows what there is: stacks in the order of deletion, log groups, table, buckets, and runs under way.
2. **clean_up** stops the runs, empties the bucket, deletes the stack and what it left behind, and the artifact bucket
   last. It is skipped on a dry run.

Trigger it as it is to look; then without *dry run* and with the stack's name in *confirm*. It only accepts a stack that
snn deployed. Data, models and reports are gone for good.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from snn_operators.cleanup import SnnCleanupOperator
from snn_operators.compat import AirflowSkipException
from snn_operators.form import cleanup_form


def skip_a_dry_run(context: Any) -> None:
    if context["params"]["dry_run"]:
        raise AirflowSkipException("dry run: nothing is deleted")


with DAG(
    "snn_cleanup",
    schedule=None,
    params=cleanup_form(),
    default_args={"deferrable": True, "retries": 1, "retry_delay": timedelta(seconds=15)},
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["snn"],
):
    listed = SnnCleanupOperator(task_id="list", stack="{{ params.stack_name }}")

    clean_up = SnnCleanupOperator(
        task_id="clean_up",
        stack="{{ params.stack_name }}",
        dry_run=False,
        confirm="{{ params.confirm }}",
        cancel_runs="{{ params.cancel_runs }}",
        pre_execute=skip_a_dry_run,
    )

    listed >> clean_up
