"""A run's results: its test set evaluated, new photos classified, and the report for XCom, S3 and people."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from snn.errors import InvalidInput, InvalidModel
from snn_client.data.judging import judge
from snn_client.data.staging import read_source
from snn_client.judging.answers import Answers
from snn_client.judging.slices import by_slice, slices_of
from snn_client.portable.runs import for_report
from snn_client.reports.card import model_card
from snn_client.reports.contents import AnyReport, NewImage, Report
from snn_client.reports.drawing import MAX_HEAT
from snn_client.reports.metrics import ClassRates, ManyClasses, Mislabelled, Off, TestSet, judged
from snn_client.reports.page import MAX_PHOTOS, DataFacts, render_page
from snn_client.reports.predicting import Image, model_of, staged_image
from snn_client.reports.sections import how_wrong, kind_of, sample_count, worst_first
from snn_client.runs.lists import LIMIT, longest, size
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.cost.money import Cost, cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_data.dataset import Dataset, load_dataset
from snn_data.model import Model
from snn_photos.reference import BackboneReference

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

MAX_MISLABELLED = 300
"""Maximum number of mislabelled samples reported; if there are more, those the model was surest about."""

MAX_USE = 2_000
"""Characters of what somebody says the model is for."""

MAX_MATRIX = 900
"""Maximum number of cells in a confusion matrix of many classes; a larger one is left out."""


def evaluate_run(clients: Clients, bucket: str, run_id: str, dataset_key: str, slice_by: str = "") -> TestSet:
    """Evaluate a run's model on the test set and return the report's `test_set`, in at most `LIMIT` bytes.

    `slice_by` is what the test set is divided by (`judging.slices.slices_of`). Raises InvalidInput when the model or
    the data set is missing, damaged, or they do not fit each other.
    """
    dataset, _ = _dataset(clients, bucket, dataset_key)
    test_set = fit_test_set(judge_model(model_of(clients, bucket, run_id), dataset, slice_by))
    most = len(test_set["mislabelled"])
    return _keep_mislabelled(test_set, longest(most, lambda length: size(_keep_mislabelled(test_set, length)) <= LIMIT))


def judge_model(model: Model, dataset: Dataset, slice_by: str = "") -> TestSet:
    """Evaluate any model on a test set and return the report's `test_set`. Raises InvalidModel if they do not fit."""
    return judge_answers(answers_of(model, dataset), dataset, slice_by)


def answers_of(model: Model, dataset: Dataset) -> Answers:
    """Return what any model says of a test set. Raises InvalidModel if they do not fit."""
    check_answers(model, dataset)
    return Answers.of(dataset.test.y, model.judge(dataset.test), dataset.classes, model.threshold)


def judge_answers(answers: Answers, dataset: Dataset, slice_by: str = "", metric: str = "") -> TestSet:
    """Return the report's `test_set` of answers to a data set's test set; slices are judged by the metric."""
    found, slices = judged(answers, dataset.classes), slices_of(dataset, slice_by)
    if slices is not None:
        found["slices"] = by_slice(answers, slices, metric)
    return _keep_mislabelled(found, MAX_MISLABELLED)


def check_answers(model: Model, dataset: Dataset) -> None:
    """Raise InvalidModel if a model answers a different question from the data set's labels."""
    wanted, answers = len(dataset.classes), model.network.layers[-1].size
    if model.of_classes != bool(wanted) or (wanted and max(2, answers) != wanted):
        says = f"distinguishes {max(2, answers)} classes" if model.of_classes else "predicts numbers"
        has = f"{wanted} classes" if wanted else "numbers for labels"
        raise InvalidModel(f"{says}, but the data set has {has}", source=model.source, hint="use data of the same kind")
    learned, has = (_of(text, model.source) for text in (model.attributes.get("backbone", ""), dataset.backbone))
    if learned != has and (learned or "features" in model.attributes):
        problem = f"learned {learned or 'features of no backbone'}, but the data set has {has or 'none of a backbone'}"
        raise InvalidModel(problem, source=model.source, hint="use data that the same backbone has seen")


def _of(backbone: str, source: str) -> str:
    """Return in words whose features those of a backbone are, by the JSON text that names it; "" without one."""
    if not backbone:
        return ""
    reference = BackboneReference.load(backbone, source)
    return f"features of {reference.name} ({reference.digest})"


def build_report(
    run: Run,
    test_set: TestSet,
    new_images: Sequence[NewImage],
    cost: Cost,
    artifacts: Mapping[str, str] | None = None,
) -> Report:
    """Put together the report that goes to XCom and to `report.json`: at most `LIMIT` bytes, whatever the data.

    Where the lists of mislabelled and new photos are too long for that, `mislabelled_left_out` (in `test_set`) and
    `new_images_left_out` count what is missing.
    """
    if run.parameters is None:
        raise CloudError(f"the ledger holds no parameters of run {run.run_id}")
    report: Report = {
        "run_id": run.run_id,
        "training": {
            "epochs_configured": run.parameters.epochs,
            "epochs_run": run.epoch,
            "stopped_by": str(run.stopped_by) if run.stopped_by else None,
            "final_cost": run.cost if run.cost is not None and math.isfinite(run.cost) else None,
            "seconds": round(run.seconds, 3),
            "granularity": run.parameters.granularity.value,
            "strategy": run.parameters.strategy,
            "optimizer": _name_of(run.parameters),
            "validation_cost": run.validation_cost,
            "best_epoch": run.best_epoch,
        },
        "test_set": cast(TestSet, {"mislabelled_left_out": 0, **test_set}),
        "new_images": list(new_images),
        "new_images_left_out": 0,
        "cost": cost,
        "artifacts": dict(artifacts or {}),
    }
    return fit(report)


def write_report(
    clients: Clients,
    bucket: str,
    run: Run,
    report: Report,
    images: Sequence[Image] = (),
    dataset_key: str = "",
) -> Report:
    """Put `report.json`, `report.html` and `model_card.md` into the run's folder; return the report that names them.

    With the extra `backbones` also `model.onnx`, unless the model cannot be exported (`portable.runs.for_report`).
    `images` are the staged photos that `new_images` tells of, in the same order; without them the page shows names
    only. `dataset_key` names the data set it was judged by, when that is not the run's own.
    """
    if run.parameters is None:
        raise CloudError(f"the ledger holds no parameters of run {run.run_id}")
    keys = {
        "report_html": places.report_html(run.run_id),
        "report_json": places.report_json(run.run_id),
        "model_card": places.model_card(run.run_id),
        "params": places.params(run.run_id),
        "results": places.results(run.run_id),
    }
    exported = for_report(clients, bucket, run.run_id)
    if exported is not None:
        keys["model_onnx"] = places.model_onnx(run.run_id)
    dataset_key = dataset_key or run.dataset
    dataset, sha256 = _dataset(clients, bucket, dataset_key)
    artifacts = {name: f"s3://{bucket}/{key}" for name, key in keys.items()}
    told: Report = {**report, "data": {"findings": judge(dataset)}, "artifacts": artifacts}
    finished = fit(told)
    judged_by_it = sample_count(finished["test_set"]) == len(dataset.test)
    wrong = finished["test_set"]["mislabelled"] if judged_by_it else []  # else they would be other samples
    curves = _curves(clients, bucket, run.run_id)
    shown_as = dataset.test.stored if len(dataset.shape) > 1 else dataset.pictures
    shown = min(len(finished["new_images"]), MAX_PHOTOS)
    facts = DataFacts.of(dataset, sha256, f"s3://{bucket}/{dataset_key}")
    card = model_card(finished, run.parameters, facts, run.ended_at)
    page = render_page(
        finished,
        run.parameters,
        curves,
        facts,
        matrix=_whole_matrix(clients, bucket, run.run_id, dataset, finished["test_set"]) if judged_by_it else None,
        card=card,
        mislabelled=[shown_as[one["index"]] for one in wrong] if shown_as is not None else [],
        new_images=[]
        if shown_as is None
        else [read_source(clients.s3, image.uri) for image in map(staged_image, images[:shown])],
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    files = [
        (keys["report_html"], "text/html; charset=utf-8", page.encode()),
        (keys["report_json"], "application/json", to_json(finished).encode()),
        (keys["model_card"], "text/markdown; charset=utf-8", card.encode()),
    ]
    if exported is not None:  # before the report that names it
        files.insert(0, (keys["model_onnx"], "application/octet-stream", exported))
    for key, content_type, body in files:
        clients.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
    return finished


def make_report(
    clients: Clients,
    outputs: StackOutputs,
    run: Run,
    test_set: TestSet,
    new_images: Sequence[NewImage] = (),
    images: Sequence[Image] = (),
    dataset_key: str = "",
    intended_use: str = "",
) -> Report:
    """Build a run's report with its cost, write it as `write_report` does, and return it.

    `intended_use` is what somebody says the model is for; it stands in the model card.
    """
    report = build_report(run, test_set, new_images, cost_of(run, outputs))
    if intended_use:
        report["intended_use"] = intended_use[:MAX_USE]
    return write_report(clients, outputs.bucket, run, report, images, dataset_key)


def to_json(report: Mapping[str, Any]) -> str:
    """Return the report as the text of `report.json`."""
    return json.dumps(report, indent=2, allow_nan=False)


def fit_test_set(test_set: TestSet, limit: int = LIMIT) -> TestSet:
    """Return a test set that XCom takes: of many classes a large matrix and the rates of most classes are left out.

    `per_class` keeps those that were told apart worst; `classes_left_out` counts the others. The mislabelled samples
    are no part of this: `fit` cuts them.
    """
    if "per_class" not in test_set:
        return test_set
    matrix, rates = test_set["confusion_matrix"], test_set["per_class"]
    small: ManyClasses = {
        **test_set, "confusion_matrix": matrix if matrix and len(matrix) ** 2 <= MAX_MATRIX else None,
    }  # fmt: skip
    worst, already = worst_first(rates), test_set.get("classes_left_out", 0)

    def cut(length: int) -> ManyClasses:
        kept: list[ClassRates] = rates if length == len(rates) else worst[:length]
        return {**small, "per_class": kept, "classes_left_out": already + len(rates) - length}

    return cut(longest(len(rates), lambda length: size({**cut(length), "mislabelled": []}) <= limit // 2))


def fit(report: AnyReport, limit: int = LIMIT) -> AnyReport:
    """Return the report with its two lists cut to the greatest common length at which it has at most `limit` bytes."""
    report = {**report, "test_set": fit_test_set(report["test_set"], limit)}
    most = max(len(report["test_set"]["mislabelled"]), len(report["new_images"]))
    return _cut(report, longest(most, lambda length: size(_cut(report, length)) <= limit))


def _cut(report: AnyReport, length: int) -> AnyReport:
    kept = report["new_images"][:length]
    return {
        **report,
        "test_set": _keep_mislabelled(report["test_set"], length),
        "new_images": kept,
        "new_images_left_out": report["new_images_left_out"] + len(report["new_images"]) - len(kept),
    }


def _keep_mislabelled(test_set: TestSet, length: int) -> TestSet:
    """Return the test set with at most `length` mislabelled samples: the worst mistakes, in the order of the file."""
    wrong: list[Mislabelled] | list[Off] = test_set["mislabelled"]
    kind = kind_of(test_set)
    surest = sorted(wrong, key=lambda one: how_wrong(one, kind), reverse=True)[:length]
    left_out = test_set.get("mislabelled_left_out", 0) + len(wrong) - len(surest)
    kept = {"mislabelled": sorted(surest, key=lambda one: one["index"]), "mislabelled_left_out": left_out}
    return cast(TestSet, {**test_set, **kept})


def _whole_matrix(
    clients: Clients, bucket: str, run_id: str, dataset: Dataset, test_set: TestSet
) -> list[list[int]] | None:
    """Return the confusion matrix that the report had no room for: the model is asked again. None if there is none."""
    if "per_class" not in test_set or test_set["confusion_matrix"] is not None or len(dataset.classes) > MAX_HEAT:
        return None
    try:
        answers = answers_of(model_of(clients, bucket, run_id), dataset)
    except InvalidInput:
        return None
    if abs(float(answers.right.mean()) - test_set["accuracy"]) > 1e-9:
        return None  # it was not this test set
    counts = np.zeros((len(dataset.classes),) * 2, dtype=np.int64)
    np.add.at(counts, (answers.truth.astype(np.int64), answers.predicted), 1)
    matrix: list[list[int]] = counts.tolist()
    return matrix


def _dataset(clients: Clients, bucket: str, key: str) -> tuple[Dataset, str]:
    uri = f"s3://{bucket}/{key}"
    content = read_source(clients.s3, uri)
    return load_dataset(BytesIO(content), source=uri), hashlib.sha256(content).hexdigest()


def _curves(clients: Clients, bucket: str, run_id: str) -> dict[str, list[float]]:
    """Return the curves in `results.json` by their names: "cost" and, if there was a validation, its two."""
    results = json.loads(read_source(clients.s3, f"s3://{bucket}/{places.results(run_id)}"))
    epochs = [value for name, value in results.items() if name.startswith("epoch")]
    return {name: [epoch[name] for epoch in epochs] for name in (epochs[0] if epochs else {})}


def _name_of(parameters: Parameters) -> str:
    return str(parameters.model_dump(include={"optimizer"})["optimizer"]["name"])
