"""All that differs between the releases of Airflow that the plugin works with (3.1 to 3.3), and nothing else.

Names have the types of the newest release. What was run on which, and what is missing where: ``docs/versions.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger

if TYPE_CHECKING:
    from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, conf
    from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
    from airflow.sdk.execution_time import hitl
    from airflow.triggers.shared_stream import SharedStreamProducer
else:
    try:
        from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, conf
        from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
    except ImportError:  # before 3.2
        from airflow.configuration import conf
        from airflow.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
        from airflow.timetables.assets import AssetOrTimeSchedule
        from airflow.timetables.trigger import CronTriggerTimetable
    try:
        from airflow.sdk.execution_time import hitl
    except ImportError:  # before 3.1 Airflow asks people nothing
        hitl = None
    try:
        from airflow.triggers.shared_stream import SharedStreamProducer
    except ImportError:  # before 3.3 Airflow calls `NewDataTrigger.run`
        SharedStreamProducer = object

__all__ = [
    "CALLS_ON_KILL",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AssetOrTimeSchedule",
    "CronTriggerTimetable",
    "SharedStreamProducer",
    "conf",
    "hitl",
    "in_thread",
    "set_xcom",
    "team_of",
]

# Whether the triggerer tells a trigger that its task was killed. Before 3.3 it only cancels the trigger's coroutine, as
# it does when the triggerer ends, or when another one takes the trigger over.
CALLS_ON_KILL = hasattr(BaseTrigger, "on_kill")

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what blocks in a thread, and return what it returns; it may ask Airflow for a connection or a state.

    Who is cancelled leaves the call alone. Before 3.2.2 such questions find their way to the triggerer's event loop
    only by asgiref, and one that is cut off leaves its answer for the next one to stumble over.
    """
    if CALLS_ON_KILL:
        return await asyncio.to_thread(function, *args, **kwargs)
    from asgiref.sync import sync_to_async

    return await asyncio.shield(sync_to_async(function, thread_sensitive=False)(*args, **kwargs))


def team_of(dag_id: str) -> dict[str, Any]:
    """Return the team that a DAG belongs to, as Airflow's rules want to know it; nothing before there were teams."""
    from airflow.models.dag import DagModel  # the API server's: it reads the database

    return {"team_name": DagModel.get_team_name(dag_id)} if hasattr(DagModel, "get_team_name") else {}


async def set_xcom(key: str, value: Any, **of: Any) -> None:
    """Write an XCom from the triggerer's event loop: of `dag_id`, `task_id`, `run_id` and `map_index`."""
    if hasattr(XCom, "aset"):
        await XCom.aset(key, value, **of)
    else:  # before 3.3
        await in_thread(XCom.set, key, value, **of)
