"""Gradients from NeuronLambda: the trainer's side of `neuron` and `layer` granularity.

The trainer invokes neurons synchronously, a bounded number at a time, and has every answer in hand before it goes on
to the next layer. Batches of one epoch do not depend on each other and are in flight together.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import Any

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from snn.dataset import Batch
from snn.layers import Array, cross_entropy
from snn.network import Layer, Weights
from snn.parameters import Granularity, Parameters
from snn.strategies import Result
from snn_cloud.cache import Cache, Ref
from snn_cloud.clients import Clients
from snn_cloud.errors import CacheLost, NeuronFailed, Stopped
from snn_cloud.neuron_task import Task
from snn_cloud.record import Usage

ATTEMPTS = 3  # of an epoch whose arrays were lost from the cache
PAUSES = 0.2, 1.0  # seconds before a neuron that failed is asked again, and once more
# For a neuron's turn, where others use up the limit. Longer than that is no queue: trainers hold what neurons need.
PATIENCE_SECONDS = 120.0


class NeuronPool:
    """Computes batches by invoking neurons; `gradients_of` is what the strategies call.

    `prefix` keeps this trainer's arrays apart from every other's, also from those of its own predecessor. `stop` is
    asked before each invocation whether the run is to stop: an epoch of neurons may take minutes, and money.
    """

    def __init__(
        self,
        clients: Clients,
        function: str,
        cache: Cache,
        parameters: Parameters,
        run_id: str,
        prefix: str,
        concurrency: int,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        # The client is made here, not by two threads at once.
        self._lambda, self._function, self._cache = clients.lambda_, function, cache
        self._run_id, self._prefix, self._stop = run_id, prefix, stop
        self._functions = parameters.activation_per_layer
        self._sizes = parameters.neurons_per_layer
        neuron = parameters.granularity is Granularity.NEURON
        self._at_once = parameters.neurons_per_invocation if neuron else max(self._sizes)
        self._epochs = itertools.count()
        self._photos: dict[int, tuple[Ref, Ref]] = {}
        # Threads start as they are needed, so there are no more than batches. Each waits for invocations of its batch.
        self._walkers = ThreadPoolExecutor(concurrency, thread_name_prefix="batch")
        self._invokers = ThreadPoolExecutor(concurrency, thread_name_prefix="invoke")
        self._lock = Lock()
        self._invocations, self._milliseconds, self._memory_mb = 0, 0, 0

    def close(self) -> None:
        """Wait for invocations under way and free what the cache holds for this trainer."""
        for threads in self._walkers, self._invokers:
            threads.shutdown(cancel_futures=True)
        self._cache.forget([ref.key for refs in self._photos.values() for ref in refs])

    def take_usage(self) -> Usage:
        """Return what the neurons used since the last call."""
        with self._lock:
            usage = Usage(self._invocations, self._milliseconds, self._memory_mb)
            self._invocations = self._milliseconds = 0
        return usage

    def gradients_of(self, weights: Weights, batches: Sequence[Batch]) -> list[Result]:
        """Return every batch's cost and gradients. An epoch whose arrays the cache lost is done again, from the start.

        Raises NeuronFailed when a neuron fails again and again, CacheLost when the cache loses arrays so; Stopped.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._epoch(weights, batches)
            except CacheLost:
                self._photos.clear()
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _epoch(self, weights: Weights, batches: Sequence[Batch]) -> list[Result]:
        # A number of its own for every attempt: a straggler of an earlier one writes where nobody reads.
        step = f"{self._prefix}:{next(self._epochs)}"
        arrays: dict[str, Array] = {}
        for number, (W, b) in enumerate(weights, start=1):
            # W by rows for going forward; by columns for the layer below going back (layer 1 has none below).
            arrays |= {f"{step}:W{number}": W, f"{step}:b{number}": b, f"{step}:W{number}T": W.T}
        del arrays[f"{step}:W1T"]
        refs = self._cache.put(arrays)
        self._publish_photos(batches)
        walks = [self._walkers.submit(self._batch, step, refs, batch) for batch in batches]
        try:
            return [walk.result() for walk in walks]
        finally:
            for walk in walks:
                walk.cancel()
            wait(walks)
            self._cache.forget(list(arrays))

    def _publish_photos(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            if batch.index not in self._photos:
                keys = f"{self._prefix}:X:{batch.index}", f"{self._prefix}:Y:{batch.index}"
                refs = self._cache.put(dict(zip(keys, (batch.pixels, batch.Y), strict=True)))
                self._photos[batch.index] = refs[keys[0]], refs[keys[1]]

    def _batch(self, step: str, refs: Mapping[str, Ref], batch: Batch) -> Result:
        """Walk one batch forward and back, layer by layer."""
        X, Y = self._photos[batch.index]
        A, last = [X], len(self._sizes)
        mine: list[str] = []
        outputs: Array = np.empty((0, 0))
        try:
            for layer in range(1, last + 1):
                inputs = {"W": refs[f"{step}:W{layer}"], "b": refs[f"{step}:b{layer}"], "A_prev": A[-1]}
                (outputs,) = self._layer(f"{step}:{batch.index}:{layer}", layer, "forward", inputs, ("W", "b"), ("A",))
                A.append(self._share(f"{step}:{batch.index}:A{layer}", outputs, mine))
            cost = cross_entropy(outputs, batch.Y)
            slopes: list[Layer] = []
            above: dict[str, Ref] = {"Y": Y}
            for layer in range(last, 0, -1):
                inputs = {"A": A[layer], "A_prev": A[layer - 1], **above}
                sliced = ("A", "Y") if layer == last else ("A", "W_next")
                dZ, dW, db = self._layer(
                    f"{step}:{batch.index}:{layer}", layer, "backward", inputs, sliced, ("dZ", "dW", "db")
                )
                slopes.append(Layer(dW, db))
                if layer > 1:
                    dZ_next = self._share(f"{step}:{batch.index}:dZ{layer}", dZ, mine)
                    above = {"W_next": refs[f"{step}:W{layer}T"], "dZ_next": dZ_next}
        finally:
            self._cache.forget(mine)
        slopes.reverse()
        return cost, lambda: slopes

    def _share(self, key: str, array: Array, mine: list[str]) -> Ref:
        mine.append(key)
        return self._cache.put({key: array})[key]

    def _layer(
        self,
        output: str,
        layer: int,
        direction: str,
        inputs: Mapping[str, Ref],
        sliced: tuple[str, ...],
        results: tuple[str, ...],
    ) -> list[Array]:
        """Have every neuron of a layer computed and return their results, joined in the neurons' order."""
        tasks = list(self._tasks(output, layer, direction, inputs, sliced))
        for _ in self._invokers.map(self._invoke, tasks):
            pass
        samples, fan_in = inputs["A_prev"].columns, inputs["A_prev"].rows
        width = {"A": samples, "dZ": samples, "dW": fan_in, "db": 1}
        refs = [
            Ref(f"{task['output']}:{name}", task["neurons"][1] - task["neurons"][0], width[name])
            for name in results
            for task in tasks
        ]
        arrays = self._cache.get(refs)
        self._cache.forget([ref.key for ref in refs])
        return [np.vstack(arrays[i * len(tasks) : (i + 1) * len(tasks)]) for i in range(len(results))]

    def _tasks(
        self, output: str, layer: int, direction: str, inputs: Mapping[str, Ref], sliced: tuple[str, ...]
    ) -> Iterator[Task]:
        neurons = self._sizes[layer - 1]
        for first in range(0, neurons, self._at_once):
            end = min(first + self._at_once, neurons)
            yield Task(
                run_id=self._run_id,
                layer=layer,
                neurons=(first, end),
                direction=direction,
                activation=self._functions[layer - 1].value,
                output=f"{output}:{direction}:{first}",
                inputs={name: list(ref.slice(first, end) if name in sliced else ref) for name, ref in inputs.items()},
            )

    def _invoke(self, task: Task) -> None:
        """Have a task done. A neuron that failed is asked again: it is pure, and what killed it may pass.

        One that refuses its task is not.
        """
        what = f"layer {task['layer']}, neurons {task['neurons']}, {task['direction']}"
        for pause in (*PAUSES, None):
            if self._stop():
                raise Stopped(what)
            answer = self._ask(task)
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

    def _ask(self, task: Task) -> dict[str, Any]:
        """Invoke a neuron once, count it, and return its answer; one without `milliseconds` tells of a failure."""
        started = time.perf_counter()
        response = self._when_allowed(json.dumps(task).encode())
        try:
            said: Any = json.loads(response["Payload"].read())
        except BotoCoreError as error:  # cut off on its way, which botocore, having begun to read, does not mend
            said = str(error)
        answer = said if isinstance(said, dict) else {"errorMessage": said}
        with self._lock:
            self._invocations += 1
            # What the neuron measured; a failed one is counted by what the trainer waited for it.
            waited = round((time.perf_counter() - started) * 1000)
            self._milliseconds += answer.get("milliseconds", waited)
            self._memory_mb = answer.get("memory_mb", self._memory_mb)
        return answer

    def _when_allowed(self, payload: bytes) -> Any:
        """Invoke a neuron as soon as Lambda allows one more. Raises its refusal after PATIENCE_SECONDS, and Stopped.

        botocore asks six times and then gives up, which is soon where many runs share a limit.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._lambda.invoke(FunctionName=self._function, Payload=payload)
            except ClientError as error:
                if error.response["Error"]["Code"] != "TooManyRequestsException" or time.monotonic() > deadline:
                    raise
            if self._stop():
                raise Stopped("a neuron's turn")
            time.sleep(random.uniform(0.5, 1.5))  # noqa: S311 # nosec B311
