"""A candidate that waits for a person, and what becomes of it: as in snn_retraining, without a training before it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from snn_operators.approval import SnnApprovalOperator
from snn_operators.champion import SnnPromoteOperator
from snn_operators.models import SnnRegisterOperator

with DAG(
    "approving",
    schedule=None,
    params={
        "stack_name": "snn",
        "run_id": "",
        "model": "",
        "timeout": Param(None, type=["null", "number"]),
        "default": "reject",
        "comparison": Param(None, type=["null", "object"]),
    },
    render_template_as_native_obj=True,
):
    given = {"stack": "{{ params.stack_name }}", "run_id": "{{ params.run_id }}", "model": "{{ params.model }}"}
    approve = SnnApprovalOperator(
        task_id="approve",
        comparison="{{ params.comparison }}",
        response_timeout="{{ params.timeout }}",
        default="{{ params.default }}",
        poll_interval=0.5,
        **given,
    )
    SnnRegisterOperator(task_id="register", **given) >> approve >> SnnPromoteOperator(task_id="promote", **given)
