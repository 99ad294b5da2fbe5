"""What a soak does: each turn trains, ends or judges runs, checks the result, and says what it left."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from faults.cloud import Cloud, Result, network, rows
from load.kinds import DATA, Kind, check_usage, kinds, objects
from PIL import Image
from small import first_checkpoint, upload

from snn_client.reports.predicting import predict_images
from snn_client.reports.report import evaluate_run, make_report
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.aws.errors import LaunchRejected
from snn_cloud.aws.objects import read_object
from snn_cloud.launch.starting import start_trainer
from snn_cloud.ledger.record import Run, State
from snn_data.checkpoint import load_checkpoint
from snn_data.dataset import load_dataset

Left = Mapping[str, int]
Turn = Callable[[Cloud, str], Left]

LIMIT = 60.0  # seconds of a run
LONG = network(epochs=30_000, learning_rate=1e-5, first_layer="direct")  # some seconds
CUT_OFF = DATA[:2_000]


def left(cloud: Cloud, *names: str) -> Left:
    """Return what there is of runs that are over: items in the ledger, objects in S3, keys in the cache."""
    kept = Counter(items=0, objects=0, keys=0)
    for name in names:
        answer = cloud.clients.dynamodb.query(
            TableName=cloud.stack.table, KeyConditionExpression="run_id = :run", Select="COUNT",
            ExpressionAttributeValues={":run": {"S": name}},
        )  # fmt: skip
        kept["items"] += answer["Count"]
        kept["objects"] += len(objects(cloud, name))
        kept["keys"] += len(list(cloud.valkey.scan_iter(f"snn:{name}:*", count=1000)))
    return kept


def trained(kind: Kind) -> Turn:
    """Return the turn that trains a run of this kind."""

    def turn(cloud: Cloud, name: str) -> Left:
        wanted = cloud.reference(kind.chosen, DATA)
        run_id = kind.start(cloud, name)
        assert cloud.judge(run_id, wanted, LIMIT) == "right"
        check_usage(cloud, kind, cloud.ledger.get(run_id))
        return left(cloud, run_id)

    return turn


def cancelled_and_resumed(cloud: Cloud, name: str) -> Left:
    """Cancel a run in its middle, and resume it under another name."""
    wanted = cloud.reference(LONG, DATA)
    run_id = cloud.launch(name, LONG, DATA)
    while not cloud.ledger.get(run_id).epoch:
        time.sleep(0.02)
    run = runs.stop(cloud.clients, cloud.stack, run_id)
    assert run.state is State.CANCELLED, run
    stored = read_object(cloud.clients, cloud.stack.bucket, places.checkpoint(run_id), run.checkpoint_version)
    assert 0 < load_checkpoint(stored).epoch == run.epoch < LONG.epochs
    assert cloud.ledger.progress(run_id)[1] == rows(wanted.costs[: run.epoch])
    assert cloud.weights(run_id) is None
    resumed = runs.next_run_id(cloud.ledger, run)
    data = places.input_dataset(run_id, "0" * 64)
    runs.launch(cloud.clients, cloud.stack, resumed, data, LONG, resume_from=run_id)
    assert cloud.judge(resumed, wanted, LIMIT) == "right"
    return left(cloud, run_id, resumed)


def refused(cloud: Cloud, name: str) -> Left:
    """Launch with a data set that was cut off."""
    run_id = cloud.stage(name, CUT_OFF)
    with pytest.raises(LaunchRejected, match=r"datasets-0+\.h5: "):
        cloud.launch_staged(run_id, LONG, cloud.clients)
    assert cloud.ledger.find(run_id) is None
    return left(cloud, run_id)


def failed(cloud: Cloud, name: str) -> Left:
    """Upload such a data set; and a run that LaunchLambda would not have let through breaks in its trainer."""
    broken = cloud.stage(name, DATA)
    first = first_checkpoint(LONG, features=99)
    stored = cloud.clients.s3.put_object(Bucket=cloud.stack.bucket, Key=places.checkpoint(broken), Body=first)
    data = places.input_dataset(broken, "0" * 64)
    cloud.ledger.create(Run(broken, parameters=LONG, dataset=data, checkpoint_version=stored["VersionId"]))
    start_trainer(cloud.clients, cloud.stack.trainer_function, broken)
    failures = upload(cloud.clients, cloud.stack, name, CUT_OFF, LONG.to_json()), broken
    for run_id, reason in zip(failures, ("datasets.h5: ", "matmul: ")):
        run = cloud.wait(run_id, LIMIT)
        assert run is not None
        assert run.state is State.FAILED
        assert reason in run.reason
    return left(cloud, *failures)


def judged(cloud: Cloud, name: str) -> Left:
    """Train a run, judge it by its test set, classify a photo, and write the report."""
    kind = kinds(1)[0]
    wanted = cloud.reference(kind.chosen, DATA)
    run_id = kind.start(cloud, name)
    assert cloud.judge(run_id, wanted, LIMIT) == "right"
    run, dataset, photo = cloud.ledger.get(run_id), load_dataset(io.BytesIO(DATA)), io.BytesIO()
    Image.fromarray(dataset.test.stored[0]).save(photo, "PNG")
    key = places.input_image(run_id, 0, "photo.png")
    cloud.clients.s3.put_object(Bucket=cloud.stack.bucket, Key=key, Body=photo.getvalue())
    photos = [f"s3://{cloud.stack.bucket}/{key}"]
    test_set = evaluate_run(cloud.clients, cloud.stack.bucket, run_id, run.dataset)
    images = predict_images(cloud.clients, cloud.stack.bucket, run_id, photos)
    made = make_report(cloud.clients, cloud.stack, run, test_set, images, photos)
    probabilities = forward(kind, wanted, dataset.test.stored)
    truth = dataset.test.y > 0.5
    table = made["test_set"]["confusion_matrix"]
    assert (table["tp"], table["fp"]) == (sum(probabilities[truth] > 0.5), sum(probabilities[~truth] > 0.5))
    assert sum(table.values()) == truth.size
    assert images[0]["probability"] == pytest.approx(probabilities[0], abs=1e-12)
    assert made["training"]["final_cost"] == wanted.costs[-1]
    return left(cloud, run_id)


def forward(kind: Kind, model: Result, pixels: np.ndarray) -> np.ndarray:
    """Return the probabilities of photos, by the formulas."""
    A = pixels.reshape(len(pixels), -1).T / 255
    for number, function in enumerate(kind.chosen.activation_per_layer, start=1):
        Z = model.weights[f"W{number}"] @ A + model.weights[f"b{number}"]
        A = np.maximum(0, Z) if function == "relu" else 1 / (1 + np.exp(-Z))
    return A.ravel()


OTHERS: dict[str, Turn] = {
    "cancelled, and resumed": cancelled_and_resumed,
    "refused: a data set cut off": refused,
    "failed: such an upload, and in the trainer": failed,
    "judged, with photo and report": judged,
}
