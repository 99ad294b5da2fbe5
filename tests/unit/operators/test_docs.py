"""The snippets of docs/operators.md run as they stand."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[3] / "docs" / "operators.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)


TASKS = [
    ["deploy", "evaluate", "predict", "report", "stage", "train"],
    ["combination.evaluate", "combination.train", "plan", "table"],
    ["look"],
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


def test_every_operator_is_in_the_table():
    modules = Path(__file__).parents[3].joinpath("plugins", "snn_operators").glob("*.py")
    source = "".join(path.read_text() for path in modules)
    classes = set(re.findall(r"^class (Snn\w+(?:Operator|Sensor))\b", source, flags=re.M))
    classes.discard("SnnOperator")
    assert classes == set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.M))
