"""A run that kept no epochs: there is the model that it left, and nothing on the way to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from io import BytesIO
from typing import Any

from snn.errors import InvalidInput
from snn.network import Params
from snn_client.data.staging import read_source
from snn_client.microscope.epochs import Epochs, Seen, Stop, data_of, never
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.record import Run
from snn_cloud.train.job import Data
from snn_data.invocations import EpochInvocations
from snn_data.model import load_model


class Finished:
    """What `Epochs` is for other runs. Raises InvalidInput if the run left no model either."""

    exact = True

    def __init__(self, clients: Clients, bucket: str, run: Run) -> None:
        self._clients, self._bucket, self._run = clients, bucket, run
        source = f"s3://{bucket}/{places.params(run.run_id)}"
        self._model = load_model(BytesIO(read_source(clients.s3, source)), source)
        self.last = model_epoch(run, self._model.attributes)

    @property
    def kept(self) -> list[int]:
        """Return the one epoch that there is."""
        return [self.last]

    @cached_property
    def data(self) -> Data:
        """Return the run's data set. Raises InvalidInput."""
        return data_of(self._clients, self._bucket, self._run)

    def look(self, epoch: int, stop: Stop = never) -> Seen:
        """Return the model. Raises InvalidInput for any other epoch."""
        if epoch != self.last:
            hint = f"look at epoch {self.last}, the model; runs keep epochs unless keep_epochs is false"
            raise InvalidInput(f"epoch {epoch} was not kept", source=f"run {self._run.run_id}", hint=hint)
        return Seen(epoch, self._model.params, recomputed=False)

    def all_params(self, wanted: Collection[int]) -> Iterator[Params]:
        """Yield the model's."""
        yield self._model.params

    def next(self, epoch: int, stop: Stop = never) -> Seen | None:
        """Return None: nobody knows."""
        return None

    def invocations(self, epoch: int) -> EpochInvocations | None:
        """Return None: nobody knows."""
        return None


def model_epoch(run: Run, attributes: Mapping[str, Any]) -> int:
    """Return after which epoch a run's model was as it is stored; `attributes` are what it says of itself."""
    best = attributes.get("best_epoch")
    restored = best is not None and run.parameters is not None and run.parameters.restore_best_weights
    return int(str(best)) + 1 if restored else run.epoch


def epochs_of(clients: Clients, bucket: str, run: Run) -> Epochs | Finished:
    """Return what there is to look at. Raises InvalidInput, as `Epochs` does, if there is nothing."""
    try:
        return Epochs(clients, bucket, run)
    except InvalidInput:
        try:
            return Finished(clients, bucket, run)
        except InvalidInput:
            pass
        raise
