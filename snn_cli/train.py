"""`snn train` and `snn resume`: start a run and follow it."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from snn.errors import InvalidInput, InvalidParameters
from snn.optimizers import OPTIMIZERS
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_cli import datasets
from snn_cli.aws import Aws
from snn_cli.console import Json, answer, interruptible, say
from snn_cli.follow import follow
from snn_cli.making import SOURCE, makes_data, shown
from snn_cli.tables import about, run_details, show
from snn_client.backbones.features import features_by
from snn_client.data.options import Options
from snn_client.data.sources import stem
from snn_client.data.staging import Choose, FeaturesBy, Staged, read_source, stage, withdraw
from snn_client.runs import runs
from snn_client.runs.estimate import estimate_on
from snn_client.runs.progress import estimate_line
from snn_client.runs.recipe import AUTO, parameters_for, summary
from snn_cloud.aws.errors import LaunchRejected
from snn_cloud.aws.places import check_run_id
from snn_cloud.cost.budget import warning
from snn_cloud.cost.workload import Size
from snn_cloud.ledger.parameters import MAX_TEXT, Granularity, Parameters
from snn_cloud.ledger.record import Run
from snn_data.dataset import Header

# The network of itsacat, for as many epochs as the faces need: dags/parameters.json.
DEFAULT_PARAMETERS: dict[str, Any] = {
    "epochs": 500,
    "layers": 4,
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "relu", "layer4": "sigmoid"},
    "neurons": {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 1},
    "learning_rate": 0.0075,
}


HOW = "How to train (overrides the parameters)"


def _name(what: str, names: Iterable[str], more: str = "") -> Any:
    """Return an option that takes one of a registry's names; the parameters themselves refuse any other."""
    known = list(names)
    about = f"{what}: {', '.join(known)}{more}"
    return typer.Option(help=about, metavar="NAME", rich_help_panel=HOW, autocompletion=lambda: known)


WITH_OPTIONS = "; with options: '{\"name\": …}'"
Epochs = Annotated[int | None, typer.Option(help="maximum number of passes over the data", rich_help_panel=HOW)]
Threshold = Annotated[float | None, typer.Option(help="stop at this cost or below", rich_help_panel=HOW)]
GranularityOption = Annotated[
    Granularity | None, typer.Option(help="what one Lambda invocation computes", rich_help_panel=HOW)
]
MaxUsd = Annotated[
    float | None, typer.Option(help="stop the run once it has cost this much, at list prices", rich_help_panel=HOW)
]
MaxSeconds = Annotated[
    float | None, typer.Option(help="stop the run once it has trained for this long", rich_help_panel=HOW)
]
Workers = Annotated[
    int | None, typer.Option(help="number of trainers that share the mini-batches", rich_help_panel=HOW)
]
Detach = Annotated[bool, typer.Option("--detach", help="start the run without following it")]
Promote = Annotated[bool, typer.Option("--promote", help="promote the model when the run completes")]


@makes_data
def train(
    aws: Aws,
    made: dict[str, Any],
    dataset: Annotated[str, typer.Option(help=f"{SOURCE}; without it the faces of `snn dataset faces`")] = "",
    parameters: Annotated[
        str,
        typer.Option(
            help="a parameters.json, itsacat's too: path or s3://bucket/key; default (or auto): a recipe that fits the "
            "data set; for the faces itsacat's network, 20-7-5-1"
        ),
    ] = "",
    epochs: Epochs = None,
    learning_rate: Annotated[float | None, typer.Option(help="step size", rich_help_panel=HOW)] = None,
    batch_size: Annotated[int | None, typer.Option(help="samples in a mini-batch", rich_help_panel=HOW)] = None,
    threshold: Threshold = None,
    strategy: Annotated[str | None, _name("what an epoch does with its mini-batches", STRATEGIES)] = None,
    optimizer: Annotated[str | None, _name("how gradients update the weights", OPTIMIZERS, WITH_OPTIONS)] = None,
    schedule: Annotated[str | None, _name("how the learning rate changes", SCHEDULES, WITH_OPTIONS)] = None,
    dtype: Annotated[str | None, _name("number type of weights and arithmetic", ("float32", "float64"))] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            help="share of the training set to hold out, or: file (its own validation set)", rich_help_panel=HOW
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="stop after this many epochs without a better validation", rich_help_panel=HOW)
    ] = None,
    sub_batches: Annotated[
        int | None, typer.Option(help="for sgd: parts of a mini-batch, which trainers share", rich_help_panel=HOW)
    ] = None,
    granularity: GranularityOption = None,
    neurons_per_invocation: Annotated[
        int | None, typer.Option(help="for granularity neuron", rich_help_panel=HOW)
    ] = None,
    workers: Workers = None,
    seed: Annotated[int | None, typer.Option(help="determines weights and mini-batches", rich_help_panel=HOW)] = None,
    max_usd: MaxUsd = None,
    max_seconds: MaxSeconds = None,
    name: Annotated[str, typer.Option(help="the run's name: a-z, 0-9 and -; default: generated")] = "",
    resume: Annotated[
        str, typer.Option(help="start from the last checkpoint of this failed or cancelled run, with its data")
    ] = "",
    detach: Detach = False,
    promote: Promote = False,
    as_json: Json = False,
) -> None:
    """Train a network in Lambda, and follow it.

    Data and parameters are checked before anything is uploaded: a mistake costs one line and leaves nothing behind.
    Ctrl-C stops the command, not the run.

    \b
    Examples:
      snn train
      snn train --epochs 50 --granularity layer
      snn train --dataset datasets/faces.h5 --parameters parameters.json --name my-first
      snn train --dataset my-photos --classes dog,cat --size 32
      snn train --dataset patients.csv --label ill
      snn train --dataset my-photos --backbone efficientnet-lite0
      snn train --detach --json
    """
    options = Options.of(made)
    overrides = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "threshold": threshold,
        "strategy": strategy,
        "optimizer": _spelled(optimizer, "optimizer"),
        "schedule": _spelled(schedule, "schedule"),
        "dtype": dtype,
        "validation": _share(validation),
        "patience": patience,
        "sub_batches": sub_batches,
        "granularity": granularity,
        "neurons_per_invocation": neurons_per_invocation,
        "workers": workers,
        "seed": seed,
        "max_usd": max_usd,
        "max_seconds": max_seconds,
    }
    older = aws.ledger.get(resume) if resume else None
    if dataset and not options.backbone and older is None and parameters in ("", AUTO):
        options = options.model_copy(update={"backbone": AUTO})
    if older is None and (parameters == AUTO or ((dataset or options.backbone) and not parameters)):
        given: Parameters | Choose = partial(_recipe, aws, overrides)
    else:
        given = _parameters(aws, parameters, older, overrides)
    run_id = _new_name(aws, name, dataset, older)
    if isinstance(given, Parameters) and older and not dataset:
        chosen, key, amount = given, older.dataset, Size.of_run(older)
    else:
        with interruptible(lambda: "Nothing was started. Features of photos that were computed are kept."):
            most = given.max_usd if isinstance(given, Parameters) else max_usd
            staged = _stage(aws, run_id, dataset, given, options, features_by(aws.clients, aws.outputs, most))
        chosen, key, amount = staged.parameters, staged.dataset_key, staged.size
    estimate = estimate_on(aws.outputs, chosen, amount)
    for line in filter(None, (estimate_line(estimate), warning(estimate, chosen))):
        say(line, markup=False)
    launched = _launch(aws, run_id, key, chosen, older, promote)
    _see_through(aws, launched, detach, as_json)


def resume(
    aws: Aws,
    run: Annotated[str, typer.Argument(help="a failed, cancelled or paused run")],
    epochs: Epochs = None,
    threshold: Threshold = None,
    granularity: GranularityOption = None,
    workers: Workers = None,
    max_usd: MaxUsd = None,
    max_seconds: MaxSeconds = None,
    name: Annotated[str, typer.Option(help="the new run's name; default: RUN-t2, -t3 …")] = "",
    detach: Detach = False,
    promote: Promote = False,
    as_json: Json = False,
) -> None:
    """Continue a failed, cancelled or paused run from its last checkpoint, as a new run, and follow it.

    It ends with the weights of a run that never stopped: bit for bit with the
    same granularity, within rounding with another. It has a budget of its own:
    the older run's, unless you give another. If the run has not ended, its
    trainer is restarted, in case AWS lost it; otherwise nothing changes.

    \b
    Examples:
      snn resume my-first
      snn resume my-first --epochs 1000
      snn resume my-first --max-usd 0.50
    """
    found = aws.ledger.get(run)
    if not found.state.is_terminal and not any(
        (epochs, threshold, granularity, workers, max_usd, max_seconds, name, promote)
    ):
        say(f"run {run} is {found.state}: restarting its trainer", markup=False)
        return _see_through(aws, runs.launch_again(aws.clients, aws.outputs, found), detach, as_json)
    train(
        aws,
        resume=run,
        epochs=epochs,
        threshold=threshold,
        granularity=granularity,
        workers=workers,
        max_usd=max_usd,
        max_seconds=max_seconds,
        name=name,
        detach=detach,
        promote=promote,
        as_json=as_json,
    )


def _spelled(given: str | None, field: str) -> Any:
    """Return the value of an option: a name, or the JSON object that it holds. Raises InvalidParameters."""
    if given is None or not given.lstrip().startswith("{"):
        return given
    try:
        return json.loads(given)
    except ValueError as error:
        raise InvalidParameters(f"is not JSON: {error}", field=field, hint='write {"name": "adam", …}') from None


def _share(given: str | None) -> float | str | None:
    """Return the number that a text is, if it is one."""
    try:
        return None if given is None else float(given)
    except ValueError:
        return given


def _parameters(aws: Aws, given: str, older: Run | None, overrides: Mapping[str, Any]) -> Parameters:
    """Return what to train: of a file, else of the run that is resumed, else the default. Raises InvalidParameters."""
    if given:
        chosen = Parameters.load(read_source(aws.clients.s3, given, MAX_TEXT), source=given, **overrides)
    elif older is None:
        chosen = Parameters.load(DEFAULT_PARAMETERS, source="parameters", **overrides)
    elif older.parameters is None:
        raise InvalidInput("has no parameters", source=f"run {older.run_id}", hint="train anew")
    else:
        known = json.loads(older.parameters.to_json())
        known.pop("pause_after", None)  # that is where it is
        chosen = Parameters.load(known, source=f"parameters of run {older.run_id}", **overrides)
    runs.check_cache(chosen, aws.outputs, given)
    return chosen


def _recipe(aws: Aws, overrides: Mapping[str, Any], dataset: Header) -> Parameters:
    """Return the recipe chosen for a data set, and tell of it. Raises InvalidParameters."""
    chosen = parameters_for(dataset, **overrides)
    runs.check_cache(chosen, aws.outputs, "the recipe chosen by itself")
    say(f"recipe   {summary(chosen)}", markup=False)
    return chosen


def _new_name(aws: Aws, name: str, dataset: str, older: Run | None) -> str:
    """Return a name that no run has: the given one, or one that says what is trained on and when."""
    if name:
        if aws.ledger.find(check_run_id(name)):
            hint = f"choose another, or follow it: {aws.command(f'status {name} --follow')}"
            raise InvalidInput(f"there is already a run {name}", field="name", hint=hint)
        return name
    if older:
        return runs.next_run_id(aws.ledger, older)
    of = re.sub(r"[^a-z0-9]+", "-", stem(dataset or "faces.h5").lower()).strip("-")[:32].strip("-")
    return f"{of or 'run'}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _stage(
    aws: Aws, run_id: str, dataset: str, parameters: Parameters | Choose, options: Options, by: FeaturesBy
) -> Staged:
    if dataset:
        with shown() as progress:
            return stage(aws.clients, aws.outputs.bucket, run_id, dataset, parameters, (), options, progress, by)
    with tempfile.TemporaryDirectory() as folder:
        faces = Path(folder, "faces.h5")
        datasets.build_faces(faces)
        return stage(aws.clients, aws.outputs.bucket, run_id, faces, parameters, (), options, features_by=by)


def _launch(aws: Aws, run_id: str, key: str, parameters: Parameters, older: Run | None, promote: bool) -> Run:
    """Start the run; if LaunchLambda refuses it, what was staged for it goes away again."""
    how: Any = {"promote": promote or bool(older and older.promote), "resume_from": older.run_id if older else ""}
    with interruptible(lambda: f"Run {run_id} may have started; check with: {aws.command(f'status {run_id}')}"):
        try:
            return runs.launch(aws.clients, aws.outputs, run_id, key, parameters, **how)
        except LaunchRejected:
            if aws.ledger.find(run_id) is None:  # else someone else's run of this name came first
                withdraw(aws.clients, aws.outputs.bucket, run_id)
            raise


def _see_through(aws: Aws, run: Run, detach: bool, as_json: bool) -> None:
    """Follow the run and show how it ended, or print how to follow it."""
    if detach:
        say(
            f"run {run.run_id} has started; follow it with: {aws.command(f'status {run.run_id} --follow')}",
            markup=False,
        )
    else:
        run = follow(aws, run.run_id)
    summary = about(aws, run)
    answer(summary, as_json, lambda: show(run_details(summary)))
