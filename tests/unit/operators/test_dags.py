"""The DAG files as Airflow reads them, and the form that starts one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, ParamsDict, Variable
from other_airflow import DagBag, ParamValidationError

from snn.optimizers import OPTIMIZERS
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_client.stack.options import StackOptions
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_operators.compat import AirflowFailException, AirflowSkipException

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(ROOT / "dags")


@pytest.fixture(scope="module")
def cleanup(bag: DagBag) -> DAG:
    dag: DAG = bag.dags["snn_cleanup"]
    return dag


@pytest.fixture(scope="module")
def training(bag: DagBag) -> DAG:
    dag: DAG = bag.dags["snn_training"]
    return dag


@pytest.fixture(scope="module")
def sweep(bag: DagBag) -> DAG:
    dag: DAG = bag.dags["snn_sweep"]
    return dag


def fill_in(dag: DAG, **fields: Any) -> dict[str, Any]:
    """Return what a run's tasks see of the form. Raises ParamValidationError."""
    params = ParamsDict({name: dag.params.get_param(name) for name in dag.params})
    params.update(fields)
    values: dict[str, Any] = params.validate()
    return values


def test_every_dag_file_imports(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {"snn_batch_predict", "snn_cleanup", "snn_retraining", "snn_sweep", "snn_training"}


def test_every_dag_says_what_it_does(bag: DagBag) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md
        assert dag.tags == {"snn"}


def test_the_steps_of_the_training(training: DAG) -> None:
    assert {task.task_id: task.downstream_task_ids for task in training.tasks} == {
        "deploy": {"stage", "train", "evaluate", "predict", "report"},
        "stage": {"train", "predict", "report"},
        "train": {"evaluate", "predict", "report"},
        "evaluate": {"report"},
        "predict": {"report"},
        "report": set(),
    }


def test_the_form_has_the_contract_s_fields_each_explained(training: DAG) -> None:
    assert set(training.params) == {
        "dataset",
        "data_options",
        "parameters_file",
        "epochs",
        "learning_rate",
        "batch_size",
        "threshold",
        "seed",
        "strategy",
        "optimizer",
        "schedule",
        "dtype",
        "validation",
        "patience",
        "granularity",
        "backbone",
        "max_usd",
        "max_seconds",
        "images",
        "resume",
        "deploy",
        "stack_name",
    }
    for name in training.params:
        param: Any = training.params.get_param(name)
        assert param.description, name
        assert {"type", "title"} <= set(param.schema), name


def test_the_form_offers_what_the_parameters_take(training: DAG) -> None:
    for field, registry in (("strategy", STRATEGIES), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        param: Any = training.params.get_param(field)
        assert param.schema["enum"] == [None, *registry]
        for name in registry:
            shown = param.schema["values_display"][name]
            assert shown.startswith(f"{name}: ")
            assert len(shown) > len(name) + 10
            assert "\n" not in shown
    granularity: Any = training.params.get_param("granularity")
    assert set(granularity.schema["enum"]) == {None, *(item.value for item in Granularity)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", None),
        ("dataset", ""),
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", "many"),
        ("learning_rate", 0),
        ("learning_rate", -0.1),
        ("batch_size", 0),
        ("threshold", 0),
        ("seed", -1),
        ("strategy", "worst-batch"),
        ("granularity", "cell"),
        ("optimizer", "adm"),
        ("schedule", "sine"),
        ("dtype", "float16"),
        ("validation", 1),
        ("validation", 0),
        ("patience", 0),
        ("backbone", "EfficientNet"),
        ("backbone", "my net"),
        ("backbone", "a" * 42),
        ("backbone", ""),
        ("max_usd", 0),
        ("max_usd", "a dollar"),
        ("max_seconds", -1),
        ("max_seconds", 604_801),
        ("images", "cat.png"),
        ("images", [""]),
        ("deploy", "perhaps"),
        ("stack_name", "Snn"),
        ("stack_name", "a" * 26),
        ("stack_name", "snn; rm"),
    ],
)
def test_the_form_refuses(training: DAG, field: str, value: Any) -> None:
    with pytest.raises(ParamValidationError, match=field):
        fill_in(training, **{"dataset": "d.h5", field: value})


def test_the_form_takes_a_filled_in_one(training: DAG) -> None:
    given = {
        "dataset": "s3://data/datasets.h5",
        "epochs": 3,
        "learning_rate": 0.01,
        "batch_size": 64,
        "threshold": 0.0019,
        "seed": 7,
        "strategy": "average",
        "optimizer": "adam",
        "schedule": "cosine",
        "dtype": "float32",
        "validation": 0.1,
        "patience": 5,
        "granularity": "neuron",
        "backbone": "efficientnet-lite0",
        "max_usd": 0.5,
        "max_seconds": 3600,
        "images": ["cat.png"],
        "resume": True,
        "deploy": False,
        "stack_name": "snn-two",
    }
    assert fill_in(training, **given) == {**given, "parameters_file": None, "data_options": None}
    asked = {"label": "ill", "drop": ["remarks"]}
    assert fill_in(training, **given, data_options=asked)["data_options"] == asked


@pytest.mark.parametrize("name", ["snn_training", "snn_sweep"])
@pytest.mark.parametrize(("backbone", "with_features"), [("efficientnet-lite0", True), (None, None)])
def test_a_form_with_a_backbone_asks_for_a_stack_with_a_feature_lambda(
    bag: DagBag, name: str, backbone: str | None, with_features: bool | None
) -> None:
    """Without, whatever the stack has stays."""
    dag = bag.dags[name]
    deploy: Any = dag.get_task("deploy")
    asked = deploy.render_template(deploy.options, {"params": {"backbone": backbone}})
    options = StackOptions.from_environment(**deploy.kinds["options"]("options", asked))
    assert set(asked) == {"with_features"}
    assert options.with_features is bool(with_features)
    assert ("with_features" in options.given) is bool(with_features)
    live = StackOptions(with_features=True)
    assert options.keeping(live.parameters, {}).with_features


def test_a_cleanup_lists_first_and_is_a_dry_run_unless_told_otherwise(cleanup: DAG) -> None:
    assert {task.task_id: task.downstream_task_ids for task in cleanup.tasks} == {
        "list": {"clean_up"},
        "clean_up": set(),
    }
    assert fill_in(cleanup) == {"stack_name": "snn", "dry_run": True, "confirm": None, "cancel_runs": False}
    skip: Any = cleanup.get_task("clean_up")._pre_execute_hook
    with pytest.raises(AirflowSkipException, match=r"^dry run: nothing is deleted$"):
        skip({"params": fill_in(cleanup)})
    assert skip({"params": fill_in(cleanup, dry_run=False)}) is None


def test_the_steps_of_the_sweep(bag: DagBag, sweep: DAG) -> None:
    assert {task.task_id: task.downstream_task_ids for task in sweep.tasks} == {
        "deploy": {"plan"},
        "plan": {"combination.train", "choose_2", "choose_3", "table"},
        "combination.train": {"combination.evaluate"},
        "combination.evaluate": {"combination_ended"},
        "combination_ended": {"choose_2"},
        "choose_2": {"rung_2.train"},
        "rung_2.train": {"rung_2.evaluate"},
        "rung_2.evaluate": {"rung_2_ended"},
        "rung_2_ended": {"choose_3"},
        "choose_3": {"rung_3.train"},
        "rung_3.train": {"rung_3.evaluate"},
        "rung_3.evaluate": {"rung_3_ended"},
        "rung_3_ended": {"table"},
        "table": {"hand_over"},
        "hand_over": {"retrain"},
        "retrain": set(),
    }
    table, train = sweep.get_task("table"), sweep.get_task("combination.train")
    assert (table.train, table.evaluate) == ("combination.train", "combination.evaluate")
    # A task that waits for skipped ones by all_done_min_one_success is skipped itself, so a join stands between.
    joins = {f"{group}_ended" for group in ("combination", "rung_2", "rung_3")}
    assert {task.task_id for task in sweep.tasks if task.trigger_rule == "all_done"} == joins
    assert {task.trigger_rule for task in sweep.tasks if task.task_id not in joins} == {"all_success"}
    assert table.rungs == [("rung_2.train", "rung_2.evaluate"), ("rung_3.train", "rung_3.evaluate")]
    for number, before in ((2, "combination"), (3, "rung_2")):
        choose = sweep.get_task(f"choose_{number}")
        assert (choose.rung, choose.train, choose.evaluate) == (number, f"{before}.train", f"{before}.evaluate")
    assert {sweep.get_task(f"{group}.train").max_active_tis_per_dag for group in ("rung_2", "rung_3")} == {3}
    assert train.max_active_tis_per_dag == 3
    retrain = sweep.get_task("retrain")
    assert retrain.trigger_dag_id == "snn_retraining"
    assert set(retrain.conf) <= set(bag.dags["snn_retraining"].params)


@pytest.mark.parametrize("given", ["20", " 20 "])
def test_how_many_runs_of_a_sweep_are_in_lambda_at_once_is_read_with_the_file(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SNN_SWEEP_AT_ONCE", given)
    dag = DagBag(ROOT / "dags" / "snn_sweep.py").dags["snn_sweep"]
    assert dag.get_task("combination.train").max_active_tis_per_dag == 20
    assert dag.get_task("deploy")._pre_execute_hook({}) is None


@pytest.mark.parametrize("given", ["", " ", "abc", "0", "-1", "2.5", "None", "1" * 5000])
def test_a_sweep_with_a_wrong_variable_stays_and_its_first_task_names_it(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound of 0 would leave every training queued for ever, and an error here would take the DAG away."""
    monkeypatch.setenv("AIRFLOW_VAR_SNN_SWEEP_AT_ONCE", given)
    bag = DagBag(ROOT / "dags" / "snn_sweep.py")
    assert bag.import_errors == {}
    dag = bag.dags["snn_sweep"]
    assert dag.get_task("combination.train").max_active_tis_per_dag == 3
    with pytest.raises(AirflowFailException) as raised:
        dag.get_task("deploy")._pre_execute_hook({})
    assert str(raised.value) == (
        f"Airflow Variable snn_sweep_at_once: {given[:100]!r} is no number of runs "
        "(set a whole number from 1 on, or delete it, which means 3; then clear this task)"
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("abc", "columns has to be specified"),
        ("0 3 * *", "columns has to be specified"),
        ("0 25 * * *", "out of range"),
        ("0 0 30 2 *", "failed to find next date"),
        ("{{ ds }}", "columns has to be specified"),
    ],
)
def test_a_retraining_whose_times_cannot_be_says_which_variable_to_mend(
    given: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SNN_RETRAINING_CRON", given)
    (error,) = DagBag(ROOT / "dags" / "snn_retraining.py").import_errors.values()
    last = error.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: Airflow Variable snn_retraining_cron: {given!r} gives no times: ")
    assert problem in last
    assert last.endswith(" (set a cron expression such as 0 3 * * 1, or delete it)")


@pytest.mark.parametrize(
    ("given", "asks"), [("true", True), (" True ", True), ("1", True), ("false", False), ("0", False), ("", False)]
)
def test_a_variable_says_whether_a_retraining_asks_unless_its_form_does(
    given: str, asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SNN_RETRAINING_APPROVAL", given)
    dag = DagBag(ROOT / "dags" / "snn_retraining.py").dags["snn_retraining"]
    assert fill_in(dag)["approval"] is asks
    approve: Any = dag.get_task("approve")
    for hours, seconds in ((None, None), (0.5, 1800.0)):
        params = {"approval": asks, "approval_hours": hours}
        for field, wanted in (("wanted", asks), ("response_timeout", seconds)):
            rendered = approve.render_template(getattr(approve, field), {"params": params})
            assert approve.kinds[field](field, rendered) == wanted


@pytest.mark.parametrize("given", ["yes", "on", "maybe", "None"])
def test_a_variable_that_does_not_say_whether_to_ask_is_an_import_error_that_names_it(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To take it for false would promote what nobody has approved."""
    monkeypatch.setenv("AIRFLOW_VAR_SNN_RETRAINING_APPROVAL", given)
    (error,) = DagBag(ROOT / "dags" / "snn_retraining.py").import_errors.values()
    assert error.strip().splitlines()[-1] == (
        f"ValueError: Airflow Variable snn_retraining_approval: {given!r} is neither true nor false "
        "(set true or false, or delete it, which means false)"
    )


def test_the_variables_that_are_read_while_parsing_are_those(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one needs tests like those above."""
    read: list[str] = []
    monkeypatch.setattr(Variable, "get", lambda name, default=None: read.append(name) or default)
    assert DagBag(ROOT / "dags").import_errors == {}
    assert sorted(read) == ["snn_retraining_approval", "snn_retraining_cron", "snn_sweep_at_once"]
    assert "Variable" not in "".join(path.read_text().split('"""')[2] for path in (ROOT / "dags").glob("*.py"))


@pytest.mark.parametrize("folder", ["it's", 'a "b"', "{{ ds }}", "{% if %}", "a b\\n", "20261129"])
def test_dags_find_their_parameters_in_a_folder_of_any_name(folder: str, tmp_path: Path) -> None:
    """It stands in templates."""
    there = tmp_path / folder / "dags"
    shutil.copytree(ROOT / "dags", there)
    bag = DagBag(there)
    assert bag.import_errors == {}
    seen = {}
    for dag_id, task_id, field in (
        ("snn_sweep", "plan", "parameters"),
        ("snn_retraining", "choose", "fallback"),
    ):
        dag = bag.dags[dag_id]
        task: Any = dag.get_task(task_id)
        seen[dag_id] = getattr(task, field)
        template = dag.get_template_env().from_string(getattr(task, field))
        assert template.render({"params": {"parameters_file": None}}) == str(there / "parameters.json")
    assert seen["snn_sweep"] == "{{ params.parameters_file or default_parameters }}"
    stage: Any = bag.dags["snn_training"].get_task("stage")
    assert stage.parameters == "{{ params.parameters_file or 'auto' }}"


def test_the_form_of_the_sweep_has_the_training_s_fields_and_its_own(training: DAG, sweep: DAG) -> None:
    assert set(sweep.params) == set(training.params) - {"images"} | {
        "combinations",
        "validation",
        "halving",
        "retrain",
    }
    given = {"dataset": "d.h5", "combinations": [{"seed": 1}, {"layer_sizes": [4, 1]}], "validation": 5}
    assert given.items() <= fill_in(sweep, **given).items()
    assert fill_in(sweep, dataset="d.h5", validation=0.3)["retrain"] is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stack_name", None),
        ("stack_name", ""),
        ("stack_name", "*"),
        ("stack_name", "snn-*"),
        ("stack_name", "Snn"),
        ("stack_name", "snn-artifacts"),
        ("stack_name", "arn:aws:s3:::other"),
        ("stack_name", "a" * 26),
        ("dry_run", "no"),
        ("dry_run", None),
        ("confirm", True),
        ("cancel_runs", "yes"),
    ],
)
def test_the_cleanup_form_refuses(cleanup: DAG, field: str, value: Any) -> None:
    with pytest.raises(ParamValidationError, match=field):
        fill_in(cleanup, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("combinations", {}),
        ("combinations", []),
        ("combinations", [3]),
        ("combinations", "many"),
        ("validation", 0),
        ("validation", 1),
        ("validation", 1.5),
        ("validation", 2.5),
        ("validation", "a fifth"),
        ("retrain", "perhaps"),
        ("halving", 3),
    ],
)
def test_the_form_of_the_sweep_refuses(sweep: DAG, field: str, value: Any) -> None:
    with pytest.raises(ParamValidationError, match=field):
        fill_in(sweep, **{"dataset": "d.h5", field: value})


def test_the_steps_of_the_retraining(bag: DagBag) -> None:
    retraining = bag.dags["snn_retraining"]
    assert {task.task_id: task.downstream_task_ids for task in retraining.tasks} == {
        "way": {"roll_back", "deploy"},
        "roll_back": set(),
        "deploy": {"choose", "stage", "drift", "train", "compare", "register", "approve", "promote", "report"},
        "choose": {"stage"},
        "stage": {"drift", "train"},
        "drift": {"train"},
        "train": {"compare", "register", "approve", "promote", "report"},
        "compare": {"register", "approve", "promote", "report"},
        "register": {"approve"},
        "approve": {"promote"},
        "promote": set(),
        "report": set(),
    }
    assert retraining.max_active_runs == 1
    assert retraining.get_task("roll_back").retries == 0
    # Where nobody is to be asked, approve is skipped; in a rollback all before promote is.
    assert retraining.get_task("promote").trigger_rule == "none_failed_min_one_success"
    deploy: Any = retraining.get_task("deploy")
    assert deploy.deploy is False


def test_retraining_starts_with_its_form_left_alone_and_offers_what_can_be_compared_by(bag: DagBag) -> None:
    from snn_client.models.challenge import METRICS

    retraining = bag.dags["snn_retraining"]
    assert fill_in(retraining) == {
        **dict.fromkeys(("dataset", "data_options", "parameters", "parameters_file")),
        **dict.fromkeys(("epochs", "learning_rate", "batch_size")),
        **dict.fromkeys(("threshold", "seed", "strategy", "granularity", "max_usd", "max_seconds")),
        **dict.fromkeys(("optimizer", "schedule", "dtype", "validation", "patience", "backbone")),
        "metric": "accuracy",
        "margin": 0.01,
        "significance": 0.05,
        "warm_start": False,
        "on_drift": "warn",
        "approval": False,
        "approval_hours": None,
        "roll_back": False,
        "resume": False,
        "stack_name": "snn",
    }
    metric: Any = retraining.params.get_param("metric")
    assert sorted(metric.schema["enum"]) == sorted(METRICS)
    assert fill_in(retraining, parameters={"epochs": 3}, roll_back=True)["parameters"] == {"epochs": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metric", "error"),
        ("margin", -0.1),
        ("significance", 0),
        ("significance", 1.5),
        ("warm_start", "perhaps"),
        ("parameters", "p.json"),
        ("roll_back", "perhaps"),
        ("dataset", ""),
    ],
)
def test_the_retraining_form_refuses(bag: DagBag, field: str, value: Any) -> None:
    with pytest.raises(ParamValidationError, match=field):
        fill_in(bag.dags["snn_retraining"], **{field: value})


@pytest.mark.parametrize(("cron", "times"), [("", ""), ("0 3 * * 1", "0 3 * * 1"), ("@weekly", "0 0 * * 0")])
def test_retraining_is_started_by_uploads_to_the_form_s_stack_and_by_times_where_they_are_set(
    cron: str, times: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_STACK_NAME", "snn-two")
    monkeypatch.setenv("AIRFLOW_VAR_SNN_RETRAINING_CRON", cron)
    bag = DagBag(ROOT / "dags" / "snn_retraining.py")
    assert bag.import_errors == {}
    timetable: Any = bag.dags["snn_retraining"].timetable
    (asset,) = timetable.asset_condition.objects
    (watcher,) = asset.watchers
    assert (asset.name, watcher.trigger.stack) == ("snn_new_data", "snn-two")
    if cron:
        clock = timetable.timetable
        expression = clock.expression if hasattr(clock, "expression") else clock._expression  # before 3.2
        assert type(timetable).__name__ == "AssetOrTimeSchedule"
        assert expression in (cron, times)  # before 3.3 a name stays as it is
    else:
        assert type(timetable).__name__ == "AssetTriggeredTimetable"


def test_the_network_beside_the_dag_is_itsacat_s() -> None:
    parameters = Parameters.load(ROOT / "dags" / "parameters.json")
    assert parameters.neurons_per_layer == (20, 7, 5, 1)
    assert parameters.learning_rate == 0.0075


PROBE = """
import json, sys
from airflow import plugins_manager
try:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.plugins_manager import _get_plugins
except ImportError:  # before 3.2
    from airflow.models.dagbag import DagBag
    def _get_plugins():
        plugins_manager.ensure_plugins_loaded()
        return plugins_manager.plugins, plugins_manager.import_errors
bag = DagBag(sys.argv[1])
plugins, errors = _get_plugins()
print(json.dumps({"dags": sorted(bag.dags), "plugins": [plugin.name for plugin in plugins], "errors": errors,
                  "heavy": sorted({"numpy", "h5py", "sklearn", "scipy", "matplotlib", "pandas", "PIL", "redis"}
                                  & set(sys.modules))}))
"""


def test_airflow_registers_the_plugin_once_and_parsing_loads_nothing_heavy(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(ROOT / "dags")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["dags"] == ["snn_batch_predict", "snn_cleanup", "snn_retraining", "snn_sweep", "snn_training"]
    assert found["plugins"].count("snn") == 1
    assert found["errors"] == {}
    assert found["heavy"] == ["numpy"]  # the form reads the registries of the network; 4 % of what Airflow itself takes
