"""Resuming: a new run that starts from the last checkpoint of a failed, cancelled or paused one.

It ends with the weights of a run that was never stopped, bit for bit if it goes on in the same granularity, and within
rounding in another. So whatever would have changed the epochs already done is refused.
"""

from __future__ import annotations

from snn.errors import InvalidInput
from snn.training import Training
from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_data.checkpoint import load_checkpoint

# What may differ: it says how far to go, for how much, and who computes. (How the first layer is computed is compared
# by itself.)
FREE = (
    "epochs", "threshold", "max_usd", "max_seconds", "pause_after",
    "workers", "granularity", "neurons_per_invocation", "first_layer", "keep_epochs",
)  # fmt: skip


def check_resumable(older: Run, parameters: Parameters, dataset: str, version: str) -> None:
    """Raise InvalidInput unless a run with these parameters and data can go on from the older run's checkpoint."""
    if older.state not in (State.FAILED, State.CANCELLED) and older.stopped_by is not StoppedBy.PAUSE:
        hint = "resume a FAILED, CANCELLED or paused run"
        raise _refusal("resume_from", f"run {older.run_id} is {older.state}", hint)
    if older.parameters is None:
        raise _refusal("resume_from", f"run {older.run_id} never had a checkpoint", "launch anew")
    if not older.checkpoint_version:
        # Which of a run's checkpoints is the ledger's is known by its version alone.
        problem = f"the checkpoint of run {older.run_id} has no version, as its bucket kept none"
        raise _refusal("resume_from", problem, "turn on the bucket's versioning, and launch anew")
    free = [name for name in FREE if name != "epochs" or not parameters.schedule.needs_epochs]
    same = parameters.model_copy(update={name: getattr(older.parameters, name) for name in free})
    for name in Parameters.model_fields:
        ours, theirs = getattr(same, name), getattr(older.parameters, name)
        if ours != theirs:
            raise _refusal(f"parameters.{name}", f"is {ours}, but run {older.run_id} had {theirs}", f"keep {theirs}")
    if not places.is_same_dataset((dataset, version), (older.dataset, older.dataset_version)):
        raise _refusal("dataset", f"differs from run {older.run_id}'s", f"use {older.dataset}")
    was, would = (chosen.path(older.features, older.samples)[0] for chosen in (older.parameters, parameters))
    if was != would:
        # Equal in exact arithmetic, but not in the last bits; and neurons cannot compute in the span at all.
        ways = {True: "span", False: "direct"}
        raise _refusal(
            "parameters.first_layer",
            f"would be {ways[would]}, but run {older.run_id}'s was {ways[was]}",
            f"choose {ways[was]}" + (" and granularity batch" if was else ""),
        )


def load_done(checkpoint: bytes, older: Run, parameters: Parameters) -> Training:
    """Return what a checkpoint holds. Raises InvalidInput if these parameters would have ended the training earlier."""
    source = f"checkpoint of run {older.run_id}"
    training = load_checkpoint(checkpoint, source=source, in_batches=parameters.how.in_batches)
    if training.epoch > parameters.epochs:
        raise _refusal(
            "parameters.epochs",
            f"is {parameters.epochs}, but run {older.run_id} has already done {training.epoch}",
            f"choose {training.epoch} or more",
        )
    if parameters.pause_after is not None and training.epoch >= parameters.pause_after:
        raise _refusal(
            "parameters.pause_after",
            f"is {parameters.pause_after}, but run {older.run_id} has already done {training.epoch}",
            f"choose {training.epoch + 1} or more, or leave it out",
        )
    threshold = parameters.threshold
    reached = [
        epoch for epoch, cost in enumerate(training.history.costs[:-1]) if threshold is not None and cost <= threshold
    ]
    if reached:
        raise _refusal(
            "parameters.threshold",
            f"{threshold:g} was reached in epoch {reached[0]} of the {training.epoch} that run {older.run_id} has done",
            "choose a lower one",
        )
    return training


def _refusal(field: str, problem: str, hint: str) -> InvalidInput:
    return InvalidInput(problem, field=field, source="launch request", hint=hint)
