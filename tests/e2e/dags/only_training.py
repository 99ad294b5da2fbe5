"""Stage and train, nothing else: deferred in one DAG, waiting in the worker in the other."""

from __future__ import annotations

from airflow.sdk import DAG

from snn_operators.form import overrides, training_form
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator

for dag_id, deferrable in (("deferred_training", True), ("waiting_training", False)):
    with DAG(dag_id, schedule=None, params=training_form(), render_template_as_native_obj=True):
        stage = SnnStageOperator(
            task_id="stage",
            stack="{{ params.stack_name }}",
            dataset="{{ params.dataset }}",
            parameters="{{ params.parameters_file }}",
            overrides=overrides(),
        )
        SnnTrainOperator(
            task_id="train",
            stack="{{ params.stack_name }}",
            run_id=stage.output["run_id"],
            dataset_key=stage.output["dataset_key"],
            parameters=stage.output["parameters"],
            resume="{{ params.resume }}",
            deferrable=deferrable,
        )
