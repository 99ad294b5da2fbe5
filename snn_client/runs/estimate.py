"""What a run will take and cost, before it runs: the workload, divided by speeds that were measured.

Measured in November 2026 on two cores (AMD EPYC, one thread) and the emulator, while others worked on the machine. A
Lambda with 1,769 MB has one core of a kind that AWS chooses, so speeds here are half of those measured, and every
environment is taken to be cold. All epochs are taken to be run: a threshold can only make it less.
`docs/scaling.md` has the formulas, and what becomes of them at a thousand times the size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from snn_cloud.aws.objects import BLOCK_BYTES
from snn_cloud.cost import kept
from snn_cloud.cost.money import Cost, cost_of
from snn_cloud.cost.prices import REGION
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.parameters import Granularity, Parameters
from snn_cloud.ledger.record import Run, Usage

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

# One core; measured 20e9 to 40e9 in float64, 60e9 to 75e9 in float32, for products of this project's sizes.
OPERATIONS_PER_SECOND = {"float64": 10e9, "float32": 25e9}
MOVE_SECONDS = 8e-9  # of a step for one weight, with Adam; measured 3e-9 to 5e-9 in float32
LAYER_SECONDS = 60e-6  # of Python and NumPy for one layer of one batch, there and back; measured 27e-6
READ_BYTES_PER_SECOND = 50e6  # from S3 to an array
STORE_BYTES_PER_SECOND = 35e6  # of kept epochs, from arrays to S3; measured 70e6
KEEP_SECONDS = 0.1  # for one file of kept epochs, however small; measured 0.004
LAUNCH_SECONDS = 3.0  # of LaunchLambda, cold; measured 2.7
TRAINER_SECONDS = (
    4.0  # of a TrainerLambda, cold, beside its epochs: start, reading, storing, last message; measured 3.3
)
INVOKE_SECONDS = 0.035  # from calling a neuron to its answer; measured with 8 at once on two cores, 0.009 alone
NEURON_SECONDS = 0.005  # of NeuronLambda billed beside its arithmetic; measured 0.004
NEURON_INIT_SECONDS = 0.6  # measured 0.5 of CPU time
FIRST_WAVE_SECONDS = 5.0  # until cold neurons answer for the first time; measured 4.5, 8 of them on two cores
MEET_SECONDS = 0.003  # for several trainers to exchange an epoch's results; assumed

CORE_MB = 1769  # of memory for which Lambda gives one core; less in proportion below
TRAINER_LIMIT_SECONDS = 860.0  # of work in one trainer's 900 s

# Bytes a second: what a node's network sustains, and for some minutes bursts to. EC2's instance types of these names.
CACHE_BANDWIDTH = {
    "cache.t4g.micro": (0.064e9 / 8, 5e9 / 8),
    "cache.t4g.small": (0.128e9 / 8, 5e9 / 8),
    "cache.t4g.medium": (0.256e9 / 8, 5e9 / 8),
    "cache.m7g.large": (0.937e9 / 8, 12.5e9 / 8),
    "cache.r7g.large": (0.937e9 / 8, 12.5e9 / 8),
    "cache.r7g.xlarge": (1.876e9 / 8, 12.5e9 / 8),
    "cache.r7g.2xlarge": (3.75e9 / 8, 15e9 / 8),
    "cache.r7g.4xlarge": (7.5e9 / 8, 15e9 / 8),
    "cache.r7g.8xlarge": (15e9 / 8, 15e9 / 8),
    "cache.r7g.16xlarge": (30e9 / 8, 30e9 / 8),
}
BURST_SECONDS = 300.0  # "typically from 5 to 60 minutes" (EC2 User Guide, instance network bandwidth)


def _epochs(parameters: Parameters) -> int:
    """Return the epochs that are run at most."""
    return min(parameters.epochs, parameters.pause_after or parameters.epochs)


@dataclass(frozen=True)
class Machine:
    """What a stack gives its runs: the template's sizes, and its options. A Platform, as `cost_of` wants one."""

    launch_mb: int = 1024
    trainer_mb: int = 1769
    neuron_mb: int = 512
    neuron_concurrency: int = 8
    has_cache: bool = False
    cache_node_type: str = "cache.t4g.micro"
    architecture: str = "arm64"
    region: str = REGION


class Estimate(Cost):
    """What a run will use and cost at most, and `seconds`, how long it trains."""

    seconds: float
    epochs: int
    granularity: str


def estimate(parameters: Parameters, size: Size, machine: Machine | None = None, **options: Any) -> Estimate:
    """Return what such a run will use and cost at most; `options` are fields of the machine, the default's others."""
    machine = replace(machine or Machine(), **options)
    run = forecast(parameters, size, machine)
    return {
        **cost_of(run, machine),
        "seconds": run.seconds,
        "epochs": run.epoch,
        "granularity": parameters.granularity.value,
    }


def estimate_on(outputs: StackOutputs, parameters: Parameters, size: Size) -> Estimate:
    """Return what `estimate` says of a run on a stack."""
    machine = Machine(
        has_cache=outputs.has_cache,
        cache_node_type=outputs.cache_node_type,
        architecture=outputs.architecture,
        region=outputs.region,
    )
    return estimate(parameters, size, machine)


def forecast(parameters: Parameters, size: Size, machine: Machine) -> Run:
    """Return the run as the ledger will have it when all epochs are done."""
    work, epochs = Workload(parameters, size), _epochs(parameters)
    stored = size.itemsize * size.features * size.samples
    reading = stored / READ_BYTES_PER_SECOND
    training = training_seconds(work, machine)
    turns = math.ceil(training / TRAINER_LIMIT_SECONDS)
    seconds = training + turns * (TRAINER_SECONDS + reading) + (FIRST_WAVE_SECONDS if work.invocations else 0.0)
    flushes, checkpoints = math.ceil(training) + 2, math.floor(training / 20) + turns - 1
    kept_puts = kept.puts(work, epochs, training, checkpoints, turns)
    seconds += kept_puts * KEEP_SECONDS + kept.file_bytes(work, epochs) / STORE_BYTES_PER_SECOND
    environments = min(machine.neuron_concurrency, work.invocations)
    usage = {
        "launch": Usage(
            1, round(LAUNCH_SECONDS * 1000), machine.launch_mb,
            # Of a large file it reads where the headers are, and the labels. A run's item is in an index, too.
            s3_puts=1, s3_gets=min(4, math.ceil(stored / BLOCK_BYTES)), write_units=4, read_units=2,
        ),
        "trainer": Usage(
            turns * work.workers, round(seconds * work.workers * 1000), machine.trainer_mb,
            s3_puts=4 + checkpoints + kept_puts, s3_gets=2 * turns * work.workers,
            # A flush writes the run's item, 2 KB, and the new costs, 8 bytes each; a lease and a checkpoint the item.
            write_units=3 * flushes + math.ceil(8 * epochs / 1024) + 2 * (2 * turns + checkpoints),
            read_units=turns * work.workers, publishes=2 + min(epochs // 100, math.ceil(training)),
        ),
        "neuron": Usage(
            epochs * work.invocations,
            round(1000 * (epochs * neuron_seconds(work, machine) + environments * NEURON_INIT_SECONDS)),
            machine.neuron_mb if work.invocations else 0,
        ),
    }  # fmt: skip
    return Run(
        "", parameters=parameters, started_at=1.0, ended_at=1.0 + seconds, epoch=epochs, usage=usage,
        continuations=turns - 1, features=size.features, samples=size.samples,
    )  # fmt: skip


def training_seconds(work: Workload, machine: Machine) -> float:
    """Return how long all epochs take.

    Batch granularity: (B/w)·(L·LAYER_SECONDS) + operations/w/OPERATIONS_PER_SECOND an epoch, for w workers, and a step
    MOVE_SECONDS for each weight, and MEET_SECONDS where w > 1. Neurons: waves of invocations, for a step of B batches
    Σ 2·⌈B·T_l/concurrency⌉, each as long as its longest answer. To both the bytes through the cache are added, at the
    speed to which its node bursts at first and which it sustains later.
    """
    parameters, epochs = work.parameters, _epochs(work.parameters)
    speed = OPERATIONS_PER_SECOND[parameters.dtype]
    if parameters.granularity is Granularity.BATCH:
        share = math.ceil(work.shared / work.workers) / work.shared
        epoch = work.shared * share * parameters.layers * LAYER_SECONDS + work.operations * share / speed
        epoch += work.steps * work.trained * MOVE_SECONDS
        epoch += work.steps * MEET_SECONDS if work.workers > 1 else 0.0
    else:
        at_a_time = work.shared // work.steps  # batches of one step are in flight together
        waves = work.steps * sum(2 * math.ceil(at_a_time * tasks / machine.neuron_concurrency) for tasks in work.tasks)
        longest = max(_arithmetic(work, machine))
        epoch = waves * (INVOKE_SECONDS + longest)
    sustained, burst = CACHE_BANDWIDTH.get(machine.cache_node_type, CACHE_BANDWIDTH["cache.t4g.micro"])
    slow, fast = epoch + work.cache_bytes / sustained, epoch + work.cache_bytes / burst
    quick = min(epochs, BURST_SECONDS / fast)
    return work.setup_operations / speed + quick * fast + (epochs - quick) * slow


def neuron_seconds(work: Workload, machine: Machine) -> float:
    """Return what NeuronLambda is billed for in an epoch: invocations·NEURON_SECONDS, and its arithmetic."""
    per_task = zip(work.tasks, _arithmetic(work, machine), strict=True)
    return sum(2 * work.shared * tasks * (NEURON_SECONDS + seconds) for tasks, seconds in per_task)


def _arithmetic(work: Workload, machine: Machine) -> list[float]:
    """Return the seconds of arithmetic in one invocation of each layer, in a function that has a part of a core."""
    sizes = (work.size.features, *work.parameters.neurons_per_layer)
    speed = OPERATIONS_PER_SECOND[work.parameters.dtype] * min(1.0, machine.neuron_mb / CORE_MB)
    samples = work.size.samples / work.shared
    # Both directions together are 4·n_l·n_{l-1} (and 2·n_l·n_{l+1} for the error) a sample; half of it in each.
    above = (*sizes[2:], 0)
    return [
        (2 * sizes[i] * sizes[i - 1] + sizes[i] * above[i - 1]) * samples / tasks / speed if tasks else 0.0
        for i, tasks in enumerate(work.tasks, start=1)
    ]
