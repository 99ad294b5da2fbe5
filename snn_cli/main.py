"""The `snn` command."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from snn.errors import SnnError
from snn_cli import datasets
from snn_cli.local import commands


class OneLineErrors(typer.core.TyperGroup):
    """Turns what the project raises on purpose into one red line and exit code 1; all else is a bug and is shown."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except SnnError as error:
            Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
            raise SystemExit(1) from None


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train a neural network inside AWS Lambda, on AWS or on this machine.",
)
app.add_typer(datasets.app, name="dataset")
app.add_typer(commands.app, name="local")


if __name__ == "__main__":
    app()
