"""How much work an epoch is: operations, invocations, bytes through the cache. Counted, not measured.

Sizes are n₀ (features), n₁ … n_L (neurons of the layers); m samples in B mini-batches; T_l invocations for a layer; S
steps an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from snn.span import BLOCK, STRIPE
from snn.strategies import mean
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_cloud.ledger.record import Run
from snn_cloud.neurons.task import EMPTY_BYTES, FETCHING, keep_bytes
from snn_data.dataset import Dataset, Header


@dataclass(frozen=True)
class Size:
    """How many samples are trained on, how many numbers each has, and how many bytes are stored of a number.

    `others` are samples that a trainer holds and does not train on.
    """

    features: int
    samples: int
    itemsize: int = 1
    others: int = 0

    @classmethod
    def of(cls, data: Dataset | Header, parameters: Parameters) -> Size:
        """Return the size of a data set's training part, less what is held out of it."""
        whole = len(data.train)
        share = parameters.validation if isinstance(parameters.validation, float) else 0.0
        samples = whole - int(np.ceil(share * whole))
        # What is split is there a second time.
        others = len(data.test) + (len(data.validation) if data.validation else 0) + (whole if share else 0)
        return cls(data.features, samples, data.itemsize, others + whole - samples)

    @classmethod
    def of_run(cls, run: Run) -> Size:
        """Return the size of a run's data, as the ledger has it."""
        return cls(run.features, run.samples, run.stored_bytes)


@dataclass(frozen=True)
class Workload:
    """What one epoch of a training takes, wherever it runs."""

    parameters: Parameters
    size: Size

    @property
    def itemsize(self) -> int:
        """Return the bytes of a number in the arithmetic."""
        return np.dtype(self.parameters.dtype).itemsize

    @property
    def batch_size(self) -> int:
        """Return how many samples a mini-batch has."""
        return min(self.parameters.batch_size or self.size.samples, self.size.samples)

    @property
    def batches(self) -> int:
        """Return B."""
        return -(-self.size.samples // self.batch_size)

    @property
    def steps(self) -> int:
        """Return S."""
        return self.batches if self.parameters.how.step_a_batch else 1

    @property
    def shared(self) -> int:
        """Return in how many pieces an epoch's work is computed: its mini-batches, or their parts."""
        return self.batches * min(self.parameters.sub_batches, self.batch_size)

    @property
    def workers(self) -> int:
        """Return how many trainers share an epoch's work."""
        return min(self.parameters.workers, self.shared // self.steps)

    @property
    def in_span(self) -> bool:
        """Return whether the first layer is computed in the span of the data (`snn.span`)."""
        return self.parameters.path(self.size.features, self.size.samples)[0]

    @property
    def operations(self) -> float:
        """Return multiplications and additions of an epoch.

        First layer: 4·n₁·n₀·m directly, 2·n₁·m² in the span; every other: 6·n_l·n_{l-1}·m (forward, dW, dA).
        """
        sizes, m = self.parameters.neurons_per_layer, self.size.samples
        first = 2 * sizes[0] * m * m if self.in_span else 4 * sizes[0] * self.size.features * m
        return float(first + sum(6 * below * above * m for below, above in pairwise(sizes)))

    @property
    def setup_operations(self) -> float:
        """Return those before the first epoch and after the last: the Gram matrix, and in and out of the span."""
        sizes, m, features = self.parameters.neurons_per_layer, self.size.samples, self.size.features
        return float(2 * features * m * m + 4 * sizes[0] * features * m) if self.in_span else 0.0

    @property
    def trained(self) -> int:
        """Return how many numbers a step moves."""
        sizes = (self.size.features, *self.parameters.neurons_per_layer)
        numbers = sum(above * (below + 1) for below, above in pairwise(sizes))
        return numbers - sizes[1] * (self.size.features - self.size.samples) if self.in_span else numbers

    @property
    def at_once(self) -> int:
        """Return how many neurons one invocation computes at most."""
        most = max(self.parameters.neurons_per_layer)
        return {
            Granularity.NEURON: min(self.parameters.neurons_per_invocation, most),
            Granularity.LAYER: most,
            Granularity.BATCH: 0,
        }[self.parameters.granularity]

    @property
    def tasks(self) -> list[int]:
        """Return T_l of layers 1..L: the neuron invocations that compute a layer, of one batch in one direction."""
        return [-(-size // self.at_once) if self.at_once else 0 for size in self.parameters.neurons_per_layer]

    @property
    def invocations(self) -> int:
        """Return the neuron invocations of an epoch: 2·B·ΣT_l, and as many times more as a mini-batch has parts."""
        return 2 * self.shared * sum(self.tasks)

    @property
    def weight_bytes(self) -> int:
        """Return what the weights and biases of all layers take, once."""
        sizes = (self.size.features, *self.parameters.neurons_per_layer)
        return self.itemsize * sum(above * (below + 1) for below, above in pairwise(sizes))

    @property
    def weight_copies(self) -> int:
        """Return how often a trainer holds them at most.

        The weights, what the optimizer remembers, the best ones, each again in a file's bytes; the gradients, twice.
        """
        kept = 1 + len(self.parameters.optimizer.memory) + (self.parameters.validation is not None)
        return 2 * kept + 2

    @property
    def trainer_bytes(self) -> int:
        """Return what a trainer holds at most, beside weights: samples as they are stored, and what it makes of them.

        In the span the Gram matrix has m² numbers, and what makes it a block of the samples as numbers. Directly, of
        mini-batches that never change those that it computes are kept as numbers; of others one, as stored and as
        numbers. Activations and errors of a mini-batch come to both, and
        some samples to validate by. Measured with 6,270 photos: within 5 % of it.
        """
        size, m = self.size, self.size.samples
        stored = size.itemsize * size.features * (m + size.others)
        outputs = 3 * self.itemsize * sum(self.parameters.neurons_per_layer) * self.batch_size
        if self.parameters.validation is not None:
            outputs += self.itemsize * size.features * min(BLOCK, size.others)
        if self.parameters.granularity is not Granularity.BATCH:
            return EMPTY_BYTES + stored + outputs
        if self.in_span:
            block = (2 * min(BLOCK, size.features) + min(STRIPE, m)) * m  # and the one before is not gone yet
            return EMPTY_BYTES + stored + outputs + self.itemsize * (m * m + block)
        drawn = self.parameters.how.drawn or bool(self.parameters.augment)
        samples = self.batch_size if drawn else m * -(-self.batches // self.workers) // self.batches
        as_numbers = (self.itemsize + drawn * size.itemsize) * size.features * samples
        return EMPTY_BYTES + stored + outputs + as_numbers

    def neuron_bytes(self, memory_mb: int) -> int:
        """Return what a neuron's environment must hold: the samples as stored, a mini-batch as numbers, the gradients,
        these as bytes. Or, if that is more, what it fetches, while it does.

        It keeps the whole set if that is at most half of what such a function keeps; else only the mini-batch comes.
        """
        if not self.invocations:
            return 0
        n, m = (self.size.features, *self.parameters.neurons_per_layer), self.batch_size
        whole = self.size.itemsize * n[0] * self.size.samples
        fits = not self.parameters.augment and whole <= keep_bytes(memory_mb) // 2
        stored = whole if fits else self.size.itemsize * n[0] * m
        weights = [self.itemsize * min(self.at_once, here) * below for below, here in pairwise(n)]
        inputs = [stored, *(self.itemsize * below * m for below in n[1:-1])]
        fetched = (FETCHING * (one + other) for one, other in zip(weights, inputs, strict=True))
        return EMPTY_BYTES + max(stored + self.itemsize * n[0] * m + 2 * weights[0], *fetched)

    @property
    def cache_bytes(self) -> int:
        """Return what passes through the cache in an epoch, in and out, but for the samples: they pass once a run.

        Neurons: the weights published at every step; read by rows, by columns for the layer below, and their gradients
        written and read; activations and errors written, read and shared again, and read whole by every invocation
        above or below. Workers: the gradients, written once and read by every other; of the first layer in the span a
        batch's columns.
        """
        n, T, m = (self.size.features, *self.parameters.neurons_per_layer), self.tasks, self.size.samples
        layers = range(1, len(n))
        weights = sum(n[i] * n[i - 1] for i in layers)
        above_first = weights - n[1] * n[0]
        if self.workers > 1:
            exchanged = self.shared if self.parameters.how.combine is mean else 1
            columns = m / self.batches if self.in_span else n[0]
            return round(self.itemsize * exchanged * (above_first + n[1] * columns + sum(n[1:])) * self.workers)
        if not self.invocations:
            return 0
        published = self.steps * (weights + above_first)
        of_weights = published + self.shared * (weights + above_first + 2 * weights)
        of_samples = sum(7 * n[i] for i in layers)
        of_samples += sum(2 * T[i - 1] * n[i - 1] for i in layers if i > 1)
        of_samples += sum(T[i - 1] * n[i + 1] for i in layers if i + 1 < len(n))
        return self.itemsize * (of_weights + of_samples * m)
