"""Where the page stands in Airflow's UI, which stacks it shows, and that only the API server loads it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snn_operators import ui
from snn_operators.plugin import SnnPlugin

DESTINATIONS = {"nav", "dag", "dag_run", "task", "task_instance"}


def test_there_is_an_entry_and_a_tab_everywhere_and_each_has_a_route_of_its_own() -> None:
    views = ui.views()
    assert {view["destination"] for view in views} == DESTINATIONS  # any other, and Airflow drops the whole plugin
    assert len({view["url_route"] for view in views}) == len(views) == 5
    assert {view["name"] for view in views} == {"Neural networks"}
    for view in views:
        assert view["href"].startswith("snn/")  # without a slash before: Airflow may be served under a path
    fields = {"dag": ["DAG_ID"], "dag_run": ["DAG_ID", "RUN_ID"], "task": ["DAG_ID", "TASK_ID"],
              "task_instance": ["DAG_ID", "RUN_ID", "TASK_ID", "MAP_INDEX"], "nav": []}  # fmt: skip
    for view in views:
        assert [name for name in fields["task_instance"] if f"{{{name}}}" in view["href"]] == fields[
            view["destination"]
        ]


THREE = " one , two@conn, three@conn@eu-west-1 ,"


@pytest.mark.parametrize(
    ("setting", "names"),
    [(None, ["snn"]), ("", ["snn"]), ("one", ["one"]), (THREE, ["one", "two", "three"])],
)
def test_a_setting_names_the_stacks(monkeypatch: pytest.MonkeyPatch, setting: str | None, names: list[str]) -> None:
    monkeypatch.delenv("AIRFLOW__SNN__STACKS", raising=False)
    if setting is not None:
        monkeypatch.setenv("AIRFLOW__SNN__STACKS", setting)
    assert [stack.name for stack in ui.stacks()] == names


def test_only_who_asks_for_the_page_loads_it() -> None:
    code = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); import snn_operators.plugin; "
        "heavy = {'fastapi', 'snn_client', 'boto3', 'numpy'}; print(sorted(heavy & (set(sys.modules) - before)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip().splitlines()[-1] == "[]"


def test_the_plugin_hands_out_one_app_however_often_it_is_asked() -> None:
    plugin = SnnPlugin()
    (first,), (second,) = plugin.fastapi_apps, plugin.fastapi_apps
    assert first["app"] is second["app"]
    assert (first["url_prefix"], first["name"]) == ("/snn", "Neural networks")
    assert plugin.external_views == ui.views()
