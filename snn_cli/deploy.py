"""`snn deploy`: create the stack, or bring it up to date."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from snn.errors import InvalidInput
from snn_cli.aws import Aws, before_aws, check_region
from snn_cli.console import Exit, Json, answer, ask, can_ask, interruptible, progress, results, say, table, yes_or_no
from snn_cli.watching import watch
from snn_client.stack.change_set import ChangeSet, apply, discard, propose
from snn_client.stack.cleanup import forget_artifacts
from snn_client.stack.cleanup_plan import Names
from snn_client.stack.deploy import finish_deploy
from snn_client.stack.options import ARCHITECTURES, RUNTIMES, StackOptions, check_stack_name
from snn_client.stack.outputs import StackOutputs
from snn_client.stack.ownership import live_stack
from snn_client.stack.request import check_bucket
from snn_client.stack.status import StackStatus, describe_stack, stack_status

NOTHING = "Nothing was changed."
COLOURS = {"Add": "green", "Modify": "yellow", "Remove": "red"}
REPLACED = {"True": "[red]yes[/]", "Conditional": "perhaps"}
STACK = "What to build"
ENDPOINT = "Who may ask the champion"


@before_aws
def deploy(
    here: Callable[..., Aws],
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="ask nothing: defaults, and no confirmation")] = False,
    bucket: Annotated[
        str | None, typer.Option(help="the data bucket's name; cannot be changed later", rich_help_panel=STACK)
    ] = None,
    email: Annotated[
        str | None, typer.Option(help='receives the training messages; "" for nobody', rich_help_panel=STACK)
    ] = None,
    with_cache: Annotated[
        bool | None,
        typer.Option(
            "--with-cache/--no-cache",
            help="a cache, for granularity neuron and layer; billed by the hour",
            rich_help_panel=STACK,
        ),
    ] = None,
    cache_node_type: Annotated[
        str | None, typer.Option(help="its size, such as cache.t4g.micro", rich_help_panel=STACK)
    ] = None,
    neuron_concurrency: Annotated[
        int | None, typer.Option(help="simultaneous neuron invocations of one run", rich_help_panel=STACK)
    ] = None,
    reserve_neuron_concurrency: Annotated[
        int | None, typer.Option(help="reserved for all runs together; 0 for none", rich_help_panel=STACK)
    ] = None,
    reserve_trainer_concurrency: Annotated[
        int | None,
        typer.Option(help="trainers reserved for all runs together; others wait; 0 for none", rich_help_panel=STACK),
    ] = None,
    runtime: Annotated[str | None, typer.Option(help=f"{', '.join(RUNTIMES)}", rich_help_panel=STACK)] = None,
    architecture: Annotated[str | None, typer.Option(help=" or ".join(ARCHITECTURES), rich_help_panel=STACK)] = None,
    with_features: Annotated[
        bool | None,
        typer.Option(
            "--with-features/--no-features",
            help="FeatureLambda, which backbones need; costs nothing while idle",
            rich_help_panel=STACK,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="how the champion is asked: iam, key, jwt or none; costs nothing while idle", rich_help_panel=ENDPOINT
        ),
    ] = None,
    endpoint_key_sha256: Annotated[
        str | None, typer.Option(help="hash of the key; without it, one is made and shown", rich_help_panel=ENDPOINT)
    ] = None,
    endpoint_jwt_issuer: Annotated[
        str | None, typer.Option(help="who issues the tokens, such as https://example.com", rich_help_panel=ENDPOINT)
    ] = None,
    endpoint_jwt_audience: Annotated[
        str | None, typer.Option(help="for whom the tokens are", rich_help_panel=ENDPOINT)
    ] = None,
    endpoint_concurrency: Annotated[
        int | None, typer.Option(help="reserved for the endpoint, its ceiling; 0 for none", rich_help_panel=ENDPOINT)
    ] = None,
    endpoint_daily_usd: Annotated[
        float | None,
        typer.Option(help="what it may cost a day; then it answers 429; 0: no limit", rich_help_panel=ENDPOINT),
    ] = None,
    require_approval: Annotated[
        bool | None,
        typer.Option(
            "--require-approval/--no-approval",
            help="a person approves a version before it becomes champion",
            rich_help_panel=ENDPOINT,
        ),
    ] = None,
    with_events: Annotated[
        bool | None,
        typer.Option("--with-events/--no-events", help="events on EventBridge's default bus", rich_help_panel=STACK),
    ] = None,
    with_notebook: Annotated[
        bool | None,
        typer.Option(
            "--with-notebook/--no-notebook",
            help="a SageMaker notebook instance; billed by the hour",
            rich_help_panel=STACK,
        ),
    ] = None,
    notebook_instance_type: Annotated[
        str | None, typer.Option(help="its size, such as ml.t3.medium", rich_help_panel=STACK)
    ] = None,
    layer_arn: Annotated[
        str | None, typer.Option(help="an existing dependency layer, instead of building one", rich_help_panel=STACK)
    ] = None,
    log_retention_days: Annotated[
        int | None, typer.Option(help="how long logs are kept", rich_help_panel=STACK)
    ] = None,
    permissions_boundary: Annotated[
        str | None, typer.Option(help="ARN of a policy that limits the stack's roles", rich_help_panel=STACK)
    ] = None,
    tags: Annotated[str | None, typer.Option(help="on all resources: team=ml,env=dev", rich_help_panel=STACK)] = None,
    as_json: Json = False,
) -> None:
    """Create the stack, or bring it up to date.

    Asks for what it needs to know, shows what would change, and asks again
    before changing it. Options that are not given come from the environment
    (SNN_WITH_CACHE=true …), then from the existing stack, then from the
    defaults.

    \b
    snn deploy                                       ask for everything
    snn deploy --yes                                 ask nothing
    snn deploy --stack two --region eu-west-1 --with-cache --email me@example.org
    snn deploy --yes --json > stack.json             what the stack consists of, for scripts
    """
    left = NOTHING
    with interruptible(lambda: left):
        if not yes and not can_ask():
            raise InvalidInput("cannot ask without a terminal", source="deploy", hint="use --yes")
        given: dict[str, Any] = {
            "bucket": bucket, "email": email, "with_cache": with_cache, "cache_node_type": cache_node_type,
            "neuron_concurrency": neuron_concurrency, "reserve_neuron_concurrency": reserve_neuron_concurrency,
            "reserve_trainer_concurrency": reserve_trainer_concurrency,
            "runtime": runtime, "architecture": architecture, "layer_arn": layer_arn,
            "log_retention_days": log_retention_days, "tags": tags, "with_features": with_features,
            "endpoint": endpoint, "endpoint_key_sha256": endpoint_key_sha256,
            "endpoint_jwt_issuer": endpoint_jwt_issuer, "endpoint_jwt_audience": endpoint_jwt_audience,
            "endpoint_concurrency": endpoint_concurrency, "endpoint_daily_usd": endpoint_daily_usd,
            "require_approval": require_approval, "with_events": with_events, "with_notebook": with_notebook,
            "notebook_instance_type": notebook_instance_type,
            "permissions_boundary": permissions_boundary,
        }  # fmt: skip
        key = _new_key(given)
        StackOptions.from_environment(**given)  # a mistake in an option is reported before anything is asked
        aws = here(ask_region=None if yes else lambda usual: ask("AWS region", usual or "us-east-1", check_region))
        source = context.get_parameter_source("stack")
        if not yes and source is not None and source.name.startswith("DEFAULT"):
            aws = replace(aws, stack=ask("Stack name", aws.stack, check_stack_name))
        aws.tell()
        options = StackOptions.from_environment(stack_name=aws.stack, **given)
        goes_on = (
            f"CloudFormation continues: {aws.command('deploy')} follows it; once it has finished, "
            f"{aws.command('cleanup')} deletes the stack."
        )
        found = live_stack(aws.clients, aws.stack)
        if found and not StackStatus(found["StackStatus"]).done:
            left = goes_on
            say(f"the stack {aws.stack} is {found['StackStatus']}: waiting for that to finish first")
            watch(aws.clients, found["StackId"])
            left = NOTHING
        if not yes:
            options = _ask(aws, options)

        left = (
            f"Nothing is deployed yet; what was uploaded is kept. {aws.command('deploy')} continues from there, "
            f"{aws.command('cleanup')} deletes it."
        )
        with progress.status("preparing …"):
            changes = propose(aws.clients, options, lambda text: say(text, markup=False))
        operation = ""
        if changes is not None:
            agreed = False
            try:
                _show_changes(changes)
                agreed = yes or ask("Make these changes? yes or no", "no", yes_or_no)
            finally:
                if not agreed:
                    _leave(aws, changes)
                    left = NOTHING
            if not agreed:
                say(NOTHING)
                raise typer.Exit(Exit.REFUSED)
            left = goes_on
            operation = apply(aws.clients, changes)
            watch(aws.clients, operation)
        outputs = finish_deploy(aws.clients, aws.stack, operation)
        if key:
            say(f"The endpoint's key, which is shown this once (send it as X-Api-Key): {key}", markup=False)
        answer(outputs.to_dict(), as_json, lambda: _show(outputs))


def _new_key(given: dict[str, Any]) -> str:
    """Return a new key, and give its hash, for an endpoint that is to have one but was given none; else nothing."""
    hashed = given["endpoint_key_sha256"] or os.environ.get("SNN_ENDPOINT_KEY_SHA256")
    if (given["endpoint"] or os.environ.get("SNN_ENDPOINT")) != "key" or hashed:
        return ""
    key = secrets.token_urlsafe(32)
    given["endpoint_key_sha256"] = hashlib.sha256(key.encode()).hexdigest()
    return key


def _ask(aws: Aws, options: StackOptions) -> StackOptions:
    """Ask for the bucket of a new stack and for the e-mail address, unless they were given."""
    live: Any = describe_stack(aws.clients, aws.stack) or {}
    if "bucket" not in options.given and not live.get("Outputs"):
        usual = Names.of(aws.clients, aws.stack).bucket

        def check(name: str) -> str:
            if name != usual:
                check_bucket(aws.clients, replace(options, bucket=name).bucket, None)
            return name

        bucket = ask("Data bucket", usual, check)
        if bucket != usual:
            options = replace(options, bucket=bucket, given=options.given | {"bucket"})
    if "email" not in options.given:
        parameters = {item["ParameterKey"]: item.get("ParameterValue", "") for item in live.get("Parameters", [])}

        def address(text: str) -> str:
            return replace(options, email="" if text == "none" else text).email

        email = ask("E-mail for training messages, or none", parameters.get("Email") or "none", address)
        options = replace(options, email=email, given=options.given | {"email"})
    return options


def _leave(aws: Aws, changes: ChangeSet) -> None:
    """Clean up after changes that are not made."""
    with progress.status("deleting the change set …"):
        discard(aws.clients, changes)
        if stack_status(aws.clients, aws.stack).status == "MISSING":
            forget_artifacts(aws.clients, aws.stack)


def _show_changes(changes: ChangeSet) -> None:
    shown = table("action", "resource", "type", "replaced")
    for change in changes.changes:
        action = f"[{COLOURS.get(change.action, 'default')}]{change.action}[/]"
        kind = change.kind.removeprefix("AWS::")
        shown.add_row(action, escape(change.resource), kind, REPLACED.get(change.replacement, ""))
    progress.print(shown)
    if not changes.whole:
        say("CloudFormation cannot yet tell what changes inside nested stacks.")


def _show(outputs: StackOutputs) -> None:
    told = {"output": "value", **outputs.to_dict()}
    width = max(map(len, told))
    for name, value in told.items():  # lines that are not folded: an address is copied whole
        results.print(f"{name:<{width}}  {value}".rstrip(), markup=False, highlight=False, soft_wrap=True)
