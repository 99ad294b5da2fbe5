"""`snn local`: start, ask and stop the machine without AWS, and run the demo on it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snn_cli.local import airflow, demo, emulator, processes

app = typer.Typer(no_args_is_help=True, help="Without AWS: emulator, Valkey and Airflow on this computer.")

Home = Annotated[
    Path, typer.Option("--home", envvar="SNN_LOCAL_HOME", help="where servers keep their state, logs and packages")
]
DEFAULT_HOME = Path(".local")
Dags = Annotated[Path, typer.Option(help="folder of DAGs for Airflow")]
DEFAULT_DAGS = Path("dags")
console = Console()


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    with_airflow: Annotated[bool, typer.Option("--airflow", help="start Airflow too")] = False,
    dags: Dags = DEFAULT_DAGS,
    port: Annotated[
        int, typer.Option(help="port of the AWS emulator; another is taken if it is in use")
    ] = emulator.DEFAULT_PORT,
    redis_port: Annotated[int, typer.Option(help="port of Valkey; likewise")] = emulator.DEFAULT_REDIS_PORT,
    airflow_port: Annotated[int, typer.Option(help="port of Airflow; likewise")] = airflow.DEFAULT_PORT,
) -> None:
    """Start the AWS emulator and Valkey, and with --airflow a real Airflow; what is already running is left alone."""
    with console.status("starting the AWS emulator and Valkey …"):
        running = emulator.up(home, port=port, redis_port=redis_port)
    if with_airflow:
        with console.status("starting Airflow …"):
            airflow.up(home, dags, running, port=airflow_port, variables=demo.form_defaults(home))
    _show(home)


@app.command()
def down(home: Home = DEFAULT_HOME) -> None:
    """Stop everything that `snn local` started here. The emulator's contents are lost; Airflow's history is kept."""
    airflow.down(home)
    emulator.down(home)
    console.print("everything is stopped")


@app.command()
def status(home: Home = DEFAULT_HOME) -> None:
    """Show what is running, and where. The exit code is 1 unless the emulator and Valkey answer."""
    if not _show(home):
        raise typer.Exit(1)


@app.command()
def env(home: Home = DEFAULT_HOME) -> None:
    """Print shell commands that point boto3, the AWS CLI and `snn` at the emulator: eval "$(snn local env)"."""
    running = emulator.find(home.resolve())
    if running is None:
        raise processes.LocalError("the emulator is not running; start it with: snn local up")
    typer.echo("unset AWS_PROFILE AWS_SESSION_TOKEN")
    typer.echo(_exports(running.environment()))


app.command("demo")(demo.command)


def _exports(variables: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _show(home: Path) -> bool:
    """Print a table of all servers; tell whether those of the emulator answer."""
    parts = emulator.status(home)
    table = Table("server", "answers", "log", box=None, header_style="bold")
    for name, answer in (parts | airflow.status(home)).items():
        colour = {"stopped": "dim", "not answering": "red"}.get(answer, "green")
        log = processes.log_path(home, name)
        table.add_row(name, f"[{colour}]{answer}[/]", escape(str(log)) if log.exists() else "")
    console.print(table)
    running = airflow.find(home)
    if running is not None:
        text = f"Airflow: log in at {running.url} as {airflow.USER}, the password is in {running.password_file}"
        console.print(text, markup=False, soft_wrap=True)
    return all(answer not in ("stopped", "not answering") for answer in parts.values())
