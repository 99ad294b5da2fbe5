"""LaunchLambda's work: check what was asked for, record the run, store the first weights, start the trainer."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from snn.dataset import load_dataset
from snn.errors import InvalidInput, InvalidParameters, SnnError
from snn.model import dump_checkpoint
from snn.network import initial_weights
from snn.parameters import Parameters
from snn.training import Training
from snn_cloud import places
from snn_cloud.clients import Clients
from snn_cloud.ledger import Ledger
from snn_cloud.messages import Messages
from snn_cloud.record import Run, State
from snn_cloud.settings import Settings

# Someone who uploads a folder sends its files in any order.
PARAMETERS_GRACE_SECONDS = 10.0


def launch(request: Mapping[str, Any], settings: Settings, clients: Clients) -> Run:
    """Start the run a caller asks for, or, asked again for the same, return it as it stands.

    `request`: `run_id`, `dataset` (key in the bucket), `parameters` (an object as in parameters.json); optional
    `promote` (put the model into predict_input/ when done) and `trainer_seconds` (let a trainer work only this long
    before it continues in a fresh one). Raises InvalidInput for anything that cannot be trained; nothing is left then.
    """
    unknown = set(request) - {"run_id", "dataset", "dataset_version", "parameters", "promote", "trainer_seconds"}
    if unknown:
        raise InvalidInput("is not part of a launch request", field=sorted(unknown)[0], source="LaunchLambda")
    run_id, key = places.check_run_id(request.get("run_id", "")), request.get("dataset")
    if not isinstance(key, str) or not key.startswith((places.run_prefix(run_id), places.UPLOAD_PREFIX)):
        raise InvalidInput(
            f"{key!r} is not the run's own",
            field="dataset",
            source="LaunchLambda",
            mend=f"stage it under {places.run_prefix(run_id)}input/",
        )
    given = request.get("parameters")
    if not isinstance(given, dict):
        raise InvalidParameters("is missing", field="parameters", source="LaunchLambda", mend="send an object")
    parameters = Parameters.load(given)
    if (field := parameters.needs_cache) and not settings.has_cache:
        raise InvalidParameters(
            f"{getattr(parameters, field)} needs a cache, which this stack has not",
            field=field,
            mend="deploy the stack with a cache, or use granularity batch with one worker",
        )
    ledger = Ledger(clients.dynamodb, settings.table)
    run = ledger.find(run_id)
    if run is None:
        run = _record(
            Run(
                run_id,
                parameters=parameters,
                dataset=key,
                dataset_version=request.get("dataset_version", ""),
                promote=bool(request.get("promote", False)),
                trainer_seconds=float(request.get("trainer_seconds", 0)),
                created_at=time.time(),
            ),
            parameters,
            settings,
            clients,
            ledger,
        )
    if run.state is State.PENDING:
        # Also for a run that an earlier attempt recorded and then died: a second trainer finds the lease taken.
        start_trainer(clients, settings.trainer_function, run_id)
    return run


def _record(run: Run, parameters: Parameters, settings: Settings, clients: Clients, ledger: Ledger) -> Run:
    dataset = load_dataset(
        io.BytesIO(read_object(clients, settings.bucket, run.dataset, run.dataset_version)), source=run.dataset
    )
    first = dump_checkpoint(Training(initial_weights(parameters, dataset.features)))
    # The first weights are a checkpoint like any other: a trainer always continues, also at epoch 0.
    stored = clients.s3.put_object(Bucket=settings.bucket, Key=places.checkpoint(run.run_id), Body=first)
    size = {"features": dataset.features, "samples": len(dataset.train_pixels)}
    ledger.create(Run(**{**vars(run), **size, "checkpoint_version": stored.get("VersionId", "")}))
    return ledger.get(run.run_id)


def start_trainer(clients: Clients, function: str, run_id: str, **more: Any) -> None:
    """Invoke TrainerLambda asynchronously: the ledger, not the call, tells what becomes of it."""
    event = json.dumps({"run_id": run_id, **more})
    clients.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=event)


def read_object(clients: Clients, bucket: str, key: str, version: str = "") -> bytes:
    """Return an object's bytes, of that version where one is named. Raises InvalidInput when there is none.

    To a role that may not list the bucket (ours may not), S3 says AccessDenied of an object that is not there.
    """
    try:
        named: Any = {"VersionId": version} if version else {}
        return clients.s3.get_object(Bucket=bucket, Key=key, **named)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion", "AccessDenied"):
            raise InvalidInput("does not exist, or may not be read", source=f"s3://{bucket}/{key}") from None
        raise


def launch_upload(record: Mapping[str, Any], settings: Settings, clients: Clients) -> Run:
    """Start the run of a data set that someone uploaded; its parameters.json lies beside it.

    S3 announces an upload at least once: the run's name comes from the object's version, so a repeated announcement
    finds the run there already. What cannot be trained becomes a FAILED run with the reason, and a message.
    """
    try:
        item = record["s3"]["object"]
        key, version = unquote_plus(item["key"]), item.get("versionId", "")
        bucket = record["s3"]["bucket"]["name"]
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"is not an S3 event: {error!r}", source="LaunchLambda") from None
    if bucket != settings.bucket or not key.startswith(places.UPLOAD_PREFIX) or not key.endswith(".h5"):
        raise InvalidInput(
            f"{bucket}/{key} does not start runs",
            source="LaunchLambda",
            mend=f"upload to {settings.bucket}/{places.UPLOAD_PREFIX}….h5",
        )
    run_id = places.run_id_for_upload(bucket, key, version or item.get("eTag", ""))
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
        return _failed(run_id, key, str(error), settings, clients)


def _parameters_beside(key: str, settings: Settings, clients: Clients) -> Parameters:
    place = key.rsplit("/", 1)[0] + "/parameters.json"
    deadline = time.monotonic() + PARAMETERS_GRACE_SECONDS
    while True:
        try:
            return Parameters.load(read_object(clients, settings.bucket, place), source=place)
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
