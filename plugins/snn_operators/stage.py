"""The task that checks the input of a run and puts it into the run's own folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.amazon.aws.utils.mixins import aws_template_fields

from snn_operators.base import SnnOperator, listed, native, plain_failure

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_cloud.ledger.parameters import Parameters

# One run for each time the task is run, so a retry, or a task cleared by hand, finds nothing left by an earlier one.
RUN_ID = "{{ ti.dag_id }} {{ run_id }} {{ ti.task_id }} {{ ti.map_index }} {{ ti.try_number }}"


class SnnStageOperator(SnnOperator):
    """Check a data set, parameters and photos, and only then upload them to the folder of a new run.

    A mistake in any of them fails the task without a retry, with one line that names the file and the field, and
    nothing is left in S3. The upload itself starts no run. An ``AssetAlias`` among its ``outlets`` gets an event of the
    data set.

    Returns ``run_id``, ``dataset_key``, ``parameters_key``, ``parameters``, ``images`` and ``sha256``, each as an XCom
    of its own too, so that ``stage.output["run_id"]`` goes straight into the next operator.

    .. seealso:: ``docs/operators.md``

    :param dataset: path or ``s3://`` address of a ``datasets.h5`` (templated)
    :param parameters: the parameters: a mapping, JSON text, or a path or ``s3://`` address of ``parameters.json``
        (templated)
    :param overrides: single parameters that replace those in ``parameters``; None leaves one as it is (templated)
    :param images: paths or ``s3://`` addresses of photos to classify once trained (templated)
    :param run_id: any text, made into a valid run id; the default differs for each try of the task (templated)
    """

    template_fields: Sequence[str] = aws_template_fields(
        "stack", "dataset", "parameters", "overrides", "images", "run_id"
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "overrides": "json", "images": "json"}

    def __init__(
        self,
        *,
        dataset: str,
        parameters: str | Mapping[str, Any],
        overrides: Mapping[str, Any] | None = None,
        images: Sequence[str] | str | None = None,
        run_id: str = RUN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.dataset, self.parameters, self.overrides = dataset, parameters, overrides
        self.images, self.run_id = images, run_id

    @plain_failure()
    def execute(self, context: Context) -> dict[str, Any]:
        """Stage the input; return where it lies."""
        from snn_client.data.staging import stage
        from snn_client.runs.runs import check_cache
        from snn_cloud.aws.places import new_run_id

        outputs, parameters = self.outputs, self._parameters()
        check_cache(parameters, outputs)
        run_id = new_run_id(self.run_id)
        staged = stage(self.hook.clients, outputs.bucket, run_id, str(self.dataset), parameters, listed(self.images))
        self.log.info("run %s: staged %s, %d photos to classify", run_id, self.dataset, len(staged.images))
        made = f"s3://{outputs.bucket}/{staged.dataset_key}"
        self.files = [str(self.dataset)], [made]
        self.announce(context, made, {"run_id": run_id, "sha256": staged.sha256})
        return {**staged.to_dict(), "parameters": json.loads(parameters.to_json())}

    def _parameters(self) -> Parameters:
        """Return the parameters. Raises InvalidParameters."""
        from snn_client.data.staging import read_source
        from snn_cloud.ledger.parameters import MAX_TEXT, Parameters

        given = self.parameters
        overrides = {name: native(value) for name, value in (self.overrides or {}).items()}
        if isinstance(given, Mapping) or given.lstrip().startswith("{"):
            return Parameters.load(given, **overrides)
        return Parameters.load(read_source(self.hook.clients.s3, given, MAX_TEXT), source=given, **overrides)
