"""What a trainer works on: where the run stands, its data, and how its first layer is computed."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache

from snn.dataset import Batch, Dataset, batches, load_dataset
from snn.errors import SnnError
from snn.first_layer import Direct, FirstLayer, Gram
from snn.model import load_checkpoint
from snn.parameters import Granularity, Parameters
from snn.training import Training, first_layer
from snn_cloud import places
from snn_cloud.clients import Clients
from snn_cloud.launching import read_object
from snn_cloud.record import Run


@dataclass(frozen=True)
class Job:
    """A run as its last checkpoint left it, ready to be advanced."""

    parameters: Parameters
    training: Training
    dataset: Dataset
    batches: list[Batch]
    first: FirstLayer


def load_job(run: Run, bucket: str, clients: Clients) -> Job:
    """Read a run's checkpoint and data set from S3. Raises InvalidInput for what cannot be read."""
    if run.parameters is None:
        raise SnnError(f"run {run.run_id} has no parameters")
    parameters = run.parameters
    state = read_object(clients, bucket, places.checkpoint(run.run_id), run.checkpoint_version)
    training = load_checkpoint(state)
    data = _Bytes(read_object(clients, bucket, run.dataset, run.dataset_version), run.dataset)
    dataset, parts, gram = _prepare(data, parameters.batch_size, parameters.seed)
    first: FirstLayer = Direct(parameters.activation_per_layer[0])
    print(
        f"{run.run_id}: epoch {training.epoch} of {parameters.epochs}, {parameters.strategy}, "
        f"{parameters.granularity} granularity, fence {run.fence}"
    )
    if parameters.granularity is Granularity.BATCH:
        first, why = first_layer(training, parameters, gram, dataset.features)
        print(f"{run.run_id}: {why}")
    return Job(parameters, training, dataset, parts, first)


class _Bytes:
    """A file's contents that equal others by their hash: a key for the cache that does not keep the file."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source, self._sha256 = data, source, hashlib.sha256(data).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bytes) and self._sha256 == other._sha256

    def __hash__(self) -> int:
        return hash(self._sha256)


@lru_cache(maxsize=1)  # the last one: a data set may be most of a function's memory
def _prepare(data: _Bytes, batch_size: int | None, seed: int) -> tuple[Dataset, list[Batch], Gram]:
    """Return data set, batches and Gram matrix; a warm environment that trains on the same data again has them."""
    dataset = load_dataset(io.BytesIO(data.data), source=data.source)
    data.data = b""
    parts = batches(dataset, batch_size, seed)
    return dataset, parts, Gram(parts)
