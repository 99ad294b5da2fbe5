"""What the kept epochs of a run take at most: bytes, requests and memory. Counted, not measured."""

from __future__ import annotations

import math
from itertools import accumulate

from snn_cloud.cost.workload import Workload
from snn_data.invocations import INVOCATION_BYTES, MOST
from snn_data.kept import kept_between, stride_of

MOST_BYTES = 100_000_000
"""Of the states of a run together; and BYTES_PER_SECOND for each second of its training, or LEAST_BYTES.

Of a larger network fewer epochs are kept, but always the first and the last: what takes a second in all is computed
again in less. To store 1 MB takes 0.01 s; measured.
"""
LEAST_BYTES, BYTES_PER_SECOND = 1_000_000, 3_000_000

# What an epoch takes at least, so that too little is kept of a quick one, not too much; measured, see snn_client.runs.
LAYER_SECONDS, MOVE_SECONDS, INVOKE_SECONDS = 27e-6, 4e-9, 0.002
OPERATIONS_PER_SECOND = {"float64": 30e9, "float32": 70e9}

MOST_WAITING = 16_000_000
"""Bytes of states that wait in memory to be stored; a larger one is stored as it is, without a copy."""

PAUSES = 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0
"""Seconds between two times that a trainer stores what waits; the last one from then on. And at every checkpoint."""


ROW_BYTES = 60  # of an invocation in a file; measured


def state_bytes(work: Workload) -> int:
    """Return what one state takes: what is trained, and what the optimizer remembers of each of these numbers."""
    return work.itemsize * work.trained * (1 + len(work.parameters.optimizer.memory))


def recorded_bytes(work: Workload) -> int:
    """Return what a trainer holds of the invocations of one epoch."""
    return INVOCATION_BYTES * min(MOST, work.invocations)


def stride(work: Workload) -> int:
    """Return which part of the grid is kept of a run: every stride-th epoch."""
    epoch = work.shared / work.workers * work.parameters.layers * LAYER_SECONDS
    epoch += work.operations / work.workers / OPERATIONS_PER_SECOND[work.parameters.dtype]
    epoch += work.steps * work.trained * MOVE_SECONDS + work.invocations * INVOKE_SECONDS
    epochs = work.parameters.epochs
    most = max(LEAST_BYTES, min(MOST_BYTES, epochs * epoch * BYTES_PER_SECOND))
    return stride_of(state_bytes(work), epochs, round(most))


def states(work: Workload, epochs: int) -> int:
    """Return how many states of so many epochs are kept; a resumed run has one more, with which it begins."""
    if not work.parameters.keep_epochs:
        return 0
    return len(kept_between(0, epochs, stride(work))) + 1


def file_bytes(work: Workload, epochs: int) -> int:
    """Return what a run stores of so many epochs."""
    return states(work, epochs) * (state_bytes(work) + ROW_BYTES * min(MOST, work.invocations))


def waiting_bytes(work: Workload) -> int:
    """Return what they take in a trainer's memory: those that wait, once more stacked, and in a file's bytes.

    A large one is stored as it is: its file's bytes are no more than those of a checkpoint.
    """
    if not work.parameters.keep_epochs:
        return 0
    recorded = recorded_bytes(work)
    size = state_bytes(work) + recorded
    waiting = 0 if size > MOST_WAITING else min(MOST_WAITING, size * states(work, work.parameters.epochs))
    return recorded + 3 * waiting


def puts(work: Workload, epochs: int, seconds: float, checkpoints: int, turns: int) -> int:
    """Return how often they are stored in so many seconds of `turns` trainers: no more often than there are states."""
    due = list(accumulate(PAUSES))
    each = seconds / turns
    by_pause = sum(moment <= each for moment in due) + max(0, math.floor((each - due[-1]) / PAUSES[-1]))
    size, kept = state_bytes(work) + recorded_bytes(work), states(work, epochs)
    full = kept if size > MOST_WAITING else kept * size // (MOST_WAITING // 2)
    return min(kept, turns * (by_pause + 1) + checkpoints + full)
