"""Where the page stands in Airflow's UI, which stacks it shows, and that only the API server loads it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity

from snn_cloud.ledger.record import Run, Task
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


class Rules:
    """An auth manager that lets see `mine`, and edit its runs; and what it was asked."""

    def __init__(self, plugins: bool = True) -> None:
        self.plugins, self.asked = plugins, list[tuple[str, str | None]]()

    def is_authorized_view(self, *, access_view: Any, user: Any) -> bool:
        assert (access_view, user) == (AccessView.PLUGINS, "somebody")
        return self.plugins

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: Any) -> bool:
        assert (access_entity, user) == (DagAccessEntity.RUN, "somebody")
        self.asked.append((method, details.id if details else None))
        return details is not None and (details.id == "mine" or (details.id == "shown" and method == "GET"))


def test_airflows_rules_say_who_sees_and_changes_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"get_auth_manager", "team_of"} <= vars(ui).keys()
    monkeypatch.setattr(ui, "team_of", lambda dag_id: {})
    runs = {dag: Run(dag, started_by=Task(dag, "r", "train").to_text()) for dag in ("mine", "shown", "hidden")}
    runs["none"] = Run("none")
    for plugins in (True, False):
        rules = Rules(plugins)
        monkeypatch.setattr(ui, "get_auth_manager", lambda rules=rules: rules)
        viewer = ui.AirflowViewer("somebody")
        sees = {"mine": True, "shown": True, "hidden": False, "none": plugins}
        assert {name: viewer.sees(run) for name, run in runs.items()} == sees
        changes = {"mine": True, "shown": False, "hidden": False, "none": False}
        assert {name: viewer.changes(run) for name, run in runs.items()} == changes
        assert viewer.sees_models is plugins
        for _ in range(9):
            viewer.sees(runs["mine"])
        assert rules.asked.count(("GET", "mine")) == 1, "a list of a thousand runs asks once a DAG"
        assert ("PUT", None) in rules.asked, "a run of no DAG: the runs of all of them"


def test_stacks_of_one_name_are_told_apart_and_nonsense_is_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW__SNN__STACKS", "snn@dev, snn@prod, other, a@b@c@d, @x, other")
    with caplog.at_level("ERROR"):
        found = ui.stacks()
    assert [(stack.label, stack.name) for stack in found] == [
        ("snn@dev", "snn"), ("snn@prod", "snn"), ("other", "other"),
    ]  # fmt: skip
    assert [record.message for record in caplog.records] == [
        f"[snn] stacks: {entry!r} is no stack: write name, name@connection or name@connection@region"
        for entry in ("a@b@c@d", "@x")
    ]
