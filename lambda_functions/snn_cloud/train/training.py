"""TrainerLambda's work: hold the run's lease, advance it epoch by epoch, and leave it finished or ready to go on."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import redis
from botocore.exceptions import BotoCoreError, ClientError

from snn.errors import SnnError
from snn.training import Diverged, History, Training, train
from snn.validation import METRIC_NAMES
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CacheLost, LeaseLost, NeuronFailed, PeerLost, Stopped
from snn_cloud.aws.saying import say_traceback
from snn_cloud.aws.settings import Settings
from snn_cloud.cost import budget, kept
from snn_cloud.cost.money import usd_of
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Lease, Ledger
from snn_cloud.ledger.messages import Messages
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_cloud.ledger.record import LAST_WRITE, Run, State, StoppedBy, Usage
from snn_cloud.neurons.cache import Cache
from snn_cloud.registry.record import DEFAULT_MODEL
from snn_cloud.registry.registry import Registry
from snn_cloud.train.following import lead
from snn_cloud.train.job import Job, load_job
from snn_cloud.train.keeping import Keeper
from snn_cloud.train.neuron_pool import NeuronPool
from snn_cloud.train.reporter import Helpers, Meter, Reporter
from snn_data.checkpoint import dump_checkpoint
from snn_data.model import save_model

CHECKPOINT_SECONDS = 20.0
MARGIN_SECONDS = 20.0  # kept of a Lambda's time to store the state and continue elsewhere
MAX_CONTINUATIONS = 500  # of ≈ 13 minutes: four and a half days, then something is wrong
MAX_ATTEMPTS = 3  # without reaching another checkpoint: Lambda's first and its two retries
STEP_RESERVE = 1.2  # times the longest step so far must be left to begin another

TRANSIENT = (BotoCoreError, ClientError, redis.RedisError, CacheLost, PeerLost)


def advance(
    run_id: str, owner: str, remaining_seconds: Callable[[], float], settings: Settings, clients: Clients
) -> Run:
    """Advance a run as far as this invocation's time allows, and return its state.

    Leaves at once when the run is over or another trainer has it. After an error that may pass (AWS, cache) the lease
    is given back and the run goes on from its last checkpoint: by Lambda's retry, for which the error is raised, or,
    if this invocation reached a checkpoint, by an event of its own, for Lambda would count its retries on. Any other
    error ends the run FAILED.
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
        if run.attempts > MAX_ATTEMPTS:
            raise SnnError(f"{MAX_ATTEMPTS} trainers were killed before a checkpoint (out of memory, or of time?)")
        return _Trainer(lease, messages, meter, settings, clients).work(started + limit)
    except LeaseLost as lost:
        print(f"{run_id}: {lost}; leaving")
        return ledger.get(run_id)
    except Exception as error:
        say_traceback(run_id)
        if isinstance(error, TRANSIENT) and lease.run.attempts < MAX_ATTEMPTS:
            with suppress(LeaseLost):
                run = lease.release(usage=meter.take(LAST_WRITE))
            if run.attempts == 0:
                start_trainer(clients, settings.trainer_function, run_id)
                return run
            raise
        reason = str(error) if isinstance(error, SnnError) else f"{type(error).__name__}: {error}"
        failed = lease.finish(State.FAILED, reason=reason, usage=meter.take(_ending(messages)))
        messages.last(f"Training failed: {failed.reason}")
        return failed


class _Trainer:
    """One invocation's work on a run it holds the lease of."""

    def __init__(self, lease: Lease, messages: Messages, meter: Meter, settings: Settings, clients: Clients) -> None:
        self._lease, self._messages, self._settings, self._clients = lease, messages, settings, clients
        self._meter = meter
        self._cache = Cache.from_environment()
        self._waits = ""  # what the last message says of a version that has to be approved

    def work(self, deadline: float) -> Run:
        spent = partial(budget.spent, platform=self._settings)
        price = partial(usd_of, platform=self._settings)
        with Reporter(self._lease, self._messages, self._meter, self._cache, spent, price) as reporter:
            job = load_job(self._lease.run, self._settings.bucket, self._clients)
            training, parameters = job.training, job.parameters
            reporter.training = training
            size = Size(job.dataset.features, len(job.samples))
            keeper = Keeper(self._lease.run, training, self._put, kept.stride(Workload(parameters, size)))
            try:
                self._run_steps(job, reporter, keeper, deadline)
            except (Diverged, NeuronFailed):  # what was reached stays there to be looked at
                keeper.last()
                raise
            reporter.hold(reporter.write)
            ended = training.stopped_by(parameters)
            stop = StoppedBy(ended) if ended else StoppedBy.PAUSE if job.paused else None
            keeper.last() if stop or reporter.stop() else keeper.flush()
            if stop is None or stop is StoppedBy.PAUSE:
                self._checkpoint(training, reporter)
            if stop is not None:
                self._store_model(job, reporter)
        if stop is not None:
            done = self._finish(State.COMPLETED, stop)
            word = "paused" if stop is StoppedBy.PAUSE else "completed"
            cost = training.history.costs[-1]
            self._messages.last(f"Training {word}: cost after epoch {training.epoch - 1} = {cost}{self._waits}")
            return done
        if reporter.cancel_requested:
            return self._cancel()
        # Asked anew: now all that was used is in the ledger, also what other trainers of the run did.
        reason = spent(self._lease.run)
        return self._fail(reason) if reason else self._continue()

    def _run_steps(self, job: Job, reporter: Reporter, keeper: Keeper, deadline: float) -> None:
        """Train until the run is done, paused or stopped, or too little time is left for one more step."""
        if job.paused:
            return
        helpers = self._meter.helpers = self._helpers(job, reporter)
        keeper.pool = helpers if isinstance(helpers, NeuronPool) else None
        gradients_of = helpers.gradients_of if helpers else job.here().gradients_of
        steps = train(job.training, job.parameters, len(job.samples), job.targets, gradients_of, job.validation)
        checkpoint_at, last, longest = time.monotonic() + CHECKPOINT_SECONDS, time.monotonic(), 0.0
        keeper.look(time.monotonic())
        try:
            for reporter.steps in steps:
                now = time.monotonic()
                longest = max(longest, now - last)
                reporter.tick(now)
                keeper.look(now)
                if job.paused or reporter.stop() or now + STEP_RESERVE * longest > deadline:
                    break
                if now > checkpoint_at:
                    keeper.flush()
                    self._checkpoint(job.training, reporter)
                    checkpoint_at = time.monotonic() + CHECKPOINT_SECONDS
                last = time.monotonic()
        except Stopped as stopped:
            print(f"{self._lease.run.run_id}: stopped before {stopped}")
        finally:
            if helpers:
                helpers.close()

    def _helpers(self, job: Job, reporter: Reporter) -> Helpers | None:
        """Return what computes batches beside this invocation: neurons, other trainers, or nothing."""
        run, parameters = self._lease.run, job.parameters
        parameters.check_cache(self._cache is not None)
        if self._cache is None or not parameters.needs_cache:
            return None
        prefix = f"snn:{run.run_id}:{run.fence}"
        if parameters.granularity is not Granularity.BATCH:
            return NeuronPool(self._clients, self._settings, self._cache, job, run.run_id, prefix, reporter.stop)
        return lead(job, run, prefix, self._cache, self._settings, self._clients)

    def _checkpoint(self, training: Training, reporter: Reporter) -> None:
        """Store the state, then make it count: the ledger names the version, and only the lease's holder may."""
        stored = self._put(places.checkpoint(self._lease.run.run_id), dump_checkpoint(training))
        reporter.hold(lambda: self._lease.checkpointed(stored))

    def _store_model(self, job: Job, reporter: Reporter) -> None:
        run, parameters, training = self._lease.run, job.parameters, job.training
        params = job.result
        # An epoch's cost is that of the weights before its step; the last step has none to betray it.
        if not all(np.isfinite(array).all() for array in params.values()):
            raise Diverged(f"weights are no longer finite (lower learning_rate, now {parameters.learning_rate:g})")
        model = io.BytesIO()
        save_model(model, params, parameters.activation_per_layer, _provenance(run, job))
        results = _results(run.started_at, training.history, parameters.classes)
        self._put(places.params(run.run_id), model.getvalue())
        self._put(places.results(run.run_id), results)
        if run.promote and not job.paused:
            # A trainer that lost its lease while it stored the model promotes nothing.
            reporter.hold(reporter.write)
            self._promote(model.getvalue(), results, parameters)

    def _promote(self, model: bytes, results: bytes, parameters: Parameters) -> None:
        """Make the model a version, and the champion, unless a person has to approve it first."""
        run, registry = self._lease.run, Registry(self._clients.dynamodb, self._settings.table)
        version = registry.register(
            DEFAULT_MODEL, run.run_id, dataset=run.dataset, sha256=hashlib.sha256(model).hexdigest(),
            parameters=json.loads(parameters.to_json()), metrics={}, backbone=parameters.backbone or "", by="upload",
        )  # fmt: skip
        if self._settings.require_approval:
            self._waits = f"; version {version['number']} waits for approval (snn models approve {version['number']})"
            print(f"{run.run_id}{self._waits}")
            return
        self._put(places.PROMOTED_RESULTS, results)
        self._put(places.PROMOTED_PARAMS, model, number=str(version["number"]))
        registry.promoted(DEFAULT_MODEL, run.run_id, time.time())
        registry.crowned(DEFAULT_MODEL, run.run_id)

    def _cancel(self) -> Run:
        cancelled = self._finish(State.CANCELLED, StoppedBy.CANCEL)
        self._messages.last(f"Training cancelled after {cancelled.epoch} epochs")
        return cancelled

    def _fail(self, reason: str) -> Run:
        failed = self._finish(State.FAILED, StoppedBy.BUDGET, reason)
        self._messages.last(f"Training failed: {failed.reason}")
        return failed

    def _continue(self) -> Run:
        if self._lease.run.continuations >= MAX_CONTINUATIONS:
            raise SnnError(
                f"not finished after {MAX_CONTINUATIONS} continuations (use fewer epochs, or a larger function)"
            )
        run = self._lease.release(continuations=1, usage=self._meter.take(LAST_WRITE))
        start_trainer(self._clients, self._settings.trainer_function, run.run_id)
        return run

    def _finish(self, state: State, stopped_by: StoppedBy, reason: str = "") -> Run:
        run = self._lease.finish(state, stopped_by, reason, usage=self._meter.take(_ending(self._messages)))
        if self._cache:
            self._cache.forget_progress(run)
        return run

    def _put(self, key: str, body: bytes, **told: str) -> str:
        named = {"run-id": self._lease.run.run_id, **told}
        stored = self._clients.s3.put_object(Bucket=self._settings.bucket, Key=key, Body=body, Metadata=named)
        return stored.get("VersionId", "")


def _ending(messages: Messages) -> Usage:
    """Return what follows a run's last count: the write that carries it, the wait for the last message, the message."""
    return LAST_WRITE + Usage(milliseconds=round(messages.wait * 1000), publishes=1)


def _provenance(run: Run, job: Job) -> dict[str, Any]:
    """Return what a model's file says of itself, beside its weights."""
    training, shape = job.training, job.dataset.shape
    attributes: dict[str, Any] = {"run_id": run.run_id}
    if len(shape) == 1:
        attributes["features"] = shape[0]
    else:  # grey photos have one channel, whether or not their shape says so
        attributes["image_shape"] = shape if len(shape) == 3 else (*shape, 1)
        if job.dataset.photos:
            attributes["photos"] = job.dataset.photos
    for name in ("columns", "backbone"):
        if said := getattr(job.dataset, name):
            attributes[name] = said
    if job.dataset.classes:
        attributes["classes"] = job.dataset.classes
    if training.best_epoch >= 0:
        attributes |= {
            "best_epoch": training.best_epoch,
            "validation_cost": training.history.validation_costs[training.best_epoch],
        }
    if job.parameters.classes == 2:
        chosen = job.decision()
        attributes |= {"threshold": chosen.threshold, "threshold_rule": chosen.rule}
    return {
        **attributes,
        "epochs_run": training.epoch,
        "final_cost": training.history.costs[-1],
        "dataset": run.dataset,
        "parameters": job.parameters.to_json(),
    }


def _results(started_at: float, history: History, classes: int) -> bytes:
    """Return `results.json` as itsacat wrote it: Start, the epochs' costs in order, End; times in UTC.

    What validation found stands in an epoch's object, after its cost.
    """

    def stamp(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    # Written, not built and then dumped: a million epochs would take 390 MB of small dictionaries.
    text, metric = io.StringIO(), METRIC_NAMES[classes > 0]
    text.write(f'{{"Start": "{stamp(started_at)}"')
    for number, cost in enumerate(history.costs):
        text.write(f', "epoch{number}": {{"cost": {cost!r}')
        if history.validation_costs:
            text.write(f', "validation_cost": {history.validation_costs[number]!r}')
            text.write(f', "validation_{metric}": {history.validation_metrics[number]!r}')
        text.write("}")
    text.write(f', "End": "{stamp(time.time())}"}}')
    return text.getvalue().encode()
