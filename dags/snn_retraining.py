"""
### Retrain, and promote the new model only if it is better

It runs when a `datasets.h5` is uploaded under `retraining_input/` in the stack's bucket, at the times of the Airflow
Variable `snn_retraining_cron` (such as `0 3 * * 1`; by default never), and by hand.

1. **choose** takes the upload that started the run, or the form's data set; and the champion's own parameters, unless
   the form has others.
2. **stage** and **train**: as in *snn_training*. The result is the challenger.
   In between, **drift** compares the data with those that the champion was trained on; *on drift* says what then.
3. **compare** evaluates champion and challenger on the same test set, that of the new data, and decides. XCom has both
   reports and the decision with its reason.
4. **register** makes the challenger a version in the registry; **approve**, if *approval* is on, waits for a person.
5. **promote** copies the challenger to `predict_input/` and keeps the former champion in `predict_input/previous/`. It
   is skipped unless the challenger is better by the margin, and by more than chance gives, and nobody rejected it.

With **roll back** in the form the run does only one thing: it swaps the champion and the previous one.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetAlias, AssetWatcher, task

from snn_operators.approval import SnnApprovalOperator
from snn_operators.champion import SnnChooseOperator, SnnCompareOperator, SnnPromoteOperator, SnnRollbackOperator
from snn_operators.compat import AssetOrTimeSchedule
from snn_operators.deploy import SnnDeployOperator
from snn_operators.drift import SnnDriftOperator
from snn_operators.form import overrides, retraining_form
from snn_operators.models import SnnRegisterOperator
from snn_operators.new_data import NewDataTrigger
from snn_operators.results import SnnReportOperator
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator
from snn_operators.variables import cron_times, flag

FORM = retraining_form(approval=flag("snn_retraining_approval", False))
PARAMETERS = Path(__file__).with_name("parameters.json")
times = cron_times("snn_retraining_cron")
new_data = Asset(
    "snn_new_data",
    watchers=[AssetWatcher(name="uploads", trigger=NewDataTrigger(stack=FORM["stack_name"].value))],
)

with DAG(
    "snn_retraining",
    schedule=AssetOrTimeSchedule(timetable=times, assets=[new_data]) if times else [new_data],
    max_active_runs=1,
    params=FORM,
    default_args={"deferrable": True, "retries": 1, "retry_delay": timedelta(seconds=15)},
    render_template_as_native_obj=True,
    user_defined_macros={"default_parameters": str(PARAMETERS)},
    doc_md=__doc__,
    tags=["snn"],
):

    @task.branch
    def way(params: dict[str, object]) -> str:
        return "roll_back" if params["roll_back"] else "deploy"

    champion = [AssetAlias("snn-champion")]
    roll_back = SnnRollbackOperator(task_id="roll_back", stack="{{ params.stack_name }}", retries=0, outlets=champion)

    # Retraining changes no stack: this only reads its outputs.
    deploy = SnnDeployOperator(task_id="deploy", stack="{{ params.stack_name }}", deploy=False)

    choose = SnnChooseOperator(
        task_id="choose",
        stack=deploy.output,
        dataset="{{ params.dataset }}",
        parameters="{{ params.parameters or params.parameters_file }}",
        fallback="{{ default_parameters }}",
        warm_start="{{ params.warm_start }}",
    )

    stage = SnnStageOperator(
        task_id="stage",
        stack=deploy.output,
        dataset=choose.output["dataset"],
        parameters=choose.output["parameters"],
        overrides=overrides(),
        data_options="{{ params.data_options }}",
        outlets=[AssetAlias("snn-dataset")],
    )

    drift = SnnDriftOperator(
        task_id="drift",
        stack=deploy.output,
        dataset_key=stage.output["dataset_key"],
        on_drift="{{ params.on_drift }}",
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

    challenger = train.output["run_id"]

    compare = SnnCompareOperator(
        task_id="compare",
        stack=deploy.output,
        run_id=challenger,
        metric="{{ params.metric }}",
        margin="{{ params.margin }}",
        significance="{{ params.significance }}",
    )

    register = SnnRegisterOperator(
        task_id="register",
        stack=deploy.output,
        run_id=challenger,
        test_set="{{ ti.xcom_pull('compare', key='challenger')['test_set'] }}",
    )

    approve = SnnApprovalOperator(
        task_id="approve",
        stack=deploy.output,
        run_id=challenger,
        comparison=compare.output,
        wanted="{{ params.approval }}",
        response_timeout="{{ params.approval_hours and params.approval_hours * 3600 }}",
    )

    promote = SnnPromoteOperator(
        task_id="promote",
        stack=deploy.output,
        run_id=challenger,
        decision=compare.output["decision"],
        over=compare.output["champion_etag"],
        outlets=champion,
        trigger_rule="none_failed_min_one_success",  # approve is skipped where nobody is to be asked
    )

    report = SnnReportOperator(
        task_id="report",
        stack=deploy.output,
        run_id=challenger,
        test_set="{{ ti.xcom_pull('compare', key='challenger')['test_set'] }}",
    )

    way() >> [roll_back, deploy]
    deploy >> choose >> stage >> drift >> train >> compare >> [register, report]
    register >> approve >> promote
