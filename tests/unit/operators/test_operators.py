"""The operators as a DAG's author meets them: arguments, templates, errors."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from snn.errors import InvalidDataset
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import ChampionChanged, RunCancelled, RunFailed, StackFailed
from snn_operators.approval import SnnApprovalOperator
from snn_operators.base import SnnOperator, plain_failure, seconds
from snn_operators.batch import SnnBatchPredictOperator
from snn_operators.champion import SnnChooseOperator, SnnCompareOperator, SnnPromoteOperator, SnnRollbackOperator
from snn_operators.cleanup import SnnCleanupOperator
from snn_operators.compat import AirflowFailException
from snn_operators.deploy import SnnDeployOperator
from snn_operators.drift import SnnDriftOperator
from snn_operators.links import object_url, run_links
from snn_operators.models import SnnRegisterOperator
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.sensor import SnnRunSensor
from snn_operators.stage import SnnStageOperator
from snn_operators.sweep import SnnSweepPlanOperator, SnnSweepTableOperator
from snn_operators.train import SnnTrainOperator
from snn_operators.trigger import RunTrigger

ALL = [
    SnnDeployOperator(task_id="deploy"),
    SnnStageOperator(task_id="stage", dataset="d.h5", parameters={}),
    SnnDriftOperator(task_id="drift", dataset_key="k"),
    SnnTrainOperator(task_id="train", run_id="r", dataset_key="k", parameters={}),
    SnnEvaluateOperator(task_id="evaluate", run_id="r"),
    SnnPredictOperator(task_id="predict", run_id="r", images=[]),
    SnnReportOperator(task_id="report", run_id="r", test_set={}),
    SnnBatchPredictOperator(task_id="batch", source="photos"),
    SnnSweepPlanOperator(task_id="plan", dataset="d.h5", parameters={}, combinations={}),
    SnnSweepTableOperator(task_id="table", sweep={}, train="train", evaluate="evaluate"),
    SnnRunSensor(task_id="sense", run_id="r"),
    SnnCleanupOperator(task_id="clean_up"),
    SnnChooseOperator(task_id="choose"),
    SnnCompareOperator(task_id="compare", run_id="r"),
    SnnPromoteOperator(task_id="promote", run_id="r"),
    SnnRollbackOperator(task_id="roll_back"),
    SnnRegisterOperator(task_id="register", run_id="r"),
    SnnApprovalOperator(task_id="approve", run_id="r"),
]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.task_id)
def test_every_task_takes_what_aws_tasks_take_and_hands_it_to_its_hook(task: Any) -> None:
    given = {
        "aws_conn_id": "other",
        "region_name": "eu-west-3",
        "verify": False,
        "botocore_config": {"read_timeout": 7},
    }
    required = {
        name: getattr(task, name)
        for name in (
            "dataset",
            "parameters",
            "run_id",
            "dataset_key",
            "images",
            "test_set",
            "combinations",
            "sweep",
            "train",
            "evaluate",
            "source",
        )
        if hasattr(task, name)
    }
    made = type(task)(task_id="made", **required, **given)
    assert made._hook_parameters == {
        "aws_conn_id": "other",
        "region_name": "eu-west-3",
        "verify": False,
        "config": {"read_timeout": 7},
    }
    assert {"aws_conn_id", "region_name", "verify", "stack"} <= set(task.template_fields)
    assert all(hasattr(task, field) for field in task.template_fields)
    assert set(getattr(task, "template_fields_renderers", {})) <= set(task.template_fields)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.task_id)
def test_every_argument_is_documented(task: Any) -> None:
    arguments = set(inspect.signature(type(task).__init__).parameters) - {"self", "kwargs"}
    described = (type(task).__doc__ or "") + (SnnOperator.__doc__ or "")
    assert [name for name in sorted(arguments) if f":param {name}:" not in described] == []


def test_templates_are_rendered_into_their_fields() -> None:
    task = SnnStageOperator(
        task_id="stage",
        stack="{{ params.stack }}",
        dataset="s3://data/{{ ds }}.h5",
        parameters={"epochs": "{{ params.epochs }}"},
        overrides={"seed": "{{ params.seed }}"},
        images=["{{ params.image }}"],
        run_id="{{ run_id }}",
    )
    task.render_template_fields(
        {
            "params": {"stack": "mine", "epochs": 3, "seed": None, "image": "cat.png"},
            "ds": "2026-11-22",
            "run_id": "manual",
        }
    )
    assert (task.stack, task.dataset, task.run_id) == ("mine", "s3://data/2026-11-22.h5", "manual")
    assert (task.parameters, task.overrides, task.images) == ({"epochs": "3"}, {"seed": "None"}, ["cat.png"])


def test_overrides_are_numbers_again_after_templating() -> None:
    given = {
        "epochs": 500,
        "layers": 1,
        "activations": {"layer1": "sigmoid"},
        "neurons": {"layer1": 1},
        "learning_rate": 0.1,
        "seed": 4,
    }
    task = SnnStageOperator(
        task_id="stage",
        dataset="d.h5",
        parameters=given,
        overrides={
            "epochs": "7",
            "learning_rate": "2.5e-3",
            "batch_size": "64",
            "threshold": "None",
            "seed": "",
            "strategy": "average",
            "granularity": None,
        },
    )
    task.read_fields()
    parameters = task._parameters()
    assert (parameters.epochs, parameters.learning_rate, parameters.batch_size) == (7, 0.0025, 64)
    assert (parameters.threshold, parameters.seed, parameters.strategy) == (None, 4, "average")
    assert parameters.granularity.value == "batch"


def test_parameters_may_be_text_and_an_override_of_none_leaves_them() -> None:
    text = '{"epochs": 5, "layers": 1, "activations": {"layer1": "sigmoid"}, "neurons": {"layer1": 1}, '
    text += '"learning_rate": 0.1, "seed": 9}'
    task = SnnStageOperator(task_id="stage", dataset="d.h5", parameters=text, overrides={"seed": None, "epochs": None})
    task.read_fields()
    assert (task._parameters().epochs, task._parameters().seed) == (5, 9)


@pytest.mark.parametrize(("given", "meant"), [(timedelta(minutes=2), 120.0), (5, 5.0), ("2.5", 2.5), (None, None)])
def test_seconds(given: Any, meant: float | None) -> None:
    assert seconds(given) == meant


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (InvalidDataset("is missing", field="test_set_y", source="d.h5"), AirflowFailException),
        (RunFailed("run r failed after 3 epochs: out of memory"), AirflowFailException),
        (RunCancelled("run r was cancelled after 3 epochs"), AirflowFailException),
        (ChampionChanged("the champion has changed in the meantime"), AirflowFailException),
        (StackFailed("the stack snn is not deployed (missing)"), AirflowException),
    ],
)
def test_failures_are_one_line_and_retried_only_where_that_helps(
    raised: Exception, becomes: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(AirflowException) as caught, plain_failure():
        raise raised
    assert type(caught.value) is becomes
    assert str(caught.value) == str(raised)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert [record.getMessage() for record in caplog.records] == [str(raised)]


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (
            ClientError({"Error": {"Code": "AccessDenied", "Message": "no\nway"}}, "PutObject"),
            r"AWS: An error occurred (AccessDenied) when calling the PutObject operation: no\nway",
        ),
        (EndpointConnectionError(endpoint_url="http://x"), 'AWS: Could not connect to the endpoint URL: "http://x"'),
        (
            ResponseParserError("Unable to parse response (syntax error), invalid XML received:\nb'<html> Log\n in'"),
            "AWS: what answered is not AWS, perhaps a proxy or a login page between (check network and proxy): "
            "b'<html> Log in'",
        ),
    ],
)
def test_what_aws_says_is_one_line_and_retried(raised: Exception, line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(AirflowException) as caught, plain_failure():
        raise raised
    assert type(caught.value) is AirflowException
    assert str(caught.value) == line
    assert caught.value.__suppress_context__
    assert [record.getMessage() for record in caplog.records] == [line]


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), plain_failure():
        _ = 1 / 0


@pytest.mark.parametrize("dry_run", [True, "True", "true", None, "", "None", 1])
def test_a_cleanup_deletes_only_if_told_so_in_so_many_words(dry_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Listed(Exception):
        pass

    def plan(clients: Any, stack_name: str) -> Any:
        asked.append(stack_name)
        raise Listed

    monkeypatch.setattr("snn_client.stack.cleanup.plan", plan)
    monkeypatch.setattr(SnnCleanupOperator, "hook", SimpleNamespace(clients=None))
    with pytest.raises(Listed):  # no name asked for: it is a listing
        SnnCleanupOperator(task_id="c", stack="snn", dry_run=dry_run).execute({})
    assert asked == ["snn"]
    missing, other = "the stack's name is missing", "'snn-two' is not the stack's name"
    for unconfirmed, wrong in (("", missing), (None, missing), ("snn-two", other)):
        with pytest.raises(AirflowFailException, match=rf"^confirm: {wrong} \(enter snn\)$"):
            SnnCleanupOperator(task_id="c", stack="snn", dry_run="False", confirm=unconfirmed).execute({})
    with pytest.raises(AirflowFailException, match=r"^dry_run: 'perhaps' is of type str, expected true or false"):
        SnnCleanupOperator(task_id="c", stack="snn", dry_run="perhaps", confirm="snn").execute({})
    assert asked == ["snn"]


def test_the_sensor_waits_for_exactly_one_run() -> None:
    for given in ({}, {"run_id": "r", "upload": "training_input/d.h5"}, {"run_id": "", "upload": "None"}):
        sensor = SnnRunSensor(task_id="sense", uploaded_after=None, **given)
        with pytest.raises(AirflowFailException, match=r"^run_id: .* one run, .* \(give either run_id or upload\)$"):
            sensor.execute({})


INTERVAL = {"data_interval_start": datetime(2026, 11, 22, 3, tzinfo=UTC)}


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("run_type", "interval", "given", "after"),
    [
        ("scheduled", INTERVAL, {}, datetime(2026, 11, 22, 3, tzinfo=UTC)),
        ("backfill", INTERVAL, {}, datetime(2026, 11, 22, 3, tzinfo=UTC)),
        ("scheduled", {}, {}, None),  # a timetable without intervals
        ("manual", INTERVAL, {}, None),
        ("manual", {}, {}, None),  # started with a logical date of null
        ("asset_triggered", {}, {}, None),
        *([("operator_triggered", INTERVAL, {}, None)] if "operator_triggered" in [*DagRunType] else []),  # from 3.3 on
        ("scheduled", INTERVAL, {"uploaded_after": None}, None),
        (
            "manual",
            INTERVAL,
            {"uploaded_after": "{{ data_interval_start - macros.timedelta(days=1) }}"},
            datetime(2026, 11, 21, 3, tzinfo=UTC),
        ),
    ],
)
def test_by_default_the_sensor_waits_for_an_upload_of_its_own_interval(
    native: bool, run_type: str, interval: dict[str, Any], given: dict[str, Any], after: datetime | None
) -> None:
    dag = DAG("d", render_template_as_native_obj=native)
    sensor = SnnRunSensor(task_id="sense", upload="training_input/d.h5", dag=dag, **given)
    macros = SimpleNamespace(timedelta=timedelta)
    kind = DagRunType(run_type)  # as the task runner has it
    sensor.render_template_fields({"dag_run": SimpleNamespace(run_type=kind), "macros": macros, **interval})
    sensor.read_fields()
    assert sensor.uploaded_after == after
    assert sensor._watched["uploaded_after"] == (after and after.timestamp())
    trigger = RunTrigger(aws={}, **sensor._watched)
    assert trigger.serialize()[1]["uploaded_after"] == (after and after.timestamp())
    assert RunTrigger(**trigger.serialize()[1]).serialize() == trigger.serialize()


DEFERRABLES = """
from snn_operators.cleanup import SnnCleanupOperator
from snn_operators.deploy import SnnDeployOperator
from snn_operators.sensor import SnnRunSensor
from snn_operators.train import SnnTrainOperator
print(SnnDeployOperator(task_id="d").deferrable, SnnRunSensor(task_id="s", run_id="r").deferrable,
      SnnTrainOperator(task_id="t", run_id="r", dataset_key="k", parameters={}).deferrable,
      SnnCleanupOperator(task_id="c").deferrable)
"""


def test_waiting_is_deferred_where_the_configuration_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"}
    done = subprocess.run(
        [sys.executable, "-c", DEFERRABLES], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"] * 4
    assert [task.deferrable for task in ALL if hasattr(task, "deferrable")] == [False] * 4


def test_report_link_leads_to_the_console_or_to_the_endpoint() -> None:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "eu-west-3"}
    here = boto3.client("s3", endpoint_url="http://127.0.0.1:4570", **keys)
    aws = boto3.client("s3", endpoint_url="https://s3.eu-west-3.amazonaws.com", **keys)
    key = "runs/a/report/report.html"
    assert object_url(here, "bucket", key) == "http://127.0.0.1:4570/bucket/runs/a/report/report.html"
    assert object_url(aws, "bucket", key) == (
        "https://console.aws.amazon.com/s3/object/bucket?region=eu-west-3&prefix=runs%2Fa%2Freport%2Freport.html"
    )


def links_at(endpoint: str | None, region: str = "eu-west-3") -> dict[str, str]:
    keys: Any = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": region}
    outputs = StackOutputs(
        "my-snn", "my-bucket", "t", "my-snn-LaunchLambda", "my-snn-TrainerLambda", "n", "topic", False, "arm64", region,
        "a",
    )  # fmt: skip
    return run_links(Clients(lambda name: boto3.client(name, endpoint_url=endpoint, **keys)), outputs, "run-1")


def test_a_run_s_links_lead_to_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert links_at(None) == {
        "_link_LambdaLogsLink": "https://console.aws.amazon.com/cloudwatch/home?region=eu-west-3#logsV2:log-groups"
        "/log-group/$252Faws$252Flambda$252Fmy-snn-TrainerLambda/log-events$3FfilterPattern$3D$2522run-1$2522",
        "_link_StackLink": "https://console.aws.amazon.com/cloudformation/home?region=eu-west-3#/stacks"
        "?filteringText=my-snn&filteringStatus=active&viewNested=true",
        "_link_BucketPrefixLink": "https://console.aws.amazon.com/s3/buckets/my-bucket?region=eu-west-3"
        "&prefix=runs%2Frun-1%2F",
    }
    assert links_at(None, "cn-north-1")["_link_StackLink"].startswith("https://console.amazonaws.cn/cloudformation/")


def test_an_endpoint_that_is_not_aws_s_has_a_page_for_the_bucket_only() -> None:
    assert links_at("http://127.0.0.1:4570") == {
        "_link_BucketPrefixLink": "http://127.0.0.1:4570/my-bucket?prefix=runs/run-1/"
    }


def test_the_train_task_s_links_are_what_it_left_and_empty_before() -> None:
    task = SnnTrainOperator(task_id="train", run_id="r", dataset_key="k", parameters={})
    links: Any = task.operator_extra_links
    assert [(link.name, link.get_link(task, ti_key=None)) for link in links] == [
        ("Lambda logs", ""),
        ("Stack", ""),
        ("Bucket prefix", ""),
    ]
    task.links = links_at(None)
    assert [link.get_link(task, ti_key=None) for link in links] == list(links_at(None).values())
