"""The task that checks the input of a run and puts it into the run's own folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from snn_operators.base import SnnOperator, reads_fields
from snn_operators.fields import DOCUMENT, NAME, PATHS, VALUES, Kind

if TYPE_CHECKING:
    from airflow.sdk import Context

    from snn_client.data.staging import Choose
    from snn_cloud.ledger.parameters import Parameters
    from snn_data.dataset import Header

# One run for each time the task is run, so a retry, or a task cleared by hand, finds nothing left by an earlier one.
RUN_ID = "{{ ti.dag_id }} {{ run_id }} {{ ti.task_id }} {{ ti.map_index }} {{ ti.try_number }}"


class SnnStageOperator(SnnOperator):
    """Check a data set, parameters and photos, and only then upload them to the folder of a new run.

    A mistake in any of them fails the task without a retry, with one line that names the file and the field, and
    nothing is left in S3. The upload itself starts no run. An ``AssetAlias`` among its ``outlets`` gets an event of the
    data set.

    Returns ``run_id``, ``dataset_key``, ``parameters_key``, ``parameters``, ``images`` and ``sha256``, each as an XCom
    of its own too, so that ``stage.output["run_id"]`` goes straight into the next operator. With hundreds of photos
    ``images`` is shortened: to the first (``head``), their ``count``, and the address of the ``whole`` list in S3; the
    predict and report tasks take either.

    .. seealso:: ``docs/operators.md``

    :param dataset: path or ``s3://`` address of a ``datasets.h5``, or of what one is made of: a folder or archive of
        photos, a CSV or Parquet file, an ``s3://`` prefix that ends in ``/`` (templated)
    :param parameters: the parameters: a mapping, JSON text, or a path or ``s3://`` address of ``parameters.json``;
        ``auto``: a recipe chosen by itself, for the data set (templated)
    :param overrides: single parameters that replace those in ``parameters``; None leaves one as it is (templated)
    :param images: paths or ``s3://`` addresses of photos to classify once trained (templated)
    :param data_options: how a data set is made of what is no ``.h5``: fields of
        ``snn_client.data.options.Options``; None leaves one as it is (templated)
    :param run_id: any text, made into a valid run id; the default differs for each try of the task (templated)
    """

    kinds: ClassVar[Mapping[str, Kind]] = {
        "dataset": NAME,
        "parameters": DOCUMENT,
        "overrides": VALUES.or_else(None),
        "images": PATHS.or_else(()),
        "data_options": VALUES.or_else(None),
        "run_id": NAME,
    }
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "parameters": "json", "overrides": "json", "images": "json", "data_options": "json"
    }  # fmt: skip

    def __init__(
        self,
        *,
        dataset: str,
        parameters: str | Mapping[str, Any],
        overrides: Mapping[str, Any] | None = None,
        images: Sequence[str] | str | None = None,
        data_options: Mapping[str, Any] | str | None = None,
        run_id: str = RUN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.dataset, self.parameters, self.overrides = dataset, parameters, overrides
        self.images: Any = images
        self.data_options: Any = data_options
        self.run_id = run_id

    @reads_fields
    def execute(self, context: Context) -> dict[str, Any]:
        """Stage the input; return where it lies."""
        from snn_client.backbones.features import features_by
        from snn_client.data.options import Options
        from snn_client.data.staging import stage
        from snn_client.runs.lists import LIMIT, shortened
        from snn_client.runs.runs import check_cache
        from snn_cloud.aws.places import input_images, new_run_id
        from snn_cloud.ledger.parameters import Parameters

        overrides = self.overrides or {}
        options = Options.of({"backbone": overrides.get("backbone"), **(self.data_options or {})})
        outputs, parameters = self.outputs, self._parameters()
        if isinstance(parameters, Parameters):
            check_cache(parameters, outputs)
        run_id = new_run_id(self.run_id)
        limit = parameters.max_usd if isinstance(parameters, Parameters) else _number(overrides.get("max_usd"))
        by = features_by(self.hook.clients, outputs, limit)
        staged = stage(
            self.hook.clients, outputs.bucket, run_id, self.dataset, parameters, self.images, options, features_by=by
        )
        self.log.info("run %s: staged %s, %d photos to classify", run_id, self.dataset, len(staged.images))
        made = f"s3://{outputs.bucket}/{staged.dataset_key}"
        self.files = [self.dataset], [made]
        self.announce(context, made, {"run_id": run_id, "sha256": staged.sha256})
        returned: dict[str, Any] = {**staged.to_dict()}
        room = LIMIT - len(json.dumps({**returned, "images": None}))
        key_of = partial(input_images, run_id)
        returned["images"] = shortened(self.hook.clients, outputs.bucket, key_of, returned["images"], room)
        return returned

    def _parameters(self) -> Parameters | Choose:
        """Return the parameters, or what chooses them for the data set. Raises InvalidParameters."""
        from snn_client.data import options as data_options
        from snn_client.data.staging import read_source
        from snn_client.runs.recipe import AUTO, parameters_for
        from snn_client.runs.runs import check_cache
        from snn_cloud.ledger.parameters import MAX_TEXT, Parameters

        given = self.parameters
        asked = (self.overrides or {}).items()
        # To find one out is asked of the data set, not of the parameters.
        overrides = {name: value for name, value in asked if (name, value) != ("backbone", data_options.AUTO)}

        def choose(dataset: Header) -> Parameters:
            chosen = parameters_for(dataset, **overrides)
            self.log.info("a recipe for these data, chosen by itself: %s", chosen.to_json())
            check_cache(chosen, self.outputs)
            return chosen

        if given == AUTO:
            return choose
        if isinstance(given, Mapping):
            return Parameters.load(given, **overrides)
        return Parameters.load(read_source(self.hook.clients.s3, given, MAX_TEXT), source=given, **overrides)


def _number(value: Any) -> float | None:
    """Return a number; None for what is none, which the recipe refuses as soon as it is chosen."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
