"""TrainerLambda's work: hold the run's lease, advance it epoch by epoch, and leave it finished or ready to go on."""

from __future__ import annotations

import io
import json
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import redis
from botocore.exceptions import BotoCoreError, ClientError

from snn.errors import SnnError
from snn.model import dump_checkpoint, save_model
from snn.parameters import Granularity
from snn.training import Diverged, StoppedBy, Training, on_this_machine, train
from snn_cloud import places
from snn_cloud.cache import Cache
from snn_cloud.clients import Clients
from snn_cloud.errors import CacheLost, LeaseLost, PeerLost
from snn_cloud.following import lead
from snn_cloud.job import Job, load_job
from snn_cloud.launching import start_trainer
from snn_cloud.ledger import Lease, Ledger
from snn_cloud.messages import Messages
from snn_cloud.neuron_pool import NeuronPool
from snn_cloud.peers import Peers
from snn_cloud.record import LAST_WRITE, Run, State, Usage
from snn_cloud.reporter import Meter, Reporter
from snn_cloud.settings import Settings

CHECKPOINT_SECONDS = 20.0
MARGIN_SECONDS = 20.0  # kept of a Lambda's time to store the state and continue elsewhere
MAX_CONTINUATIONS = 500  # of ≈ 13 minutes: four days, then something is wrong
MAX_ATTEMPTS = 3  # without reaching another checkpoint

TRANSIENT = (BotoCoreError, ClientError, redis.RedisError, CacheLost, PeerLost)


def advance(
    run_id: str, owner: str, remaining_seconds: Callable[[], float], settings: Settings, clients: Clients
) -> Run:
    """Advance a run as far as this invocation's time allows, and return where it stands then.

    Leaves at once when the run is over or another trainer has it. An error that may pass (AWS, cache) is raised after
    the lease is given back, so that Lambda's retry can go on from the last checkpoint; any other ends the run FAILED.
    """
    started = time.monotonic()
    ledger = Ledger(clients.dynamodb, settings.table)
    lease = ledger.acquire(run_id, owner)
    if lease is None:
        return ledger.get(run_id)
    run = lease.run
    messages = Messages(clients.sns, settings.topic_arn, epoch=run.epoch)
    limit = min(remaining_seconds() - MARGIN_SECONDS, run.trainer_seconds or float("inf"))
    meter = Meter(started, settings.memory_mb, clients.requests)
    try:
        return _Trainer(lease, messages, meter, settings, clients).work(started + limit)
    except LeaseLost as lost:
        print(f"{run_id}: {lost}; leaving")
        return ledger.get(run_id)
    except Exception as error:
        print(f"{run_id}: {traceback.format_exc()}")
        if isinstance(error, TRANSIENT) and lease.run.attempts < MAX_ATTEMPTS:
            with suppress(LeaseLost):
                lease.release(usage=meter.take(LAST_WRITE))
            raise
        reason = str(error) if isinstance(error, SnnError) else f"{type(error).__name__}: {error}"
        failed = lease.finish(State.FAILED, reason=reason, usage=meter.take(_ending(messages)))
        messages.last(f"Training failed: {reason}")
        return failed


class _Trainer:
    """One invocation's work on a run it holds the lease of."""

    def __init__(self, lease: Lease, messages: Messages, meter: Meter, settings: Settings, clients: Clients) -> None:
        self._lease, self._messages, self._settings, self._clients = lease, messages, settings, clients
        self._meter = meter
        self._cache = Cache.from_environment()

    def work(self, deadline: float) -> Run:
        job = load_job(self._lease.run, self._settings.bucket, self._clients)
        training, parameters = job.training, job.parameters
        helpers = self._helpers(job)
        self._meter.pool = helpers if isinstance(helpers, NeuronPool) else None
        gradients_of = helpers.gradients_of if helpers else on_this_machine(parameters, job.first)
        checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        try:
            with Reporter(self._lease, training, self._messages, self._meter, self._cache) as reporter:
                for _ in train(training, parameters, job.batches, gradients_of):
                    now = time.monotonic()
                    reporter.tick(now)
                    if reporter.cancel_requested or now > deadline:
                        break
                    if now > checkpoint_at:
                        reporter.hold(lambda: self._checkpoint(training))
                        checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        finally:
            if helpers:
                helpers.close()
        self._lease.flush(training.costs, self._meter.take())
        stopped_by = training.stopped_by(parameters)
        if stopped_by is not None:
            return self._complete(job, stopped_by)
        self._checkpoint(training)
        return self._cancel() if reporter.cancel_requested else self._continue()

    def _helpers(self, job: Job) -> NeuronPool | Peers | None:
        """Return what computes batches beside this invocation: neurons, other trainers, or nothing."""
        run, parameters = self._lease.run, job.parameters
        if not parameters.needs_cache:
            return None
        if self._cache is None:
            raise SnnError(f"{parameters.needs_cache} needs a cache, which this stack has not")
        prefix = f"snn:{run.run_id}:{run.fence}"
        if parameters.granularity is not Granularity.BATCH:
            function, concurrency = self._settings.neuron_function, self._settings.neuron_concurrency
            return NeuronPool(self._clients, function, self._cache, parameters, run.run_id, prefix, concurrency)
        return lead(job, run, prefix, self._cache, self._settings, self._clients)

    def _checkpoint(self, training: Training) -> None:
        """Store the state, then make it count: the ledger names the version, and only the lease's holder may."""
        stored = self._put(places.checkpoint(self._lease.run.run_id), dump_checkpoint(training))
        self._lease.checkpointed(stored)

    def _complete(self, job: Job, stopped_by: StoppedBy) -> Run:
        run, parameters, training = self._lease.run, job.parameters, job.training
        weights = job.first.network(training.weights)
        # An epoch's cost is that of the weights before its step; the last step has none to betray it.
        if not all(np.isfinite(array).all() for layer in weights for array in layer):
            raise Diverged(f"weights left the numbers (lower learning_rate, now {parameters.learning_rate:g})")
        model = io.BytesIO()
        save_model(
            model,
            weights,
            parameters.activation_per_layer,
            {
                "run_id": run.run_id,
                "image_shape": job.dataset.image_shape,
                "classes": job.dataset.classes,
                "epochs_run": training.epoch,
                "final_cost": training.costs[-1],
                "dataset": run.dataset,
                "parameters": parameters.to_json(),
            },
        )
        results = _results(run.started_at, training.costs)
        self._put(places.params(run.run_id), model.getvalue())
        self._put(places.results(run.run_id), results)
        if run.promote:
            self._put(places.PROMOTED_RESULTS, results)
            self._put(places.PROMOTED_PARAMS, model.getvalue())
        done = self._finish(State.COMPLETED, stopped_by)
        self._messages.last(f"Training completed: cost after epoch {training.epoch - 1} = {training.costs[-1]}")
        return done

    def _cancel(self) -> Run:
        cancelled = self._finish(State.CANCELLED, StoppedBy.CANCEL)
        self._messages.last(f"Training cancelled after {cancelled.epoch} epochs")
        return cancelled

    def _continue(self) -> Run:
        if self._lease.run.continuations >= MAX_CONTINUATIONS:
            raise SnnError(f"not finished after {MAX_CONTINUATIONS} continuations (fewer epochs, or a larger function)")
        run = self._lease.release(continuations=1, usage=self._meter.take(LAST_WRITE))
        start_trainer(self._clients, self._settings.trainer_function, run.run_id)
        return run

    def _finish(self, state: State, stopped_by: StoppedBy) -> Run:
        run = self._lease.finish(state, stopped_by, usage=self._meter.take(_ending(self._messages)))
        if self._cache:
            self._cache.put_progress(run)
        return run

    def _put(self, key: str, body: bytes) -> str:
        return self._clients.s3.put_object(Bucket=self._settings.bucket, Key=key, Body=body).get("VersionId", "")


def _ending(messages: Messages) -> Usage:
    """Return what follows a run's last count: the write that carries it, the wait for the last message, the message."""
    return LAST_WRITE + Usage(milliseconds=round(messages.wait * 1000), publishes=1)


def _results(started_at: float, costs: list[float]) -> bytes:
    """Return `results.json` as itsacat wrote it: Start, the epochs' costs in order, End; times in UTC."""

    def stamp(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    entries: dict[str, Any] = {"Start": stamp(started_at)}
    entries.update((f"epoch{number}", {"cost": cost}) for number, cost in enumerate(costs))
    entries["End"] = stamp(time.time())
    return json.dumps(entries).encode()
