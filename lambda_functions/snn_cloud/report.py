"""What a run is worth: its test set judged, new photos classified, and the report of it all for XCom, S3 and people."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from snn.dataset import Dataset, load_dataset
from snn.images import MAX_BYTES, load_image
from snn.metrics import evaluate, predicted_classes
from snn.model import Model, load_model
from snn_cloud import places
from snn_cloud.clients import Clients
from snn_cloud.errors import CloudError
from snn_cloud.money import cost_on
from snn_cloud.record import Run
from snn_cloud.report_page import MOST_PHOTOS, DataFacts, render_page
from snn_cloud.staging import StagedImage, read_source

if TYPE_CHECKING:
    from snn_cloud.stack import StackOutputs

LIMIT = 48_000
"""Bytes of the report as JSON text, at most: some XCom stores take no more."""

MOST_MISLABELLED = 300
"""So many mislabelled photos are told of, at most; of more, those the model was surest about."""

Image = StagedImage | Mapping[str, Any] | str


def evaluate_run(clients: Clients, bucket: str, run_id: str, dataset_key: str) -> dict[str, Any]:
    """Judge a run's model by the test set and return the report's `test_set`.

    Raises InvalidInput when the model or the data set is missing, damaged, or they do not fit each other.
    """
    dataset, _ = _dataset(clients, bucket, dataset_key)
    return judge_model(_model(clients, bucket, run_id), dataset)


def judge_model(model: Model, dataset: Dataset) -> dict[str, Any]:
    """Judge any model by a test set and return the report's `test_set`. Raises InvalidModel if they do not fit."""
    evaluation = evaluate(dataset.test_y, model.probabilities(dataset.test_x))
    return _keep_mislabelled(evaluation.model_dump(), MOST_MISLABELLED)


def predict_images(clients: Clients, bucket: str, run_id: str, images: Sequence[Image]) -> list[dict[str, Any]]:
    """Classify photos with a run's model and return the report's `new_images`, in the same order.

    Raises InvalidImage, naming the photo as the user did, for the first one that is no picture.
    """
    model = _model(clients, bucket, run_id)
    answers = []
    for image in map(_staged, images):
        content = read_source(clients.s3, image.uri, MAX_BYTES)
        column = load_image(BytesIO(content), model.image_shape, source=image.name)
        probability = float(model.probabilities(column)[0, 0])
        predicted = int(predicted_classes(probability))
        answers.append(
            {
                "uri": image.name,
                "predicted": predicted,
                "class_name": model.classes[predicted],
                "probability": probability,
            }
        )
    return answers


def build_report(
    run: Run,
    test_set: Mapping[str, Any],
    new_images: Sequence[Mapping[str, Any]],
    costs_usd: Mapping[str, Any],
    artifacts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Put together the report that goes to XCom and to `report.json`: at most `LIMIT` bytes, whatever the data.

    Where the lists of mislabelled and new photos are too long for that, `mislabelled_left_out` (in `test_set`) and
    `new_images_left_out` count what is missing.
    """
    if run.parameters is None:
        raise CloudError(f"the ledger holds no parameters of run {run.run_id}")
    report = {
        "run_id": run.run_id,
        "training": {
            "epochs_configured": run.parameters.epochs,
            "epochs_run": run.epoch,
            "stopped_by": str(run.stopped_by) if run.stopped_by else None,
            "final_cost": run.cost if run.cost is not None and math.isfinite(run.cost) else None,
            "seconds": round(run.seconds, 3),
            "granularity": run.parameters.granularity.value,
            "strategy": run.parameters.strategy.value,
        },
        "test_set": {"mislabelled_left_out": 0, **test_set},
        "new_images": [dict(image) for image in new_images],
        "new_images_left_out": 0,
        "cost": dict(costs_usd),
        "artifacts": dict(artifacts or {}),
    }
    return fit(report)


def write_report(
    clients: Clients,
    bucket: str,
    run: Run,
    report: Mapping[str, Any],
    images: Sequence[Image] = (),
    dataset_key: str = "",
) -> dict[str, Any]:
    """Put `report.json` and the page `report.html` into the run's folder and return the report that names them.

    `images` are the staged photos that `new_images` tells of, in the same order; without them the page shows names
    only. `dataset_key` names the data set it was judged by, when that is not the run's own.
    """
    if run.parameters is None:
        raise CloudError(f"the ledger holds no parameters of run {run.run_id}")
    keys = {
        "report_html": places.report_html(run.run_id),
        "report_json": places.report_json(run.run_id),
        "params": places.params(run.run_id),
        "results": places.results(run.run_id),
    }
    finished = fit({**report, "artifacts": {name: f"s3://{bucket}/{key}" for name, key in keys.items()}})
    dataset_key = dataset_key or run.dataset
    dataset, sha256 = _dataset(clients, bucket, dataset_key)
    judged_by_it = sum(finished["test_set"]["confusion_matrix"].values()) == dataset.test_y.size
    wrong = finished["test_set"]["mislabelled"] if judged_by_it else []  # else they would be other photos
    costs = _costs(clients, bucket, run.run_id)
    shown = min(len(finished["new_images"]), MOST_PHOTOS)
    page = render_page(
        finished,
        run.parameters,
        costs,
        DataFacts.of(dataset, sha256, f"s3://{bucket}/{dataset_key}"),
        mislabelled=[dataset.test_pixels[one["index"]] for one in wrong],
        new_images=[read_source(clients.s3, image.uri) for image in map(_staged, images[:shown])],
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    for key, content_type, body in [
        (keys["report_html"], "text/html; charset=utf-8", page),
        (keys["report_json"], "application/json", to_json(finished)),
    ]:
        clients.s3.put_object(Bucket=bucket, Key=key, Body=body.encode(), ContentType=content_type)
    return finished


def make_report(
    clients: Clients,
    outputs: StackOutputs,
    run: Run,
    test_set: Mapping[str, Any],
    new_images: Sequence[Mapping[str, Any]] = (),
    images: Sequence[Image] = (),
    dataset_key: str = "",
) -> dict[str, Any]:
    """Build a run's report with its cost, write it as `write_report` does, and return it."""
    report = build_report(run, test_set, new_images, cost_on(outputs, run))
    return write_report(clients, outputs.bucket, run, report, images, dataset_key)


def to_json(report: Mapping[str, Any]) -> str:
    """Return the report as the text of `report.json`."""
    return json.dumps(report, indent=2, allow_nan=False)


def fit(report: dict[str, Any], limit: int = LIMIT) -> dict[str, Any]:
    """Return the report with its two lists cut to the greatest common length at which it has at most `limit` bytes."""
    longest = max(len(report["test_set"]["mislabelled"]), len(report["new_images"]))
    lengths = range(longest + 1)
    too_long = bisect_left(lengths, True, key=lambda length: len(to_json(_cut(report, length)).encode()) > limit)
    return _cut(report, max(too_long - 1, 0))


def _cut(report: dict[str, Any], length: int) -> dict[str, Any]:
    kept = report["new_images"][:length]
    return {
        **report,
        "test_set": _keep_mislabelled(report["test_set"], length),
        "new_images": kept,
        "new_images_left_out": report["new_images_left_out"] + len(report["new_images"]) - len(kept),
    }


def _keep_mislabelled(test_set: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Return the test set with at most `length` mislabelled photos: the surest mistakes, in the order of the file."""
    wrong = test_set["mislabelled"]
    surest = sorted(wrong, key=lambda one: -abs(one["probability"] - 0.5))[:length]
    return {
        **test_set,
        "mislabelled": sorted(surest, key=lambda one: one["index"]),
        "mislabelled_left_out": test_set.get("mislabelled_left_out", 0) + len(wrong) - len(surest),
    }


def _staged(image: Image) -> StagedImage:
    if isinstance(image, StagedImage):
        return image
    if isinstance(image, str):
        return StagedImage(uri=image, name=image)
    return StagedImage(uri=image["uri"], name=image.get("name", image["uri"]))


def _model(clients: Clients, bucket: str, run_id: str) -> Model:
    uri = f"s3://{bucket}/{places.params(run_id)}"
    return load_model(BytesIO(read_source(clients.s3, uri)), source=uri)


def _dataset(clients: Clients, bucket: str, key: str) -> tuple[Dataset, str]:
    uri = f"s3://{bucket}/{key}"
    content = read_source(clients.s3, uri)
    return load_dataset(BytesIO(content), source=uri), hashlib.sha256(content).hexdigest()


def _costs(clients: Clients, bucket: str, run_id: str) -> list[float]:
    """Return the cost of every epoch from `results.json`."""
    results = json.loads(read_source(clients.s3, f"s3://{bucket}/{places.results(run_id)}"))
    return [value["cost"] for name, value in results.items() if name.startswith("epoch")]
