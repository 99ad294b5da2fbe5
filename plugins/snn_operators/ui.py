"""The page inside Airflow: where it stands in the UI, who may see what, and which stacks it shows.

The app itself is `snn_client.look`; what is added here is Airflow's login and its rules, for Airflow mounts a plugin's
app without either.
"""

from __future__ import annotations

import logging
from functools import cache, cached_property
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI

from snn_client.look.app import make_app
from snn_client.look.stacks import Keys, Stack
from snn_cloud.ledger.record import Run
from snn_operators.compat import conf, team_of
from snn_operators.hook import SnnHook

log = logging.getLogger(__name__)

NAME, PREFIX = "Neural networks", "snn"
SECTION, OPTION = "snn", "stacks"
DEFAULT_STACKS = "snn"


class AirflowViewer:
    """A person who is logged in to Airflow.

    The runs that a DAG has started are for who may see the DAG; to stop one, and to write notes on it, they must be
    allowed to edit the DAG's runs. Other runs, of the command line and of uploads, and the champion are for who may see
    plugins; to change such a run they must be allowed to edit the runs of all DAGs.
    """

    def __init__(self, user: Any) -> None:
        self._user, self._answers = user, dict[tuple[str, str | None], bool]()

    @property
    def name(self) -> str:
        """Return what Airflow calls them."""
        return str(self._user.get_name())

    @cached_property
    def sees_models(self) -> bool:
        """Return whether they may see plugins."""
        return get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=self._user)

    def sees(self, run: Run) -> bool:
        """Return whether they may see the run's DAG, or, if no DAG started it, plugins."""
        task = run.task
        return self._may("GET", task.dag_id) if task else self.sees_models

    def changes(self, run: Run) -> bool:
        """Return whether they may edit the runs of the run's DAG, or, if no DAG started it, of all."""
        task = run.task
        return self._may("PUT", task.dag_id if task else None)

    def _may(self, method: Any, dag_id: str | None) -> bool:
        if (method, dag_id) not in self._answers:  # a list asks for each of its runs
            self._answers[method, dag_id] = get_auth_manager().is_authorized_dag(
                method=method,
                access_entity=DagAccessEntity.RUN,
                details=DagDetails(id=dag_id, **team_of(dag_id)) if dag_id else None,
                user=self._user,
            )
        return self._answers[method, dag_id]


def viewer(user: Annotated[Any, Depends(get_user)]) -> AirflowViewer:
    """Return who asks. Airflow's own dependency answers 401 to who is not logged in."""
    return AirflowViewer(user)


def stacks() -> list[Stack]:
    """Return the stacks that the setting names: `[snn] stacks = snn, other@a_connection, third@a_connection@eu-west-1`.

    A stack without a connection is reached by aws_default. Of two of one name the page says which is which by the whole
    entry. An entry that cannot be used is a line in the server's log: it shall not take Airflow's own pages away.
    """
    given = conf.get(SECTION, OPTION, fallback=DEFAULT_STACKS) or DEFAULT_STACKS
    entries = list(dict.fromkeys(entry.strip() for entry in given.split(",") if entry.strip()))
    found: list[Stack] = []
    names = [entry.split("@")[0] for entry in entries]
    for entry, name in zip(entries, names, strict=True):
        parts = [part.strip() for part in entry.split("@")]
        if not all(parts) or len(parts) > 3:
            log.error(
                "[%s] %s: %r is no stack: write name, name@connection or name@connection@region", SECTION, OPTION, entry
            )
            continue
        found.append(_stack(entry if names.count(name) > 1 else name, *parts))
    return found


def _stack(label: str, name: str, connection: str = "aws_default", region: str = "") -> Stack:
    hook = SnnHook(aws_conn_id=connection, region_name=region or None)
    return Stack(name, hook.clients, lambda: Keys(*hook.keys(), hook.verify), label)


@cache
def app() -> FastAPI:
    """Return the app with Airflow's rules; always the same one, however often Airflow asks."""
    return make_app(stacks(), viewer)


def views() -> list[dict[str, Any]]:
    """Return where the page stands: in the navigation, and as a tab of DAGs, their runs, tasks and task instances.

    Addresses have no leading slash, so they respect the path under which Airflow is served.
    """
    tabs = {
        "dag": "dag_id={DAG_ID}",
        "dag_run": "dag_id={DAG_ID}&dag_run_id={RUN_ID}",
        "task": "dag_id={DAG_ID}&task_id={TASK_ID}",
        "task_instance": "dag_id={DAG_ID}&dag_run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
    }
    return [
        {
            "name": NAME,
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "neural-networks",
            "nav_top_level": True,
        },
        *(
            {
                "name": NAME,
                "href": f"{PREFIX}/?{query}",
                "destination": destination,
                "url_route": f"neural-networks-{destination.replace('_', '-')}",
            }
            for destination, query in tabs.items()
        ),
    ]
