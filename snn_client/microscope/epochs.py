"""The network after any epoch of a run: as it was kept, or computed again from the kept one below."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

from snn.errors import InvalidInput
from snn.network import Params
from snn.training import History, Training, train
from snn_client.data.staging import read_source
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.record import Run
from snn_cloud.train.job import Data, Job, make_job
from snn_data.dataset import load_dataset
from snn_data.kept import KeptEpoch, grid, load_epoch

_NAME = re.compile(r"(\d{8})-(\d{8})\.h5$")


@dataclass(frozen=True)
class Seen:
    """The network's parameters after so many epochs, in the data's own units; `recomputed` if they were not kept."""

    epoch: int
    params: Params
    recomputed: bool


class Epochs:
    """The epochs of a run that were kept. Raises InvalidInput if none were."""

    def __init__(self, clients: Clients, bucket: str, run: Run) -> None:
        if run.parameters is None:
            raise InvalidInput("has no parameters", source=f"run {run.run_id}", hint="look at another run")
        self._clients, self._bucket, self._run, self._parameters = clients, bucket, run, run.parameters
        pages = clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=places.kept_epochs_of(run.run_id)
        )
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        self._files = {key: (int(found[1]), int(found[2])) for key in keys if (found := _NAME.search(key))}
        if not self._files:
            hint = "set keep_epochs, or look at a later run"
            raise InvalidInput("has no kept epochs", source=f"run {run.run_id}", hint=hint)
        self._data: Data | None = None

    @property
    def kept(self) -> list[int]:
        """Return the epochs that are kept, by how many are completed."""
        last = max(end for _, end in self._files.values())
        ends = {end for _, end in self._files.values()}
        found = set[int]()
        for epoch in grid():
            if epoch > last:
                break
            if any(first <= epoch <= end for first, end in self._files.values()):
                found.add(epoch)
        return sorted(found | {end for end in ends if end == last})

    def state(self, epoch: int) -> KeptEpoch:
        """Return a kept epoch as it was. Raises InvalidInput."""
        key = next((key for key, (first, last) in self._files.items() if first <= epoch <= last), "")
        if not key:
            raise InvalidInput(f"epoch {epoch} is not kept", source=f"run {self._run.run_id}", hint="name one that is")
        source = f"s3://{self._bucket}/{key}"
        return load_epoch(read_source(self._clients.s3, source), epoch, source)

    def look(self, epoch: int, stop: Callable[[], bool] = lambda: False) -> Seen:
        """Return the network after so many epochs. Raises InvalidInput if the run did not come so far."""
        kept = self.kept
        if not 0 <= epoch <= kept[-1]:
            hint = f"0 to {kept[-1]}"
            raise InvalidInput(f"there is no epoch {epoch}", source=f"run {self._run.run_id}", hint=hint)
        below = kept[bisect_right(kept, epoch) - 1]
        job = self._job(self.state(below))
        if below < epoch:
            steps = train(
                job.training, job.parameters, len(job.samples), job.targets, job.here().gradients_of, job.validation
            )
            for _ in steps:
                if job.training.epoch == epoch and not job.training.step:
                    break
        params = self._parameters.in_own_units(job.first.network(job.training.params))
        return Seen(epoch, params, recomputed=below < epoch)

    def _job(self, kept: KeptEpoch) -> Job:
        """Return a job that goes on from a kept epoch, whatever would have stopped the run there."""
        # What was validated on the way is not known here, and nothing may stop the way to where somebody looks.
        parameters = self._parameters.model_copy(update={"threshold": None, "patience": None, "validation": None})
        if self._data is None:
            source = f"s3://{self._bucket}/{self._run.dataset}"
            if self._run.dataset_version:
                source += f"?versionId={self._run.dataset_version}"
            self._data = Data(load_dataset(BytesIO(read_source(self._clients.s3, source)), source, pictures=False))
        training = Training(
            kept.params, kept.memory, History(costs=[0.0] * kept.epoch), self._origin(kept), steps=kept.steps
        )
        job, _ = make_job(self._parameters, training, self._data)
        return replace(job, parameters=parameters, validation=None)

    def _origin(self, kept: KeptEpoch) -> object:
        """Return W1 as it was at first, which only epoch 0 has."""
        if "C1" not in kept.params or kept.origin is not None:
            return kept.origin
        return self.state(0).origin
