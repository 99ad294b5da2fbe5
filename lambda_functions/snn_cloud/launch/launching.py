"""LaunchLambda's work: check what was asked for, record the run, store the first weights, start the trainer."""

from __future__ import annotations

import time
from dataclasses import replace
from io import BufferedReader
from typing import Any

from snn.errors import InvalidInput, InvalidParameters
from snn.training import Training
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import ObjectFile, read_object
from snn_cloud.aws.settings import Settings
from snn_cloud.cost.budget import check_budget
from snn_cloud.cost.memory import check_fits
from snn_cloud.cost.workload import Size
from snn_cloud.launch.beginning import begin_with
from snn_cloud.launch.request import SOURCE, LaunchRequest
from snn_cloud.launch.resuming import check_resumable, load_done
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.ledger import Ledger, figures
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, used_before
from snn_data.checkpoint import dump_checkpoint, load_checkpoint
from snn_data.dataset import load_header
from snn_data.fitting import check_recipe

# A run is what was asked for: asked again for the same it is returned, under a taken name another is refused.
ASKED = ("parameters", "dataset", "dataset_version", "promote", "trainer_seconds", "resumed_from")


def launch(request: Any, settings: Settings, clients: Clients) -> Run:
    """Start the run a caller asks for (see LaunchRequest), or, asked again for the same, return it as it stands.

    Raises InvalidInput for anything that cannot be trained; nothing is left then.
    """
    asked = LaunchRequest.load(request)
    parameters = Parameters.load(asked.parameters)
    parameters.check_cache(settings.has_cache)
    check_budget(parameters, settings)
    if 0 < settings.trainer_concurrency < parameters.workers:
        raise InvalidParameters(
            f"{parameters.workers} trainers, but this stack allows only {settings.trainer_concurrency} at once",
            field="workers",
            hint="take fewer, or deploy with a larger reserve_trainer_concurrency",
        )
    ledger = Ledger(clients.dynamodb, settings.table)
    older = _older(asked.resume_from, ledger)
    version = asked.dataset_version
    if older and asked.dataset == older.dataset:
        version = version or older.dataset_version
    wanted = Run(
        asked.run_id,
        parameters=parameters,
        dataset=asked.dataset,
        dataset_version=version,
        promote=asked.promote,
        trainer_seconds=asked.trainer_seconds,
        resumed_from=asked.resume_from,
        started_by=asked.started_by,
        created_at=time.time(),
    )
    run = ledger.find(asked.run_id) or _record(wanted, parameters, older, settings, clients, ledger)
    different = [name for name in ASKED if getattr(run, name) != getattr(wanted, name)]
    if different:
        raise InvalidInput(
            f"{run.run_id} already names a run with different {' and '.join(different)}",
            field="run_id",
            source=SOURCE,
            hint="choose another name",
        )
    if run.state is State.PENDING and run.epoch:
        _copy_costs(run, settings, clients, ledger)
    if not run.state.is_terminal:
        # An earlier attempt may have died before it did, or the event was lost since; else this one's trainer leaves.
        start_trainer(clients, settings.trainer_function, run.run_id)
    return run


def _older(run_id: str, ledger: Ledger) -> Run | None:
    older = ledger.find(run_id) if run_id else None
    if run_id and older is None:
        raise InvalidInput(f"there is no run {run_id!r}", field="resume_from", source=SOURCE)
    return older


def _record(
    run: Run, parameters: Parameters, older: Run | None, settings: Settings, clients: Clients, ledger: Ledger
) -> Run:
    """Store the run's first checkpoint, its first weights or the older run's last, and record the run."""
    if older:
        check_resumable(older, parameters, run.dataset, run.dataset_version)
    # Only what is looked at travels: the photos, which may be more than this function could hold, do not.
    stored_file = ObjectFile(clients, settings.bucket, run.dataset, run.dataset_version)
    # What was used for a data set is charged once, to the run that it was staged for.
    staged_for_it = older is None and run.dataset.startswith(places.run_prefix(run.run_id))
    used = used_before(stored_file.metadata) if staged_for_it else {}
    with BufferedReader(stored_file) as file:
        header = load_header(file, source=run.dataset)
    check_recipe(parameters, header)
    size = Size.of(header, parameters)
    check_fits(parameters, size, settings, run.dataset)
    header.check_stored(run.dataset)
    # The first weights are a checkpoint like any other: a trainer always continues, also at epoch 0.
    if older:
        first = read_object(clients, settings.bucket, places.checkpoint(older.run_id), older.checkpoint_version)
        training = load_done(first, older, parameters)
    else:
        first_params = parameters.network(header.features).first_params(parameters.seed, parameters.dtype)
        if parameters.initial_weights is not None:
            content = read_object(clients, settings.bucket, parameters.initial_weights)
            first_params = begin_with(content, first_params, parameters)
        training = Training(first_params)
        first = dump_checkpoint(training)
    stored = clients.s3.put_object(Bucket=settings.bucket, Key=places.checkpoint(run.run_id), Body=first)
    ledger.create(
        replace(
            run,
            features=size.features,
            samples=size.samples,
            stored_bytes=size.itemsize,
            usage=used,
            checkpoint_version=stored.get("VersionId", ""),
            **figures(training.history, training.epoch, training.best_epoch),
        )
    )
    return ledger.get(run.run_id)


def _copy_costs(run: Run, settings: Settings, clients: Clients, ledger: Ledger) -> None:
    """Give a resumed run the costs it begins with, so that whoever watches sees the whole curve.

    After the run is recorded, since costs are not fenced: of two launches under one name only one records its run.
    """
    checkpoint = read_object(clients, settings.bucket, places.checkpoint(run.run_id), run.checkpoint_version)
    ledger.put_history(run.run_id, load_checkpoint(checkpoint).history)
