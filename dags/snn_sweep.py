"""### Train many networks, and find the one that does best on samples it has not seen

1. **deploy** brings the CloudFormation stack up to date.
2. **plan** makes the combinations, checks every one, and stages their data: the training set without a
   held-out part. The test set is kept for the network that wins.
3. **combination** trains each in Lambda, a few at once, and evaluates it on the held-out part.
4. With **halving** in the form they pause after a ninth of their epochs; **choose_2** resumes the best three in
   eight until a third of the epochs (**rung_2**), **choose_3** the best half of those until the end (**rung_3**).
5. **table** sorts them, names the winner, and leaves `sweep.json` in the sweep's folder in S3.
6. **retrain** hands the winner to `snn_retraining`, if the form asks for it.

At most 3 runs are in Lambda at once, however many sweeps there are, or as many as the Airflow Variable
`snn_sweep_at_once` says. It is not in the form, because Airflow reads such limits with the DAG file; if it is not a
whole number, *deploy* fails and names it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, AssetAlias, task, task_group

from snn_operators.deploy import SnnDeployOperator
from snn_operators.form import overrides, stack_options, sweep_form
from snn_operators.results import SnnEvaluateOperator
from snn_operators.sweep import SnnSweepPlanOperator, SnnSweepRungOperator, SnnSweepTableOperator
from snn_operators.train import SnnTrainOperator
from snn_operators.variables import whole_number

PARAMETERS = Path(__file__).with_name("parameters.json")
AT_ONCE = whole_number("snn_sweep_at_once", default=3)

with DAG(
    "snn_sweep",
    schedule=None,
    params=sweep_form(),
    default_args={"deferrable": True, "retries": 1, "retry_delay": timedelta(seconds=15)},
    render_template_as_native_obj=True,
    user_defined_macros={"default_parameters": str(PARAMETERS)},
    doc_md=__doc__,
    tags=["snn"],
):
    deploy = SnnDeployOperator(
        task_id="deploy",
        stack="{{ params.stack_name }}",
        deploy="{{ params.deploy }}",
        options=stack_options(),
        pre_execute=AT_ONCE.check,
    )

    plan = SnnSweepPlanOperator(
        task_id="plan",
        stack=deploy.output,
        dataset="{{ params.dataset }}",
        parameters="{{ params.parameters_file or default_parameters }}",
        overrides=overrides("validation"),  # the form's is the sweep's own
        combinations="{{ params.combinations }}",
        validation="{{ params.validation }}",
        data_options="{{ params.data_options }}",
        halving="{{ params.halving }}",
    )

    @task_group
    def combination(run_id: Any, dataset_key: Any, resume_from: Any) -> None:
        train = SnnTrainOperator(
            task_id="train",
            stack="{{ params.stack_name }}",
            run_id=run_id,
            dataset_key=dataset_key,
            resume="{{ params.resume }}",
            resume_from=resume_from,
            max_active_tis_per_dag=AT_ONCE.value,  # deferred ones count
        )
        SnnEvaluateOperator(task_id="evaluate", stack="{{ params.stack_name }}", run_id=train.output["run_id"])

    def ended(group: str, trained: Any) -> EmptyOperator:
        """Wait for a group, however its tasks ended: what follows needs no more than the plan."""
        join = EmptyOperator(task_id=f"{group}_ended", trigger_rule="all_done")
        trained >> join
        return join

    groups, before = ["combination"], ended("combination", combination.expand_kwargs(plan.output))
    for number in (2, 3):
        choose = SnnSweepRungOperator(
            task_id=f"choose_{number}",
            stack="{{ params.stack_name }}",
            sweep=plan.output["sweep"],
            rung=number,
            train=f"{groups[-1]}.train",
            evaluate=f"{groups[-1]}.evaluate",
        )
        before >> choose
        groups.append(f"rung_{number}")
        before = ended(groups[-1], combination.override(group_id=groups[-1]).expand_kwargs(choose.output))

    table = SnnSweepTableOperator(
        task_id="table",
        stack="{{ params.stack_name }}",
        sweep=plan.output["sweep"],
        train="combination.train",
        evaluate="combination.evaluate",
        rungs=[(f"{group}.train", f"{group}.evaluate") for group in groups[1:]],
        outlets=[AssetAlias("snn-sweep")],
    )
    before >> table

    @task.short_circuit
    def hand_over(wanted: Any) -> Any:
        return wanted

    retrain = TriggerDagRunOperator(
        task_id="retrain",
        trigger_dag_id="snn_retraining",
        conf={
            "parameters": "{{ ti.xcom_pull('table', key='winner')['parameters'] }}",
            "dataset": "{{ params.dataset }}",
            "data_options": "{{ params.data_options }}",
            "stack_name": "{{ params.stack_name }}",
        },
    )

    table >> hand_over("{{ params.retrain }}") >> retrain
