"""Successive halving: train all a little, go on with the best of them, and so on (Jamieson and Talwalkar 2016).

A rung's runs pause (`pause_after`), and those that survive are resumed: the same as if they had never paused, for
`epochs`, by which a schedule may be reckoned, stays what the recipe says. With 27 combinations and three rungs

    rung  runs  epochs of each          epochs in all, of 27 · E
    1     27    E/9                     3.0 E
    2     10    from E/9 on to E/3      2.2 E
    3      5    from E/3 on to E        3.3 E       8.6 E, 32 %

The usual third that survives (9, 3) takes 26 %, and loses the best more often: docs/decisions.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from snn.errors import InvalidParameters
from snn_client.sweeps.sweep import Training
from snn_client.sweeps.table import Outcome, rank, unpaused
from snn_cloud.ledger.record import StoppedBy

RUNGS = 3
MIN_EPOCHS = 4
"""From which on each rung has more than the one before."""

FACTOR = 3
"""A rung has so many times the epochs of the one before, as in scikit-learn's HalvingGridSearchCV."""

SURVIVE = 3 / 8, 1 / 2
"""This part of the first rung's combinations goes on, and of the second's, rounded to whole ones: one at least."""


def pause_at(epochs: int, rung: int) -> int | None:
    """Return after how many epochs a run of this rung, from 1, pauses; None: it does not."""
    after = max(rung, round(epochs / FACTOR ** (RUNGS - rung)))
    return after if rung < RUNGS and after < epochs else None


def first_rung(plan: Sequence[Training]) -> list[Training]:
    """Return the trainings of a sweep as those of the first rung. Raises InvalidParameters for too few epochs."""
    for training in plan:
        if training["parameters"]["epochs"] < MIN_EPOCHS:
            raise InvalidParameters(
                f"is {training['parameters']['epochs']}, too few to be divided into {RUNGS} rungs",
                field="epochs",
                source=f"combination {training['combination']}",
                hint=f"give {MIN_EPOCHS} or more, or train without halving",
            )
    return [_on_rung(training, 1) for training in plan]


def is_halved(plan: Sequence[Training]) -> bool:
    """Return whether a plan is of a sweep with halving."""
    return any("rung" in training for training in plan)


def next_rung(ended: Sequence[Outcome]) -> list[Training]:
    """Return the trainings of the rung after one, of the combinations that did best in it: none after the last.

    What failed does not go on. A run that came to its own end earlier, by its threshold or its patience, needs no
    further rung.
    """
    if not ended or (rung := ended[0].training.get("rung", 1)) >= RUNGS:
        return []
    rows = [row for row in rank(ended) if not row["failure"]]
    places = max(1, math.floor(len(rows) * SURVIVE[rung - 1] + 0.5))
    survivors = {row["combination"] for row in rows[:places]}
    return [
        _on_rung(_resumed(outcome, rung + 1), rung + 1)
        for outcome in ended
        if outcome.training["combination"] in survivors and _paused(outcome)
    ]


def climbed(rungs: Sequence[Sequence[Outcome]]) -> list[Outcome]:
    """Return one outcome for each training of the first rung: its last, with those before it.

    A combination whose survivor came to its own end earlier counts as one of the last rung.
    """
    last: dict[tuple[int, str], Outcome] = {}
    for ended in rungs:
        for outcome in ended:
            place = outcome.training["combination"], outcome.training["dataset_key"]
            before = last[place].every if place in last else ()
            last[place] = replace(outcome, before=before)
    furthest = max((outcome.training.get("rung", 1) for outcome in last.values()), default=1)
    found: list[Outcome] = []
    for _, folds in groupby(last.values(), key=lambda one: one.training["combination"]):
        together = list(folds)
        done = all(outcome.run is not None and not _paused(outcome) for outcome in together)
        rung = max(outcome.training.get("rung", 1) for outcome in together)
        for outcome in together:
            training: Training = {**outcome.training, "rung": furthest if done else rung}
            found.append(replace(outcome, training=training))
    return found


def _on_rung(training: Training, rung: int) -> Training:
    parameters = unpaused(training["parameters"])
    after = pause_at(parameters["epochs"], rung)
    return {
        **training,
        "rung": rung,
        "parameters": parameters if after is None else {**parameters, "pause_after": after},
    }


def _resumed(outcome: Outcome, rung: int) -> Training:
    training, run = outcome.training, outcome.run
    first = training["run_id"].removesuffix(f"-r{rung - 1}")
    return {**training, "run_id": f"{first}-r{rung}", "resume_from": run.run_id if run else ""}


def _paused(outcome: Outcome) -> bool:
    return outcome.run is not None and outcome.run.stopped_by is StoppedBy.PAUSE
