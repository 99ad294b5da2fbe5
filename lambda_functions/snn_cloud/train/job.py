"""What a trainer works on: where the run stands, its data, and how its first layer is computed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snn.batches import Feed, Samples
from snn.decision import Decision, choose
from snn.errors import SnnError
from snn.here import Here
from snn.losses import Targets
from snn.network import Network, Params
from snn.span import Direct, FirstLayer, Gram, Span
from snn.training import Training
from snn.validation import Validation, hold_out
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import read_object
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_data.checkpoint import load_checkpoint
from snn_data.dataset import Dataset, load_dataset


@dataclass(frozen=True)
class Job:
    """A run as its last checkpoint left it, ready to be advanced.

    `samples` are those that are trained on, `feed` hands them out, `targets` are what they should give; `validation`
    judges by those that were held out.
    """

    parameters: Parameters
    training: Training
    dataset: Dataset
    samples: Samples
    network: Network
    feed: Feed
    targets: Targets
    first: FirstLayer
    validation: Validation | None

    @property
    def most_batches(self) -> int:
        """Return how many batches a step has at most: so many trainers can share it."""
        how, samples = self.parameters.how, len(self.samples)
        batch_size = min(self.parameters.batch_size or samples, samples)
        return min(self.parameters.sub_batches, batch_size) if how.step_a_batch else -(-samples // batch_size)

    @property
    def result(self) -> Params:
        """Return the network that the training has found; a number it gives is in the labels' own units."""
        parameters = self.parameters
        return parameters.in_own_units(self.first.network(self.training.result(parameters)))

    @property
    def paused(self) -> bool:
        """Return whether the training is where it shall pause, or beyond."""
        after = self.parameters.pause_after
        return after is not None and not self.training.step and self.training.epoch >= after

    def decision(self) -> Decision:
        """Return where the network says class 1, of two, with the parameters that are kept: as the recipe asks."""
        rule, nothing = self.parameters.decision_threshold, np.empty(0)
        if self.validation is None:
            return choose(rule, nothing, nothing)
        said = self.validation.answers(self.training.result(self.parameters))
        return choose(rule, said[-1], self.validation.y)

    def here(self) -> Here:
        """Return what computes batches in this very process."""
        return Here(self.network, self.parameters.seed, self.first, self.targets)


def load_job(run: Run, bucket: str, clients: Clients) -> Job:
    """Read a run's checkpoint and data set from S3. Raises InvalidInput for what cannot be read."""
    if run.parameters is None:
        raise SnnError(f"run {run.run_id} has no parameters")
    parameters = run.parameters
    state = read_object(clients, bucket, places.checkpoint(run.run_id), run.checkpoint_version)
    source = f"checkpoint of run {run.run_id}"
    training = load_checkpoint(state, source=source, in_batches=parameters.how.in_batches)
    where = run.dataset, run.dataset_version
    data = _kept.load(where, lambda: read_object(clients, bucket, *where))
    print(
        f"{run.run_id}: epoch {training.epoch} of {parameters.epochs}, {parameters.strategy}, "
        f"{parameters.granularity} granularity, fence {run.fence}"
    )
    job, why = make_job(parameters, training, data)
    print(f"{run.run_id}: {why}")
    return job


def make_job(parameters: Parameters, training: Training, data: Data) -> tuple[Job, str]:
    """Return the job of a training on these data, and a line on how its first layer is computed.

    A training that has not begun is made to fit that way.
    """
    dataset = data.dataset
    samples, held_out = data.split(parameters)
    network = parameters.network(dataset.features)
    feed = Feed(samples, parameters.dtype, parameters.augment, parameters.seed, parameters.scaling)
    in_span, why = parameters.path(dataset.features, len(samples))
    first: FirstLayer = Direct(feed, network.input_dropout, parameters.seed)
    if in_span:
        if training.origin is None:
            training.origin = training.params["W1"]
        first = Span(training.origin, data.gram(samples, parameters.dtype))
    if not training.steps:
        training.params = first.start(training.params)
    targets = parameters.targets(samples.y)
    validation = None
    if held_out is not None:
        validation = Validation(network, first, held_out, parameters.targets(held_out.y, weighted=False))
    return Job(parameters, training, dataset, samples, network, feed, targets, first, validation), why


class Data:
    """A data set, and what a training makes of it before its first epoch, kept for the next one on the same data."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._split: tuple[tuple[object, int], tuple[Samples, Samples | None]] | None = None
        self._gram: Gram | None = None

    def split(self, parameters: Parameters) -> tuple[Samples, Samples | None]:
        """Return the samples to train on and those to validate by (`snn_data.fitting` has seen that there are some)."""
        asked, dataset = parameters.validation, self.dataset
        if not isinstance(asked, float):
            return dataset.train, dataset.validation if asked else None
        if self._split is None or self._split[0] != (asked, parameters.seed):
            parts = hold_out(dataset.train, asked, parameters.seed, len(dataset.classes))
            self._split = (asked, parameters.seed), parts
        return self._split[1]

    def gram(self, samples: Samples, dtype: str) -> Gram:
        """Return the Gram matrix of the samples to train on."""
        if self._gram is None or self._gram.samples is not samples or self._gram.dtype != dtype:
            self._gram = None  # the old one goes before a new one is made
            self._gram = Gram(samples, dtype)
        return self._gram


class Kept:
    """The last data set that was read: a warm environment that trains on it again has it."""

    def __init__(self) -> None:
        self._where, self._digest = ("", ""), b""
        self._data: Data | None = None

    def load(self, where: tuple[str, str], read: Callable[[], bytes]) -> Data:
        """Return the data of the file `where` (key, version), which `read` reads.

        Those of another file go before that: the check of memory admits one data set, not two.
        """
        if not places.is_same_dataset(where, self._where):
            self._data = None
        content = read()
        digest = hashlib.sha256(content).digest()
        if digest != self._digest or self._data is None:
            self._where, self._digest, self._data = where, digest, None
            self._data = Data(load_dataset(io.BytesIO(content), source=where[0], pictures=False))
        return self._data


_kept = Kept()
