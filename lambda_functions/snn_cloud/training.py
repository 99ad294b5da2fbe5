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

import redis
from botocore.exceptions import BotoCoreError, ClientError

from snn.dataset import Dataset, batches, load_dataset
from snn.errors import SnnError
from snn.first_layer import Direct, FirstLayer
from snn.model import dump_checkpoint, load_checkpoint, save_model
from snn.network import Weights
from snn.parameters import Granularity, Parameters
from snn.training import StoppedBy, Training, first_layer, on_this_machine, train
from snn_cloud import places
from snn_cloud.cache import Cache
from snn_cloud.clients import Clients
from snn_cloud.errors import CacheLost, LeaseLost
from snn_cloud.launching import read_object, start_trainer
from snn_cloud.ledger import Lease, Ledger
from snn_cloud.messages import Messages
from snn_cloud.neuron_pool import NeuronPool
from snn_cloud.record import Run, State
from snn_cloud.reporter import Meter, Reporter
from snn_cloud.settings import Settings

CHECKPOINT_SECONDS = 20.0
MARGIN_SECONDS = 20.0  # kept of a Lambda's time to store the state and continue elsewhere
MAX_CONTINUATIONS = 500  # of ≈ 13 minutes: four days, then something is wrong
MAX_ATTEMPTS = 3  # without reaching another checkpoint

TRANSIENT = (BotoCoreError, ClientError, redis.RedisError, CacheLost)


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
    try:
        return _Trainer(lease, messages, settings, clients).work(started, started + limit)
    except LeaseLost as lost:
        print(f"{run_id}: {lost}; leaving")
        return ledger.get(run_id)
    except Exception as error:
        print(f"{run_id}: {traceback.format_exc()}")
        if isinstance(error, TRANSIENT) and lease.run.attempts < MAX_ATTEMPTS:
            with suppress(LeaseLost):
                lease.release()
            raise
        reason = str(error) if isinstance(error, SnnError) else f"{type(error).__name__}: {error}"
        failed = lease.finish(State.FAILED, reason=reason)
        messages.last(f"Training failed: {reason}")
        return failed


class _Trainer:
    """One invocation's work on a run it holds the lease of."""

    def __init__(self, lease: Lease, messages: Messages, settings: Settings, clients: Clients) -> None:
        self._lease, self._messages, self._settings, self._clients = lease, messages, settings, clients
        run = lease.run
        if run.parameters is None:
            raise SnnError(f"run {run.run_id} has no parameters")
        self._parameters: Parameters = run.parameters
        self._cache = Cache.from_environment()

    def work(self, started: float, deadline: float) -> Run:
        run, parameters = self._lease.run, self._parameters
        bucket = self._settings.bucket
        state = read_object(self._clients, bucket, places.checkpoint(run.run_id), run.checkpoint_version)
        training = load_checkpoint(state)
        data = read_object(self._clients, bucket, run.dataset, run.dataset_version)
        dataset = load_dataset(io.BytesIO(data), source=run.dataset)
        print(
            f"{run.run_id}: epoch {training.epoch} of {parameters.epochs}, {parameters.strategy}, "
            f"{parameters.granularity} granularity, fence {run.fence}"
        )
        pool = self._neuron_pool()
        meter = Meter(started, self._settings.memory_mb, pool)
        parts = batches(dataset, parameters.batch_size, parameters.seed)
        first: FirstLayer = Direct(parameters.activation_per_layer[0])
        if pool is None:
            first, why = first_layer(training, parameters, parts)
            print(f"{run.run_id}: {why}")
        gradients_of = pool.gradients_of if pool else on_this_machine(parameters, first)
        checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        try:
            with Reporter(self._lease, training, self._messages, meter, self._cache) as reporter:
                for _ in train(training, parameters, parts, gradients_of):
                    now = time.monotonic()
                    reporter.tick(now)
                    if reporter.cancel_requested or now > deadline:
                        break
                    if now > checkpoint_at:
                        reporter.hold(lambda: self._checkpoint(training))
                        checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
        finally:
            if pool:
                pool.close()
        self._lease.flush(training.costs, meter.take())
        stopped_by = training.stopped_by(parameters)
        if stopped_by is not None:
            return self._complete(training, first.network(training.weights), dataset, stopped_by)
        self._checkpoint(training)
        return self._cancel() if reporter.cancel_requested else self._continue()

    def _neuron_pool(self) -> NeuronPool | None:
        if self._parameters.granularity is Granularity.BATCH:
            return None
        if self._cache is None:
            raise SnnError(f"{self._parameters.granularity} granularity needs a cache, which this stack has not")
        run = self._lease.run
        return NeuronPool(
            self._clients,
            self._settings.neuron_function,
            self._cache,
            self._parameters,
            run.run_id,
            f"snn:{run.run_id}:{run.fence}",
            self._settings.neuron_concurrency,
        )

    def _checkpoint(self, training: Training) -> None:
        """Store the state, then make it count: the ledger names the version, and only the lease's holder may."""
        stored = self._put(places.checkpoint(self._lease.run.run_id), dump_checkpoint(training))
        self._lease.checkpointed(stored)

    def _complete(self, training: Training, weights: Weights, dataset: Dataset, stopped_by: StoppedBy) -> Run:
        run, parameters = self._lease.run, self._parameters
        model = io.BytesIO()
        save_model(
            model,
            weights,
            parameters.activation_per_layer,
            {
                "run_id": run.run_id,
                "image_shape": dataset.image_shape,
                "classes": dataset.classes,
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
        run = self._lease.release(continuations=1)
        start_trainer(self._clients, self._settings.trainer_function, run.run_id)
        return run

    def _finish(self, state: State, stopped_by: StoppedBy) -> Run:
        run = self._lease.finish(state, stopped_by)
        if self._cache:
            self._cache.put_progress(run)
        return run

    def _put(self, key: str, body: bytes) -> str:
        return self._clients.s3.put_object(Bucket=self._settings.bucket, Key=key, Body=body).get("VersionId", "")


def _results(started_at: float, costs: list[float]) -> bytes:
    """Return `results.json` as itsacat wrote it: Start, the epochs' costs in order, End; times in UTC."""

    def stamp(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    entries: dict[str, Any] = {"Start": stamp(started_at)}
    entries.update((f"epoch{number}", {"cost": cost}) for number, cost in enumerate(costs))
    entries["End"] = stamp(time.time())
    return json.dumps(entries).encode()
