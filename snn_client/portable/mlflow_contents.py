"""What MLflow gets to know of a run: parameters, curves, figures, tags and files, in its own terms and limits."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from snn.errors import InvalidInput
from snn_client.data.staging import read_source
from snn_client.portable.runs import for_report
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.aws.objects import ObjectFile, read_object
from snn_cloud.ledger.record import Run, State

MAX_POINTS = 100_000
"""Of a curve; of a run with more epochs every second, third … is logged, and the last."""

MAX_VALUE = 6_000
"""Characters of a parameter in MLflow."""

RUN_ID, STACK, DIGEST, WHOLE = "snn.run_id", "snn.stack", "snn.dataset_sha256", "snn.logged"
"""Tags: the run, its stack, the hash of its data set, and, set last, that all of it is there."""

_KEY = re.compile(r"[\w\-. :/]{1,250}")


class Point(NamedTuple):
    """A metric's value; `at` in milliseconds since 1970."""

    name: str
    value: float
    at: int
    step: int = 0


@dataclass(frozen=True)
class Contents:
    """Everything of a run; times in milliseconds since 1970. `model` is its ONNX file, if it could be made."""

    parameters: Mapping[str, str]
    points: list[Point]
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    model: bytes | None
    began: int
    ended: int

    def write(self, folder: Path) -> None:
        """Write all files into a folder, at their paths."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def contents_of(clients: Clients, bucket: str, stack: str, run: Run) -> Contents:
    """Return what MLflow shall know of a completed run.

    Raises CloudError for a run that is not completed, InvalidInput for one that has no report yet.
    """
    if run.state is not State.COMPLETED or run.parameters is None:
        raise CloudError(f"run {run.run_id} is {run.state}: only a completed run can be logged")
    try:
        written = read_object(clients, bucket, places.report_json(run.run_id))
    except InvalidInput as problem:
        raise InvalidInput(
            problem.problem, source=problem.source, hint=f"write its report first: snn report {run.run_id}"
        ) from None
    report = json.loads(written)
    results = read_source(clients.s3, f"s3://{bucket}/{places.results(run.run_id)}")
    params = read_object(clients, bucket, places.params(run.run_id))
    files = {"params.h5": params, "results.json": results, "report/report.json": written}
    for name, key in (("report.html", places.report_html), ("model_card.md", places.model_card)):
        files[f"report/{name}"] = read_object(clients, bucket, key(run.run_id))
    began, ended = round(run.started_at * 1000), round(run.ended_at * 1000)
    return Contents(
        parameters=flat(json.loads(run.parameters.to_json())),
        points=[*curves(json.loads(results)), *figures(report, ended)],
        tags={
            RUN_ID: run.run_id,
            STACK: stack,
            DIGEST: _digest(clients, bucket, run),
            "snn.dataset": f"s3://{bucket}/{run.dataset}",
            "snn.report": f"s3://{bucket}/{places.report_html(run.run_id)}",
            "snn.stopped_by": str(run.stopped_by or ""),
        },
        files=files,
        model=_model(clients, bucket, run.run_id, report),
        began=began,
        ended=ended,
    )


def flat(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return parameters as MLflow has them, text by name: what is nested as `optimizer.name`, a list as JSON.

    A name that MLflow does not take goes as the JSON of what it is in.
    """
    found: dict[str, str] = {}
    for name, value in parameters.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and all(_KEY.fullmatch(f"{key}.{inner}") for inner in value):
            found |= flat(value, f"{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[key] = text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 2]} …"
    return found


def curves(results: Mapping[str, Any]) -> Iterator[Point]:
    """Yield what `results.json` has of each epoch: its cost and what a validation found, the epoch as the step.

    The file has the times of the first and the last epoch only; those between are spread evenly.
    """
    epochs = [value for name, value in results.items() if name.startswith("epoch")]
    began, ended = _milliseconds(results["Start"]), _milliseconds(results["End"])
    every = math.ceil(len(epochs) / MAX_POINTS)
    for epoch, found in enumerate(epochs):
        if epoch % every == 0 or epoch == len(epochs) - 1:
            at = began + (ended - began) * (epoch + 1) // len(epochs)
            yield from (Point(name, float(value), at, epoch) for name, value in found.items())


def figures(report: Mapping[str, Any], at: int) -> Iterator[Point]:
    """Yield the figures on the test set as `test_accuracy` …, and what the training took and cost."""
    for name, value in report["test_set"].items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield Point(f"test_{name}", float(value), at)
    training = report["training"]
    for name in ("epochs_run", "seconds", "final_cost"):
        if training[name] is not None:
            yield Point(name, float(training[name]), at)
    if "usd" in report["cost"]:
        yield Point("usd", float(report["cost"]["usd"]), at)


def _milliseconds(stamp: str) -> int:
    return round(datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp() * 1000)


def _model(clients: Clients, bucket: str, run_id: str, report: Mapping[str, Any]) -> bytes | None:
    """Return the ONNX file beside the report; of a report from before there were any, one that is made now."""
    if "model_onnx" in report["artifacts"]:
        return read_object(clients, bucket, places.model_onnx(run_id))
    return for_report(clients, bucket, run_id)


def _digest(clients: Clients, bucket: str, run: Run) -> str:
    """Return the SHA-256 of the data set that a run was trained on; nothing if that is gone."""
    try:
        with ObjectFile(clients, bucket, run.dataset, run.dataset_version) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except InvalidInput:
        return ""
