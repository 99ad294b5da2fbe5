"""
### Train a neural network inside AWS Lambda, and evaluate it

1. **deploy** brings the CloudFormation stack up to date.
2. **stage** checks data set, parameters and photos, and only then uploads them.
3. **train** starts the run in Lambda and watches the ledger; deferred, it holds no worker slot.
4. **evaluate** tests the network on the test set, and **predict** classifies the new photos.
5. **report** leaves `report.json` and `report.html` in the run's folder in S3, and the report in XCom.

Fill in the form and trigger it. A mistake in it stops the run at *stage*, with one line that says what to fix.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, AssetAlias

from snn_operators.deploy import SnnDeployOperator
from snn_operators.form import overrides, stack_options, training_form
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator

with DAG(
    "snn_training",
    schedule=None,
    params=training_form(),
    default_args={"deferrable": True, "retries": 1, "retry_delay": timedelta(seconds=15)},
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["snn"],
):
    deploy = SnnDeployOperator(
        task_id="deploy",
        stack="{{ params.stack_name }}",
        deploy="{{ params.deploy }}",
        options=stack_options(),
    )

    stage = SnnStageOperator(
        task_id="stage",
        stack=deploy.output,
        dataset="{{ params.dataset }}",
        parameters="{{ params.parameters_file or 'auto' }}",
        overrides=overrides(),
        images="{{ params.images }}",
        data_options="{{ params.data_options }}",
        outlets=[AssetAlias("snn-dataset")],
    )

    train = SnnTrainOperator(
        task_id="train",
        stack=deploy.output,
        run_id=stage.output["run_id"],
        dataset_key=stage.output["dataset_key"],
        parameters=stage.output["parameters"],
        resume="{{ params.resume }}",
        outlets=[AssetAlias("snn-model")],
    )

    trained = train.output["run_id"]

    evaluate = SnnEvaluateOperator(task_id="evaluate", stack=deploy.output, run_id=trained)

    predict = SnnPredictOperator(task_id="predict", stack=deploy.output, run_id=trained, images=stage.output["images"])

    report = SnnReportOperator(
        task_id="report",
        stack=deploy.output,
        run_id=trained,
        test_set=evaluate.output,
        new_images=predict.output,
        images=stage.output["images"],
    )

    deploy >> stage >> train >> [evaluate, predict] >> report
