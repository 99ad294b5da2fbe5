"""`snn status`, `snn logs` and `snn cancel`: how runs stand, what their functions say, and stopping one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from snn_cli.aws import Aws
from snn_cli.console import Json, answer, interruptible, results, say
from snn_cli.follow import follow
from snn_cli.tables import about, run_details, run_table, show
from snn_client.runs import runs
from snn_client.runs.listing import newest_runs
from snn_client.runs.logs import Line, RunLogs, last_lines
from snn_cloud.aws.errors import CloudError
from snn_cloud.cost.formats import duration
from snn_cloud.ledger.record import Run, State

LOG_SECONDS = 1.0  # between two readings; CloudWatch answers an account five times a second
LAST_WORD_SECONDS = 10.0  # until what a function printed last can be read

OneRun = Annotated[str, typer.Argument(help="the run; default: the newest", show_default=False)]


def status(
    aws: Aws,
    run: Annotated[str, typer.Argument(help="a run; default: list the newest ones", show_default=False)] = "",
    follow_it: Annotated[
        bool, typer.Option("--follow", "-f", help="follow the run, or the newest, until it ends, as `snn train` does")
    ] = False,
    last: Annotated[int, typer.Option(min=1, help="maximum number of runs")] = 20,
    as_json: Json = False,
) -> None:
    """List the stack's runs, newest first; or show one run, with --follow until it ends.

    \b
    Examples:
      snn status
      snn status my-first
      snn status my-first --follow
      snn status --json --last 5
    """
    if not run and not follow_it:
        listed = [about(aws, each) for each in islice(newest_runs(aws.clients.dynamodb, aws.outputs.table), last)]
        if not listed:
            say(f"no runs yet; start one: {aws.command('train')}", markup=False)
        answer(listed, as_json, lambda: show(run_table(listed)) if listed else None)
        return
    chosen = the_run(aws, run)
    if follow_it:
        chosen = follow(aws, chosen.run_id)
    summary = about(aws, chosen)
    answer(summary, as_json, lambda: show(run_details(summary)))


def logs(
    aws: Aws,
    run: OneRun = "",
    follow_it: Annotated[bool, typer.Option("--follow", "-f", help="keep printing until the run ends")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print each line as a JSON object")] = False,
) -> None:
    """Print what the Lambda functions logged for a run; for a failed run, also their last lines in full.

    \b
    Examples:
      snn logs my-first
      snn logs --follow
    """
    chosen = the_run(aws, run)
    reading = RunLogs(aws.clients.logs, aws.outputs, chosen.run_id, chosen.created_at)
    with interruptible(lambda: f"Continue with: {aws.command(f'logs {chosen.run_id} --follow')}"):
        seen = set(_print(reading.new(), as_json))
        while reading.more or (follow_it and not chosen.state.is_terminal):
            if not reading.more:
                time.sleep(LOG_SECONDS)
                chosen = aws.ledger.get(chosen.run_id)
            seen |= set(_print(reading.new(), as_json))
        if follow_it:
            deadline = time.monotonic() + LAST_WORD_SECONDS
            while not reading.heard_last_word and time.time() - chosen.ended_at < 60 and time.monotonic() < deadline:
                time.sleep(LOG_SECONDS)
                seen |= set(_print(reading.new(), as_json))
        if chosen.state is State.FAILED:
            _print((line for line in last_lines(aws.clients.logs, aws.outputs, chosen) if line not in seen), as_json)


def cancel(
    aws: Aws, run: Annotated[str, typer.Argument(help="a run that has not ended")], as_json: Json = False
) -> None:
    """Stop a run and wait until it has stopped. Its last checkpoint is kept: `snn resume` continues from it.

    \b
    Examples:
      snn cancel my-first
    """
    before, began = aws.ledger.get(run), time.monotonic()
    with interruptible(lambda: f"Run {run} was asked to stop; check with: {aws.command(f'status {run}')}"):
        stopped = before if before.state.is_terminal else runs.stop(aws.clients, aws.outputs, run)
    seconds = time.monotonic() - began
    if stopped.state is not State.CANCELLED:
        raise CloudError(f"run {run} is {stopped.state}: there is nothing to cancel")
    word = "was already CANCELLED after" if before.state.is_terminal else f"is CANCELLED, after {duration(seconds)} and"
    told = {**about(aws, stopped), "seconds_to_cancel": 0.0 if before.state.is_terminal else round(seconds, 3)}
    answer(told, as_json, lambda: results.print(f"run {run} {word} {stopped.epoch:,} epochs", markup=False))


def the_run(aws: Aws, run: str) -> Run:
    """Return the run that is meant, without a name the newest, and say which. Raises RunNotFound or CloudError."""
    if run:
        return aws.ledger.get(run)
    newest = next(newest_runs(aws.clients.dynamodb, aws.outputs.table), None)
    if newest is None:
        raise CloudError(f"the stack {aws.stack} has no runs yet; start one: {aws.command('train')}")
    say(f"run {newest.run_id}, the newest", markup=False)
    return newest


def _print(lines: Iterable[Line], as_json: bool) -> list[Line]:
    """Print the lines and return them."""
    printed = list(lines)
    for line in printed:
        if as_json:
            said = {"at": line.at, "function": line.function, "text": line.text}
            typer.echo(json.dumps(said))
        else:
            at = datetime.fromtimestamp(line.at / 1000, UTC).strftime("%H:%M:%S")
            typer.echo(f"{at} {line}")
    return printed
