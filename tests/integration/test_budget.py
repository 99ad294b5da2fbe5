"""Runs that reach `max_usd` or `max_seconds`, on the emulator with real Lambdas: how they end, and how they go on."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from math import inf
from typing import Any

import h5py
import numpy as np
import oracle
import pytest
import redis
from botocore.exceptions import ClientError
from small import photos, wait_until, wait_until_counted
from training import Lesson

from snn_cli.local.emulator import Emulator
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import RunFailed
from snn_cloud.aws.metering import Requests
from snn_cloud.cost import prices
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy, Usage
from snn_cloud.neurons.cache import Cache
from snn_cloud.train.peers import Peers
from snn_cloud.train.reporter import Meter
from snn_data.dataset import load_dataset

ENDLESS = 10_000_000
# After a limit is reached: until the next look, a second or two in a long epoch, then for storing the state and for the
# last message. Measured: 1 to 2 s. A machine that stalls takes longer, so `Runs.ends` counts the looks as well; a run
# that ends no earlier than at its next checkpoint takes 20 s.
OVERSHOOT_SECONDS = 15.0

# At most, in USD a second: a trainer of 1,769 MB; a cache node and two endpoints; the costs of 12,500 epochs, 100 KB,
# in the ledger; eight neurons of 512 MB and 100 invocations with their lines in the log.
TRAINER = 1769 / 1024 * prices.LAMBDA_GB_SECOND["x86_64"].usd
CACHE = (prices.CACHE_NODE_HOUR["cache.t4g.micro"].usd + 2 * prices.ENDPOINT_HOUR.usd) / 3600
COSTS = 100 * prices.DYNAMODB_WRITE_UNIT.usd
NEURONS = 8 * 0.5 * prices.LAMBDA_GB_SECOND["x86_64"].usd + 100 * (prices.LAMBDA_REQUEST.usd + 0.25e-6)


def parameters(sizes: tuple[int, ...] = (5, 4, 1), **fields: Any) -> Parameters:
    return Parameters.load(oracle.small_network(sizes, ("relu", "relu", "sigmoid"), **fields))


# One of 24 mini-batches, which would take two minutes here.
LONG_EPOCH = parameters((120, 80, 1), epochs=1, batch_size=1, granularity="neuron")
LONG_EPOCH_INVOCATIONS = 24 * 2 * (120 + 80 + 1)


# Of so many photos, each a step of its own: three seconds or more, in one trainer.
MANY = 8_000
MANY_STEPS = parameters(
    epochs=1, batch_size=1, strategy="sgd", optimizer="adam", dropout=0.2, learning_rate=1e-4,
    schedule={"name": "exponential", "warmup": 0.5},
)  # fmt: skip


class Runs:
    """Runs of the small data set, launched and watched to their end."""

    def __init__(self, clients: Clients, stack: StackOutputs, data: bytes, name: str) -> None:
        self.clients, self.stack, self._name = clients, stack, name
        self.ledger = Ledger(clients.dynamodb, stack.table)
        self._key = places.input_dataset(runs.new_run_id(name), "0" * 64)
        self.over: list[Run] = []  # the last run, each time that it was seen with a limit reached
        clients.s3.put_object(Bucket=stack.bucket, Key=self._key, Body=data)

    def completes(self, name: str, chosen: Parameters, **options: Any) -> Run:
        run_id = runs.new_run_id(f"{self._name} {name}")
        runs.launch(self.clients, self.stack, run_id, self._key, chosen, **options)
        self.over, asked = [], time.time()

        def look(run: Run, _: Any) -> None:
            nonlocal asked
            if self.is_over_budget(replace(run, ended_at=run.ended_at or asked)):  # when it was asked for, or before
                self.over.append(run)
            asked = time.time()

        return runs.watch(self.clients, self.stack, run_id, look, every_seconds=0.1, limit_seconds=180)

    def is_over_budget(self, run: Run) -> bool:
        assert run.parameters is not None
        limits = run.parameters
        usd = float(cost_of(run, self.stack)["usd"])
        return usd >= (limits.max_usd or inf) or run.seconds >= (limits.max_seconds or inf)

    def ends(self, field: str, chosen: Parameters, **options: Any) -> Run:
        """Return a run that its budget has ended, with all that is promised of it looked at."""
        with pytest.raises(RunFailed) as failed:
            self.completes(field, chosen, **options)
        run = self.ledger.get(runs.new_run_id(f"{self._name} {field}"))
        run = wait_until_counted(self.ledger, run.run_id, chosen.workers * (1 + run.continuations))
        # The next flush finds out; the end is three writes: the costs, the checkpoint, the state. One flush more while
        # something takes long, three while neurons or other trainers are waited for.
        assert run.beat - self.over[0].beat <= (7 if chosen.needs_cache else 5)
        assert (run.state, run.stopped_by, run.owner) == (State.FAILED, StoppedBy.BUDGET, "")
        said = rf"{field}: \S+ of \S+ (?:USD|s) spent after {run.epoch:,} epochs \(raise {field} and resume the run\)"
        assert re.fullmatch(said, run.reason), run.reason
        assert str(failed.value) == f"run {run.run_id} failed after {run.epoch} epochs: {run.reason}"
        with h5py.File(io.BytesIO(self.stored(places.checkpoint(run.run_id), run.checkpoint_version))) as checkpoint:
            assert len(checkpoint["costs"]) == run.epoch if run.epoch else True
        with pytest.raises(ClientError, match="NoSuchKey"):
            self.stored(places.params(run.run_id))
        time.sleep(0.3)
        assert self.ledger.get(run.run_id) == run  # nobody works on
        return run

    def go_on_as_if_never_stopped(self, stopped: Run, chosen: Parameters) -> None:
        """A run resumed with `chosen` has the bits of one that was never stopped."""
        resumed = self.completes("resumed", chosen, resume_from=stopped.run_id)
        whole = self.completes("whole", chosen)
        one, two = self.weights(resumed), self.weights(whole)
        assert all(np.array_equal(one[name], two[name]) for name in one)
        assert self.ledger.progress(resumed.run_id)[1] == self.ledger.progress(whole.run_id)[1]
        assert resumed.epoch == whole.epoch == chosen.epochs

    def weights(self, run: Run) -> dict[str, Any]:
        with h5py.File(io.BytesIO(self.stored(places.params(run.run_id)))) as model:
            return {name: model[name][()] for name in model}

    def stored(self, key: str, version: str = "") -> bytes:
        named: Any = {"VersionId": version} if version else {}
        return self.clients.s3.get_object(Bucket=self.stack.bucket, Key=key, **named)["Body"].read()

    def usd(self, run: Run, a_second: float) -> float:
        """Return what a run has cost: above its limit, by no more than OVERSHOOT_SECONDS at so many USD a second."""
        assert run.parameters is not None
        assert run.parameters.max_usd is not None
        usd = float(cost_of(run, self.stack)["usd"])
        assert run.parameters.max_usd <= usd < run.parameters.max_usd + OVERSHOOT_SECONDS * a_second
        return usd


@pytest.fixture
def of_many(clients: Clients, stack: StackOutputs, request: pytest.FixtureRequest) -> Runs:
    return Runs(clients, stack, photos(samples=MANY), request.node.name)


@pytest.fixture
def of(clients: Clients, stack: StackOutputs, data: bytes, request: pytest.FixtureRequest) -> Runs:
    return Runs(clients, stack, data, request.node.name)


def test_max_seconds_ends_a_run_that_goes_on_from_there_bit_for_bit(of: Runs) -> None:
    chosen = parameters(epochs=ENDLESS, max_seconds=2)
    promoted = of.clients.s3.list_object_versions(Bucket=of.stack.bucket, Prefix=places.PROMOTED_PARAMS)
    run = of.ends("max_seconds", chosen, promote=True)
    assert 2 <= run.seconds < 2 + OVERSHOOT_SECONDS
    assert 0 < run.epoch < ENDLESS
    again = of.clients.s3.list_object_versions(Bucket=of.stack.bucket, Prefix=places.PROMOTED_PARAMS)
    assert again.get("Versions") == promoted.get("Versions")
    of.go_on_as_if_never_stopped(run, parameters(epochs=run.epoch + 50, max_seconds=60))


@pytest.mark.slow
def test_max_seconds_ends_an_epoch_of_many_steps_that_goes_on_from_there_bit_for_bit(of_many: Runs) -> None:
    run = of_many.ends("max_seconds", MANY_STEPS.model_copy(update={"max_seconds": 1.5}))
    assert 1.5 <= run.seconds < 1.5 + OVERSHOOT_SECONDS
    assert (run.epoch, run.steps) == (0, MANY)
    assert 0 < run.step < MANY
    of_many.go_on_as_if_never_stopped(run, MANY_STEPS)


def test_a_cancel_does_not_wait_for_an_epoch_of_many_steps(of_many: Runs) -> None:
    run_id = runs.new_run_id("cancelled in an epoch of steps")
    runs.launch(of_many.clients, of_many.stack, run_id, of_many._key, MANY_STEPS)
    wait_until(lambda: of_many.ledger.get(run_id).step, "no step")
    asked = time.time()
    run = runs.stop(of_many.clients, of_many.stack, run_id)
    assert (run.state, run.epoch, run.steps) == (State.CANCELLED, 0, MANY)
    assert 0 < run.step < MANY
    assert run.ended_at - asked < 10
    of_many.go_on_as_if_never_stopped(run, MANY_STEPS)


def test_max_usd_ends_a_run_of_one_trainer(of: Runs) -> None:
    of.usd(of.ends("max_usd", parameters(epochs=ENDLESS, max_usd=0.0001)), TRAINER + CACHE + COSTS)


def test_max_usd_ends_a_run_in_the_middle_of_an_epoch_of_neurons(of: Runs) -> None:
    chosen = LONG_EPOCH.model_copy(update={"max_usd": 0.0003})  # ten seconds: a busy machine starts a trainer in three
    run = of.ends("max_usd", chosen)
    of.usd(run, TRAINER + CACHE + NEURONS)
    assert run.epoch == 0
    assert 0 < run.usage["neuron"].invocations < LONG_EPOCH_INVOCATIONS
    of.go_on_as_if_never_stopped(run, LONG_EPOCH.model_copy(update={"max_usd": 1.0, "granularity": Granularity.LAYER}))


def test_a_cancel_does_not_wait_for_an_epoch_of_neurons(of: Runs) -> None:
    run_id = runs.new_run_id("cancelled in an epoch")
    runs.launch(of.clients, of.stack, run_id, of._key, LONG_EPOCH)
    wait_until(lambda: of.ledger.get(run_id).usage["neuron"].invocations, "no neuron has worked")
    run = runs.stop(of.clients, of.stack, run_id)
    assert (run.state, run.epoch) == (State.CANCELLED, 0)
    assert run.usage["neuron"].invocations < LONG_EPOCH_INVOCATIONS


def test_what_earlier_trainers_used_counts(of: Runs) -> None:
    run = of.ends("max_usd", parameters(epochs=ENDLESS, max_usd=0.0015), trainer_seconds=0.7)
    assert run.continuations >= 2
    assert of.usd(run, TRAINER + CACHE + COSTS) / (1 + run.continuations) < 0.0015 / 2  # none alone came near it


def test_a_trainer_that_is_gone_before_its_first_look_does_not_hand_over(of: Runs) -> None:
    run = of.ends("max_seconds", parameters(epochs=ENDLESS, max_seconds=1), trainer_seconds=0.001)
    assert run.epoch == run.usage["trainer"].invocations == run.continuations + 1
    assert 1 <= run.seconds < 1 + OVERSHOOT_SECONDS


@pytest.mark.parametrize("more", [
    {"strategy": "average", "batch_size": 7},
    {"strategy": "sgd", "batch_size": 12, "sub_batches": 2, "optimizer": "adam", "dropout": 0.2,
     "learning_rate": 1e-4},
], ids=["average", "sgd"])  # fmt: skip
def test_two_trainers_stop_and_both_are_counted(of: Runs, more: dict[str, Any]) -> None:
    chosen = parameters(epochs=ENDLESS, workers=2, max_usd=0.0009, **more)
    run = of.ends("max_usd", chosen)
    of.usd(run, 2 * TRAINER + CACHE + COSTS)
    trainers = run.usage["trainer"]
    assert trainers.invocations == 2 * (1 + run.continuations)
    assert trainers.milliseconds > 1_300 * run.seconds  # 1,000 for each that works all the time
    alone = chosen.model_copy(update={"epochs": run.epoch + 20, "workers": 1, "max_usd": 1.0})
    of.go_on_as_if_never_stopped(run, alone)


@pytest.mark.parametrize(
    "more", [{}, {"granularity": "layer"}, {"strategy": "sgd", "batch_size": 7, "optimizer": "adam", "dropout": 0.3}],
    ids=["batch", "layer", "sgd"],
)  # fmt: skip
def test_within_its_budget_a_run_is_as_without_one(of: Runs, more: dict[str, Any]) -> None:
    more = {**more, "keep_epochs": False}  # in how many pieces they are stored is the clock's affair
    free = of.completes("free", parameters(**more))
    bounded = of.completes("bounded", parameters(**more, max_usd=0.5, max_seconds=600))
    one, two = of.weights(free), of.weights(bounded)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert of.ledger.progress(free.run_id)[1] == of.ledger.progress(bounded.run_id)[1]
    assert free.usage["neuron"].invocations == bounded.usage["neuron"].invocations
    for field in ("invocations", "s3_puts", "s3_gets"):
        assert getattr(free.usage["trainer"], field) == getattr(bounded.usage["trainer"], field)


def test_what_other_trainers_use_is_foreseen_until_they_count_it(
    data: bytes, emulator: Emulator, request: pytest.FixtureRequest
) -> None:
    job = Lesson(parameters(batch_size=7), load_dataset(io.BytesIO(data))).job
    assert job.most_batches == 4
    cache = Cache(redis.Redis(emulator.redis_host, emulator.redis_port))
    run = Run("r", usage={"trainer": Usage(1, 500, 1769), "launch": Usage(1, 9, 1024)})
    meter = Meter(time.monotonic(), 1769, Requests())
    assert meter.so_far(run) == run
    began = time.monotonic()
    meter.helpers = peers = Peers(cache, f"snn:{request.node.name}:1", 0, 4, job)
    time.sleep(0.2)
    foreseen = meter.so_far(run)
    each = (foreseen.usage["trainer"].milliseconds - 500) / 3
    assert 200 <= each <= (time.monotonic() - began) * 1000 + 1
    assert foreseen == replace(run, usage={**run.usage, "trainer": Usage(4, 500 + round(3 * each), 1769)})
    peers.close()
    assert meter.so_far(run) == run
