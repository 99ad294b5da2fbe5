"""The network after any epoch of a run: as it was kept, or computed again from the kept one below.

What is computed again is what the run computed, bit for bit, where one trainer computed whole batches on a machine like
this one. On another processor, or where neurons computed (`Epochs.exact` is False then), the numbers agree within
rounding, until it makes another mini-batch of `best-batch` win.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import NamedTuple

from snn.activations import Array
from snn.errors import InvalidInput
from snn.network import Params
from snn.span import FirstLayer
from snn.training import History, Training, train
from snn_client.data.staging import read_source
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Granularity
from snn_cloud.ledger.record import Run
from snn_cloud.train.job import Data, Job, make_job
from snn_data.checkpoint import load_checkpoint
from snn_data.dataset import load_dataset
from snn_data.invocations import EpochInvocations
from snn_data.kept import KeptEpoch, kept_between, load_epoch, load_epochs, load_resumed_from, state_of

KEPT_BYTES = 64_000_000  # of files that were read last, in memory
SEEN_BYTES = 700_000_000  # of networks that were looked at last
MOST_OLDER = 100  # runs, each resumed from the next

Stop = Callable[[], bool]
"""Asked between two steps whether to give up."""


class GaveUp(InvalidInput):
    """To compute an epoch again took longer than the caller would wait; the hint names kept epochs beside it."""


@dataclass(frozen=True)
class Seen:
    """The network's parameters after so many epochs, in the data's own units; `recomputed` if they were not kept."""

    epoch: int
    params: Params
    recomputed: bool

    @property
    def nbytes(self) -> int:
        """Return what the parameters take."""
        return sum(array.nbytes for array in self.params.values())


class _File(NamedTuple):
    """An `epochs.h5` in S3, and the epochs that it has."""

    key: str
    run_id: str
    epochs: frozenset[int]


def within(seconds: float) -> Stop:
    """Return a Stop that gives up after so many seconds."""
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def never() -> bool:
    """Return False: do not give up."""
    return False


def data_of(clients: Clients, bucket: str, run: Run) -> Data:
    """Return the data set that a run learned from, in the version that it read. Raises InvalidInput."""
    version = f"?versionId={run.dataset_version}" if run.dataset_version else ""
    source = f"s3://{bucket}/{run.dataset}{version}"
    return Data(load_dataset(BytesIO(read_source(clients.s3, source)), source))


class Epochs:
    """The epochs of a run that were kept; of a run that was resumed from another, also those of that one before.

    After 0 epochs the network has its first weights. Raises InvalidInput if none were kept. What it reads it keeps, so
    use one again; not for several threads at once.
    """

    def __init__(self, clients: Clients, bucket: str, run: Run) -> None:
        if run.parameters is None:
            raise InvalidInput("has no parameters", source=f"run {run.run_id}", hint="look at another run")
        self._clients, self._bucket, self._run, self._parameters = clients, bucket, run, run.parameters
        self._contents = OrderedDict[str, bytes]()
        self._seen = OrderedDict[int, Seen]()
        self._where = dict[int, _File]()
        self._find()
        if not self._where:
            hint = "set keep_epochs, or look at a later run"
            raise InvalidInput("has no kept epochs", source=f"run {run.run_id}", hint=hint)
        self._kept = sorted(self._where)
        self._data: Data | None = None
        self._origin: Array | None = None
        self._latest: KeptEpoch | None = None  # that was computed again

    def take_over(self, other: Epochs) -> None:
        """Take what the same run's epochs have read before it came to here: what was kept stays as it was."""
        self._data, self._contents, self._origin = other._data, other._contents, other._origin
        self._seen, self._latest = other._seen, other._latest

    @property
    def kept(self) -> list[int]:
        """Return the epochs that are kept, by how many are completed."""
        return list(self._kept)

    @property
    def last(self) -> int:
        """Return the last epoch that can be looked at: all that the run had completed, or the last kept one."""
        return max(self._kept[-1], self._run.epoch)

    @property
    def exact(self) -> bool:
        """Return whether what is computed again has the run's very bits, on a machine like the trainer's."""
        return self._parameters.granularity is Granularity.BATCH

    @property
    def data(self) -> Data:
        """Return the run's data set, which is read once. Raises InvalidInput."""
        if self._data is None:
            self._data = data_of(self._clients, self._bucket, self._run)
        return self._data

    def state(self, epoch: int) -> KeptEpoch:
        """Return a kept epoch as it was, to the bit. Raises InvalidInput."""
        file = self._where.get(epoch)
        if file is None:
            raise InvalidInput(f"epoch {epoch} is not kept", source=self._source, hint=self._beside(epoch))
        return load_epoch(self._content(file.key), epoch, f"s3://{self._bucket}/{file.key}")

    def nearest(self, epoch: int) -> int:
        """Return the kept epoch at or below. Raises InvalidInput if there is none."""
        place = bisect_right(self._kept, epoch)
        if not place:
            raise InvalidInput(f"no epoch up to {epoch} is kept", source=self._source, hint=self._beside(epoch))
        return self._kept[place - 1]

    def look(self, epoch: int, stop: Stop = never) -> Seen:
        """Return the network after so many epochs. Raises InvalidInput if the run did not come so far; GaveUp."""
        if not 0 <= epoch <= self.last:
            raise InvalidInput(f"there is no epoch {epoch}", source=self._source, hint=f"0 to {self.last}")
        if epoch in self._seen:
            self._seen.move_to_end(epoch)
            return self._seen[epoch]
        state = self.state(self.nearest(epoch))
        latest = self._latest
        if latest is not None and state.epoch < latest.epoch <= epoch:
            state = latest.copy()
        job = self._job(state)
        if state.epoch < epoch:
            self._advance(job, epoch, stop)
            self._latest = state_of(job.training).copy()
        params = self._parameters.in_own_units(job.first.network(job.training.params))
        self._seen[epoch] = Seen(epoch, params, recomputed=epoch not in self._where)
        while len(self._seen) > 1 and sum(seen.nbytes for seen in self._seen.values()) > SEEN_BYTES:
            self._seen.popitem(last=False)
        return self._seen[epoch]

    def all_params(self, wanted: Collection[int]) -> Iterator[Params]:
        """Yield the networks after some of the kept epochs, with one reading of each file: quicker than one by one."""
        first: FirstLayer | None = None
        for file in dict.fromkeys(self._where[epoch] for epoch in wanted):
            for state in load_epochs(self._content(file.key), f"s3://{self._bucket}/{file.key}"):
                if state.epoch in wanted and self._where[state.epoch] == file:
                    first = first or self._job(state).first  # the same for all of them
                    yield self._parameters.in_own_units(first.network(state.params))

    def next(self, epoch: int, stop: Stop = never) -> Seen | None:
        """Return the network one epoch later, or None after the last one. Raises as `look` does."""
        return self.look(epoch + 1, stop) if epoch < self.last else None

    def invocations(self, epoch: int) -> EpochInvocations | None:
        """Return the neurons that the epoch invoked which led to a kept one; None where that was not recorded.

        It is where neurons computed, but for epoch 0, an epoch that nobody knew to be the last, and one in which a
        trainer took over from another.
        """
        return self.state(epoch).invocations if epoch in self._where else None

    @property
    def _source(self) -> str:
        return f"run {self._run.run_id}"

    def _beside(self, epoch: int) -> str:
        place = bisect_right(self._kept, epoch)
        near = [str(kept) for kept in self._kept[max(0, place - 1) : place + 1]]
        return f"kept beside it: {' and '.join(near)}"

    def _find(self) -> None:
        """Find the files of the run, and, where it was resumed, those of the runs before."""
        run_id, below = self._run.run_id, None
        for number in range(MOST_OLDER):
            files = self._files_of(run_id)
            for file in files:
                for epoch in file.epochs:
                    if below is None or epoch < below:
                        self._where.setdefault(epoch, file)
            if files:
                below = min(self._where)
            older = self._run.resumed_from if not number else self._older(files)
            if not older or below == 0:
                return
            run_id = older

    def _files_of(self, run_id: str) -> list[_File]:
        prefix = places.kept_epochs_of(run_id)
        pages = self._clients.s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        named = ((key, places.kept_range(key)) for key in keys)
        return [_File(key, run_id, frozenset(kept_between(*found))) for key, found in named if found]

    def _older(self, files: list[_File]) -> str:
        """Return the run that an older one was resumed from, as its files say."""
        if not files:
            return ""
        return load_resumed_from(self._content(files[0].key), f"s3://{self._bucket}/{files[0].key}")

    def _content(self, key: str) -> bytes:
        """Return a file's bytes; those that were read last are kept."""
        if key not in self._contents:
            self._contents[key] = read_source(self._clients.s3, f"s3://{self._bucket}/{key}")
            while len(self._contents) > 1 and sum(map(len, self._contents.values())) > KEPT_BYTES:
                self._contents.popitem(last=False)
        self._contents.move_to_end(key)
        return self._contents[key]

    def _job(self, kept: KeptEpoch) -> Job:
        """Return a job that goes on from a kept epoch, whatever would have stopped the run there."""
        history = History(costs=[0.0] * kept.epoch)
        memory = {kind: dict(arrays) for kind, arrays in kept.memory.items()}
        training = Training(dict(kept.params), memory, history, self._origin_of(kept), steps=kept.steps)
        job, _ = make_job(self._parameters, training, self.data)
        # What was validated on the way is not known here, and nothing may stop the way to where somebody looks.
        parameters = self._parameters.model_copy(update={"threshold": None, "patience": None})
        return replace(job, parameters=parameters, validation=None)

    def _advance(self, job: Job, epoch: int, stop: Stop) -> None:
        """Train up to an epoch. Raises GaveUp."""
        gradients_of = job.here().gradients_of
        for _ in train(job.training, job.parameters, len(job.samples), job.targets, gradients_of):
            if job.training.epoch == epoch and not job.training.step:
                return
            if stop():
                if not job.training.step:  # whoever asks again goes on from here
                    self._latest = state_of(job.training).copy()
                problem = f"epoch {epoch} is not kept, and to compute it again takes longer"
                raise GaveUp(problem, source=self._source, hint=self._beside(epoch))
        raise InvalidInput(f"there is no epoch {epoch}", source=self._source, hint=f"0 to {job.training.epoch}")

    def _origin_of(self, kept: KeptEpoch) -> Array | None:
        """Return W1 as it was at first, which the run's checkpoint has; one that has not begun, as its W1."""
        if "C1" not in kept.params:
            return None
        if self._origin is None:
            source = f"s3://{self._bucket}/{places.checkpoint(self._run.run_id)}"
            training = load_checkpoint(read_source(self._clients.s3, source), source)
            self._origin = training.params["W1"] if training.origin is None else training.origin
        return self._origin
