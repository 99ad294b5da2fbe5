"""Which neurons an epoch invoked, and when: as the trainer notes it, and as it lies in an `epochs.h5`.

There it is a group with a table, `invocations`, the names of the log streams, `streams`, which the table numbers, and
the attributes `started_at`, `ended_at` (seconds since 1970) and `left_out`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import h5py
import numpy as np

from snn.errors import InvalidModel

OUTCOMES = "done", "failed", "lost", "refused"
"""What came of an invocation: it failed; the cache had lost its inputs; or it refused its task, once and for all."""

DIRECTIONS = "forward", "backward"

MOST = 20_000
"""Invocations of an epoch that are noted; how many more there were is, too."""

INVOCATION_BYTES = 500  # of one, in memory; measured


class Invocation(NamedTuple):
    """One invocation of NeuronLambda: some neurons of a layer, in one direction, for one mini-batch.

    `step` is that of the epoch and `batch` the mini-batch's number in it (of sgd, its part's); neurons are numbered
    from 0, `last` included. `sent` and `answered` are seconds since the epoch began, by the trainer's clock.
    `milliseconds` are the function's own, as they are counted for the bill, with `init_ms` of them to start a cold
    environment; of one that failed, what the trainer waited. A task that failed is asked again: `attempt` counts. A
    step whose arrays the cache lost is done again, as its next `round`.
    """

    step: int
    batch: int
    layer: int
    first: int
    last: int
    direction: str
    round: int
    attempt: int
    outcome: str
    sent: float
    answered: float
    milliseconds: int
    init_ms: int
    memory_mb: int
    request_id: str
    log_stream: str

    @property
    def cold(self) -> bool:
        """Return whether an environment was started for it."""
        return self.init_ms > 0

    @property
    def again(self) -> bool:
        """Return whether it repeats one that failed."""
        return self.attempt > 1 or self.round > 1


class EpochInvocations(NamedTuple):
    """All invocations of one epoch, as they were sent, and when it began and ended (seconds since 1970).

    It led to the network after `epoch` epochs. `left_out` counts those beyond MOST.
    """

    epoch: int
    started_at: float
    ended_at: float
    invocations: tuple[Invocation, ...]
    left_out: int = 0

    @property
    def seconds(self) -> float:
        """Return how long the epoch took."""
        return self.ended_at - self.started_at


_NUMBERS: list[tuple[str, str]] = [
    ("step", "<u4"), ("batch", "<u4"), ("layer", "<u2"), ("first", "<u4"), ("last", "<u4"), ("direction", "u1"),
    ("round", "u1"), ("attempt", "u1"), ("outcome", "u1"), ("sent", "<f8"), ("answered", "<f8"),
    ("milliseconds", "<u4"), ("init_ms", "<u4"), ("memory_mb", "<u4"),
]  # fmt: skip


def write_invocations(group: h5py.Group, found: EpochInvocations) -> None:
    """Write them into a group of their own."""
    streams = {one.log_stream: None for one in found.invocations}
    number = {stream: place for place, stream in enumerate(streams)}
    widest = max((len(one.request_id.encode()) for one in found.invocations), default=0)
    form = np.dtype([*_NUMBERS, ("request_id", f"S{max(1, widest)}"), ("stream", "<u4")])
    rows = [
        (
            *one[:5], DIRECTIONS.index(one.direction), one.round, one.attempt, OUTCOMES.index(one.outcome), *one[9:14],
            one.request_id.encode(), number[one.log_stream],
        )
        for one in found.invocations
    ]  # fmt: skip
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if rows else {}
    group.create_dataset("invocations", data=np.array(rows, form), **packed)
    names = [stream.encode() for stream in streams]
    group.create_dataset("streams", data=np.array(names, f"S{max([1, *map(len, names)])}"))
    group.attrs["started_at"], group.attrs["ended_at"] = found.started_at, found.ended_at
    group.attrs["left_out"] = found.left_out


def read_invocations(group: h5py.Group, epoch: int, source: str) -> EpochInvocations:
    """Return what `write_invocations` wrote. Raises InvalidModel for what it did not."""
    table, streams = group.get("invocations"), group.get("streams")
    fits = isinstance(table, h5py.Dataset) and isinstance(streams, h5py.Dataset)
    if not fits or table.ndim != 1 or len(table) > MOST or streams.ndim != 1 or len(streams) > MOST:
        raise InvalidModel("is no table of invocations", field=group.name, source=source, hint="look at another epoch")
    names = [name.decode() for name in streams[()].tolist()]
    rows = []
    for row in table[()].tolist():
        named = dict(zip(table.dtype.names, row, strict=True))
        named["direction"], named["outcome"] = DIRECTIONS[named["direction"]], OUTCOMES[named["outcome"]]
        named["request_id"], named["log_stream"] = named["request_id"].decode(), names[named.pop("stream")]
        rows.append(Invocation(**named))
    when = float(group.attrs["started_at"]), float(group.attrs["ended_at"])
    return EpochInvocations(epoch, *when, tuple(rows), int(group.attrs["left_out"]))
