"""Runs on the emulator: real Lambda zips, a real DynamoDB table and S3 bucket's worth of API, a real Valkey."""

from __future__ import annotations

import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
import oracle
import pytest
import redis
from small import first_checkpoint, upload, wait_until, wait_until_counted
from training import saved, table

from snn.losses import LOSSES
from snn.strategies import STRATEGIES
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.aws.errors import LaunchRejected, RunCancelled, RunFailed
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_data.dataset import load_dataset

SIZES = (5, 4, 1)
BATCH_SIZE = {"full-batch": None, "best-batch": 7, "average": 7, "sgd": 7}
NEURONS = {"sigmoid": 1, "softmax": 3, "identity": 1}
"""Of the last layer: two classes, three, or a number."""


def parameters(output="sigmoid", **fields):
    return Parameters.load(oracle.small_network((5, 4, NEURONS[output]), ("relu", "relu", output), **fields))


def a_table(classes):
    """A data set of features, as the file that users stage."""
    dataset = table(classes=classes)
    return saved(dataset.train.stored, dataset.train.y, dataset.test.stored, dataset.test.y, classes=dataset.classes)


@pytest.fixture
def train(clients, stack, data, request):
    """Launch a run of the small data set under a name of its own and watch it to the end."""

    def train(chosen, name="", limit=120, content=data, **options):
        run_id = runs.new_run_id(f"{request.node.name} {name}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=content)
        runs.launch(clients, stack, run_id, key, chosen, **options)
        return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=limit)

    return train


def stored_weights(clients, stack, key):
    body = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        return {name: h5[name][()] for name in h5}


def expected(chosen, data):
    """What an independent training gives: ({"W1": …, "b1": …}, costs)."""
    return oracle.train_on(chosen, load_dataset(io.BytesIO(data)))


def same(one, other):
    """Whether two models are equal bit for bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_the_tables_name_every_strategy_and_output():
    assert set(BATCH_SIZE) == set(STRATEGIES)
    assert set(NEURONS) == {loss.output for loss in LOSSES.values()}


class Close:
    """Compares a run with the oracle."""

    def __init__(self, clients, stack, run, chosen, data):
        self.clients, self.stack, self.run, self.chosen = clients, stack, run, chosen
        self.weights, self.costs = expected(chosen, data)

    def check(self, tolerance):
        stored = stored_weights(self.clients, self.stack, places.params(self.run.run_id))
        assert stored.keys() == self.weights.keys()
        for name, array in self.weights.items():
            assert stored[name].dtype == np.dtype(self.chosen.dtype)
            assert np.abs(stored[name] - array).max() < tolerance, name
        _, seen = Ledger(self.clients.dynamodb, self.stack.table).progress(self.run.run_id)
        assert [row.epoch for row in seen] == [0, 1, 2]
        assert [row.cost for row in seen] == pytest.approx(self.costs, abs=tolerance)
        run, chosen = self.run, self.chosen
        assert (run.epoch, run.step, run.stopped_by) == (3, 0, StoppedBy.EPOCHS)
        parts = 1 if chosen.strategy == "full-batch" else 4
        each = {"neuron": sum(chosen.neurons_per_layer), "layer": 3, "batch": 0}[chosen.granularity]
        assert run.usage["neuron"].invocations == 2 * each * parts * 3
        assert (run.usage["launch"].invocations, run.usage["trainer"].invocations) == (1, 1)


@pytest.mark.parametrize("strategy", BATCH_SIZE)
@pytest.mark.parametrize("granularity", ["neuron", "layer", "batch"])
def test_every_granularity_and_strategy_equals_the_oracle(clients, stack, train, data, granularity, strategy):
    chosen = parameters(granularity=granularity, strategy=strategy, batch_size=BATCH_SIZE[strategy])
    Close(clients, stack, train(chosen), chosen, data).check(1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-3)])
@pytest.mark.parametrize("output", NEURONS)
@pytest.mark.parametrize("strategy", BATCH_SIZE)
@pytest.mark.parametrize("granularity", ["neuron", "layer", "batch"])
def test_every_output_is_trained_by_adam_as_by_the_oracle(
    clients, stack, train, data, granularity, strategy, output, dtype, tolerance
):
    content = data if output == "sigmoid" else a_table(classes=3 if output == "softmax" else 0)
    chosen = parameters(output, granularity=granularity, strategy=strategy, batch_size=BATCH_SIZE[strategy],
                        optimizer="adam", learning_rate=0.01, dtype=dtype)  # fmt: skip
    Close(clients, stack, train(chosen, content=content), chosen, content).check(tolerance)


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


EVERYTHING = {
    "optimizer": "adam", "dropout": {"layer0": 0.2, "layer1": 0.3}, "augmentation": {"mirror": True, "shift": 1},
    "schedule": {"name": "cosine", "warmup": 0.5}, "clip_norm": 0.5, "l2": 0.01, "label_smoothing": 0.1,
    "class_weights": "balanced", "validation": 0.25,
}  # fmt: skip
"""What draws, remembers or holds something out."""


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        ({"epochs": 5}, 5),
        ({"epochs": 2, "strategy": "sgd"}, 8),
        ({"epochs": 2, "strategy": "sgd", **EVERYTHING}, 6),  # of the 24 photos 18 are trained on
        ({"epochs": 2, "strategy": "sgd", "dtype": "float32", "granularity": "layer", **EVERYTHING}, 6),
    ],
    ids=["best-batch", "sgd", "sgd, everything", "sgd, layers, float32, everything"],
)
def test_continuing_in_fresh_invocations_gives_the_same_bits(clients, stack, train, fields, steps):
    # 0.001 s: one step an invocation, so many invocations in a chain.
    whole = train(parameters(batch_size=7, **fields), name="whole")
    cut = train(parameters(batch_size=7, **fields), name="cut", trainer_seconds=0.001)
    assert (whole.continuations, cut.continuations) == (0, steps - 1)
    assert (cut.usage["trainer"].invocations, cut.epoch, cut.step) == (steps, fields["epochs"], 0)
    one = stored_weights(clients, stack, places.params(whole.run_id))
    two = stored_weights(clients, stack, places.params(cut.run_id))
    assert same(one, two)
    ledger = Ledger(clients.dynamodb, stack.table)
    rows = ledger.progress(whole.run_id)[1]
    assert ledger.progress(cut.run_id)[1] == rows
    assert len(rows) == fields["epochs"]
    assert (whole.best_epoch, whole.validation_cost) == (cut.best_epoch, cut.validation_cost)


@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_run_that_is_cancelled_within_an_epoch_is_resumed_bit_for_bit(clients, stack, data, train, more):
    chosen, ledger = parameters(epochs=2, batch_size=1, strategy="sgd", **more), Ledger(clients.dynamodb, stack.table)
    steps = 18 if more else 24
    run_id = runs.new_run_id(f"cancelled within {len(more)}")
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    runs.launch(clients, stack, run_id, key, chosen, trainer_seconds=0.001)
    wait_until(lambda: ledger.get(run_id).step, "no step")
    cancelled = runs.stop(clients, stack, run_id)
    assert (cancelled.state, cancelled.epoch, cancelled.steps) == (State.CANCELLED, 0, steps)
    assert 0 < cancelled.step < steps
    resumed = train(chosen, name="resumed", resume_from=run_id)
    whole = train(chosen, name="whole")
    assert (resumed.epoch, resumed.step) == (2, 0)
    one, two = (stored_weights(clients, stack, places.params(run.run_id)) for run in (resumed, whole))
    assert same(one, two)
    assert ledger.progress(resumed.run_id)[1] == ledger.progress(whole.run_id)[1]


def way(fields: dict[str, Any]) -> str:
    """A training by its strategy, first layer, optimizer and number type."""
    return " ".join(str(fields.get(name)) for name in ("strategy", "first_layer", "optimizer", "dtype"))


# Each strategy goes one way in every run of the tests, a new one all ways.
SLOW = {
    "average span None None", "average None adam None", "best-batch direct None None", "best-batch None adam None",
    "sgd direct None None", "sgd span None None", "sgd None adam float32",
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(fields, id=way(fields), marks=[pytest.mark.slow] if way(fields) in SLOW else [])
        for fields in (
            *({"strategy": strategy, "first_layer": path} for strategy in STRATEGIES for path in ("direct", "span")
              if strategy != "full-batch"),
            *({"strategy": strategy, **EVERYTHING} for strategy in STRATEGIES if strategy != "full-batch"),
            {"strategy": "sgd", "dtype": "float32", "optimizer": "adam", "dropout": 0.3},
        )
    ],
)  # fmt: skip
def test_the_number_of_trainers_changes_no_bit(clients, stack, train, fields):
    # Eight batches (six, where some photos are held out) over one to four trainers, the last ones also in a chain of
    # continuations; of sgd four steps of six photos, each in four parts.
    if fields["strategy"] == "sgd":
        fields = {"epochs": 3, "batch_size": 6, "sub_batches": 4, **fields}
    else:
        fields = {"epochs": 12, "batch_size": 3, **fields}
    alone = train(parameters(**fields), name="1")
    stored = stored_weights(clients, stack, places.params(alone.run_id))
    ledger = Ledger(clients.dynamodb, stack.table)
    for workers, seconds in ((2, 0.0), (3, 0.0), (4, 0.0), (2, 0.001)):
        run = train(parameters(**fields, workers=workers), name=f"{workers} {seconds}", trainer_seconds=seconds)
        assert same(stored, stored_weights(clients, stack, places.params(run.run_id)))
        assert ledger.progress(run.run_id)[1] == ledger.progress(alone.run_id)[1]
        wanted = workers * (1 + run.continuations)
        assert wait_until_counted(ledger, run.run_id, wanted).usage["trainer"].invocations == wanted


@pytest.mark.parametrize("strategy", [pytest.param("sgd", marks=pytest.mark.slow), "average"])
def test_patience_ends_a_run_alike_for_any_number_of_trainers(clients, stack, train, strategy):
    # What is held out gets worse soon, as 18 photos are learnt by heart.
    fields = {"epochs": 500, "batch_size": 6, "strategy": strategy, "learning_rate": 0.05, "optimizer": "adam",
              "validation": 0.25, "patience": 4}  # fmt: skip
    if strategy == "sgd":
        fields["sub_batches"] = 2
    alone = train(parameters(**fields), name="1")
    assert alone.stopped_by is StoppedBy.PATIENCE
    assert alone.epoch == alone.best_epoch + 1 + 4 < 500
    best, ledger = stored_weights(clients, stack, places.params(alone.run_id)), Ledger(clients.dynamodb, stack.table)
    rows = ledger.progress(alone.run_id)[1]
    assert min(rows, key=lambda row: row.validation_cost).epoch == alone.best_epoch
    for workers, seconds in ((2, 0.0), (1, 0.001), (2, 0.001)):
        run = train(parameters(**fields, workers=workers), name=f"{workers} {seconds}", trainer_seconds=seconds)
        assert (run.stopped_by, run.best_epoch) == (StoppedBy.PATIENCE, alone.best_epoch)
        assert same(best, stored_weights(clients, stack, places.params(run.run_id)))
        assert ledger.progress(run.run_id)[1] == rows
    last = train(parameters(**fields, restore_best_weights=False), name="last")
    assert not same(best, stored_weights(clients, stack, places.params(last.run_id)))
    assert ledger.progress(last.run_id)[1] == rows


@pytest.mark.parametrize(("fields", "trainers"), [
    ({"strategy": "average", "batch_size": 9}, 3),
    ({"strategy": "sgd", "batch_size": 7, "sub_batches": 4}, 4),
    ({"strategy": "sgd", "batch_size": 2, "sub_batches": 4}, 2),
    ({"strategy": "sgd", "batch_size": 1, "sub_batches": 4}, 1),
    ({"strategy": "sgd", "batch_size": 50, "sub_batches": 30, "validation": 0.9}, 2),  # of 24 photos
])  # fmt: skip
def test_no_trainer_is_started_that_would_have_nothing_to_do(clients, stack, train, fields, trainers):
    run = train(parameters(epochs=2, workers=4, **fields))
    ledger = Ledger(clients.dynamodb, stack.table)
    time.sleep(2)  # which one more would take to count itself
    assert wait_until_counted(ledger, run.run_id, trainers).usage["trainer"].invocations == trainers


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


@pytest.mark.parametrize("more", [{}, {"strategy": "sgd", "sub_batches": 3}], ids=["best-batch", "sgd"])
def test_neurons_may_be_grouped(clients, stack, train, data, more):
    chosen = parameters(granularity="neuron", neurons_per_invocation=2, batch_size=7, **more)
    run = train(chosen)
    assert run.usage["neuron"].invocations == 2 * (3 + 2 + 1) * 4 * 3 * chosen.sub_batches
    for name, array in expected(chosen, data)[0].items():
        assert np.abs(stored_weights(clients, stack, places.params(run.run_id))[name] - array).max() < 1e-12


@pytest.mark.parametrize("granularity", ["batch", "layer"])
@pytest.mark.parametrize("more", [{"epochs": 22}, {"epochs": 1, "strategy": "sgd", "batch_size": 1}], ids=["", "sgd"])
def test_a_chain_longer_than_lambdas_loop_detection_allows(train, granularity, more):
    run = train(parameters(granularity=granularity, **more), trainer_seconds=0.001)
    steps = 24 if "strategy" in more else 22
    assert (run.epoch, run.continuations, run.state) == (more["epochs"], steps - 1, State.COMPLETED)


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
    with pytest.raises(LaunchRejected, match=r"no such object in S3"):
        runs.launch(clients, stack, run_id, places.input_dataset(run_id, "0" * 64), parameters())
    with pytest.raises(LaunchRejected, match=r"dataset: 'runs/other/x.h5' is not a place for data sets \(put it under"):
        runs.launch(clients, stack, run_id, "runs/other/x.h5", parameters())
    assert Ledger(clients.dynamodb, stack.table).find(run_id) is None
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=places.run_prefix(run_id))


@pytest.mark.parametrize(
    ("features", "dataset", "reason"),
    [
        (27, "runs/{}/input/none.h5", "no such object in S3"),
        (99, "", r"ValueError: matmul: .* 27 is different from 99"),
    ],
)
def test_what_breaks_in_the_trainer_is_a_failed_run_with_its_reason(clients, stack, data, features, dataset, reason):
    # Forced past LaunchLambda's validation: recorded by hand, with first weights of our choice.
    run_id = runs.new_run_id(f"broken {features}")
    key = dataset.format(run_id) or places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=places.input_dataset(run_id, "0" * 64), Body=data)
    chosen, place = parameters(), places.checkpoint(run_id)
    put = clients.s3.put_object(Bucket=stack.bucket, Key=place, Body=first_checkpoint(chosen, features))
    ledger = Ledger(clients.dynamodb, stack.table)
    ledger.create(Run(run_id, parameters=chosen, dataset=key, checkpoint_version=put["VersionId"]))
    start_trainer(clients, stack.trainer_function, run_id)
    with pytest.raises(RunFailed, match=reason):
        runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=20)
    run = ledger.get(run_id)
    assert (run.owner, run.epoch, run.usage["trainer"].invocations) == ("", 0, 1)


@pytest.mark.parametrize("more", [
    pytest.param({}, marks=pytest.mark.slow, id=""),
    pytest.param({"strategy": "sgd", "optimizer": "adam", "dropout": 0.2}, id="sgd"),
])  # fmt: skip
def test_a_cache_that_is_flushed_in_the_middle_costs_a_step_not_the_result(
    clients, stack, train, data, emulator, request, more
):
    valkey = redis.Redis(emulator.redis_host, emulator.redis_port)
    chosen = parameters(granularity="layer", epochs=15 if more else 60, batch_size=7, **more)
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
