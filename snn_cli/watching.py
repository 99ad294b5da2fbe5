"""What a person sees while CloudFormation works."""

from __future__ import annotations

from rich.markup import escape

from snn.errors import one_line
from snn_cli.console import progress, say
from snn_client.stack.events import StackEvent
from snn_client.stack.status import wait_for_stack
from snn_cloud.aws.clients import Clients


def watch(clients: Clients, stack: str) -> None:
    """Wait for CloudFormation, and tell of every resource: when it is done, or at every step if nobody is watching."""
    under_way: dict[str, None] = {}
    with progress.status("CloudFormation …") as status:

        def tell(event: StackEvent) -> None:
            if event.ended:
                under_way.pop(event.resource, None)
            else:
                under_way[event.resource] = None
            if event.ended or not progress.is_terminal:
                say(line(event))
            status.update(escape(f"{len(under_way)} under way: {', '.join([*under_way][-3:])}"))

        wait_for_stack(clients, stack, lambda _: None, on_event=tell)


def line(event: StackEvent) -> str:
    """Return an event as a line of markup."""
    colour = "red" if event.failed or "ROLLBACK" in event.status else "green" if event.ended else "dim"
    kind = event.kind.removeprefix("AWS::")
    reason = f"  [{colour}]{escape(one_line(event.reason))}[/]" if event.reason else ""
    return f"[{colour}]{event.status:<18}[/]  {escape(event.resource):<28}  [dim]{kind}[/]{reason}"
