"""Trainings in this process, as a trainer makes them of parameters and a data set."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import oracle

from snn.here import Here
from snn.network import Params
from snn.strategies import Epoch
from snn.training import Training, train
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.train.job import Data, make_job
from snn_data.dataset import Dataset, load_dataset, save_dataset


def saved(*arrays: Any, classes: tuple[str, ...] = (), **validation: Any) -> bytes:
    """A `datasets.h5` as bytes."""
    buffer = io.BytesIO()
    save_dataset(buffer, *arrays, classes, **validation)
    return buffer.getvalue()


@cache
def photos(grey: bool = False, **options: int) -> Dataset:
    """The oracle's photos, of two classes."""
    pixels, labels = oracle.photos_and_labels(**options)
    if grey:
        pixels = pixels[..., 0]
    return load_dataset(io.BytesIO(saved(pixels, labels, pixels[:6], labels[:6], classes=("no", "yes"))))


@cache
def table(samples: int = 26, features: int = 30, classes: int = 0, dtype: str = "float64", seed: int = 3) -> Dataset:
    """A table of random numbers, with labels that can be learnt: a number, or which of its parts is the largest."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, features)).astype(dtype)
    y: Any = x[:, :3].argmax(axis=1) if classes else x[:, 0] - 2 * x[:, 1] + 0.1 * x[:, 2] ** 2
    y[: classes or 0] = np.arange(classes) if classes else y[:0]
    named = tuple(f"class {k}" for k in range(classes))
    return load_dataset(io.BytesIO(saved(x, y, x[:5], y[:5], classes=named)))


class Lesson:
    """A training of a data set: from its first step, or on from where another one was."""

    def __init__(self, parameters: Parameters, dataset: Dataset, training: Training | None = None) -> None:
        network = parameters.network(dataset.features)
        self.parameters = parameters
        self.training = training or Training(network.first_params(parameters.seed, parameters.dtype))
        self.job, self.why = make_job(parameters, self.training, Data(dataset))
        self.here: Here = self.job.here()

    def epoch(self, number: int) -> Epoch:
        """The steps of an epoch."""
        chosen, samples = self.parameters, len(self.job.samples)
        return Epoch(chosen.how, self.job.targets, samples, chosen.batch_size, chosen.seed, number, chosen.sub_batches)

    def steps(self, gradients_of: Any = None) -> Iterator[int]:
        """Take step after step."""
        gradients_of = gradients_of or self.here.gradients_of
        return train(
            self.training, self.parameters, len(self.job.samples), self.job.targets, gradients_of, self.job.validation
        )

    @property
    def params(self) -> Params:
        """What the training has found, as a network's parameters."""
        return self.job.result


def trained(parameters: Parameters, dataset: Dataset) -> Lesson:
    """A training that has come to its end."""
    lesson = Lesson(parameters, dataset)
    for _ in lesson.steps():
        pass
    return lesson
