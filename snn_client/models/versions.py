"""Versions of models: registered with what they are worth, decided on, promoted, and asked on trial."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from snn.errors import InvalidInput
from snn_client.data.staging import read_source
from snn_client.models import champion as champions
from snn_client.models.champion import Change
from snn_client.models.reference import write_reference
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, NotApproved
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import State
from snn_cloud.registry.record import DEFAULT_MODEL, Metric, Served, Status, Trial, Version, check_model
from snn_cloud.registry.registry import Registry, shown_status
from snn_cloud.registry.trials import why_withdraw

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs


class Shown(TypedDict):
    """A version as people see it: where it stands now, and what it was asked since the last trial began."""

    version: Version
    status: str
    served: Served | None


class Standing(TypedDict):
    """A model: its versions, the newest first, and its last trial, None if there was none."""

    model: str
    champion: str
    versions: list[Shown]
    trial: Trial | None


def registry_of(clients: Clients, outputs: StackOutputs) -> Registry:
    """Return a stack's registry."""
    return Registry(clients.dynamodb, outputs.table)


def register(
    clients: Clients, outputs: StackOutputs, run_id: str, model: str = DEFAULT_MODEL, by: str = "",
    test_set: Mapping[str, Any] | None = None,
) -> Version:  # fmt: skip
    """Make a completed run a version of a model, and return it; one that is registered is returned as it is.

    Its metrics are those of `test_set`, else those in its report, if it has one. Raises RunNotFound, and CloudError for
    a run that is not completed.
    """
    registry = registry_of(clients, outputs)
    if known := registry.of_run(check_model(model), places.check_run_id(run_id)):
        return known
    run = Ledger(clients.dynamodb, outputs.table).get(run_id)
    if run.state is not State.COMPLETED or run.parameters is None:
        raise CloudError(f"run {run_id} is {run.state}: only a completed run has a model")
    content = read_source(clients.s3, f"s3://{outputs.bucket}/{places.params(run_id)}")
    return registry.register(
        model, run_id, dataset=run.dataset, sha256=hashlib.sha256(content).hexdigest(),
        parameters=json.loads(run.parameters.to_json()), backbone=run.parameters.backbone or "",
        metrics=metrics_of(test_set if test_set is not None else _judged(clients, outputs.bucket, run_id)), by=by,
    )  # fmt: skip


def promote(
    clients: Clients, outputs: StackOutputs, version: str | int, model: str = DEFAULT_MODEL, *, by: str = "",
    over: str | None = None,
) -> Change:  # fmt: skip
    """Make a version the champion of a model; a run that is none yet is registered. The former champion is retired.

    Raises NotApproved for one that was rejected, or that nobody approved where the stack requires it; and what
    `champion.promote` raises.
    """
    registry = registry_of(clients, outputs)
    found = registry.find(model, version) or register(clients, outputs, str(version), model, by)
    _check_not_rejected(found)
    if outputs.require_approval and found["status"] != Status.APPROVED:
        raise NotApproved(f"version {found['number']} of {model} waits for approval: {command(found, 'approve')}")
    if outputs.predict_function:
        write_reference(clients, outputs.bucket, found)
    change = champions.promote(clients, outputs.bucket, found["run_id"], over=over, model=model, number=found["number"])
    _settle(registry, model, change)
    return change


def roll_back(clients: Clients, outputs: StackOutputs, model: str = DEFAULT_MODEL) -> Change:
    """Swap a model's champion and the one before it.

    Raises NotApproved if that one was rejected, and what `champion.roll_back` raises.
    """
    registry = registry_of(clients, outputs)
    former = champions.find_previous(clients, outputs.bucket, model)
    if former and former.run_id and (known := registry.of_run(model, former.run_id)):
        _check_not_rejected(known)
    change = champions.roll_back(clients, outputs.bucket, model)
    _settle(registry, model, change)
    return change


def champion_of(clients: Clients, outputs: StackOutputs, model: str = DEFAULT_MODEL) -> Version | None:
    """Return the version that is the champion; None if there is none, or one that nobody has registered."""
    held = champions.find_champion(clients, outputs.bucket, model)
    return registry_of(clients, outputs).of_run(model, held.run_id) if held and held.run_id else None


def standing(clients: Clients, outputs: StackOutputs, model: str = DEFAULT_MODEL) -> Standing:
    """Return a model's versions and where each stands."""
    registry = registry_of(clients, outputs)
    held = champions.find_champion(clients, outputs.bucket, model)
    champion, served = held.run_id if held else "", registry.served(model)
    return {
        "model": model,
        "champion": champion,
        "versions": [
            {"version": one, "status": shown_status(one, champion), "served": served.get(one["run_id"])}
            for one in registry.versions(model)
        ],
        "trial": registry.trial(model),
    }


def conclude(clients: Clients, outputs: StackOutputs, model: str = DEFAULT_MODEL, by: str = "") -> Trial:
    """Promote the candidate if it was asked often enough, or withdraw it if the rule says so; return its trial.

    Raises InvalidInput if there is none, CloudError if it is too early.
    """
    registry = registry_of(clients, outputs)
    trial = registry.trial(model)
    if trial is None:
        raise InvalidInput(f"the model {model} has no trial", field="model", hint="begin one: snn models trial")
    if trial["ended"]:
        return trial
    served = registry.served(model)
    asked, held = served.get(trial["run_id"]), champions.find_champion(clients, outputs.bucket, model)
    if asked and (reason := why_withdraw(trial, asked, served.get(held.run_id) if held else None)):
        registry.end_trial(model, trial["id"], "withdrawn", reason)
        return registry.trial(model) or trial
    requests, wanted = asked["requests"] if asked else 0, trial["rule"]["min_requests"]
    if requests < wanted:
        raise CloudError(f"version {trial['number']} of {model} was asked {requests:,} times, not yet {wanted:,}")
    promote(clients, outputs, trial["run_id"], model, by=by)
    return registry.trial(model) or trial


def command(version: Version, word: str) -> str:
    """Return the command by which a version is approved, rejected or promoted."""
    model = "" if version["model"] == DEFAULT_MODEL else f" --model {version['model']}"
    return f"snn models {word} {version['number']}{model}"


def metrics_of(test_set: Mapping[str, Any]) -> dict[str, Metric]:
    """Return the figures of a report's `test_set`, each with its interval if it has one."""
    intervals = test_set.get("intervals") or {}
    found: dict[str, Metric] = {}
    for name, value in test_set.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = {"value": float(value)}
            if ends := intervals.get(name):
                found[name] = {"value": float(value), "low": float(ends["low"]), "high": float(ends["high"])}
    return found


def _judged(clients: Clients, bucket: str, run_id: str) -> Mapping[str, Any]:
    try:
        report = json.loads(read_source(clients.s3, f"s3://{bucket}/{places.report_json(run_id)}"))
    except InvalidInput:
        return {}  # nobody has judged it yet
    test_set: Mapping[str, Any] = report.get("test_set") or {}
    return test_set


def _check_not_rejected(version: Version) -> None:
    if version["status"] == Status.REJECTED:
        told = version["decided"]
        who, why = (f" by {told['by']}" if told and told["by"] else "", told["reason"] if told else "")
        name = f"version {version['number']} of {version['model']}"
        raise NotApproved(f"{name} was rejected{who}{why and f' ({why})'}: it cannot become champion")


def _settle(registry: Registry, model: str, change: Change) -> None:
    """Note who was champion; doing it twice changes nothing, and what a crash leaves undone the next change does."""
    now, trial = time.time(), registry.trial(model)
    for run_id in (change.previous, change.champion):
        if not run_id:
            continue
        registry.promoted(model, run_id, now)
        if trial and not trial["ended"] and trial["run_id"] == run_id:
            registry.end_trial(model, trial["id"], "promoted", "it became champion")
    registry.crowned(model, change.champion)
