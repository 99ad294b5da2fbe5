"""The `snn` command."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape

from snn.errors import SnnError, one_line
from snn_cli import (
    backbones,
    batch,
    cleanup,
    datasets,
    deploy,
    drift,
    endpoint,
    export,
    judge,
    look,
    models,
    parameters_page,
    runs,
    tracking,
    train,
)
from snn_cli.aws import on_aws
from snn_cli.console import Exit, interruptible, say
from snn_cli.local import commands
from snn_cloud.aws.errors import RunCancelled, RunFailed
from snn_cloud.aws.passing import AWS_ERRORS, reason

ENDS: dict[type[SnnError], Exit] = {RunFailed: Exit.RUN_FAILED, RunCancelled: Exit.RUN_CANCELLED}


class OneLineErrors(typer.core.TyperGroup):
    """Turns what we, AWS or a file refuse into one red line and an exit code; all else is a bug and is shown."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with interruptible(lambda: "Nothing is half done: the same command starts over, or does the rest."):
                return super().invoke(ctx)
        except SnnError as error:
            text, end = str(error), ENDS.get(type(error), Exit.REFUSED)
        except AWS_ERRORS as error:
            text, end = f"AWS: {reason(error)}", Exit.REFUSED
        except OSError as error:  # a file that cannot be read or written; one that names none is no user's mistake
            file = error.filename2 or error.filename
            if file is None:
                raise
            text, end = one_line(f"{file}: {(error.strerror or str(error)).lower()}"), Exit.REFUSED
        say(f"[bold red]error:[/] {escape(text)}")
        raise SystemExit(end)


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train a neural network inside AWS Lambda, on AWS or on this machine.",
)
app.command()(deploy.deploy)
for command in (
    train.train, runs.status, runs.logs, look.look, judge.evaluate, judge.predict, judge.report, drift.drift,
    runs.cancel, train.resume, batch.batch,
):  # fmt: skip
    app.command()(on_aws(command))
app.command()(export.export)
app.command()(cleanup.cleanup)
app.command("parameters")(parameters_page.command)
app.add_typer(datasets.app, name="dataset")
app.add_typer(backbones.app, name="backbone")
app.add_typer(models.app, name="models")
app.add_typer(endpoint.app, name="endpoint")
app.add_typer(tracking.app, name="mlflow")
app.add_typer(commands.app, name="local")


if __name__ == "__main__":
    app()
