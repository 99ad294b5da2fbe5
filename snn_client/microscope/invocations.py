"""Where the time and the money of an epoch of neurons went: who waited for whom, what was cold, what was repeated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from snn_cloud.cost import prices
from snn_cloud.cost.money import gb_seconds
from snn_cloud.ledger.record import Usage
from snn_data.invocations import EpochInvocations, Invocation


class Wave(NamedTuple):
    """A layer in one direction, for one mini-batch: the neurons that were invoked, and who kept the others waiting.

    Times are seconds since the epoch began. `slowest` is the invocation that answered last; for `alone` seconds it was
    the only one that had not.
    """

    step: int
    batch: int
    round: int
    layer: int
    direction: str
    sent: float
    answered: float
    invocations: int
    slowest: Invocation
    alone: float

    @property
    def seconds(self) -> float:
        """Return how long it took, from the first question to the last answer."""
        return self.answered - self.sent


class Summary(NamedTuple):
    """An epoch of neurons in numbers.

    `path` are the waves that the epoch waited for: in each step those of the mini-batch that was done last.
    `waiting_seconds` is how long at least one neuron was at work, `trainer_seconds` the rest, the trainer's own: the
    optimizer, the cache, checkpoints. Milliseconds and GB-s are what is billed; the trainer is billed for the whole
    epoch. `left_out` invocations are in none of it.
    """

    seconds: float
    waiting_seconds: float
    trainer_seconds: float
    path: tuple[Wave, ...]
    invocations: int
    cold: int
    failed: int
    repeated: int
    left_out: int
    init_ms: int
    neuron_ms: int
    neuron_gb_seconds: float
    neuron_usd: float
    trainer_gb_seconds: float
    trainer_usd: float


def waves_of(found: EpochInvocations) -> list[Wave]:
    """Return an epoch's waves, by when they began."""
    together = defaultdict[tuple[int, int, int, int, str], list[Invocation]](list)
    for one in found.invocations:
        together[one.step, one.batch, one.round, one.layer, one.direction].append(one)
    waves = []
    for (step, batch, number, layer, direction), ones in together.items():
        *others, slowest = sorted(ones, key=lambda one: one.answered)
        sent = min(one.sent for one in ones)
        alone = slowest.answered - max(slowest.sent, others[-1].answered if others else slowest.sent)
        waves.append(
            Wave(step, batch, number, layer, direction, sent, slowest.answered, len(ones), slowest, max(0.0, alone))
        )
    return sorted(waves, key=lambda wave: wave.sent)


def summary_of(found: EpochInvocations, trainer_mb: int, architecture: str = "arm64") -> Summary:
    """Return what an epoch's invocations come to; `trainer_mb` is TrainerLambda's size, as the run's usage has it."""
    ones, waves = found.invocations, waves_of(found)
    of_neurons = sum(
        gb_seconds(Usage(1, one.milliseconds, one.memory_mb or _memory_of(ones))) for one in ones
    )  # of one that failed the size is not known, but they are all alike
    of_trainer = trainer_mb / 1024 * found.seconds
    busy = _covered([(one.sent, one.answered) for one in ones])
    price = prices.LAMBDA_GB_SECOND[architecture].usd
    return Summary(
        seconds=found.seconds,
        waiting_seconds=busy,
        trainer_seconds=max(0.0, found.seconds - busy),
        path=tuple(_path(waves)),
        invocations=len(ones),
        cold=sum(one.cold for one in ones),
        failed=sum(one.outcome != "done" for one in ones),
        repeated=sum(one.again for one in ones),
        left_out=found.left_out,
        init_ms=sum(one.init_ms for one in ones),
        neuron_ms=sum(one.milliseconds for one in ones),
        neuron_gb_seconds=of_neurons,
        neuron_usd=of_neurons * price + len(ones) * prices.LAMBDA_REQUEST.usd,
        trainer_gb_seconds=of_trainer,
        trainer_usd=of_trainer * price,
    )


def _memory_of(ones: Sequence[Invocation]) -> int:
    return max(one.memory_mb for one in ones)


def _path(waves: Sequence[Wave]) -> list[Wave]:
    """Return the waves of the mini-batch that was done last, for each step and each time that it was done."""
    steps = defaultdict[tuple[int, int], list[Wave]](list)
    for wave in waves:
        steps[wave.step, wave.round].append(wave)
    path = []
    for of_step in steps.values():
        last = max(of_step, key=lambda wave: wave.answered).batch
        path += [wave for wave in of_step if wave.batch == last]
    return path


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return how many seconds the spans cover together."""
    covered = reached = 0.0
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
