"""Watching a run until it ends: what tasks, waiting or deferred, and commands have in common."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from snn_client.runs.progress import Narrator
from snn_cloud.aws.errors import RunFailed, RunNotFound
from snn_cloud.aws.passing import passes, reason

if TYPE_CHECKING:
    from snn_client.runs.remote_logs import RemoteLogs
    from snn_client.stack.outputs import StackOutputs
    from snn_cloud.aws.clients import Clients
    from snn_cloud.ledger.ledger import EpochRow
    from snn_cloud.ledger.record import Run
    from snn_cloud.neurons.cache import Cache


class Look(NamedTuple):
    """What one look showed: the run (None if there is none yet) and the lines to log.

    `epochs` says how far the run is and `remarks` all else, the functions' own lines among it. `rows` are
    all epochs that are new since the last look.
    """

    run: Run | None
    epochs: Sequence[str] = ()
    remarks: Sequence[str] = ()
    rows: Sequence[EpochRow] = ()

    @property
    def lines(self) -> list[str]:
        """Return all of it that is a line in a log."""
        return [*self.epochs, *self.remarks]


class Watch:
    """One wait for one run. All methods block for as long as a call to AWS takes.

    :param clients: the AWS clients
    :param stack: name of the stack, or its outputs, also as a mapping; a name is looked up when it is first needed
    :param run_id: the run; or, where only an upload is known,
    :param upload: key in the stack's bucket of the ``.h5`` whose upload starts the run, or its address in S3
    :param uploaded_after: seconds since 1970; an upload that is older is not the one to wait for. None: any
    :param source: where to look: ``ledger``, or ``redis`` for the progress that a run keeps in the stack's cache
    :param log_interval: seconds between two lines
    :param since: seconds since 1970 from which on the functions' lines are shown; None: from the run's creation
    :param functions: whether the functions' lines are wanted at all
    """

    def __init__(
        self, clients: Clients, stack: Any, *, run_id: str = "", upload: str = "", source: str = "ledger",
        log_interval: float = 5.0, since: float | None = None, functions: bool = True,
        uploaded_after: float | None = None,
    ) -> None:  # fmt: skip
        self._clients, self._stack, self._upload, self._source = clients, stack, upload, source
        self._since, self._functions, self._uploaded_after = since, functions, uploaded_after
        self.run_id = run_id
        self.narrator = Narrator(log_interval, self._price)
        self._last_epoch = -1
        self._last_run: Run | None = None
        self._log_interval, self._trouble_at = log_interval, -float("inf")
        self._remote: RemoteLogs | None = None
        self._passed_over = ""

    @cached_property
    def outputs(self) -> StackOutputs:
        """Return the stack's outputs."""
        from snn_client.stack.outputs import StackOutputs

        return StackOutputs.of(self._clients, self._stack)

    def look(self) -> Look:
        """Return where the run stands now.

        A failure that passes (no connection, throttling, AWS's own error) is a line in the log, at the log's rate: the
        training goes on in Lambda whether or not anyone can see it. Any other is raised.
        """
        try:
            return self._look()
        except Exception as error:
            if not passes(error):
                raise
            now = time.monotonic()
            if now - self._trouble_at < self._log_interval:
                return Look(self._last_run)
            self._trouble_at = now
            return Look(self._last_run, remarks=[f"cannot reach AWS, retrying: {reason(error)}"])

    def outcome(self, run: Run) -> Run:
        """Return a COMPLETED run. Raises RunCancelled; or RunFailed, with the last lines of its functions.

        Those are the tracebacks, if it came to any, and how Lambda ended the functions, below the run's own reason.
        """
        from snn_client.runs.remote_logs import last_words
        from snn_client.runs.runs import outcome

        try:
            return outcome(run)
        except RunFailed as failed:
            lines = [str(failed), *last_words(self._clients.logs, self.outputs, run)]
            raise RunFailed("\n".join(lines)) from None

    def cancel(self) -> None:
        """Ask the run to stop."""
        from snn_client.runs.runs import cancel

        cancel(self._clients, self.outputs, self.run_id)

    def _look(self) -> Look:
        from snn_cloud.ledger.ledger import EpochRow, Ledger

        if not self.run_id:
            self.run_id, remarks = self._run_of_upload()
            if not self.run_id:
                return Look(None, remarks=remarks)
        moved = self._progress_in_cache() if self._source == "redis" and self._last_run else None
        if moved:
            return self._shown(moved, [EpochRow(moved.epoch - 1, moved.cost)] if moved.cost is not None else [])
        try:
            ledger = Ledger(self._clients.dynamodb, self.outputs.table)
            return self._shown(*ledger.progress(self.run_id, self._last_epoch))
        except RunNotFound:
            if self._last_run is not None:  # it was there: someone deleted it
                raise
            return Look(None)

    def _shown(self, run: Run, rows: list[EpochRow]) -> Look:
        if rows:
            self._last_epoch = rows[-1].epoch
        self._last_run = run
        return Look(run, self.narrator.lines(run, rows), self._remote_lines(run), rows)

    def _remote_lines(self, run: Run) -> list[str]:
        """Return what the functions have printed; how a run came to end FAILED is told by `outcome`."""
        if not self._functions:
            return []
        from snn_client.runs.logs import RunLogs
        from snn_client.runs.remote_logs import RemoteLogs
        from snn_cloud.ledger.record import State

        if self._remote is None:
            since = run.created_at if self._since is None else self._since
            self._remote = RemoteLogs(RunLogs(self._clients.logs, self.outputs, run.run_id, since))
        over = run.state.is_terminal and run.state is not State.FAILED
        return self._remote.rest(run) if over else self._remote.lines()

    def _price(self, run: Run) -> float:
        """Return what the run has cost so far, in USD."""
        from snn_cloud.cost.money import cost_of

        usd: float = cost_of(run, self.outputs)["usd"]
        return usd

    def _run_of_upload(self) -> tuple[str, list[str]]:
        """Return the run that the upload starts, or "" while there is none to wait for, and what to say of it."""
        from snn_client.runs.uploads import upload_key
        from snn_cloud.aws.places import run_id_for_upload

        bucket = self.outputs.bucket
        key = upload_key(self._upload, bucket)
        try:
            head = self._clients.s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return "", []
            raise
        version, uploaded = head.get("VersionId") or head["ETag"].strip('"'), head["LastModified"]
        if self._uploaded_after is None or uploaded.timestamp() >= self._uploaded_after:
            return run_id_for_upload(bucket, key, version), []
        if version == self._passed_over:
            return "", []
        self._passed_over = version
        wanted = datetime.fromtimestamp(self._uploaded_after, UTC)
        return "", [f"s3://{bucket}/{key} was uploaded {uploaded}, waiting for an upload after {wanted}"]

    def _progress_in_cache(self) -> Run | None:
        """Return the run as the cache shows it, None unless it moved on since the last look and goes on.

        So the ledger is asked how a run ended, and whenever the cache is silent: it keeps nothing of runs whose trainer
        computes whole batches, of runs that are over, and of a trainer that died.
        """
        from snn_cloud.ledger.record import State

        last, progress = self._last_run, self._cache.progress_of(self.run_id)
        if last is None or not progress or progress["epoch"] <= last.epoch or State(progress["state"]).is_terminal:
            return None
        return replace(last, state=State(progress["state"]), epoch=progress["epoch"], cost=progress["cost"])

    @cached_property
    def _cache(self) -> Cache:
        """Return the stack's cache, reached as its trainer reaches it."""
        from snn.errors import InvalidInput
        from snn_cloud.neurons.cache import Cache

        trainer = self._clients.lambda_.get_function_configuration(FunctionName=self.outputs.trainer_function)
        cache = Cache.from_environment({"AWS_REGION": self.outputs.region, **trainer["Environment"]["Variables"]})
        if cache is None:
            raise InvalidInput(
                f"stack {self.outputs.stack_name} has no cache to watch",
                field="watch",
                hint='watch="ledger" works with every stack',
            )
        return cache
