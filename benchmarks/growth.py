"""How it grows: more photos, more neurons; seconds an epoch, and the trainer's memory.

A case is the job of 3,000 full-batch epochs, begun by a fresh trainer. Small ones run to their end. Large ones are
watched for a while and then cancelled: what the rest would take follows from the epochs seen, and such a figure is
marked as extrapolated.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

from benchmarks import problem
from benchmarks.competitors import numpy_loop
from benchmarks.serverless import Outcome
from benchmarks.session import Session, agree

EPOCHS = 3000
SPARE = 1.2  # memory to set: the peak and a fifth, in steps of 64 MB


def growth(session: Session) -> dict[str, Any]:
    """Photos ×1 ×3 ×10 ×30, neurons ×1 ×10 ×100."""
    sizes, widths = ((1, 3), (1, 10)) if session.quick else ((1, 3, 10, 30), (1, 10, 100))
    first = _case(session, session.dataset, 1)
    samples = [first]
    for factor in sizes[1:]:
        data = problem.grown(session.dataset, factor, session.folder)
        samples.append({**_case(session, data, 1), "factor": factor})
    neurons = [first, *({**_case(session, session.dataset, factor), "factor": factor} for factor in widths[1:])]
    return {"epochs": EPOCHS, "samples": samples, "neurons": neurons}


def memory(session: Session) -> dict[str, Any]:
    """What the trainer needs of memory, from the cases of `growth`."""
    samples = session.results["growth"]["samples"]
    small, large = samples[0], samples[-1]
    return {
        "trainer_setting_mb": session.serverless.memory_setting(session.plain.trainer_function),
        "peak_mb": small["peak_mb"],
        "fits_mb": fitting(small["peak_mb"]),
        "grown_factor": large["factor"],
        "grown_peak_mb": large["peak_mb"],
        "grown_fits_mb": fitting(large["peak_mb"]),
    }


def fitting(peak_mb: float) -> int:
    """Return the memory to set for a function whose peak this was, in MB."""
    return max(128, math.ceil(peak_mb * SPARE / 64) * 64)


def estimate(outcome: Outcome, epochs: int = EPOCHS) -> tuple[float, float]:
    """Return the seconds that all epochs take, and those of one epoch once it runs, of a run that was cut short."""
    laps = [
        (later - earlier) / (last - first)
        for (earlier, first), (later, last) in zip(outcome.seen[1:], outcome.seen[2:], strict=False)
    ]
    if not laps:  # one look only: all of its time is the epochs'
        laps = [outcome.seen[-1][0] / outcome.seen[-1][1]]
    lap = statistics.median(laps)
    seconds, done = outcome.seen[-1]
    return seconds + (epochs - done) * lap, lap


def _case(session: Session, dataset: Path, neurons_factor: int) -> dict[str, Any]:
    neurons = problem.widened(neurons_factor)
    facts, chosen = problem.describe(dataset, "grown"), problem.parameters(neurons, epochs=EPOCHS)
    ours, stack = session.serverless, session.plain
    limit = 3.0 if session.quick else 8.0
    totals, lap = [], None
    for _ in range(session.repetitions):
        ours.refresh(stack.trainer_function)
        outcome = ours.train(stack, dataset, chosen, limit_seconds=limit)
        if not outcome.completed:
            total, lap = estimate(outcome)
            totals = [total]
            break
        totals.append(outcome.seconds)
    peak = ours.peak_mb(stack.trainer_function)
    ours.refresh(stack.trainer_function)  # its memory is wanted for the loop
    job = session.job("growth", dataset, chosen)
    loop = numpy_loop(job, 300, seconds=2.0 if session.quick else 4.0)
    job.unlink()
    seconds = statistics.median(totals)
    session.say(
        f"{facts['samples']:,} photos, {neurons[0]} first neurons: {seconds / EPOCHS * 1000:.2f} ms an epoch "
        f"({outcome.path}), NumPy {loop['seconds_per_epoch'] * 1000:.1f} ms, {peak:.0f} MB"
    )
    session.step()
    return {
        "factor": 1,
        "samples": facts["samples"],
        "features": facts["features"],
        "neurons": list(neurons),
        "path": outcome.path,
        "seconds": seconds,
        "extrapolated_from_epochs": None if outcome.completed else outcome.seen[-1][1],
        "seconds_per_epoch": seconds / EPOCHS,
        "seconds_per_epoch_once_running": lap,
        "numpy_seconds_per_epoch": loop["seconds_per_epoch"],
        "numpy_epochs": loop["epochs"],
        "ratio_to_numpy": seconds / EPOCHS / loop["seconds_per_epoch"],
        "difference": agree("grown", outcome.costs, loop["costs"]),
        "peak_mb": peak,
        "fits_mb": fitting(peak),
    }
