"""Where a command works: which account, region and endpoint, and which stack there."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import ProfileNotFound
from rich.markup import escape

from snn.errors import InvalidInput
from snn_cli.bundles import with_options
from snn_cli.console import say
from snn_cli.local import emulator
from snn_cli.local.emulator import Emulator
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger

PANEL = "Where"


@dataclass(frozen=True)
class Aws:
    """The stack that a command works with, and the clients to reach it. `where` says so to a person.

    `options` are those that lead here again.
    """

    clients: Clients
    stack: str
    where: str
    options: str = ""

    @cached_property
    def outputs(self) -> StackOutputs:
        """Return the stack's outputs. Raises StackFailed if it is not deployed."""
        return StackOutputs.load(self.clients, self.stack)

    @property
    def ledger(self) -> Ledger:
        """Return the ledger of the stack's runs."""
        return Ledger(self.clients.dynamodb, self.outputs.table)

    def command(self, name: str) -> str:
        """Return how to call another command for the same stack, for a person to type."""
        return f"snn {name} --stack {self.stack}{self.options}"

    def tell(self) -> None:
        """Tell a person what the command works with."""
        say(f"[dim]{escape(f'stack {self.stack} {self.where}')}[/]")


def on_aws(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where it works; it gets them as one `Aws`, its argument `aws`."""

    def connected(**where: Any) -> Aws:
        aws = connect(**where)
        aws.tell()
        return aws

    return with_options(command, "aws", _where, connected)


def before_aws(command: Callable[..., None]) -> Callable[..., None]:
    """As `on_aws`, for a command that has to ask first: its `here` is `connect` with what the options say."""
    return with_options(command, "here", _where, partial(partial, connect))


def _where(
    stack: Annotated[
        str, typer.Option(envvar="SNN_STACK_NAME", help="name of the stack", rich_help_panel=PANEL)
    ] = "snn",
    profile: Annotated[str, typer.Option(help="a profile of the AWS command line", rich_help_panel=PANEL)] = "",
    region: Annotated[str, typer.Option(help="the AWS region", rich_help_panel=PANEL)] = "",
    endpoint_url: Annotated[str, typer.Option(help="an endpoint other than AWS's own", rich_help_panel=PANEL)] = "",
    home: Annotated[
        Path, typer.Option(envvar="SNN_LOCAL_HOME", help="where `snn local` keeps its state", rich_help_panel=PANEL)
    ] = Path(".local"),
) -> None:
    """The options of `on_aws`: their names, defaults and help."""


def connect(
    stack: str = "snn",
    *,
    profile: str = "",
    region: str = "",
    endpoint_url: str = "",
    home: Path = Path(".local"),
    ask_region: Callable[[str], str] | None = None,
) -> Aws:
    """Return the AWS that is meant.

    What an option names is taken; else the endpoint in AWS_ENDPOINT_URL; else the emulator of `home`, here or in a
    folder above, if `snn local` runs it; else AWS, with the profile, region and credentials that the AWS command line
    would take. So nobody who tries things out on the emulator reaches a real account by leaving out an option.
    `ask_region`, if given, is asked for a region that no option names, with the one that would be taken; the emulator
    of `snn local` has only its own.

    Raises InvalidInput for a profile that is not configured or an endpoint that is none, or when no region is known.
    """
    given = {"profile": profile, "region": region, "endpoint-url": endpoint_url}
    if endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = endpoint_url
    endpoint_url = os.environ.get("AWS_ENDPOINT_URL", "")
    if endpoint_url and not re.match(r"https?://[^/\s]", endpoint_url):
        raise InvalidInput(
            f"{endpoint_url} is not an address",
            field="endpoint-url",
            source="AWS",
            hint="such as http://127.0.0.1:4570",
        )
    place, running = (home, None) if profile or region or endpoint_url else _emulator(home)
    if running:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        # A cache costs nothing there, so it is the default; all else must be as the emulator says.
        said = {name: os.environ[name] for name in ("SNN_WITH_CACHE",) if name in os.environ}
        os.environ |= running.environment() | said
        endpoint_url = running.endpoint_url
        given = {"home": str(place) if place != Path(".local") else ""}
    session = _session(profile, region)
    if ask_region and not region and not running:
        usual = session.region_name or ""
        region = ask_region(usual)
        given |= {"region": region if region != usual else ""}
        session = _session(profile, region)
    if not session.region_name:
        raise InvalidInput(
            "no region is set",
            source="AWS",
            hint="use --region, AWS_DEFAULT_REGION, or `snn local up` for the emulator",
        )
    by = f", profile {session.profile_name}" if session.profile_name != "default" else ""
    at = f"at {endpoint_url}" if endpoint_url else f"on AWS, {session.region_name}{by}"
    options = "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items() if value)
    return Aws(Clients.from_environment(), stack, f"on the emulator {at}" if running else at, options)


def _emulator(home: Path) -> tuple[Path, Emulator | None]:
    """Return the emulator of `home`, and that folder; a relative one may also lie in a folder above, as git's does.

    Or someone in a folder of their project would reach AWS by the command that reached the emulator one folder above.
    """
    for folder in (Path(), *Path.cwd().parents):
        if running := emulator.find((folder / home).resolve()):
            return folder / home, running
    return home, None


def check_region(name: str) -> str:
    """Return a region's name. Raises InvalidInput if AWS has none of this name, as far as the installed boto3 knows."""
    session = boto3.Session()
    partitions = session.get_available_partitions()
    if not any(name in session.get_available_regions("cloudformation", each) for each in partitions):
        raise InvalidInput(f"{name!r} is not an AWS region", field="region", hint="such as us-east-1 or eu-central-1")
    return name


def _session(profile: str, region: str) -> Any:
    """Make boto3's default session anew, and return it. Raises InvalidInput."""
    try:
        boto3.setup_default_session(profile_name=profile or None, region_name=region or None)
    except ProfileNotFound:
        name = profile or os.environ.get("AWS_PROFILE", "")
        raise InvalidInput(
            "is not configured", field=f"profile {name}", source="AWS", hint="aws configure list-profiles"
        ) from None
    return boto3.DEFAULT_SESSION
