"""`snn look`: the page that shows runs and looks into their networks, on this machine."""

from __future__ import annotations

import atexit
import html
import secrets
import shutil
import socket
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import boto3
import typer
from rich.markup import escape

from snn.errors import InvalidInput
from snn_cli.aws import Aws
from snn_cli.console import say

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8642


def look(
    aws: Aws,
    run: Annotated[str, typer.Argument(help="the run to open; default: the list", show_default=False)] = "",
    port: Annotated[int, typer.Option(help="port on 127.0.0.1; 0: any that is free")] = DEFAULT_PORT,
    open_browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the page in a browser")] = True,
) -> None:
    """Open the page that shows the stack's runs, live, and looks into their networks. Ends with Ctrl-C.

    It listens on this machine only, and its address has a secret: nobody else here can open it.

    \b
    Examples:
      snn look
      snn look my-first
      snn look --port 0 --no-browser
    """
    import uvicorn

    from snn_client.look.app import make_app
    from snn_client.look.stacks import Keys, Stack
    from snn_client.look.viewers import OwnerBySecret

    def keys() -> Keys:
        found = (boto3.DEFAULT_SESSION or boto3.Session()).get_credentials()
        if found is None:
            raise InvalidInput("no credentials are set", source="AWS", hint="as for the AWS command line")
        now = found.get_frozen_credentials()
        return Keys(str(now.access_key), str(now.secret_key), now.token)

    if run:
        aws.ledger.get(run)
    stack = Stack(aws.outputs.stack_name, aws.clients, keys)
    listening = _listen(port)
    port = listening.getsockname()[1]
    secret = secrets.token_urlsafe(24)
    app = make_app([stack], OwnerBySecret(secret, port))
    app.state.page.workers.warm()  # while the browser starts
    address = f"http://{LOOPBACK}:{port}/?token={secret}" + (f"#/run/{stack.name}/{run}" if run else "")
    say(f"the page is at [bold]{escape(address)}[/]; Ctrl-C ends it")
    if open_browser:
        _open(address)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2))
    server.run(sockets=[listening])


def _open(address: str) -> None:
    """Open a browser by a file that only this user may read: who lists processes sees its name, not the secret."""
    folder = Path(tempfile.mkdtemp(prefix="snn-look-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "open.html"
    file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(address)}">')
    webbrowser.open(file.as_uri())


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()  # now, for the browser is quicker than the server
    except OSError as error:
        listening.close()
        hint = "choose another, or 0 for any that is free"
        raise InvalidInput(f"{port} cannot be used: {error.strerror}", field="port", hint=hint) from None
    return listening
