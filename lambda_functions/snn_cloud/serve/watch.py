"""Watches what a champion is asked: counts a sample of it, and compares that once a day with what it was trained on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from snn.errors import one_line
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.messages import SUBJECT
from snn_cloud.registry import seen
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.failing import tell
from snn_data.columns import Columns
from snn_data.drift.reference import Reference
from snn_data.drift.summary import Summary

SECONDS_BETWEEN = 0.1
"""Between two requests that an environment counts: a tenth of a second of many is enough to tell."""

STORE_SECONDS = 30.0
"""Between two writes of what was counted."""


class Watch:
    """What one environment counts of one champion's requests. Nothing of a sample is kept but its bins."""

    def __init__(self, reference: Reference, clock: Callable[[], float] = time.time) -> None:
        self._reference, self._clock = reference, clock
        self._who, self._day, self._summary = uuid4().hex[:12], "", Summary(reference)
        self._counted = self._stored = -STORE_SECONDS
        self._new = False

    @property
    def is_due(self) -> bool:
        """Return whether there is something to write, and it is time."""
        return self._new and self._clock() - self._stored >= STORE_SECONDS

    def photos(self, pixels: NDArray[np.uint8]) -> None:
        """Count photos (m, height, width, channels), as a network of pixels reads them."""
        self._count(lambda: self._summary.add_photos(pixels))

    def rows(self, rows: NDArray[Any], columns: Columns | None = None) -> None:
        """Count rows (m, d): a table's as the network reads them, or the features that a backbone sees in photos."""
        self._count(lambda: self._summary.add_rows(rows, columns))

    def _count(self, add: Callable[[], None]) -> None:
        if self._clock() - self._counted < SECONDS_BETWEEN:
            return
        self._counted = self._clock()
        day = datetime.fromtimestamp(self._counted, UTC).strftime("%Y-%m-%d")
        if day != self._day:
            self._day, self._summary = day, Summary(self._reference)
        try:
            add()
            self._new = True
        except Exception as problem:  # whoever asked has an answer all the same
            tell(problem)

    def store(self, clients: Clients, table: str, model: str, run_id: str) -> None:
        """Write what was counted. One that fails is made up for by the next: each has all of the day."""
        self._stored, self._new = self._clock(), False
        seen.store(clients, table, model, run_id, self._day, self._who, self._summary)


def check_all(clients: Clients, registry: Registry, env: Mapping[str, str]) -> int:
    """Check the champions of all models, and tell by a message which have drifted since; return how many have."""
    drifted = 0
    for model in registry.models():
        run_id = registry.champion(model)
        if not run_id:
            continue
        before = registry.has_drifted(model, run_id)
        found = seen.check(clients, env["BUCKET"], env["TABLE"], model, run_id)
        report = found["report"]
        if report is None:
            print(f"{model}: {found['why']}")
            continue
        print(f"{model}: {found['samples']} samples, {'drifted' if report['drifted'] else 'as it was'}")
        if report["drifted"]:
            drifted += 1
            if not before:
                _tell(clients, env["TOPIC_ARN"], model, report["findings"][0]["text"])
    return drifted


def _tell(clients: Clients, topic: str, model: str, finding: str) -> None:
    """Send a message; a topic that is gone stops nobody."""
    text = one_line(f"What the model {model} is asked has drifted: {finding} (snn models drift)")
    try:
        clients.sns.publish(TopicArn=topic, Subject=SUBJECT, Message=text)
    except ClientError as problem:
        print(f"not sent: {text}: {problem}")
