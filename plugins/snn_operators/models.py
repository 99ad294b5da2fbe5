"""The registry in a DAG: a run becomes a version, a candidate for champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from snn_cloud.registry.record import DEFAULT_MODEL
from snn_operators.base import SnnOperator, reads_fields
from snn_operators.fields import MAPPING, NAME, Kind

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_cloud.registry.record import Version

MODEL: Kind = NAME.or_else(DEFAULT_MODEL)
"""The field that names a model of the registry."""


class SnnRegisterOperator(SnnOperator):
    """Make a completed run a version of a model: a candidate, with what it was trained on and what it is worth.

    Repeating it changes nothing: a run is registered once, and a version that was decided on stays so.

    Returns the version: ``number``, ``run_id``, ``status``, ``metrics`` (each with its interval), ``dataset``,
    ``sha256``, ``parameters``, ``backbone``, ``by`` and ``created``.

    .. seealso:: ``docs/operators.md``, ``docs/models.md``

    :param run_id: a completed run (templated)
    :param model: the model that it becomes a version of (templated)
    :param test_set: what it is worth: what the evaluate task returned, or ``test_set`` of the compare task's
        ``challenger``; by default what its report says, if there is one (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "run_id": NAME,
        "model": MODEL,
        "test_set": MAPPING.or_else(None),
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {"test_set": "json"}

    def __init__(
        self, *, run_id: str, model: str = DEFAULT_MODEL, test_set: Mapping[str, Any] | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.run_id, self.model, self.test_set = run_id, model, test_set

    @reads_fields
    def execute(self, context: Context) -> Version:
        """Register the run; return the version."""
        from snn_client.models import versions
        from snn_cloud.aws.places import params

        outputs = self.outputs
        test_set: Any = self.test_set
        version = versions.register(self.hook.clients, outputs, self.run_id, self.model, asker(self), test_set)
        self.files = [f"s3://{outputs.bucket}/{params(self.run_id)}"], []
        self.log.info(
            "run %s is version %d of %s: %s",
            version["run_id"], version["number"], version["model"], version["status"],
        )  # fmt: skip
        return version


def asker(task: SnnOperator) -> str:
    """Return who asks the registry for something in a task: its DAG."""
    return f"DAG {task.dag_id}" if task.has_dag() else "Airflow"  # type: ignore[no-untyped-call]
