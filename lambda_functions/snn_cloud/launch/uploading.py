"""The run of a data set that somebody uploaded by hand: its parameters lie beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from snn.errors import InvalidInput, InvalidParameters, SnnError, one_line
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import read_object
from snn_cloud.aws.settings import Settings
from snn_cloud.launch.launching import launch
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.messages import Messages
from snn_cloud.ledger.parameters import MAX_TEXT, Parameters
from snn_cloud.ledger.record import Run, State

# Someone who uploads a folder sends its files in any order.
PARAMETERS_GRACE_SECONDS = 10.0


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
        hint = "send what S3 sends of an upload"
        raise InvalidInput(
            f"is not an S3 event: {error!r}", field="Records", source="LaunchLambda", hint=hint
        ) from None
    if bucket != settings.bucket or not places.starts_run(key):
        raise InvalidInput(
            f"{bucket}/{key} does not start runs",
            source="LaunchLambda",
            hint=f"upload to {settings.bucket}/{places.UPLOAD_PREFIX}….h5",
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
                raise InvalidParameters("is missing", source=place, hint="upload it beside the data set") from None
            time.sleep(0.5)


def _failed(run_id: str, key: str, reason: str, settings: Settings, clients: Clients) -> Run:
    now = time.time()
    ledger = Ledger(clients.dynamodb, settings.table)
    failed = Run(run_id, State.FAILED, dataset=key, created_at=now, ended_at=now, reason=reason)
    if ledger.create(failed):
        Messages(clients.sns, settings.topic_arn).last(f"Training failed: {reason}")
    return ledger.get(run_id)
