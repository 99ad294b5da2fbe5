"""Runs on the emulator: real Lambda zips, a real DynamoDB table and S3 bucket's worth of API, a real Valkey."""

from __future__ import annotations

import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import oracle
import pytest
import redis
from small import upload, wait_until, wait_until_counted

from snn.dataset import batches, load_dataset
from snn.model import dump_checkpoint
from snn.network import initial_weights
from snn.parameters import Parameters
from snn.training import StoppedBy, Training
from snn_cloud import places, runs
from snn_cloud.errors import LaunchRejected, RunCancelled, RunFailed
from snn_cloud.launching import start_trainer
from snn_cloud.ledger import Ledger
from snn_cloud.record import Run, State

SIZES = (5, 4, 1)
STRATEGIES = {"full-batch": None, "best-batch": 7, "average": 7}


def parameters(**fields):
    return Parameters.load(oracle.small_network(SIZES, ("relu", "relu", "sigmoid"), **fields))


@pytest.fixture
def train(clients, stack, data, request):
    """Launch a run of the small data set under a name of its own and watch it to the end."""

    def train(chosen, name="", limit=120, **options):
        run_id = runs.new_run_id(f"{request.node.name} {name}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
        runs.launch(clients, stack, run_id, key, chosen, **options)
        return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=limit)

    return train


def stored_weights(clients, stack, key):
    body = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        return {name: h5[name][()] for name in h5}


def expected(chosen, data):
    """What an independent training gives: ({"W1": …, "b1": …}, costs)."""
    dataset = load_dataset(io.BytesIO(data))
    start = initial_weights(chosen, dataset.features)
    Ws, bs, costs = oracle.train_as(chosen, start, batches(dataset, chosen.batch_size, chosen.seed))
    named = {f"W{i}": W for i, W in enumerate(Ws, start=1)} | {f"b{i}": b for i, b in enumerate(bs, start=1)}
    return named, costs


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("granularity", ["neuron", "layer", "batch"])
def test_every_granularity_and_strategy_equals_the_oracle(clients, stack, train, data, granularity, strategy):
    chosen = parameters(granularity=granularity, strategy=strategy, batch_size=STRATEGIES[strategy])
    run = train(chosen)
    weights, costs = expected(chosen, data)
    stored = stored_weights(clients, stack, places.params(run.run_id))
    assert stored.keys() == weights.keys()
    for name, array in weights.items():
        assert np.abs(stored[name] - array).max() < 1e-12, name
    _, seen = Ledger(clients.dynamodb, stack.table).progress(run.run_id)
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [cost for _, cost in seen] == pytest.approx(costs, abs=1e-12)
    assert (run.epoch, run.stopped_by) == (3, StoppedBy.EPOCHS)
    parts = 1 if strategy == "full-batch" else 4
    each = {"neuron": sum(SIZES), "layer": len(SIZES), "batch": 0}[granularity]
    assert run.usage["neuron"].invocations == 2 * each * parts * 3
    assert (run.usage["launch"].invocations, run.usage["trainer"].invocations) == (1, 1)


def test_the_counted_invocations_are_the_ones_that_lambda_logged(clients, stack, train):
    run = train(parameters(granularity="neuron", epochs=1))
    counted = {"launch": stack.launch_function, "trainer": stack.trainer_function, "neuron": stack.neuron_function}
    wanted = {"launch": r"PENDING|RUNNING|COMPLETED", "trainer": "COMPLETED after 1 epochs", "neuron": r"\d+ ms"}
    for name, function in counted.items():
        limit = time.monotonic() + 60  # what a function printed is stored when it has returned
        while True:
            pages = clients.logs.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{function}", filterPattern=f'"{run.run_id}"'
            )
            lines = [event["message"] for page in pages for event in page["events"]]
            logged = len([line for line in lines if re.search(wanted[name], line)])
            if logged == run.usage[name].invocations or time.monotonic() > limit:
                break
            time.sleep(0.1)
        assert logged == run.usage[name].invocations, name


def test_results_json_is_itsacats(clients, stack, train, data):
    run = train(parameters(epochs=12))
    text = clients.s3.get_object(Bucket=stack.bucket, Key=places.results(run.run_id))["Body"].read()
    results = json.loads(text)
    assert list(results) == ["Start", *(f"epoch{i}" for i in range(12)), "End"]
    assert [results[f"epoch{i}"] for i in range(12)] == [
        {"cost": pytest.approx(cost, abs=1e-12)} for cost in expected(parameters(epochs=12), data)[1]
    ]
    stamps = [time.strptime(results[name].split(".")[0], "%Y-%m-%d %H:%M:%S") for name in ("Start", "End")]
    assert stamps[0] <= stamps[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", results["End"])


def test_the_threshold_ends_a_run(train, data):
    costs = expected(parameters(epochs=30), data)[1]
    run = train(parameters(epochs=30, threshold=costs[20]))
    assert run.stopped_by is StoppedBy.THRESHOLD
    assert run.epoch == 1 + next(i for i, cost in enumerate(costs) if cost <= costs[20])


def test_continuing_in_fresh_invocations_gives_the_same_bits(clients, stack, train):
    # 0.001 s: one epoch an invocation, five invocations in a chain.
    whole = train(parameters(epochs=5, batch_size=7), name="whole")
    cut = train(parameters(epochs=5, batch_size=7), name="cut", trainer_seconds=0.001)
    assert (whole.continuations, cut.continuations) == (0, 4)
    assert (cut.usage["trainer"].invocations, cut.epoch) == (5, 5)
    one = stored_weights(clients, stack, places.params(whole.run_id))
    two = stored_weights(clients, stack, places.params(cut.run_id))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("strategy", ["best-batch", "average"])
@pytest.mark.parametrize("path", ["direct", "span"])
def test_the_number_of_trainers_changes_no_bit(clients, stack, train, strategy, path):
    # Nine batches over one, two and four trainers, the last ones also in a chain of continuations.
    fields = {"epochs": 12, "batch_size": 3, "strategy": strategy, "first_layer": path}
    alone = train(parameters(**fields), name="1")
    stored = stored_weights(clients, stack, places.params(alone.run_id))
    ledger = Ledger(clients.dynamodb, stack.table)
    for workers, seconds in ((2, 0.0), (4, 0.0), (2, 0.001)):
        run = train(parameters(**fields, workers=workers), name=f"{workers} {seconds}", trainer_seconds=seconds)
        together = stored_weights(clients, stack, places.params(run.run_id))
        assert all(np.array_equal(stored[name], together[name]) for name in stored)
        assert ledger.progress(run.run_id)[1] == ledger.progress(alone.run_id)[1]
        wanted = workers * (1 + run.continuations)
        assert wait_until_counted(ledger, run.run_id, wanted).usage["trainer"].invocations == wanted


def test_a_follower_invoked_twice_or_late_changes_nothing(clients, stack, train):
    run = train(parameters(epochs=3, batch_size=7, workers=2))
    before = Ledger(clients.dynamodb, stack.table).get(run.run_id)
    for fence in (run.fence, run.fence - 1):
        follower = {"fence": fence, "rank": 1, "workers": 2, "checkpoint_version": run.checkpoint_version}
        event = json.dumps({"run_id": run.run_id, "follower": follower})
        answer = clients.lambda_.invoke(FunctionName=stack.trainer_function, Payload=event)
        assert json.loads(answer["Payload"].read())["state"] == "COMPLETED"
    after = Ledger(clients.dynamodb, stack.table).get(run.run_id)
    assert (after.epoch, after.beat, after.fence) == (before.epoch, before.beat, before.fence)


def test_neurons_may_be_grouped(clients, stack, train, data):
    chosen = parameters(granularity="neuron", neurons_per_invocation=2, batch_size=7)
    run = train(chosen)
    assert run.usage["neuron"].invocations == 2 * (3 + 2 + 1) * 4 * 3
    for name, array in expected(chosen, data)[0].items():
        assert np.abs(stored_weights(clients, stack, places.params(run.run_id))[name] - array).max() < 1e-12


@pytest.mark.parametrize("granularity", ["batch", "layer"])
def test_a_chain_longer_than_lambdas_loop_detection_allows(train, granularity):
    run = train(parameters(epochs=22, granularity=granularity), trainer_seconds=0.001)
    assert (run.epoch, run.continuations, run.state) == (22, 21, State.COMPLETED)


def test_two_runs_at_once_do_not_touch_each_other(clients, stack, train, data):
    chosen = [
        parameters(granularity="neuron", seed=seed, batch_size=size, epochs=8) for seed, size in ((1, 7), (2, 12))
    ]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda one: train(one, name=str(one.seed)), chosen))
    assert both[0].started_at < both[1].ended_at
    assert both[1].started_at < both[0].ended_at
    for run, one in zip(both, chosen, strict=True):
        stored = stored_weights(clients, stack, places.params(run.run_id))
        for name, array in expected(one, data)[0].items():
            assert np.abs(stored[name] - array).max() < 1e-12


def test_a_cancelled_run_stops_within_seconds_and_stays_stopped(clients, stack, data):
    run_id = runs.new_run_id("cancel")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    runs.launch(clients, stack, run_id, key, parameters(epochs=10_000_000))
    ledger = Ledger(clients.dynamodb, stack.table)
    wait_until(lambda: ledger.get(run_id).epoch, "no epoch")
    asked = time.time()
    runs.cancel(clients, stack, run_id)
    with pytest.raises(RunCancelled):
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
    run = ledger.get(run_id)
    assert run.ended_at - asked < 10
    time.sleep(1.5)
    assert ledger.get(run_id) == run
    assert 0 < run.epoch < 10_000_000
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.checkpoint(run_id))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        assert len(h5["costs"]) == run.epoch


def test_an_upload_alone_starts_a_run_and_promotes_its_model(clients, stack, data):
    run_id = upload(clients, stack, "some folder", data, parameters(epochs=7).to_json().encode())
    run = runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=30)
    weights, costs = expected(parameters(epochs=7), data)
    promoted = stored_weights(clients, stack, places.PROMOTED_PARAMS)
    assert all(np.abs(promoted[name] - array).max() < 1e-12 for name, array in weights.items())
    results = json.loads(clients.s3.get_object(Bucket=stack.bucket, Key=places.PROMOTED_RESULTS)["Body"].read())
    assert [results[f"epoch{i}"]["cost"] for i in range(7)] == pytest.approx(costs, abs=1e-12)
    assert run.promote


@pytest.mark.parametrize(
    ("body", "says"),
    [(b'{"epochs": 0}', "epochs"), (b"not json", "is not JSON"), (None, "parameters.json: is missing")],
)
def test_an_upload_that_cannot_be_trained_is_a_failed_run_with_its_reason(clients, stack, data, body, says):
    run_id = upload(clients, stack, f"bad/{len(says)}", data, body)
    with pytest.raises(RunFailed, match=says):
        runs.watch(clients, stack, run_id, lambda *_: None, limit_seconds=5)
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=places.run_prefix(run_id))


def test_launching_twice_is_one_run(clients, stack, train):
    first = train(parameters(), name="same")
    again = train(parameters(), name="same")
    assert again.ended_at == first.ended_at
    assert (first.usage["launch"].invocations, again.usage["launch"].invocations) == (1, 2)
    assert again.usage["trainer"].invocations == 1


def test_a_refused_launch_leaves_nothing(clients, stack, train):
    run_id = runs.new_run_id("refused")
    with pytest.raises(LaunchRejected, match=r"does not exist"):
        runs.launch(clients, stack, run_id, places.input_dataset(run_id, "0" * 64), parameters())
    with pytest.raises(LaunchRejected, match=r"dataset: 'runs/other/x.h5' is no place for a data set \(put it under"):
        runs.launch(clients, stack, run_id, "runs/other/x.h5", parameters())
    assert Ledger(clients.dynamodb, stack.table).find(run_id) is None
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=places.run_prefix(run_id))


@pytest.mark.parametrize(
    ("features", "dataset", "reason"),
    [
        (27, "runs/{}/input/none.h5", "does not exist"),
        (99, "", r"ValueError: matmul: .* 27 is different from 99"),
    ],
)
def test_what_breaks_in_the_trainer_is_a_failed_run_with_its_reason(clients, stack, data, features, dataset, reason):
    # Forced past LaunchLambda's validation: recorded by hand, with first weights of our choice.
    run_id = runs.new_run_id(f"broken {features}")
    key = dataset.format(run_id) or places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=places.input_dataset(run_id, "0" * 64), Body=data)
    first = dump_checkpoint(Training(initial_weights(parameters(), features)))
    put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(run_id), Body=first)
    ledger = Ledger(clients.dynamodb, stack.table)
    ledger.create(Run(run_id, parameters=parameters(), dataset=key, checkpoint_version=put["VersionId"]))
    start_trainer(clients, stack.trainer_function, run_id)
    with pytest.raises(RunFailed, match=reason):
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=20)
    run = ledger.get(run_id)
    assert (run.owner, run.epoch, run.usage["trainer"].invocations) == ("", 0, 1)


def test_a_cache_that_is_flushed_in_the_middle_costs_a_step_not_the_result(
    clients, stack, train, data, emulator, request
):
    valkey = redis.Redis(emulator.redis_host, emulator.redis_port)
    chosen = parameters(granularity="layer", epochs=60, batch_size=7)
    ledger, run_id = Ledger(clients.dynamodb, stack.table), runs.new_run_id(f"{request.node.name} ")
    flushed, flushed_at = 0, 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train, chosen)
        while not running.done():
            # Three attempts are all that an epoch has, so each loss waits for the run to have got over the one before.
            if valkey.keys(f"snn:{run_id}:*") and (not flushed or ledger.get(run_id).epoch > flushed_at):
                flushed_at = ledger.get(run_id).epoch
                valkey.flushall()
                flushed += 1
            time.sleep(0.3)
        run = running.result()
    assert flushed >= 2
    for name, array in expected(chosen, data)[0].items():
        assert np.abs(stored_weights(clients, stack, places.params(run.run_id))[name] - array).max() < 1e-10
    assert valkey.keys(f"snn:{run.run_id}:*") == []
