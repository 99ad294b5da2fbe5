"""LaunchLambda's work: check what was asked for, record the run, store the first weights, start the trainer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from io import BufferedReader
from typing import Any
from urllib.parse import unquote_plus

from snn.errors import InvalidInput, InvalidParameters, SnnError, one_line
from snn.training import Training
from snn_cloud import places
from snn_cloud.clients import Clients
from snn_cloud.launch_request import SOURCE, LaunchRequest
from snn_cloud.ledger import Ledger
from snn_cloud.memory import check_fits
from snn_cloud.messages import Messages
from snn_cloud.objects import ObjectFile, read_object
from snn_cloud.parameters import MAX_TEXT, Parameters
from snn_cloud.record import Run, State
from snn_cloud.resuming import check_resumable, load_done
from snn_cloud.settings import Settings
from snn_cloud.workload import Size
from snn_data.checkpoint import dump_checkpoint, load_checkpoint
from snn_data.dataset import load_header
from snn_data.fitting import check_recipe

__all__ = ["launch", "launch_upload", "read_object", "start_trainer", "trainer_gone"]

# Someone who uploads a folder sends its files in any order.
PARAMETERS_GRACE_SECONDS = 10.0
# A run is what was asked for: asked again for the same it is returned, under a taken name another is refused.
ASKED = ("parameters", "dataset", "dataset_version", "promote", "trainer_seconds", "resumed_from")


def launch(request: Any, settings: Settings, clients: Clients) -> Run:
    """Start the run a caller asks for (see LaunchRequest), or, asked again for the same, return it as it stands.

    Raises InvalidInput for anything that cannot be trained; nothing is left then.
    """
    asked = LaunchRequest.load(request)
    parameters = Parameters.load(asked.parameters)
    if (field := parameters.needs_cache) and not settings.has_cache:
        raise InvalidParameters(
            f"{getattr(parameters, field)} needs a cache, but this stack has none",
            field=field,
            mend="deploy the stack with a cache, or use granularity batch with one worker",
        )
    if 0 < settings.trainer_concurrency < parameters.workers:
        raise InvalidParameters(
            f"{parameters.workers} trainers where this stack allows {settings.trainer_concurrency} at once",
            field="workers",
            mend="take fewer, or deploy with a larger reserve_trainer_concurrency",
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
        created_at=time.time(),
    )
    run = ledger.find(asked.run_id) or _record(wanted, parameters, older, settings, clients, ledger)
    different = [name for name in ASKED if getattr(run, name) != getattr(wanted, name)]
    if different:
        raise InvalidInput(
            f"{run.run_id} is the name of a run with other {' and '.join(different)}",
            field="run_id",
            source=SOURCE,
            mend="choose another name",
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
    with BufferedReader(ObjectFile(clients, settings.bucket, run.dataset, run.dataset_version)) as file:
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
        training = Training(parameters.network(header.features).first_params(parameters.seed, parameters.dtype))
        first = dump_checkpoint(training)
    stored = clients.s3.put_object(Bucket=settings.bucket, Key=places.checkpoint(run.run_id), Body=first)
    ledger.create(
        replace(
            run,
            features=size.features,
            samples=size.samples,
            stored_bytes=size.itemsize,
            checkpoint_version=stored.get("VersionId", ""),
            **_figures(training),
        )
    )
    return ledger.get(run.run_id)


def _figures(training: Training) -> dict[str, Any]:
    """Return what a run's item says of a training."""
    history = training.history
    found: dict[str, Any] = {"epoch": training.epoch}
    if history.costs:
        found["cost"] = history.costs[-1]
    if history.validation_costs:
        found |= {"validation_cost": history.validation_costs[-1], "validation_metric": history.validation_metrics[-1]}
        found["best_epoch"] = training.best_epoch
    return found


def _copy_costs(run: Run, settings: Settings, clients: Clients, ledger: Ledger) -> None:
    """Give a resumed run the costs it begins with, so that whoever watches sees the whole curve.

    After the run is recorded, since costs are not fenced: of two launches under one name only one records its run.
    """
    checkpoint = read_object(clients, settings.bucket, places.checkpoint(run.run_id), run.checkpoint_version)
    ledger.put_history(run.run_id, load_checkpoint(checkpoint).history)


def start_trainer(clients: Clients, function: str, run_id: str, **more: Any) -> None:
    """Invoke TrainerLambda asynchronously: the ledger, not the call, tells what becomes of it."""
    event = json.dumps({"run_id": run_id, **more})
    clients.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=event)


def launch_upload(record: Mapping[str, Any], settings: Settings, clients: Clients) -> Run:
    """Start the run of a data set that someone uploaded; its parameters.json lies beside it.

    S3 announces an upload at least once: the run's name comes from the object's version, so a repeated announcement
    finds the run there already. What cannot be trained becomes a FAILED run with the reason, and a message.
    """
    try:
        item = record["s3"]["object"]
        key, version, tag = unquote_plus(item["key"]), item.get("versionId", ""), item.get("eTag", "")
        bucket = record["s3"]["bucket"]["name"]
        for text in (bucket, key, version, tag):
            text.encode()  # a lone surrogate is in no name; what is no text cannot be encoded
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError) as error:
        mend = "send what S3 sends of an upload"
        raise InvalidInput(
            f"is not an S3 event: {error!r}", field="Records", source="LaunchLambda", mend=mend
        ) from None
    if bucket != settings.bucket or not key.startswith(places.UPLOAD_PREFIX) or not key.endswith(".h5"):
        raise InvalidInput(
            f"{bucket}/{key} does not start runs",
            source="LaunchLambda",
            mend=f"upload to {settings.bucket}/{places.UPLOAD_PREFIX}….h5",
        )
    run_id = places.run_id_for_upload(bucket, key, version or tag)
    try:
        parameters = _parameters_beside(key, settings, clients)
        return launch(
            {
                "run_id": run_id,
                "dataset": key,
                "dataset_version": version,
                "promote": True,
                "parameters": json.loads(parameters.to_json()),
            },
            settings,
            clients,
        )
    except SnnError as error:
        return _failed(run_id, key, one_line(str(error)), settings, clients)


def _parameters_beside(key: str, settings: Settings, clients: Clients) -> Parameters:
    place = key.rsplit("/", 1)[0] + "/parameters.json"
    deadline = time.monotonic() + PARAMETERS_GRACE_SECONDS
    while True:
        try:
            text = read_object(clients, settings.bucket, place, most=MAX_TEXT, too_large=InvalidParameters)
            return Parameters.load(text, source=place)
        except InvalidParameters:
            raise
        except InvalidInput:
            if time.monotonic() > deadline:
                raise InvalidParameters("is missing", source=place, mend="upload it beside the data set") from None
            time.sleep(0.5)


def _failed(run_id: str, key: str, reason: str, settings: Settings, clients: Clients) -> Run:
    now = time.time()
    ledger = Ledger(clients.dynamodb, settings.table)
    failed = Run(run_id, State.FAILED, dataset=key, created_at=now, ended_at=now, reason=reason)
    if ledger.create(failed):
        Messages(clients.sns, settings.topic_arn).last(f"Training failed: {reason}")
    return ledger.get(run_id)


def trainer_gone(record: Mapping[str, Any], settings: Settings, clients: Clients) -> list[Run]:
    """End the run of a trainer that Lambda has given up on, and say so; return it, or nothing for a follower's event.

    `record` is what Lambda sends to a failure destination. A follower's leader notices by itself that it is gone; and
    a run that another trainer works on goes on. Takes as long as it takes to hear nothing of a trainer. Raises
    RunNotFound, so that an event of nobody's run ends in the dead letters.
    """
    event = record["requestPayload"]
    if not isinstance(event, dict) or "follower" in event:
        return []
    ledger, context, response = (
        Ledger(clients.dynamodb, settings.table),
        _mapping(record.get("requestContext")),
        _mapping(record.get("responsePayload")),
    )
    before = ledger.get(places.check_run_id(event.get("run_id", "")))
    said = response.get("errorMessage") or context.get("condition", "")
    tries = context.get("approximateInvokeCount", "some")
    reason = one_line(f"Lambda gave up on the trainer after {tries} tries: {said}")
    run = ledger.abandon(before.run_id, reason)
    if run.state is State.FAILED and not before.state.is_terminal:
        Messages(clients.sns, settings.topic_arn).last(f"Training failed: {run.reason}")
    return [run]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
