"""A task's lineage for OpenLineage: the files it read and made, and the run between them.

Imported by an operator only when Airflow asks it, which it does where the provider `openlineage` is installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.openlineage.extractors.base import OperatorLineage
from attrs import define
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    RunFacet,
    dataset_type_dataset,
    dataset_version_dataset,
    execution_parameters_run,
    input_statistics_input_dataset,
)

from snn.errors import InvalidInput
from snn_client.data.addresses import address_of
from snn_cloud.aws import places

if TYPE_CHECKING:
    from snn_cloud.ledger.record import Run


@define
class SnnTrainingRunFacet(RunFacet):
    """How a training went: it took `seconds`, and `parameters_sha256` is the hash of its staged `parameters.json`."""

    run_id: str
    epochs_run: int
    final_cost: float | None
    stopped_by: str | None
    seconds: float
    parameters_sha256: str


def of_files(read: Iterable[str], made: Iterable[str]) -> OperatorLineage[Any, Any]:
    """Return the lineage of a task that read and made files or folders of them, each a path or an ``s3://`` address."""
    return OperatorLineage(
        inputs=[InputDataset(*_named(each), facets=_facets(each)) for each in dict.fromkeys(read)],
        outputs=[OutputDataset(*_named(each), facets=_facets(each)) for each in made],
    )


def of_training(bucket: str, run: Run) -> OperatorLineage[Any, Any]:
    """Return the lineage of a completed run: its data set, its model and costs, its parameters, how it went."""
    namespace = f"s3://{bucket}"
    data = InputDataset(
        namespace,
        run.dataset,
        inputFacets={"inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet(run.samples)},
    )
    if run.dataset_version:
        data.facets = {"version": dataset_version_dataset.DatasetVersionDatasetFacet(run.dataset_version)}
    models, results = [places.params(run.run_id)], [places.results(run.run_id)]
    if run.promote:
        models.append(places.PROMOTED_PARAMS)
        results.append(places.PROMOTED_RESULTS)
    outputs: list[Dataset] = [OutputDataset(namespace, key, facets=_facets(key)) for key in (*models, *results)]
    parameters = run.parameters.to_json() if run.parameters else "{}"
    parameter = execution_parameters_run.ExecutionParameter
    return OperatorLineage(
        inputs=[data],
        outputs=outputs,
        run_facets={
            "executionParameters": execution_parameters_run.ExecutionParametersRunFacet(
                [parameter(key=name, value=_text(value)) for name, value in json.loads(parameters).items()]
            ),
            "snn_training": SnnTrainingRunFacet(
                run_id=run.run_id,
                epochs_run=run.epoch,
                final_cost=run.cost,
                stopped_by=run.stopped_by.value if run.stopped_by else None,
                seconds=round(run.seconds, 3),
                parameters_sha256=hashlib.sha256(parameters.encode()).hexdigest(),
            ),
        },
    )


def _named(source: str) -> tuple[str, str]:
    """Return a file's namespace and name as OpenLineage spells them."""
    try:
        address = address_of(source)
    except InvalidInput:  # a whole bucket, where photos lie in no folder
        return source, "/"
    if address:
        return f"s3://{address.bucket}", address.key or "/"
    return "file", str(Path(source).absolute())


def _facets(name: str) -> Any:
    return {"datasetType": dataset_type_dataset.DatasetTypeDatasetFacet("MODEL")} if name.endswith("params.h5") else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
