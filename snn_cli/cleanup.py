"""`snn cleanup`: delete a stack and everything in it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from snn.errors import InvalidInput, SnnError
from snn_cli.aws import Aws, on_aws
from snn_cli.console import Exit, Json, answer, ask, can_ask, interruptible, progress, results, say, table
from snn_cli.watching import watch
from snn_client.stack.cleanup import Plan, Report, finish_cleanup, next_deletion, plan, start_cleanup
from snn_cloud.aws.passing import AWS_ERRORS


@on_aws
def cleanup(
    aws: Aws,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask for the stack's name")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only list what would be deleted")] = False,
    cancel_runs: Annotated[bool, typer.Option("--cancel-runs", help="cancel runs that have not ended")] = False,
    as_json: Json = False,
) -> None:
    """Delete the stack and everything in it: data, models, reports, ledger, logs, artifacts.

    It first lists what there is, then asks for the stack's name. Only what
    belongs to the stack is touched. It refuses while runs have not ended.
    After an interruption, the same command finishes the job.

    \b
    snn cleanup --dry-run                list what there is, change nothing
    snn cleanup                          list it, ask, delete it
    snn cleanup --stack two --yes        without asking
    snn cleanup --yes --cancel-runs      even if it is in use
    """
    begun = False

    def what_is_left() -> str:
        if not begun:
            return "Nothing was deleted."
        try:
            left = f"{len(plan(aws.clients, aws.stack).items)} resources"
        except (SnnError, *AWS_ERRORS):
            left = "some resources"
        return f"{left} of the stack {aws.stack} are left; continue with: {aws.command('cleanup')}"

    with interruptible(what_is_left):
        with progress.status("looking for what there is …"):
            wanted = plan(aws.clients, aws.stack)
        if dry_run:
            answer(wanted.to_dict(), as_json, lambda: _list(results, wanted))
            return
        _list(progress, wanted)
        if wanted.runs and not cancel_runs:
            raise InvalidInput(
                f"not ended: {', '.join(wanted.runs)}", field="runs", source=f"stack {aws.stack}",
                hint="wait for them, or use --cancel-runs",
            )  # fmt: skip
        if wanted.items and not yes:
            _confirm(aws.stack)
        begun = True
        deletion = start_cleanup(aws.clients, wanted, cancel_runs=cancel_runs, on_progress=_say)
        while deletion:
            watch(aws.clients, deletion)
            deletion = next_deletion(aws.clients, wanted, deletion, _say)
        report = finish_cleanup(aws.clients, wanted, _say)
        answer(report.to_dict(), as_json, lambda: _show(report))


def _say(text: str) -> None:
    say(text, markup=False)


def _confirm(stack: str) -> None:
    """Return if a person enters the stack's name. Raises InvalidInput if nobody can be asked, Exit if they do not."""
    if not can_ask():
        raise InvalidInput("cannot ask without a terminal", source="cleanup", hint="use --yes")
    if ask("Enter the stack's name to delete all of this", "keep it", str) != stack:
        say("Not the stack's name: nothing was deleted.")
        raise typer.Exit(Exit.REFUSED)


def _list(console: Console, wanted: Plan) -> None:
    if not wanted.items:
        console.print(f"found nothing of a stack {wanted.names.stack}", highlight=False)
        return
    shown = table("kind", "name", "holds")
    for item in wanted.items:
        shown.add_row(item.kind, escape(item.name), item.holds)
    console.print(shown)
    counts = f"{len(wanted.items)} resources of the stack {wanted.names.stack}, stacks in the order of deletion"
    console.print(counts, highlight=False)
    if wanted.runs:
        console.print(f"[yellow]runs that have not ended: {', '.join(wanted.runs)}[/]", highlight=False, soft_wrap=True)


def _show(report: Report) -> None:
    results.print(f"deleted {len(report.deleted)} resources of the stack {report.stack_name}", highlight=False)
    for stays in report.stays:
        results.print(escape(stays), highlight=False, soft_wrap=True)
