"""The kinds of run that load is made of, how each is started, and what each must have used."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from faults.cloud import DRAWN, Cloud, network
from small import photos, upload

from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_cloud.ledger.record import Run

DATA = photos()
SAMPLES = 24
# What says that a trainer of several was there, wants to be woken, or has stopped; it expires within the hour.
MARK = re.compile(rb":((follower|alive|left|inbox):\d+|stop)$")
PIECES = 0.001  # seconds: less than a step, so that every step is an invocation of its own


@dataclass(frozen=True)
class Kind:
    """A way to train: its parameters, and how the run is started."""

    name: str
    chosen: Parameters
    trainer_seconds: float = 0.0
    upload: bool = False

    @property
    def batches(self) -> int:
        """Return the mini-batches of an epoch."""
        return -(-SAMPLES // (self.chosen.batch_size or SAMPLES))

    @property
    def shared(self) -> int:
        """Return the pieces of a step: its mini-batches, or the parts of its one."""
        return self.chosen.sub_batches if self.chosen.strategy == "sgd" else self.batches

    @property
    def continuations(self) -> int:
        """Return how often an undisturbed run is handed on."""
        steps = self.chosen.epochs * (self.batches if self.chosen.strategy == "sgd" else 1)
        return steps - 1 if self.trainer_seconds else 0

    @property
    def trainers(self) -> int:
        """Return the invocations of TrainerLambda of an undisturbed run."""
        return (self.continuations + 1) * min(self.chosen.workers, self.shared)

    @property
    def neurons(self) -> int:
        """Return the invocations of NeuronLambda: forward and back, for each batch of each epoch."""
        sizes = self.chosen.neurons_per_layer
        each = {Granularity.BATCH: 0, Granularity.LAYER: len(sizes), Granularity.NEURON: sum(sizes)}
        return 2 * each[self.chosen.granularity] * self.batches * self.chosen.sub_batches * self.chosen.epochs

    def start(self, cloud: Cloud, name: str) -> str:
        """Start a run of this kind and return its id. Raises as `runs.launch` does."""
        if self.upload:
            return upload(cloud.clients, cloud.stack, name, DATA, self.chosen.to_json())
        return cloud.launch(name, self.chosen, DATA, trainer_seconds=self.trainer_seconds)


def kinds(seed: int) -> list[Kind]:
    """Return one kind of everything that a run can be; another seed gives other weights and other mini-batches."""

    def kind(name: str, *, trainer_seconds: float = 0.0, upload: bool = False, **fields: Any) -> Kind:
        return Kind(name, network(seed=seed, **fields), trainer_seconds, upload)

    return [
        kind("batch, in the span", epochs=300, first_layer="span"),
        kind("batch, direct", epochs=300, first_layer="direct"),
        kind("best of batches", epochs=200, batch_size=7),
        kind("average of batches", epochs=200, batch_size=7, strategy="average"),
        kind("continued", epochs=2, batch_size=7, trainer_seconds=PIECES, **DRAWN),
        kind("two trainers", epochs=20, batch_size=8, sub_batches=2, workers=2, **DRAWN),
        kind("two trainers, continued", epochs=3, batch_size=7, workers=2, trainer_seconds=PIECES),
        kind("layer", epochs=6, batch_size=12, granularity="layer", **DRAWN),
        kind("neuron", epochs=3, granularity="neuron"),
        kind("uploaded", epochs=100, upload=True, sizes=(5, 4, 2), last="softmax", dtype="float32", optimizer="adam",
             learning_rate=0.001),
    ]  # fmt: skip


def objects(cloud: Cloud, run_id: str) -> list[str]:
    """Return the keys of all versions that a run has stored, without its input."""
    pages = cloud.clients.s3.get_paginator("list_object_versions").paginate(
        Bucket=cloud.stack.bucket, Prefix=places.run_prefix(run_id)
    )
    keys = [version["Key"] for page in pages for version in page.get("Versions", [])]
    return [key for key in keys if not key.startswith(f"{places.run_prefix(run_id)}input/")]


def check_usage(cloud: Cloud, kind: Kind, run: Run, launches: int = 1) -> None:
    """Assert that a run which was launched so often at most counted what it used itself, and nothing of any other."""
    launch, trainer, neuron = (run.usage[name] for name in ("launch", "trainer", "neuron"))
    assert (run.fence, run.continuations, run.epoch) == (kind.continuations + 1, kind.continuations, kind.chosen.epochs)
    assert 1 <= launch.invocations <= launches, run
    assert (trainer.invocations, neuron.invocations) == (kind.trainers, kind.neurons), run
    assert trainer.s3_gets == 2 * kind.trainers, run  # data set and checkpoint each
    promoted = 2 if kind.upload else 0
    assert launch.s3_puts + trainer.s3_puts == len(objects(cloud, run.run_id)) + promoted, run
    assert neuron.milliseconds >= 0 if kind.neurons else neuron.milliseconds == 0


def dead_letters(cloud: Cloud) -> int:
    """Return how many events nobody could handle."""
    sqs = cloud.clients.sqs
    url = sqs.get_queue_url(QueueName=f"{cloud.stack.stack_name}-dead-letters")["QueueUrl"]
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(told[name]) for name in names)


def model(cloud: Cloud, key: str) -> dict[str, np.ndarray]:
    """Return the arrays of a stored model."""
    with h5py.File(io.BytesIO(cloud.clients.s3.get_object(Bucket=cloud.stack.bucket, Key=key)["Body"].read())) as h5:
        return {name: h5[name][()] for name in h5}


def leftovers(cloud: Cloud) -> dict[str, int]:
    """Return what is in the cache: values, marks of trainers that met, and what would never expire."""
    found = {"values": 0, "marks": 0, "for ever": 0}
    for key in cloud.valkey.scan_iter(count=1000):
        found["marks" if MARK.search(key) else "values"] += 1
        found["for ever"] += cloud.valkey.ttl(key) == -1
    return found


def printed(cloud: Cloud, function: str, run_id: str = "") -> list[str]:
    """Return the lines that a function printed, of one run or of all."""
    pages = cloud.clients.logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{function}", filterPattern=f'"{run_id}"' if run_id else ""
    )
    return [event["message"].rstrip() for page in pages for event in page["events"]]
