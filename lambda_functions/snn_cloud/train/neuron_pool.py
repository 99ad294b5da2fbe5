"""Gradients from NeuronLambda: the trainer's side of `neuron` and `layer` granularity.

The trainer invokes neurons synchronously, a bounded number at a time, and has every answer in hand before it goes on
to the next layer. Batches of one epoch do not depend on each other and are in flight together.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from snn.activations import Array
from snn.batches import Batch
from snn.network import Params, walk
from snn.strategies import Result
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CacheLost, NeuronFailed, Stopped
from snn_cloud.aws.invoking import invoke
from snn_cloud.aws.settings import Settings
from snn_cloud.ledger.parameters import Granularity
from snn_cloud.ledger.record import Usage
from snn_cloud.neurons.cache import Cache, Ref
from snn_cloud.neurons.task import Dropout, Task, keep_bytes
from snn_cloud.train.job import Job
from snn_cloud.train.recording import Recorder

ATTEMPTS = 3  # of an epoch whose arrays were lost from the cache
PAUSES = 0.2, 1.0  # seconds before a neuron that failed is asked again, and once more


class NeuronPool:
    """Computes batches by invoking neurons; `gradients_of` is what the strategies call.

    `prefix` keeps this trainer's arrays apart from every other's, also from those of its own predecessor. `stop` is
    asked before each invocation whether the run is to stop: an epoch of neurons may take minutes, and money. While
    there is a `recorder`, every invocation is noted there; change it between two steps only.
    """

    def __init__(
        self, clients: Clients, settings: Settings, cache: Cache, job: Job, run_id: str, prefix: str,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        # The client is made here, not by two threads at once.
        self._lambda, self._function, self.cache = clients.lambda_, settings.neuron_function, cache
        self._run_id, self._prefix, self._stop, self.job = run_id, prefix, stop, job
        parameters = job.parameters
        self.layers = job.network.layers
        self._functions = (*parameters.activation_per_layer[:-1], "identity")  # neurons give logits
        neuron = parameters.granularity is Granularity.NEURON
        self._at_once = parameters.neurons_per_invocation if neuron else max(layer.size for layer in self.layers)
        self._steps = itertools.count()
        # A mini-batch that is changed travels by itself, and so does one of a set that neurons cannot keep.
        self._whole_set = not parameters.augment and (
            not settings.neuron_mb or job.samples.rows.nbytes <= keep_bytes(settings.neuron_mb) // 2
        )
        self.samples: Ref | None = None
        # Threads start as they are needed, so there are no more than batches. Each waits for invocations of its batch.
        concurrency = settings.neuron_concurrency
        self._walkers = ThreadPoolExecutor(concurrency, thread_name_prefix="batch")
        self._invokers = ThreadPoolExecutor(concurrency, thread_name_prefix="invoke")
        self._lock = Lock()
        self._invocations, self._milliseconds, self._memory_mb = 0, 0, 0
        self.recorder: Recorder | None = None
        self._round = 1

    def close(self) -> None:
        """Wait for invocations under way and free what the cache holds for this trainer."""
        for threads in self._walkers, self._invokers:
            threads.shutdown(cancel_futures=True)
        self.cache.forget([f"{self._prefix}:samples"] if self._whole_set else [])

    def take_usage(self) -> dict[str, Usage]:
        """Return what the neurons used since the last call."""
        with self._lock:
            usage = Usage(self._invocations, self._milliseconds, self._memory_mb)
            self._invocations = self._milliseconds = 0
        return {"neuron": usage}

    def uncounted(self) -> dict[str, Usage]:
        """Return nothing: neurons leave all counting to their trainer."""
        return {}

    def gradients_of(self, params: Params, batches: Sequence[Batch]) -> list[Result]:
        """Return every batch's cost and gradients. A step whose arrays the cache lost is done again, from the start.

        Raises NeuronFailed when a neuron fails again and again, CacheLost when the cache loses arrays so; Stopped.
        """
        for attempt in range(1, ATTEMPTS + 1):
            self._round = attempt
            try:
                return self._step(params, batches)
            except CacheLost:
                self.samples = None
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _step(self, params: Params, batches: Sequence[Batch]) -> list[Result]:
        # A number of its own for every attempt: a straggler of an earlier one writes where nobody reads.
        step = f"{self._prefix}:{next(self._steps)}"
        arrays = {f"{step}:{name}": array for name, array in params.items()}
        # W by rows for going forward; by columns for the layer below going back (layer 1 has none below).
        arrays |= {f"{step}:W{layer}T": params[f"W{layer}"].T for layer in range(2, len(self.layers) + 1)}
        refs = self.cache.put(arrays)
        if self._whole_set and self.samples is None:
            key = f"{self._prefix}:samples"
            self.samples = self.cache.put({key: self.job.samples.rows})[key]
        walks = [self._walkers.submit(self._walk, step, refs, batch) for batch in batches]
        try:
            return [walk.result() for walk in walks]
        finally:
            for under_way in walks:
                under_way.cancel()
            wait(walks)
            self.cache.forget(list(arrays))

    def _walk(self, step: str, weights: Mapping[str, Ref], batch: Batch) -> Result:
        """Walk one batch forward and back."""
        walker = _Walker(self, step, weights, batch)
        try:
            cost, back = walk(len(self.layers), walker, walker.inputs())
            slopes = back()
        finally:
            self.cache.forget(walker.shared)
        return cost, lambda: slopes

    def compute(
        self, batch: Batch, layer: int, direction: str, output: str, inputs: Mapping[str, Ref], sliced: tuple[str, ...],
        results: Mapping[str, int], options: Mapping[str, Any],
    ) -> list[Array]:  # fmt: skip
        """Have every neuron of a layer computed and return their results, joined in the neurons' order.

        `sliced` names the inputs of which neurons get their own rows; `results` how many columns each result has.
        """
        tasks = list(self._tasks(layer, direction, output, inputs, sliced, options))
        for _ in self._invokers.map(partial(self._invoke, batch), tasks):
            pass
        dtype = np.dtype(self.job.parameters.dtype).str
        refs = [
            Ref(f"{task['output']}:{name}", task["neurons"][1] - task["neurons"][0], columns, dtype)
            for name, columns in results.items()
            for task in tasks
        ]
        arrays = self.cache.get(refs)
        self.cache.forget([ref.key for ref in refs])
        return [np.vstack(arrays[i * len(tasks) : (i + 1) * len(tasks)]) for i in range(len(results))]

    def _tasks(
        self, layer: int, direction: str, output: str, inputs: Mapping[str, Ref], sliced: tuple[str, ...],
        options: Mapping[str, Any],
    ) -> Iterator[Task]:  # fmt: skip
        neurons = self.layers[layer - 1].size
        for first in range(0, neurons, self._at_once):
            end = min(first + self._at_once, neurons)
            yield Task(
                run_id=self._run_id,
                layer=layer,
                neurons=(first, end),
                direction=direction,
                activation=self._functions[layer - 1],
                dtype=self.job.parameters.dtype,
                output=f"{output}:{direction}:{first}",
                inputs={name: list(ref.slice(first, end) if name in sliced else ref) for name, ref in inputs.items()},
                **options,  # type: ignore[typeddict-item]
            )

    def _invoke(self, batch: Batch, task: Task) -> None:
        """Have a task done. A neuron that failed is asked again: it is pure, and what killed it may pass.

        One that refuses its task is not.
        """
        what = f"layer {task['layer']}, neurons {task['neurons']}, {task['direction']}"
        for attempt, pause in enumerate((*PAUSES, None), start=1):
            if self._stop():
                raise Stopped(what)
            answer = self._ask(batch, task, attempt)
            if "lost" in answer:
                raise CacheLost(answer["lost"])
            if "refused" in answer:
                raise NeuronFailed(f"{what}: {answer['refused']}")
            if "milliseconds" in answer:
                return
            reason = answer.get("errorMessage", answer)
            if pause is None:
                raise NeuronFailed(f"{what}: {reason}")
            print(f"{self._run_id}: {what} again: {reason}")
            time.sleep(pause)

    def _ask(self, batch: Batch, task: Task, attempt: int) -> dict[str, Any]:
        """Invoke a neuron once, count it, and return its answer; one without `milliseconds` tells of a failure."""
        started = time.perf_counter()
        answer = invoke(self._lambda, self._function, json.dumps(task).encode(), self._stop, "a neuron's turn")
        ended = time.perf_counter()
        with self._lock:
            self._invocations += 1
            # What the neuron measured; a failed one is counted by what the trainer waited for it.
            waited = round((ended - started) * 1000)
            self._milliseconds += answer.get("milliseconds", waited)
            self._memory_mb = answer.get("memory_mb", self._memory_mb)
        if self.recorder is not None:
            self.recorder.note(task, batch, (self._round, attempt), (started, ended), answer)
        return answer


class _Walker:
    """One mini-batch's way through the layers. What it passes on are names of arrays in the cache."""

    def __init__(self, pool: NeuronPool, step: str, weights: Mapping[str, Ref], batch: Batch) -> None:
        self._pool, self._step, self._weights, self._batch = pool, step, weights, batch
        self._name = f"{step}:{batch.number}"
        self._logits: Array = np.empty((0, 0))
        self.shared: list[str] = []

    def inputs(self) -> dict[str, Ref]:
        """Return where the mini-batch lies: its places in a set that neurons keep, or its samples."""
        job, places = self._pool.job, self._batch.places
        if self._pool.samples is None:
            return {"samples": self._share("samples", job.feed.rows(self._batch))}
        if isinstance(places, slice):
            if self._batch.size == len(job.samples):
                return {"samples": self._pool.samples}
            places = np.arange(len(job.samples))[places]
        return {"samples": self._pool.samples, "places": self._share("places", places[None, :].astype("<i8"))}

    def forward(self, layer: int, A_prev: Mapping[str, Ref]) -> tuple[dict[str, Ref], dict[str, Ref]]:
        """Return where a layer's outputs lie, and what its way back needs."""
        dense = self._pool.layers[layer - 1]
        separate = dense.dropout > 0 or dense.activation.slope_of == "Z"
        inputs = {"W": self._weights[f"{self._step}:W{layer}"], "b": self._weights[f"{self._step}:b{layer}"], **A_prev}
        results = dict.fromkeys(("A", "kept") if separate else ("A",), self._batch.size)
        found = self._compute(layer, "forward", inputs, ("W", "b"), results)
        if layer == len(self._pool.layers):
            self._logits = found[0]
            return {}, {}
        A = self._share(f"A{layer}", found[0])
        return {"A_prev": A}, {"kept": self._share(f"kept{layer}", found[1]) if separate else A}

    def cost(self, Z: Mapping[str, Ref]) -> tuple[float, dict[str, Ref]]:
        """Return the batch's cost, and where its slope in the logits lies."""
        cost, dZ = self._pool.job.targets.cost(self._logits, self._batch.places)
        return cost, {"dZ": self._share("error", dZ)}

    def backward(
        self, layer: int, dZ: Mapping[str, Ref], kept: Mapping[str, Ref], A_prev: Mapping[str, Ref]
    ) -> tuple[dict[str, Ref], Params]:
        """Return where a layer's dZ lies, and its gradients."""
        inputs = {**dZ, **kept, **A_prev}
        if layer < len(self._pool.layers):
            inputs["W_next"] = self._weights[f"{self._step}:W{layer + 1}T"]
        fan_in = self._pool.layers[layer - 2].size if layer > 1 else self._pool.job.network.features
        results = {"dZ": self._batch.size, "dW": fan_in, "db": 1}
        own_dZ, dW, db = self._compute(layer, "backward", inputs, ("dZ", "kept", "W_next"), results)
        below = {"dZ_next": self._share(f"dZ{layer}", own_dZ)} if layer > 1 else {}
        return below, {f"W{layer}": dW, f"b{layer}": db}

    def _compute(
        self, layer: int, direction: str, inputs: Mapping[str, Ref], sliced: tuple[str, ...], results: Mapping[str, int]
    ) -> list[Array]:
        """Have a layer computed by its neurons, in one direction."""
        job, rates = self._pool.job, {layer: self._pool.layers[layer - 1].dropout}
        if layer == 1:
            rates[0] = job.network.input_dropout
        options: dict[str, Any] = {
            "dropout" if number else "input_dropout": Dropout(
                rate=rate,
                draw=list(self._batch.draw(job.parameters.seed, number)),
                neurons=self._pool.layers[number - 1].size if number else job.network.features,
            )
            for number, rate in rates.items()
            if rate
        }
        if layer == 1 and job.parameters.scaling:
            options["scaling"] = list(job.parameters.scaling)
        return self._pool.compute(
            self._batch, layer, direction, f"{self._name}:{layer}", inputs, sliced, results, options
        )

    def _share(self, name: str, array: Array) -> Ref:
        """Put an array where neurons find it; it goes when the mini-batch is done."""
        key = f"{self._name}:{name}"
        self.shared.append(key)
        return self._pool.cache.put({key: array})[key]
