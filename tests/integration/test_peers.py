"""Several trainers of one run in threads of this process, through a real Valkey: what they exchange, how they leave."""

from __future__ import annotations

import io
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import oracle
import pytest
import redis
from cable import Cable
from small import first_checkpoint
from training import Lesson, table

from snn.training import Diverged
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.aws.errors import CacheLost, PeerLost
from snn_cloud.aws.settings import Settings
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_cloud.neurons.cache import Cache, run_of
from snn_cloud.train import peers as meeting
from snn_cloud.train.following import Follower, follow
from snn_cloud.train.peers import Peers
from snn_data.dataset import load_dataset


@pytest.fixture
def valkey(emulator):
    return redis.Redis(emulator.redis_host, emulator.redis_port)


@pytest.fixture
def prefix(request):
    return f"snn:{runs.new_run_id(request.node.name)}:1"


class Work(Lesson):
    """A training of the small data set, to be advanced by one trainer or several."""

    def __init__(self, data, sizes=(3, 2, 1), functions=("relu", "relu", "sigmoid"), **fields):
        network = oracle.small_network(sizes, functions, **{"epochs": 5, "batch_size": 7} | fields)
        dataset = load_dataset(io.BytesIO(data)) if isinstance(data, bytes) else data
        super().__init__(Parameters.load(network), dataset)

    def go(self, gradients_of=None):
        for _ in self.steps(gradients_of):
            pass
        return {name: array.copy() for name, array in self.training.params.items()}

    def first_step(self, peers):
        return peers.gradients_of(self.training.params, self.epoch(0).step(0))

    def join(self, cache, prefix, rank, workers=2):
        return Peers(cache, prefix, rank, workers, self.job)


class Recording(Cache):
    """A real cache that remembers how long what it was given was, and is to be kept."""

    def __init__(self, client):
        super().__init__(client)
        self.given = {}

    def put(self, arrays, seconds):
        refs = super().put(arrays, seconds)
        self.given |= {key: (array.nbytes, seconds) for key, array in arrays.items()}
        return refs


def until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def together(valkey, prefix, workers, work):
    """Let so many trainers go through the same work; return each one's parameters, costs and what it put where."""

    def one(rank):
        mine, cache = work(), Recording(valkey)
        with closing(mine.join(cache, prefix, rank, workers)) as peers:
            return mine.go(peers.gradients_of), mine.training.history.costs, cache.given

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers)))


def check_same(alone, wanted, found):
    for params, costs, _ in found:
        assert params.keys() == wanted.keys()
        for name, array in wanted.items():
            assert array.tobytes() == params[name].tobytes(), name
        assert alone.training.history.costs == costs


PARTS = {"best-batch": {}, "average": {}, "sgd": {"sub_batches": 2}}


@pytest.mark.parametrize("strategy", PARTS)
@pytest.mark.parametrize("path", ["span", "direct"])
def test_only_a_batchs_own_columns_travel_and_change_no_bit(valkey, prefix, data, strategy, path):
    fields = {"strategy": strategy, "first_layer": path, **PARTS[strategy]}
    alone = Work(data, **fields)
    wanted = alone.go()
    found = together(valkey, prefix, 2, lambda: Work(data, **fields))
    check_same(alone, wanted, found)
    given = found[0][2] | found[1][2]
    sent = {key.removeprefix(f"{prefix}:peers:"): size for key, (size, _) in given.items()}
    slopes = {key: size for key, size in sent.items() if "slopes" in key}
    # Of sgd a step has the two parts of one of four mini-batches.
    assert len(slopes) == 5 * {"average": 4, "best-batch": 1, "sgd": 8}[strategy]
    for key, size in slopes.items():  # layer 1's columns, and all of the other 3 + (3 + 1)·2 + (2 + 1)·1 numbers
        step, part = int(key.split(":")[0]), int(key.split(":")[-1])
        columns = [[3, 4], [3, 4], [3, 4], [1, 2]][step % 4] if strategy == "sgd" else [7, 7, 7, 3]
        if path == "span":  # and how much of the first weights is left, which only L2 changes
            assert size == 8 * (3 * columns[part] + 14 + 1)
        else:
            assert size == 8 * (3 * 27 + 14)


EVERYTHING = {
    "optimizer": "adam", "dropout": {"layer0": 0.2, "layer1": 0.3}, "clip_norm": 0.05, "l2": 0.01,
    "augmentation": {"mirror": True, "shift": 1}, "schedule": {"name": "cosine", "warmup": 1.0},
    "class_weights": "balanced", "label_smoothing": 0.1,
}  # fmt: skip
KINDS = {
    "sigmoid": EVERYTHING,
    "float32": {**EVERYTHING, "dtype": "float32"},
    "softmax": {"functions": ("gelu", "relu", "softmax"), "sizes": (5, 4, 3), "clip_norm": 0.05, "optimizer": "adamw"},
    "identity": {"functions": ("gelu", "relu", "identity"), "sizes": (5, 4, 1), "clip_norm": 0.05, "dropout": 0.2},
    "span": {"first_layer": "span", "l2": 0.05, "optimizer": {"name": "gradient_descent", "momentum": 0.9},
             "dropout": 0.3, "dtype": "float32"},
}  # fmt: skip


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("strategy", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_trainers_changes_no_bit(valkey, prefix, data, kind, strategy, workers):
    dataset = {"softmax": lambda: table(classes=3), "identity": table}.get(kind, lambda: data)()
    fields = {"strategy": strategy, "learning_rate": 0.01, **KINDS[kind]}
    if strategy == "sgd":
        fields["sub_batches"] = 4  # of the last mini-batch, of three samples or five, three or four parts
    alone = Work(dataset, **fields)
    wanted = alone.go()
    check_same(alone, wanted, together(valkey, prefix, workers, lambda: Work(dataset, **fields)))
    params, costs = oracle.train_on(alone.parameters, alone.job.dataset)
    tolerance = 2e-5 if "dtype" in fields else 1e-11
    assert alone.training.history.costs == pytest.approx(costs, abs=tolerance)
    assert all(np.abs(alone.params[name] - array).max() < tolerance for name, array in params.items())


def test_results_outlive_whoever_may_still_want_them(valkey, prefix, data):
    # A trainer of the template's Timeout may still compute, having started as late as it may.
    template = (Path(__file__).parents[2] / "cloudformation" / "training.yaml").read_text()
    longest = max(int(seconds) for seconds in re.findall(r"Timeout: (\d+)", template))
    assert longest == 900
    cable = Cable(valkey)
    work, cache = Work(data), Recording(cable)
    peers = work.join(cache, prefix, 0)
    with ThreadPoolExecutor(1) as pool, closing(peers):
        waiting = pool.submit(work.first_step, peers)
        until(lambda: cache.given)
        for key, (_, seconds) in cache.given.items():
            assert seconds >= longest + meeting.START_SECONDS
            assert seconds - 10 < valkey.ttl(key) <= seconds
        cable.pulled = True
        with pytest.raises(redis.RedisError):
            waiting.result()


def test_nothing_of_size_is_left_when_all_have_left(valkey, prefix, data):
    def one(rank):
        work = Work(data, strategy="average")
        with closing(work.join(Cache(valkey), prefix, rank)) as peers:
            work.go(peers.gradients_of)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(2)))
    left = {key.decode().removeprefix(f"{prefix}:peers:") for key in valkey.keys(f"{prefix}:*")}
    assert left <= {"alive:0", "alive:1", "left:1", "stop", "inbox:0", "inbox:1"}


def test_rank_0_leaves_last_and_a_follower_that_waits_leaves_at_once(valkey, prefix, data, monkeypatch):
    monkeypatch.setattr(meeting, "LEAVE_SECONDS", 60.0)
    work, order = Work(data, epochs=1), []

    def one():
        with closing(work.join(Cache(valkey), prefix, 1)) as peers:
            try:
                work.first_step(peers)
            except meeting.Dismissed:
                time.sleep(0.2)  # to count what it used
                order.append("follower")

    lead = Work(data).join(Cache(valkey), prefix, 0)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(one)
        until(lambda: valkey.exists(f"{prefix}:peers:0:cost:1"))
        began = time.monotonic()
        lead.close()
        order.append("lead")
        seconds = time.monotonic() - began
        following.result()
    assert order == ["follower", "lead"]
    assert 0.2 < seconds < 30


def test_rank_0_does_not_wait_for_long(valkey, prefix, data, monkeypatch, capsys):
    monkeypatch.setattr(meeting, "LEAVE_SECONDS", 0.5)
    lead = Work(data).join(Cache(valkey), prefix, 0, workers=3)
    valkey.set(f"{prefix}:peers:alive:2", 1, ex=60)  # it computes; number 1 is not there at all
    began = time.monotonic()
    lead.close()
    assert 0.5 < time.monotonic() - began < 10
    assert f"{run_of(prefix)}: 1 trainers are still working" in capsys.readouterr().out


def test_the_heartbeat_outlives_trouble_and_says_so_once(valkey, prefix, data, monkeypatch, capsys):
    monkeypatch.setattr(meeting, "HEARTBEAT_SECONDS", 0.02)
    cable = Cable(valkey)
    cache, tried = Cache(cable), []
    peers = Work(data).join(cache, prefix, 1)
    alive = f"{prefix}:peers:alive:1"
    until(lambda: valkey.exists(alive))
    cable.pulled = True
    monkeypatch.setattr(cache, "sign", lambda *args: tried.append(args) or Cache.sign(cache, *args))
    until(lambda: len(tried) > 3)
    valkey.delete(alive)
    cable.pulled = False
    until(lambda: valkey.exists(alive))
    assert capsys.readouterr().out.count(f"{run_of(prefix)}: cannot send the heartbeat of trainer 1: Error 111") == 1
    peers.close()
    assert not peers._heartbeat.is_alive()


@pytest.mark.parametrize("rank", [0, 1])
def test_leaving_without_a_cache_leaves_the_error_that_ended_it(valkey, prefix, data, capsys, rank):
    cable = Cable(valkey)
    peers = Work(data).join(Cache(cable), prefix, rank)
    cable.pulled = True
    with pytest.raises(Diverged, match="what ended it"), closing(peers):
        raise Diverged("what ended it")
    assert f"{run_of(prefix)}: trainer {rank} leaves without telling the others: Error 111" in capsys.readouterr().out


class Followed:
    """A run in the ledger with its files in the bucket, whose lease this test holds."""

    def __init__(self, clients, stack, data, name, **fields):
        self.clients, self.ledger = clients, Ledger(clients.dynamodb, stack.table)
        self.run_id = runs.new_run_id(name)
        work = Work(data, workers=2, **fields)
        key, checkpoint = places.input_dataset(self.run_id, "0" * 64), places.checkpoint(self.run_id)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
        first = first_checkpoint(work.parameters)
        version = clients.s3.put_object(Bucket=stack.bucket, Key=checkpoint, Body=first)["VersionId"]
        self.ledger.create(Run(self.run_id, parameters=work.parameters, dataset=key, checkpoint_version=version))
        self.lease = self.ledger.acquire(self.run_id, "this test")
        self.prefix = f"snn:{self.run_id}:{self.lease.run.fence}"
        self.settings = Settings(stack.bucket, stack.table, "", stack.trainer_function, has_cache=True, memory_mb=1769)
        self.follower = Follower(fence=self.lease.run.fence, rank=1, workers=2, checkpoint_version=version)

    def follow(self):
        return follow(self.run_id, self.follower, self.settings, self.clients)

    @property
    def invocations(self):
        return self.ledger.get(self.run_id).usage["trainer"].invocations


@pytest.fixture
def cache_of_this(monkeypatch, emulator):
    monkeypatch.setenv("CACHE_HOST", emulator.redis_host)
    monkeypatch.setenv("CACHE_PORT", str(emulator.redis_port))


@pytest.mark.parametrize("why", ["Diverged", "CacheLost", "ResponseError", "PeerLost"])
@pytest.mark.usefixtures("cache_of_this")
def test_a_follower_leaves_quietly(clients, stack, data, valkey, monkeypatch, capsys, why):
    run = Followed(clients, stack, data, f"quietly {why}", first_layer="direct")
    results = f"{run.prefix}:peers:0:cost"
    if why == "Diverged":
        Cache(valkey).put({f"{results}:{index}": np.array([[np.nan]]) for index in (0, 2)})
        # To NumPy no number is the lowest cost: of its batch the follower wants the gradients, 3·27 + 14.
        Cache(valkey).put({f"{run.prefix}:peers:0:slopes:0": np.zeros((1, 95))})
    elif why == "CacheLost":
        valkey.set(f"{results}:0", b"short")
    elif why == "ResponseError":
        valkey.set(f"{run.prefix}:peers:inbox:1", "no list")
    else:
        monkeypatch.setattr(meeting, "START_SECONDS", 0.0)
    before = run.invocations
    stands = run.follow()
    assert (stands.state, stands.epoch, stands.owner) == ("RUNNING", 0, run.lease.run.owner)
    assert f"{run.run_id}: follower 1 leaves: {why} " in capsys.readouterr().out
    assert run.invocations == before + 1
    assert not [each for each in threading.enumerate() if each.name == "heartbeat"]


def test_a_follower_that_finds_no_cache_leaves_quietly(clients, stack, data, monkeypatch, capsys):
    monkeypatch.setenv("CACHE_HOST", "127.0.0.1")
    monkeypatch.setenv("CACHE_PORT", "1")
    run = Followed(clients, stack, data, "no cache")
    assert run.follow().epoch == 0
    assert f"{run.run_id}: follower 1 leaves: ConnectionError " in capsys.readouterr().out


@pytest.mark.usefixtures("cache_of_this")
def test_what_followers_used_is_counted_before_the_run_ends(clients, stack, data, valkey, monkeypatch):
    monkeypatch.setattr(meeting, "LEAVE_SECONDS", 60.0)
    count = Ledger.add_usage
    monkeypatch.setattr(Ledger, "add_usage", lambda *args: time.sleep(0.5) or count(*args))
    run = Followed(clients, stack, data, "counted", epochs=3)
    work = Work(data, epochs=3)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(run.follow)
        with closing(work.join(Cache(valkey), run.prefix, 0)) as peers:
            work.go(peers.gradients_of)
        ended = run.lease.finish("COMPLETED")
        following.result()
    assert ended.usage["trainer"].invocations == 2
    assert run.ledger.get(run.run_id) == ended


def test_trainers_whose_results_the_cache_has_lost_do_not_wait_for_each_other(valkey, prefix, data, monkeypatch):
    """Both have told their part and wait for the other's, which was flushed before either had read it."""
    told = threading.Barrier(2, timeout=60)

    def tell(self, arrays, real=Peers._publish):
        real(self, arrays)
        if self._step == 2:
            if told.wait() == 0:
                valkey.delete(*valkey.keys(f"{prefix}:peers:2:*"))
            told.wait()

    monkeypatch.setattr(Peers, "_tell", tell)

    def one(rank):
        work = Work(data)
        try:
            with closing(work.join(Cache(valkey), prefix, rank)) as peers:
                work.go(peers.gradients_of)
        except CacheLost as error:
            ended.append(str(error))

    ended = []
    both = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    gone = "results of trainer {} are no longer in the cache"
    assert {text.partition(" ")[2] for text in ended} == {gone.format(0), gone.format(1)}


def test_a_dead_follower_is_not_waited_for(valkey, prefix, data, monkeypatch):
    monkeypatch.setattr(meeting, "DEAD_SECONDS", 1)
    work = Work(data)
    alive, died = f"{prefix}:peers:alive:1", []
    valkey.set(alive, 1)
    lead = work.join(Cache(valkey), prefix, 0)

    def die():
        until(lambda: 1 in lead._met)
        died.append(time.monotonic())
        valkey.delete(alive)

    with ThreadPoolExecutor(1) as pool:
        dying = pool.submit(die)
        with pytest.raises(PeerLost, match="trainer 1 of 2 has stopped responding"), closing(lead):
            work.go(lead.gradients_of)
        dying.result()
    assert 0 < time.monotonic() - died[0] < meeting.START_SECONDS / 6
