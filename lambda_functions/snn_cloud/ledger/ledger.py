"""The ledger: the DynamoDB record of runs, and the lease that lets one trainer at a time advance a run.

A run is one item (`item` = "run") and the costs of its epochs in chunks (`item` = "costs#<first epoch>").

How two trainers of one run cannot both advance it, whatever Lambda delivers twice:

    trainer A                         ledger                           trainer B
    acquire ───────────────────────▶ fence 1, owner A
    flush if fence = 1 ────────────▶ beat 1, 2, 3 …   ◀─────────────── acquire: an owner; is it alive?
                                       beat moved      ──────────────▶ yes: B leaves
    (A hangs)                          beat stands still for LEASE_SECONDS of B's own clock
                                     fence 2, owner B ◀─────────────── acquire if fence = 1 and beat is still that
    flush if fence = 1 ────────────▶ refused: LeaseLost, A stops

No two clocks are compared: B measures A's silence with its own. Every write of a trainer is conditional on its fence
and on the beat before it, so one that botocore repeats because its answer was lost is recognised and counts once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np
from botocore.exceptions import ClientError
from numpy.typing import NDArray

from snn.errors import one_line
from snn.training import History
from snn_cloud.aws.errors import LeaseLost, RunNotFound
from snn_cloud.ledger.record import COUNTERS, Notes, Run, State, StoppedBy, Usage, from_item, pack, to_item, unpack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS = 20.0
# 8 bytes each. An item may have 400 KB, but whoever watches a run reads up to a chunk too much at every look.
CHUNK_EPOCHS = 4_000


CURVES = ("costs", "validation_costs", "validation_metrics")  # of a History, and in a chunk


class EpochRow(NamedTuple):
    """What the ledger knows of one epoch, numbered from 0; the last two only of a run that validates."""

    epoch: int
    cost: float
    validation_cost: float | None = None
    validation_metric: float | None = None


class Mark(NamedTuple):
    """When the ledger heard of epochs `first` to `epoch`, numbered from 0: in seconds since 1970.

    And what the run had cost by then, in USD.
    """

    epoch: int
    at: float
    usd: float
    first: int = 0


class Curves(NamedTuple):
    """What the ledger knows of epochs `first`, `first` + 1 …: an array each, the last two empty without validation.

    `marks` are in the order of their epochs, at most one for each write; none of what an earlier version wrote.
    """

    first: int
    costs: NDArray[np.float64]
    validation_costs: NDArray[np.float64]
    validation_metrics: NDArray[np.float64]
    marks: list[Mark]

    def __len__(self) -> int:
        return len(self.costs)


class Ledger:
    """The runs of one stack."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb, self.table = dynamodb, table

    def create(self, run: Run) -> bool:
        """Record a new run; return False, changing nothing, when one of this name exists."""
        try:
            self._dynamodb.put_item(
                TableName=self.table, Item=to_item(run), ConditionExpression="attribute_not_exists(run_id)"
            )
        except ClientError as error:
            if _is_refused(error):
                return False
            raise
        return True

    def find(self, run_id: str) -> Run | None:
        """Return the run, or None when there is none of this name."""
        answer = self._dynamodb.get_item(TableName=self.table, Key=_key(run_id), ConsistentRead=True)
        return from_item(answer["Item"]) if "Item" in answer else None

    def get(self, run_id: str) -> Run:
        """Return the run. Raises RunNotFound."""
        run = self.find(run_id)
        if run is None:
            raise RunNotFound(f"the ledger {self.table} has no run {run_id!r}")
        return run

    def progress(self, run_id: str, after_epoch: int = -1) -> tuple[Run, list[EpochRow]]:
        """Return the run and the epochs after `after_epoch`, in order. Raises RunNotFound."""
        run, curves = self.get(run_id), self.curves(run_id, after_epoch)
        columns = [curve.tolist() for curve in curves[1:4] if len(curve)]
        return run, [EpochRow(epoch, *row) for epoch, row in enumerate(zip(*columns, strict=True), curves.first)]

    def curves(self, run_id: str, after_epoch: int = -1) -> Curves:
        """Return what is known of the epochs after `after_epoch`; a million of them take about a second to read."""
        items = [*self._chunk_at(run_id, after_epoch), *self._chunks_from(run_id, after_epoch + 1)]
        first, marks = after_epoch + 1, list[Mark]()
        ends = [int(item["first"]) + len(bytes(item["costs"])) // 8 for item in items]
        length = max([first, *ends]) - first
        curves = [np.full(length if any(name in item for item in items) else 0, np.nan) for name in CURVES]
        for item, end in zip(items, ends, strict=True):  # of two that tell of an epoch, the later one counts
            skipped = max(0, first - int(item["first"]))
            begin = int(item["first"]) + skipped - first
            upto = max(begin, end - first)
            for name, curve in zip(CURVES, curves, strict=True):
                if name in item:
                    curve[begin:upto] = np.frombuffer(bytes(item[name]), dtype="<f8")[skipped:]
            if "at" in item and end > first:
                marks.append(Mark(end - 1, float(item["at"]), float(item["usd"]), int(item["first"])))
        marks.sort()
        costs, validation_costs, validation_metrics = curves
        return Curves(first, costs, validation_costs, validation_metrics, marks)

    def _chunks_from(self, run_id: str, epoch: int) -> list[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self.table,
            ConsistentRead=True,
            KeyConditionExpression="run_id = :run AND #item BETWEEN :first AND :end",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues=pack(
                {":run": run_id, ":first": _chunk(epoch), ":end": "costs#:"}
            ),  # ":" is "9"+1
        )
        return [unpack(item) for page in pages for item in page["Items"]]

    def _chunk_at(self, run_id: str, epoch: int) -> list[dict[str, Any]]:
        """Return the last chunk that begins at `epoch` or before: it may go beyond it."""
        if epoch < 0:
            return []
        answer = self._dynamodb.query(
            TableName=self.table,
            ConsistentRead=True,
            KeyConditionExpression="run_id = :run AND #item BETWEEN :first AND :last",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues=pack({":run": run_id, ":first": _chunk(0), ":last": _chunk(epoch)}),
            ScanIndexForward=False,
            Limit=1,
        )
        return [unpack(item) for item in answer["Items"]]

    def put_history(self, run_id: str, history: History, first: int = 0, usd: float | None = None) -> None:
        """Store what came out of epochs `first`, `first` + 1 …; with `usd`, also when, and what the run has cost.

        Not fenced, and need not be: the same run gives the same numbers, whoever computes them. But a trainer that was
        superseded while it hung knows of fewer epochs, so a chunk is never replaced by a shorter one.
        """
        epochs = len(history.costs)  # at this moment: the training may go on in another thread
        for start in range(first, epochs, CHUNK_EPOCHS):
            end = min(start + CHUNK_EPOCHS, epochs)
            curves = {name: np.array(getattr(history, name)[start:end], "<f8") for name in CURVES}
            last = end - 1
            known: dict[str, Any] = {name: part.tobytes() for name, part in curves.items() if len(part)}
            if usd is not None:
                known |= {"at": time.time(), "usd": usd}
            try:
                self._dynamodb.put_item(
                    TableName=self.table,
                    Item=pack({"run_id": run_id, "item": _chunk(start), "first": start, "last": last, **known}),
                    ConditionExpression="attribute_not_exists(#last) OR #last <= :last",
                    ExpressionAttributeNames={"#last": "last"},
                    ExpressionAttributeValues=pack({":last": last}),
                )
            except ClientError as error:
                if not _is_refused(error):
                    raise

    def acquire(self, run_id: str, owner: str, patience: float = LEASE_SECONDS) -> Lease | None:
        """Become the run's trainer; return None when the run is over or another trainer lives.

        Takes `patience` seconds when the present owner has stopped responding, less in every other case.
        """
        run = self._unattended(run_id, patience)
        return self._take(run, owner, {"attempts": 1, "trainer_invocations": 1}) if run else None

    def abandon(self, run_id: str, reason: str, patience: float = LEASE_SECONDS) -> Run:
        """End a run that Lambda has stopped trying to train: CANCELLED if that was wanted, otherwise FAILED.

        Returns the run as it stands when it is over already or a trainer takes it up within `patience` seconds.
        """
        run = self._unattended(run_id, patience, wait_though_free=True)
        lease = self._take(run, "nobody", {}) if run else None
        if lease is None:
            return self.get(run_id)
        if lease.run.cancel_requested:
            return lease.finish(State.CANCELLED, StoppedBy.CANCEL)
        return lease.finish(State.FAILED, reason=reason)

    def _unattended(self, run_id: str, patience: float, wait_though_free: bool = False) -> Run | None:
        """Return the run once nobody has worked on it for `patience` seconds, by the clock here, or it is free.

        None when it is over, or somebody works on it.
        """
        run = self.get(run_id)
        seen, deadline = (run.fence, run.beat), time.monotonic() + patience
        while (run.owner or wait_though_free) and not run.state.is_terminal and time.monotonic() < deadline:
            time.sleep(min(0.5, patience / 4))
            run = self.get(run_id)
            if (run.fence, run.beat) != seen and (run.owner or wait_though_free):
                return None
        return None if run.state.is_terminal else run

    def _take(self, run: Run, owner: str, add: Mapping[str, int]) -> Lease | None:
        """Take a run over as it was seen last; None when another was quicker."""
        mine = f"{owner}/{uuid4().hex}"  # the same event may be delivered twice at a time
        taken = self.update_if(
            run.run_id,
            "#fence = :fence AND #beat = :beat AND #state IN (:pending, :running)",
            {":fence": run.fence, ":beat": run.beat, ":pending": State.PENDING, ":running": State.RUNNING},
            put={"state": State.RUNNING, "owner": mine, "started_at": run.started_at or time.time()},
            add={"fence": 1, **add},
        )
        if taken is None and (now := self.get(run.run_id)).owner == mine:
            taken = now  # the answer was lost, and the repeated write refused because of the first
        return Lease(self, taken) if taken else None

    def request_cancel(self, run_id: str) -> Run:
        """Ask the run's trainer to stop; a run that none has at the moment is CANCELLED at once. Raises RunNotFound."""
        self.get(run_id)
        over = {"state": State.CANCELLED, "ended_at": time.time(), "stopped_by": StoppedBy.CANCEL}
        return (
            self.update_if(
                run_id,
                "#state = :pending OR (#state = :running AND #owner = :nobody)",
                {":pending": State.PENDING, ":running": State.RUNNING, ":nobody": ""},
                put=over,
            )
            or self.update_if(run_id, "#state = :running", {":running": State.RUNNING}, put={"cancel_requested": True})
            or self.get(run_id)
        )

    def annotate(self, run_id: str, notes: Notes) -> Run:
        """Replace what people have noted on a run, whatever its state. Raises RunNotFound."""
        put = {"tags": list(notes.tags), "note": notes.note, "archived": notes.archived}
        run = self.update_if(run_id, "attribute_exists(run_id)", {}, put)
        return run or self.get(run_id)

    def add_usage(self, run_id: str, usage: Mapping[str, Usage]) -> None:
        """Add to the run's counters what its functions used; a request that botocore repeats counts once."""
        put, add = _counters(usage)
        once = uuid4().hex
        condition = "attribute_exists(run_id) AND (attribute_not_exists(#counted) OR #counted <> :once)"
        self.update_if(run_id, condition, {":once": once}, put={**put, "counted": once}, add=add)

    def update_if(
        self,
        run_id: str,
        condition: str,
        values: Mapping[str, Any],
        put: Mapping[str, Any],
        add: Mapping[str, int] | None = None,
    ) -> Run | None:
        """Set and add fields if the condition holds and return the run after it; None when it does not hold."""
        add = add or {}
        change = "SET " + ", ".join(f"#{name} = :{name}_" for name in put) if put else ""
        change += " ADD " + ", ".join(f"#{name} :{name}_" for name in add) if add else ""
        # Every name goes by a placeholder: DynamoDB reserves 573 words, `state` and `owner` among them.
        names = {placeholder: placeholder[1:] for placeholder in re.findall(r"#\w+", f"{change} {condition}")}
        request: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        try:
            answer = self._dynamodb.update_item(
                TableName=self.table,
                Key=_key(run_id),
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeValues=pack(
                    {**values, **{f":{name}_": value for name, value in {**put, **add}.items()}}
                ),
                ReturnValues="ALL_NEW",
                **request,
            )
        except ClientError as error:
            if _is_refused(error):
                return None
            raise
        return from_item(answer["Attributes"])


class Lease:
    """The right to advance a run. Every method raises LeaseLost once another trainer has that right."""

    def __init__(self, ledger: Ledger, run: Run) -> None:
        self._ledger, self.run = ledger, run

    def flush(
        self, history: History, usage: Mapping[str, Usage], step: tuple[int, int] = (0, 0), best_epoch: int = -1,
        usd: float | None = None,
    ) -> Run:  # fmt: skip
        """Give a sign of life, record new epochs and the usage since the last call; return the run.

        `history` has all epochs; after a return to a checkpoint, fewer than are known to the ledger. `step` says how
        many steps of the present epoch are done, and how many it has; `usd` is what the run has cost.
        """
        epochs, known = len(history.costs), self.run.epoch
        put, add = _counters(usage)
        put |= {name: now for name, now in zip(("step", "steps"), step, strict=True) if now != getattr(self.run, name)}
        if epochs <= known:
            return self._write(put, add)
        self._ledger.put_history(self.run.run_id, history, known, usd)
        return self._write(put | figures(history, epochs, best_epoch), add)

    def checkpointed(self, version: str) -> Run:
        """Record which version of the checkpoint counts: what a superseded trainer still uploads is never read."""
        return self._write({"checkpoint_version": version, "attempts": 0})

    def release(self, continuations: int = 0, usage: Mapping[str, Usage] | None = None) -> Run:
        """Let another trainer take over at once, be it a planned continuation or a retry after an error.

        `usage` is that since the last flush.
        """
        put, add = _counters(usage or {})
        return self._write({"owner": "", **put}, {**({"continuations": continuations} if continuations else {}), **add})

    def finish(
        self,
        state: State,
        stopped_by: StoppedBy | None = None,
        reason: str = "",
        usage: Mapping[str, Usage] | None = None,
    ) -> Run:
        """Set the run's final state, and add the usage since the last flush: nothing is counted after this."""
        put, add = _counters(usage or {})
        why = {"stopped_by": stopped_by} if stopped_by else {}
        over = {"state": state, "owner": "", "ended_at": time.time(), "reason": one_line(reason)}
        return self._write({**over, **why, **put}, add)

    def _write(self, put: Mapping[str, Any], add: Mapping[str, int] | None = None) -> Run:
        before = self.run
        run = self._ledger.update_if(
            before.run_id,
            "#fence = :fence AND #beat = :beat AND #state = :running",
            {":fence": before.fence, ":beat": before.beat, ":running": State.RUNNING},
            put,
            {**(add or {}), "beat": 1},
        )
        if run is None:
            # Only the lease's holder moves the beat: if it moved, the answer to this very write was lost.
            run = self._ledger.get(before.run_id)
            if (run.fence, run.beat) != (before.fence, before.beat + 1):
                raise LeaseLost(f"run {before.run_id} has another trainer (this one's fence was {before.fence})")
        self.run = run
        return run


def figures(history: History, epochs: int, best_epoch: int) -> dict[str, Any]:
    """Return what a run's item says of a training after so many epochs: the figures of the last one."""
    said: dict[str, Any] = {"epoch": epochs}
    if epochs:
        said["cost"] = history.costs[epochs - 1]
    if epochs and history.validation_costs:
        said["validation_cost"] = history.validation_costs[epochs - 1]
        said["validation_metric"] = history.validation_metrics[epochs - 1]
        said["best_epoch"] = best_epoch
    return said


def _counters(usage: Mapping[str, Usage]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what to set (sizes) and what to add (sums) for usage."""
    put = {f"{function}_memory_mb": used.memory_mb for function, used in usage.items() if used.memory_mb}
    add = {
        f"{function}_{name}": getattr(used, name)
        for function, used in usage.items()
        for name in COUNTERS
        if getattr(used, name)
    }
    return put, add


def _chunk(first: int) -> str:
    return f"costs#{first:08d}"


def _key(run_id: str) -> dict[str, Any]:
    return pack({"run_id": run_id, "item": "run"})


def _is_refused(error: ClientError) -> bool:
    return error.response["Error"]["Code"] == "ConditionalCheckFailedException"
