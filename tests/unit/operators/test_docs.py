"""The snippets of docs/operators.md run as they stand."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

TEXT = (Path(__file__).parents[3] / "docs" / "operators.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)


TASKS = [
    ["deploy", "evaluate", "predict", "report", "stage", "train"],
    ["combination.evaluate", "combination.train", "plan", "table"],
    ["look"],
    ["train"],
    ["wait"],
    ["clean_up", "list"],
    ["choose", "compare", "promote", "stage", "train"],
    ["approve", "compare", "promote", "register"],
]


@pytest.mark.parametrize(("snippet", "tasks"), list(zip(SNIPPETS, TASKS, strict=True)))
def test_a_snippet_is_a_dag_in_the_right_order(snippet, tasks):
    names = {}
    exec(compile(snippet, "docs/operators.md", "exec"), names)
    dag = names["dag"]
    assert sorted(dag.task_ids) == tasks
    if "approve" in tasks:
        assert dag.get_task("approve").upstream_task_ids == {"compare", "register"}
        assert dag.get_task("promote").upstream_task_ids == {"approve", "compare"}
        assert dag.get_task("approve").response_timeout == 172_800
    elif "compare" in tasks:
        assert dag.get_task("promote").upstream_task_ids == {"train", "compare"}
    if "deploy" in tasks:
        assert dag.get_task("train").upstream_task_ids == {"deploy", "stage"}
        assert dag.get_task("report").upstream_task_ids == {"deploy", "stage", "train", "evaluate", "predict"}
    if "clean_up" in tasks:
        assert dag.get_task("clean_up").upstream_task_ids == {"list"}
        assert dag.get_task("list").only_list is True


def test_a_notifier_says_what_became_of_the_run():
    """As Airflow calls it: rendered with the context of the task, and then sent."""
    (snippet,) = (each for each in SNIPPETS if "SnsNotifier" in each)
    names = {}
    exec(compile(snippet, "docs/operators.md", "exec"), names)
    train = names["dag"].get_task("train")
    (completed,), (failed,) = train.on_success_callback, train.on_failure_callback
    assert {type(each) for each in (completed, failed)} == {SnsNotifier}
    said = {"return_value": {"run_id": "cats-20261201", "final_cost": 0.125}, "run_id": "cats-20261201"}
    ti = SimpleNamespace(xcom_pull=lambda task_ids, key="return_value": said[key])
    sent = []
    for notifier in (completed, failed):
        notifier.render_template_fields({"dag": names["dag"], "ti": ti, "exception": RuntimeError("it diverged")})
        sent.append((notifier.subject, notifier.message, notifier.target_arn))
    assert sent == [
        ("Run completed", "cats-20261201 ended with cost 0.125", names["TOPIC"]),
        ("Run failed", "cats-20261201: it diverged", names["TOPIC"]),
    ]


def test_every_operator_is_in_the_table():
    modules = Path(__file__).parents[3].joinpath("plugins", "snn_operators").glob("*.py")
    source = "".join(path.read_text() for path in modules)
    classes = set(re.findall(r"^class (Snn\w+(?:Operator|Sensor))\b", source, flags=re.M))
    classes.discard("SnnOperator")
    assert classes == set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.M))
