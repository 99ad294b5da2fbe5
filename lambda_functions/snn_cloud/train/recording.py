"""Noting which neurons an epoch invokes, and when, from however many threads."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from threading import Lock
from typing import Any

from snn.batches import Batch
from snn_cloud.neurons.task import Task
from snn_data.invocations import MOST, EpochInvocations, Invocation

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Recorder:
    """Notes the invocations of an epoch that begins now."""

    def __init__(self) -> None:
        self._started_at, self._zero = time.time(), time.perf_counter()
        self._lock, self._found, self._left_out = Lock(), list[Invocation](), 0

    def note(
        self, task: Task, batch: Batch, turn: tuple[int, int], span: tuple[float, float], answer: Mapping[str, Any]
    ) -> None:
        """Note an invocation: its round and attempt, when it was sent and answered (`time.perf_counter`), its answer.

        An answer without `milliseconds` tells of a failure.
        """
        with self._lock:
            if len(self._found) == MOST:
                self._left_out += 1
                return
            first, end = task["neurons"]
            sent, answered = (moment - self._zero for moment in span)
            own = answer.get("milliseconds")
            request_id = answer.get("request_id")
            if request_id is None:  # Lambda, and a runtime that still could, name it in what they say of a failure
                named = _ID.search(json.dumps(answer))
                request_id = named[0] if named else ""
            self._found.append(
                Invocation(
                    batch.step, batch.number, task["layer"], first, end - 1, task["direction"], *turn, _outcome(answer),
                    sent, answered, round(1000 * (answered - sent)) if own is None else own, answer.get("init_ms", 0),
                    answer.get("memory_mb", 0), request_id, answer.get("log_stream", ""),
                )
            )  # fmt: skip

    def ended(self, epoch: int) -> EpochInvocations:
        """Return what was noted of the epoch that ends now, as the epoch-th."""
        seconds = time.perf_counter() - self._zero
        found = tuple(sorted(self._found, key=lambda one: one.sent))
        return EpochInvocations(epoch, self._started_at, self._started_at + seconds, found, self._left_out)


def _outcome(answer: Mapping[str, Any]) -> str:
    for said in ("lost", "refused"):
        if said in answer:
            return said
    return "done" if "milliseconds" in answer else "failed"
