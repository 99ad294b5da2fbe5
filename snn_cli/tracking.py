"""`snn mlflow`: runs in MLflow."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from snn_cli.aws import Aws, on_aws
from snn_cli.console import Json, answer, results
from snn_cli.judge import Promoted, completed
from snn_client.portable.mlflow_runs import EXPERIMENT, Logged, check_address, log_run

RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"

app = typer.Typer(no_args_is_help=True, help="Runs in MLflow: tracking server and model registry.")


@app.command("log")
@on_aws
def log_command(
    aws: Aws,
    tracking_uri: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="address of the tracking server", show_default=False)
    ],
    run: Annotated[str, typer.Option("--run-id", "--run", help="a completed run; default: the newest one")] = "",
    experiment: Annotated[str, typer.Option(help="the experiment; it is made if there is none")] = EXPERIMENT,
    register_as: Annotated[str, typer.Option(help="register the model under this name, as a new version")] = "",
    promoted: Promoted = False,
    as_json: Json = False,
) -> None:
    """Log a run that has a report: parameters, curves, figures, files, model. Once: what is there stays as it is.

    Credentials are taken from MLflow's own variables, such as MLFLOW_TRACKING_TOKEN.

    \b
    Examples:
      snn mlflow log --run-id my-first --tracking-uri http://127.0.0.1:5000
      snn mlflow log --tracking-uri http://127.0.0.1:5000 --register-as cats
    """
    check_address(tracking_uri)
    os.environ.setdefault(RETRIES, "3")  # 14 seconds; MLflow's own 7 keep a person waiting for four minutes
    chosen = completed(aws, run, promoted)
    logged = log_run(aws.clients, aws.outputs, chosen.run_id, tracking_uri, experiment, register_as)
    answer(dict(logged), as_json, lambda: results.print(_words(logged), markup=False, highlight=False, soft_wrap=True))


def _words(logged: Logged) -> str:
    was = "is now" if logged["new"] else "was already"
    words = f"run {logged['run_id']} {was} in MLflow, experiment {logged['experiment']}: run {logged['mlflow_run_id']}"
    return words if logged["version"] is None else f"{words}; {logged['model']} version {logged['version']}"
