"""Followers: further TrainerLambda invocations that take a share of a run's mini-batches."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import Any, Self

import redis
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from snn.errors import InvalidInput
from snn.training import Diverged, train
from snn_cloud.aws import init_phase
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CacheLost, PeerLost
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import refuse
from snn_cloud.ledger.record import LAST_WRITE, Run, Usage
from snn_cloud.neurons.cache import Cache
from snn_cloud.train.job import Job, load_job
from snn_cloud.train.peers import Dismissed, Peers

# What makes a follower leave quietly: rank 0 finds out for itself, and Lambda would repeat an error for nothing.
QUIETLY = (Dismissed, PeerLost, Diverged, CacheLost, redis.RedisError)


class Follower(BaseModel):
    """What the trainer that holds the lease sends to those that share its work. `load` checks it."""

    model_config = ConfigDict(frozen=True, strict=True)  # a field that a later version adds does no harm

    fence: NonNegativeInt
    rank: NonNegativeInt
    workers: NonNegativeInt
    checkpoint_version: str

    @classmethod
    def load(cls, given: Any) -> Self:
        """Return a follower's part of an event. Raises InvalidInput, which names every bad field in one line."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            refuse(
                error, InvalidInput, "TrainerLambda: follower", lambda field: ("is not part of it", "leave it out"),
                f"send an object with {', '.join(cls.model_fields)}",
            )  # fmt: skip


def lead(job: Job, run: Run, prefix: str, cache: Cache, settings: Settings, clients: Clients) -> Peers:
    """Start the followers of a run whose lease this trainer holds, and take rank 0 among them."""
    workers = min(job.parameters.workers, job.most_batches)
    for rank in range(1, workers):
        follower = Follower(fence=run.fence, rank=rank, workers=workers, checkpoint_version=run.checkpoint_version)
        start_trainer(clients, settings.trainer_function, run.run_id, follower=follower.model_dump())
    return Peers(cache, prefix, 0, workers, job)


def follow(run_id: str, follower: Follower, settings: Settings, clients: Clients) -> Run:
    """Work beside the run's trainer until it has no more need, and return where the run stands then.

    A follower writes nothing but results into the cache. One that was invoked twice, or whose leader has been replaced
    (the fence tells), leaves at once.
    """
    started, ledger, rank = time.monotonic(), Ledger(clients.dynamodb, settings.table), follower.rank
    run, cache = ledger.get(run_id), Cache.from_environment()
    prefix = f"snn:{run_id}:{run.fence}"
    if run.state.is_terminal or run.fence != follower.fence or cache is None:
        return run
    try:
        if cache.claim(f"{prefix}:follower:{rank}"):
            job = load_job(replace(run, checkpoint_version=follower.checkpoint_version), settings.bucket, clients)
            with closing(Peers(cache, prefix, rank, follower.workers, job)) as peers:
                try:
                    for _ in train(job.training, job.parameters, len(job.samples), job.targets, peers.gradients_of):
                        pass
                finally:  # before it leaves, which rank 0 waits for
                    milliseconds = round((time.monotonic() - started) * 1000)
                    used = Usage(1, milliseconds + init_phase.take(), settings.memory_mb, **clients.requests.take())
                    ledger.add_usage(run_id, {"trainer": used + LAST_WRITE})
    except QUIETLY as why:
        print(f"{run_id}: follower {rank} leaves: {type(why).__name__} {why}")
    return ledger.get(run_id)
