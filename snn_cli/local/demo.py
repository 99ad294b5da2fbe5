"""`make demo`: from nothing to a trained, judged network, by a real DAG run in a real Airflow on this machine."""

from __future__ import annotations

import json
import shlex
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from rich.console import Console

from snn.errors import InvalidInput, SnnError
from snn_cli import datasets
from snn_cli.local import airflow, emulator
from snn_cli.local.airflow_api import ENDED, AirflowApi
from snn_cli.local.demo_summary import show_results
from snn_client.data.addresses import address_of
from snn_client.data.staging import read_source
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Granularity

DAG = "snn_training"
console = Console()


class DemoFailed(SnnError):
    """The DAG run did not succeed; the message names the task and its reason."""


def command(
    dataset: Annotated[
        str, typer.Option(envvar="SNN_DEMO_DATASET", help="a datasets.h5, path or s3 uri; default: faces")
    ] = "",
    images: Annotated[
        str,
        typer.Option(envvar="SNN_DEMO_IMAGES", help="photos to classify, separated by spaces"),
    ] = "",
    parameters_file: Annotated[str, typer.Option(envvar="SNN_DEMO_PARAMETERS", help="a parameters.json")] = "",
    epochs: Annotated[int | None, typer.Option(envvar="SNN_DEMO_EPOCHS")] = None,
    granularity: Annotated[Granularity | None, typer.Option(envvar="SNN_DEMO_GRANULARITY")] = None,
    strategy: Annotated[str | None, typer.Option(envvar="SNN_DEMO_STRATEGY")] = None,
    batch_size: Annotated[int | None, typer.Option(envvar="SNN_DEMO_BATCH_SIZE")] = None,
    learning_rate: Annotated[float | None, typer.Option(envvar="SNN_DEMO_LEARNING_RATE")] = None,
    threshold: Annotated[float | None, typer.Option(envvar="SNN_DEMO_THRESHOLD")] = None,
    seed: Annotated[int | None, typer.Option(envvar="SNN_DEMO_SEED")] = None,
    backbone: Annotated[
        str, typer.Option(envvar="SNN_DEMO_BACKBONE", help="a pretrained network, whose features are learned")
    ] = "",
    home: Annotated[Path, typer.Option(envvar="SNN_LOCAL_HOME")] = Path(".local"),
    dags: Annotated[Path, typer.Option(help="folder of DAGs for Airflow")] = Path("dags"),
    install_seconds: Annotated[float, typer.Option(envvar="SNN_DEMO_INSTALL_SECONDS", hidden=True)] = 0.0,
) -> None:
    """Train and judge a network by the DAG snn_training, and show the results. Leaves the servers up."""
    home = home.resolve()
    defaults = form_defaults(home)
    # The faces by the network that the pages tell of; other data, and features, by a recipe that fits them.
    recipe = parameters_file or ("" if dataset or backbone else str(dags / "parameters.json"))
    chosen = {
        "dataset": _absolute(dataset) if dataset else defaults["SNN_DATASET"],
        "images": [_absolute(image) for image in _images(images, dataset, home)],
        "parameters_file": _absolute(recipe) if recipe else None,
        "epochs": epochs,
        "granularity": granularity,
        "strategy": strategy,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "threshold": threshold,
        "seed": seed,
        "backbone": backbone or None,
    }
    seconds = {"install": install_seconds}

    began = time.monotonic()
    with console.status("installing the AWS emulator and Valkey …"):
        emulator.install(home / "emulator-venv")
    seconds["install"] += time.monotonic() - began
    began = time.monotonic()
    with console.status("starting the AWS emulator and Valkey …"):
        running = emulator.up(home)
    _done("the AWS emulator and Valkey run", began)
    airflow_began = time.monotonic()
    with console.status("starting Airflow …"):
        web = airflow.up(home, dags, running, variables=defaults)
        api = AirflowApi(web)
        api.wait_for_dag(DAG)
    _done("Airflow runs", airflow_began)
    seconds["start"] = time.monotonic() - began

    run_began = time.monotonic()
    run_id = api.trigger(DAG, {name: value for name, value in chosen.items() if value is not None})
    console.print(f"  DAG run {run_id}: {web.url}/dags/{DAG}/runs/{run_id}", markup=False, soft_wrap=True)
    tasks = follow(api, run_id, _clients(running))
    if api.run_state(DAG, run_id) != "success":
        raise DemoFailed(api.failure(DAG, run_id))
    seconds |= {"deploy": _lasted(tasks["deploy"]), "train": _lasted(tasks["train"])}
    seconds["rest"] = time.monotonic() - run_began - seconds["deploy"] - seconds["train"]

    report = api.xcom(DAG, run_id, "report")
    folder = home / "demo"
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    page = read_source(_clients(running).s3, report["artifacts"]["report_html"])
    (folder / "report.html").write_bytes(page)
    show_results(console, report, seconds)
    console.print(f"report   {folder / 'report.html'}  (and report.json beside it)", markup=False, soft_wrap=True)
    console.print(
        f"Airflow  {web.url}  user {airflow.USER}, password in {web.password_file}", markup=False, soft_wrap=True
    )
    console.print("stop it all with: make down")


def form_defaults(home: Path) -> dict[str, str]:
    """Return variables that fill in the DAG's form; makes the default data set if it is not there yet."""
    faces = home.resolve() / "datasets" / "faces.h5"
    if not faces.exists():
        faces.parent.mkdir(parents=True, exist_ok=True)
        datasets.build_faces(faces)
    return {"SNN_DATASET": str(faces)}


def follow(api: AirflowApi, run_id: str, clients: Clients) -> dict[str, dict[str, Any]]:
    """Show the tasks of a run as they end, and the epochs of its training every few seconds, until the run ends.

    Returns its task instances by task id.
    """
    shown: dict[str, str | None] = {}
    said, said_at = "", 0.0
    with console.status("waiting for the first task …") as line:
        while True:
            state = api.run_state(DAG, run_id)
            tasks = {task["task_id"]: task for task in api.task_instances(DAG, run_id)}
            for name, task in tasks.items():
                if task["state"] != shown.get(name):
                    shown[name] = task["state"]
                    if task["state"] in ("success", "failed", "up_for_retry"):
                        colour, sign = ("green", "✓") if task["state"] == "success" else ("red", "✗")
                        console.print(f"  [{colour}]{sign}[/] {name}  [dim]{_lasted(task):.1f} s[/]")
            if state in ENDED:
                return tasks
            active = [name for name, task in tasks.items() if task["state"] in ("running", "deferred", "queued")]
            progress = _progress(api, run_id, clients) if "train" in active else ""
            line.update(f"{', '.join(active) or 'between tasks'} {progress}")
            if progress and progress != said and time.monotonic() - said_at > 3:
                console.print(f"    [dim]{progress}[/]")
                said, said_at = progress, time.monotonic()
            time.sleep(1.0)


def _progress(api: AirflowApi, run_id: str, clients: Clients) -> str:
    """Return where the training is, from the ledger; nothing while there is no run in it."""
    training, stack = api.xcom(DAG, run_id, "train", "run_id"), api.xcom(DAG, run_id, "deploy")
    run = Ledger(clients.dynamodb, stack["table"]).find(training) if training and stack else None
    if run is None or run.cost is None or run.parameters is None:
        return ""
    return f"epoch {run.epoch} of {run.parameters.epochs}, cost {run.cost:.4f}"


def _clients(running: emulator.Emulator) -> Clients:
    variables = running.environment()
    session = boto3.Session(
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    )
    make: Any = session.client
    return Clients(lambda service: make(service, endpoint_url=running.endpoint_url))


def _images(given: str, dataset: str, home: Path) -> list[str]:
    """Return the photos to classify: the given ones, or samples if nothing is given at all."""
    if given:
        try:
            return shlex.split(given)
        except ValueError as error:
            raise InvalidInput(str(error), field="images", source=given) from error
    return [] if dataset else [str(path) for path in datasets.sample_images(home / "datasets" / "samples")]


def _absolute(place: str) -> str:
    """Return a path as the Airflow workers, which run elsewhere, can find it; s3 uris stay as they are."""
    return place if address_of(place) else str(Path(place).expanduser().resolve())


def _lasted(task: dict[str, Any]) -> float:
    """Return how long a task took, in seconds, from its first start to its end, waiting while deferred included."""
    if not task["start_date"] or not task["end_date"]:
        return 0.0
    return (datetime.fromisoformat(task["end_date"]) - datetime.fromisoformat(task["start_date"])).total_seconds()


def _done(what: str, began: float) -> None:
    console.print(f"  [green]✓[/] {what}  [dim]{time.monotonic() - began:.1f} s[/]")
