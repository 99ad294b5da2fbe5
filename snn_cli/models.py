"""`snn models`: the registry: what versions there are, which are approved, which answer."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from snn.errors import InvalidInput
from snn_cli.aws import Aws, on_aws
from snn_cli.console import Exit, Json, answer, results, table
from snn_cli.judge import completed
from snn_client.models import versions
from snn_client.models.champion import Change, find_champion
from snn_client.models.reference import write_reference
from snn_client.models.versions import Shown, Standing
from snn_cloud.registry.record import DEFAULT_MODEL, RULE, Status, Trial, Version
from snn_cloud.registry.seen import DAYS, KEPT_DAYS, Check, check

app = typer.Typer(no_args_is_help=True, help="Versions of models: list, approve, promote, and put on trial.")

Model = Annotated[str, typer.Option("--model", help="name of the model")]
WhichVersion = Annotated[str, typer.Argument(metavar="VERSION", help="its number, or its run")]
By = Annotated[str, typer.Option("--by", help="who decides; default: you", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="why, for the history")]
HEADLINES = ("accuracy", "r2")  # of which a version's metrics have one


@app.command("list")
@on_aws
def list_(aws: Aws, model: Model = DEFAULT_MODEL, as_json: Json = False) -> None:
    """List a model's versions, the newest first: where each stands, what it is worth, what it was asked.

    \b
    Examples:
      snn models list
      snn models list --model cats --json
    """
    found = versions.standing(aws.clients, aws.outputs, model)
    answer(dict(found), as_json, lambda: _show(found))


@app.command()
@on_aws
def show(aws: Aws, version: WhichVersion, model: Model = DEFAULT_MODEL, as_json: Json = False) -> None:
    """Show all that the registry holds of a version.

    \b
    Examples:
      snn models show 3
    """
    found = versions.registry_of(aws.clients, aws.outputs).get(model, version)
    answer(dict(found), as_json, lambda: _show_version(found))


@app.command()
@on_aws
def register(
    aws: Aws,
    run: Annotated[str, typer.Argument(help="a completed run")],
    model: Model = DEFAULT_MODEL,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make a run a version of a model: a candidate. Doing it twice changes nothing.

    \b
    Examples:
      snn models register my-first
      snn models register my-first --model cats
    """
    found = versions.register(aws.clients, aws.outputs, run, model, by or _me())
    answer(dict(found), as_json, lambda: _say(found))


@app.command()
@on_aws
def approve(
    aws: Aws,
    version: WhichVersion,
    model: Model = DEFAULT_MODEL,
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Approve a candidate. The first answer counts: one that was rejected stays so.

    \b
    Examples:
      snn models approve 3 --reason "looked at the mislabelled photos"
    """
    _decide(aws, version, model, Status.APPROVED, by, reason, as_json)


@app.command()
@on_aws
def reject(
    aws: Aws,
    version: WhichVersion,
    model: Model = DEFAULT_MODEL,
    by: By = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Reject a candidate: it cannot become champion any more.

    \b
    Examples:
      snn models reject 3 --reason "blind to grey cats"
    """
    _decide(aws, version, model, Status.REJECTED, by, reason, as_json)


@app.command()
@on_aws
def promote(
    aws: Aws,
    version: Annotated[
        str,
        typer.Argument(
            metavar="VERSION", help="its number, or its run; default: the newest completed run", show_default=False
        ),
    ] = "",
    model: Model = DEFAULT_MODEL,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make a version the champion; a run that is no version yet is registered. The endpoint follows in seconds.

    \b
    Examples:
      snn models promote
      snn models promote 3
      snn models promote my-first
    """
    wanted = version or completed(aws).run_id
    change = versions.promote(aws.clients, aws.outputs, wanted, model, by=by or _me())
    answer(vars(change), as_json, lambda: _changed(change))


@app.command()
@on_aws
def rollback(aws: Aws, model: Model = DEFAULT_MODEL, as_json: Json = False) -> None:
    """Swap the champion and the one before it. Doing it twice restores what was.

    \b
    Examples:
      snn models rollback
    """
    change = versions.roll_back(aws.clients, aws.outputs, model)
    answer(vars(change), as_json, lambda: _changed(change))


@app.command()
@on_aws
def trial(
    aws: Aws,
    version: WhichVersion,
    canary: Annotated[float, typer.Option(help="the share of the requests that it answers, such as 0.1")] = 0.0,
    shadow: Annotated[bool, typer.Option("--shadow", help="it is asked all of them, and answers none")] = False,
    max_errors: Annotated[int, typer.Option(help="withdrawn after more errors")] = RULE["max_errors"],
    max_slower: Annotated[float, typer.Option(help="withdrawn if so many times slower")] = RULE["max_slower"],
    max_disagreement: Annotated[
        float, typer.Option(help="of a shadow: withdrawn if it says otherwise to a larger share")
    ] = RULE["max_disagreement"],
    min_requests: Annotated[int, typer.Option(help="before it is compared or promoted")] = RULE["min_requests"],
    model: Model = DEFAULT_MODEL,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Try a candidate on what the endpoint is asked: it answers a share (canary), or all of it silently (shadow).

    It is withdrawn by itself when it fails, is slow, or says otherwise.
    `snn models conclude` promotes it once it was asked often enough.

    \b
    Examples:
      snn models trial 4 --canary 0.1
      snn models trial 4 --shadow --max-disagreement 0.05
    """
    if bool(canary) == shadow:
        raise typer.BadParameter("give --canary with a share, or --shadow")
    rule = {
        "max_errors": max_errors, "max_slower": max_slower, "max_disagreement": max_disagreement,
        "min_requests": min_requests,
    }  # fmt: skip
    begun = versions.registry_of(aws.clients, aws.outputs).begin_trial(
        model, version, "shadow" if shadow else "canary", canary or 1.0, rule, by or _me()
    )
    answer(dict(begun), as_json, lambda: _tell(begun))


@app.command()
@on_aws
def conclude(aws: Aws, model: Model = DEFAULT_MODEL, by: By = "", as_json: Json = False) -> None:
    """Promote the candidate on trial, if it was asked often enough and was not withdrawn.

    \b
    Examples:
      snn models conclude
    """
    found = versions.conclude(aws.clients, aws.outputs, model, by or _me())
    answer(dict(found), as_json, lambda: _tell(found))


@app.command()
@on_aws
def withdraw(aws: Aws, model: Model = DEFAULT_MODEL, reason: Reason = "", as_json: Json = False) -> None:
    """End the trial of a candidate; the champion answers all again within seconds.

    \b
    Examples:
      snn models withdraw --reason "enough seen"
    """
    registry = versions.registry_of(aws.clients, aws.outputs)
    found = registry.trial(model)
    if found is None or not registry.end_trial(model, found["id"], "stopped", reason or f"by {_me()}"):
        results.print(f"the model {model} has no trial that goes on", markup=False)
        return
    answer(dict(registry.trial(model) or found), as_json, lambda: results.print("the trial is over"))


@app.command()
@on_aws
def drift(
    aws: Aws,
    model: Model = DEFAULT_MODEL,
    days: Annotated[int, typer.Option(min=1, max=KEPT_DAYS, help="of what the endpoint was asked")] = DAYS,
    as_json: Json = False,
) -> None:
    """Compare what the endpoint was asked with what the champion was trained on. The stack does so once a day itself.

    Ends with 0 if nothing has changed, and with 1 if it has, or if too little
    was asked to tell.

    \b
    Examples:
      snn models drift
      snn models drift --days 1 --json
    """
    held = find_champion(aws.clients, aws.outputs.bucket, model)
    if held is None or not held.run_id:
        raise InvalidInput(f"the model {model} has no champion of a run", field="model", hint="snn models promote")
    version = versions.registry_of(aws.clients, aws.outputs).get(model, held.run_id)
    write_reference(aws.clients, aws.outputs.bucket, version)
    found = check(aws.clients, aws.outputs.bucket, aws.outputs.table, model, held.run_id, days)
    answer(dict(found), as_json, lambda: _tell_check(found))
    if found["report"] is None or found["report"]["drifted"]:
        raise typer.Exit(Exit.REFUSED)


def _tell_check(found: Check) -> None:
    report = found["report"]
    if report is None:
        results.print(found["why"], markup=False)
        return
    for finding in report["findings"]:
        results.print(finding["text"], markup=False)
    verdict = "what is asked has changed" if report["drifted"] else "no change that matters"
    results.print(f"{found['samples']:,} samples in {found['days']} days: {verdict}", markup=False)


def _decide(aws: Aws, version: str, model: str, status: Status, by: str, reason: str, as_json: bool) -> None:
    registry = versions.registry_of(aws.clients, aws.outputs)
    found = registry.decide(model, version, status, by or _me(), reason)
    answer(dict(found), as_json, lambda: _say(found))


def _me() -> str:
    """Return who types, as the machine knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _say(version: Version) -> None:
    line = f"version {version['number']} of {version['model']}, run {version['run_id']}: {version['status']}"
    results.print(line, markup=False)


def _changed(change: Change) -> None:
    results.print(f"champion: run {change.champion}; before: {change.previous or 'none'}", markup=False)


def _tell(trial: Trial) -> None:
    kind = f"answers {trial['share']:.0%} of the requests" if trial["kind"] == "canary" else "is asked silently"
    state = f"{trial['ended']}: {trial['reason']}" if trial["ended"] else kind
    results.print(f"version {trial['number']}, {trial['kind']}: {state}", markup=False)


def _show(found: Standing) -> None:
    if not found["versions"]:
        results.print(f"the model {found['model']} has no versions yet", markup=False)
        return
    shown = table("version", "status", "run", "metric", "made", "by", "requests", "errors")
    for one in found["versions"]:
        shown.add_row(*_row(one))
    results.print(shown)
    if found["trial"]:
        _tell(found["trial"])


def _row(shown: Shown) -> tuple[str, ...]:
    version, served = shown["version"], shown["served"]
    at = datetime.fromtimestamp(version["created"], UTC).strftime("%Y-%m-%d %H:%M")
    asked = (f"{served['requests']:,}", f"{served['errors']:,}") if served else ("0", "0")
    return str(version["number"]), shown["status"], version["run_id"], _headline(version), at, version["by"], *asked


def _headline(version: Version) -> str:
    for name in HEADLINES:
        if metric := version["metrics"].get(name):
            ends = f" ({metric['low']:.3f}–{metric['high']:.3f})" if "low" in metric and "high" in metric else ""
            return f"{name} {metric['value']:.3f}{ends}"
    return ""


def _show_version(version: Version) -> None:
    shown = table("", "")
    plain = {name: value for name, value in version.items() if name not in ("metrics", "parameters")}
    for name, value in plain.items():
        shown.add_row(name.replace("_", " "), str(value))
    for name, metric in version["metrics"].items():
        shown.add_row(name.replace("_", " "), f"{metric['value']:.4f}")
    results.print(shown)
