"""What the notebooks work with: a stack as the `snn` commands find it, a data set, a training here, a run's files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from snn.errors import InvalidInput
from snn.network import Params
from snn.training import Training, train
from snn_cli.aws import Aws
from snn_cli.aws import connect as connect_as_commands_do
from snn_cli.datasets import build_faces
from snn_cloud.aws import places
from snn_cloud.aws.objects import read_object
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.train.job import Data, make_job
from snn_data.dataset import Dataset


def local_home() -> Path:
    """Return where `snn local` keeps its state: SNN_LOCAL_HOME, or `.local` beside the folder of the notebooks."""
    return Path(os.environ.get("SNN_LOCAL_HOME") or Path(__file__).parents[1] / ".local")


def connect() -> Aws:
    """Return the stack named by SNN_STACK_NAME (default: snn), on the emulator if it runs, otherwise on AWS."""
    return connect_as_commands_do(os.environ.get("SNN_STACK_NAME") or "snn", home=local_home())


def dataset_file() -> Path:
    """Return the data set that SNN_DATASET names; without it the faces, which are made if they are not there yet.

    Raises InvalidInput when scikit-image is not installed, from whose photos the faces are made.
    """
    if os.environ.get("SNN_DATASET"):
        return Path(os.environ["SNN_DATASET"])
    faces = local_home() / "datasets" / "faces.h5"
    if not faces.exists():
        build_faces(faces)
    return faces


def trained(parameters: Parameters, data: Dataset) -> tuple[Training, Params, str]:
    """Train in this process, as a TrainerLambda does.

    Return the training, the network's parameters, and what the log says of the first layer.
    """
    network = parameters.network(data.features)
    training = Training(network.first_params(parameters.seed, parameters.dtype))
    job, why = make_job(parameters, training, Data(data))
    for _ in train(training, parameters, len(job.samples), job.targets, job.here().gradients_of, job.validation):
        pass
    return training, job.result, why


def chosen_run(aws: Aws) -> str:
    """Return the run named by SNN_RUN_ID; without it the one of the stack whose report is the newest.

    Raises InvalidInput when no run has a report.
    """
    if os.environ.get("SNN_RUN_ID"):
        return places.check_run_id(os.environ["SNN_RUN_ID"])
    pages = aws.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.outputs.bucket, Prefix="runs/")
    reports = {
        item["LastModified"]: run_id
        for page in pages
        for item in page.get("Contents", [])
        for run_id in [item["Key"].split("/")[1]]
        if item["Key"] == places.report_json(run_id)
    }
    if not reports:
        raise InvalidInput("no run has a report yet", source=f"stack {aws.stack}", hint="train one, then: snn report")
    return reports[max(reports)]


def read(aws: Aws, key: str) -> bytes:
    """Return an object of the stack's bucket. Raises InvalidInput when there is none."""
    return read_object(aws.clients, aws.outputs.bucket, key)


def read_json(aws: Aws, key: str) -> Any:
    """Return what a JSON object of the stack's bucket says. Raises InvalidInput when there is none."""
    return json.loads(read(aws, key))


def keys_below(aws: Aws, prefix: str) -> list[str]:
    """Return the keys of the bucket that begin so, in alphabetical order."""
    pages = aws.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.outputs.bucket, Prefix=prefix)
    return sorted(item["Key"] for page in pages for item in page.get("Contents", []))
