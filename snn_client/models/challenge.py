"""Champion and challenger evaluated on the same test set, and which of them becomes champion."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, TypedDict

from snn.errors import InvalidInput, InvalidModel, one_line
from snn_client.data.lists import LIMIT
from snn_client.data.staging import photo_shape, read_source
from snn_client.models.champion import Candidate, find_champion
from snn_client.reports.contents import Judged, Report
from snn_client.reports.metrics import METRICS, TestSet
from snn_client.reports.report import build_report, fit, judge_model
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run
from snn_data.dataset import Dataset, load_dataset
from snn_data.model import Model, load_model

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

MAX_NAMES = 300  # characters of a list of classes; there may be thousands
ROUNDING = 1e-9  # 0.85 - 0.80 is a little less than 0.05


class Decision(TypedDict):
    """Whether the challenger becomes champion, and why; the scores are None where there is none."""

    promote: bool
    reason: str
    metric: str
    margin: float
    champion: float | None
    challenger: float | None


class Comparison(TypedDict):
    """Both reports and the decision; `champion_etag` is what `champion.promote` takes as `over`."""

    champion: Report | Judged | None
    challenger: Report | Judged
    decision: Decision
    champion_etag: str


def judge(
    challenger: TestSet,
    champion: TestSet | None,
    *,
    metric: str = "accuracy",
    margin: float = 0.0,
    obstacle: str = "",
) -> Decision:
    """Decide by two `test_set`s of reports; `champion` is None when there is none, or none that can be judged.

    The challenger must be better by at least `margin`. An `obstacle` is why champion and challenger cannot be
    compared; then the champion stays. Raises InvalidInput for a metric or a margin that cannot be used.
    """
    if metric not in METRICS:
        raise InvalidInput(
            f"{metric!r} is not a metric to compare by", field="metric", hint=f"use one of {', '.join(METRICS)}"
        )
    if not 0 <= margin <= 1:
        raise InvalidInput(
            f"{margin!r} is not a difference between two rates", field="margin", hint="use a number in 0..1"
        )
    new, old = _figure(challenger, metric), _figure(champion, metric) if champion else None

    def decision(promote: bool, reason: str) -> Decision:
        return {
            "promote": promote, "reason": one_line(reason), "metric": metric, "margin": margin,
            "champion": old, "challenger": new,
        }  # fmt: skip

    if obstacle:
        return decision(False, obstacle)
    if new is None:
        return decision(False, f"the challenger has no {metric} on this test set")
    if champion is None:
        return decision(True, f"there is no champion yet; the challenger's {metric} is {new:.3f}")
    if old is None:
        return decision(False, f"the champion has no {metric} on this test set: compare by another metric")
    better, scores = new - old, f"{metric} {new:.3f}, the champion's is {old:.3f}"
    if better <= ROUNDING:
        return decision(False, f"the challenger is not better: {scores}")
    if better < margin - ROUNDING:
        return decision(False, f"the challenger is better by only {better:.3f}, but {margin:g} is required: {scores}")
    return decision(True, f"the challenger is better by {better:.3f}: {scores}")


def _figure(test_set: TestSet, metric: str) -> float | None:
    """Return a figure of a test set, None if it has none of this name."""
    known: dict[str, Any] = dict(test_set)
    if "macro" in test_set:
        averages = test_set["macro"]
        known = {**averages, "sensitivity": averages["recall"], **test_set}
    figure: float | None = known.get(metric)
    return figure


def compare(
    clients: Clients, outputs: StackOutputs, run_id: str, *, metric: str = "accuracy", margin: float = 0.0
) -> Comparison:
    """Evaluate a completed run and the champion on the test set of the run's data, and decide.

    Returns `champion` (its report; None if there is none, or none that can be judged), `challenger` (its report),
    `decision` (a Decision's fields) and `champion_etag` (what `champion.promote` takes as `over`): under 48 KB as JSON.
    Raises InvalidInput when the run's model or data cannot be used, or for a metric or a margin that cannot.
    """
    s3, bucket, ledger = clients.s3, outputs.bucket, Ledger(clients.dynamodb, outputs.table)
    run = ledger.get(run_id)
    data, params = f"s3://{bucket}/{run.dataset}", f"s3://{bucket}/{places.params(run_id)}"
    dataset = load_dataset(BytesIO(read_source(s3, data)), source=data)
    challenger = judge_model(load_model(BytesIO(read_source(s3, params)), source=params), dataset)
    held = find_champion(clients, bucket)
    champion, obstacle = _judge_champion(held, run_id, dataset, f"s3://{bucket}/{places.PROMOTED_PARAMS}")
    decision = judge(challenger, champion, metric=metric, margin=margin, obstacle=obstacle)
    former = ledger.find(held.run_id) if held and held.run_id and champion else None
    return {
        "champion": _report(outputs, former, held.run_id, champion) if held and champion else None,
        "challenger": _report(outputs, run, run_id, challenger),
        "decision": decision,
        "champion_etag": held.etag if held else "",
    }


def _judge_champion(
    held: Candidate | None, challenger: str, dataset: Dataset, source: str
) -> tuple[TestSet | None, str]:
    """Return the champion's `test_set`, and why it cannot be compared with the challenger ("" if it can)."""
    if held is None:
        return None, ""
    if held.run_id == challenger:
        return None, f"run {challenger} is already the champion"
    stays = f"it stays; remove {source} to start over"
    try:
        model = load_model(BytesIO(held.content), source=source)
        if misfit := _misfit(model, dataset):
            return None, f"the champion was trained for {misfit}: {stays}"
        return judge_model(model, dataset), ""
    except InvalidModel as error:
        return None, f"the champion cannot be judged ({error}): {stays}"


def _misfit(model: Model, dataset: Dataset) -> str:
    """Return how model and test set differ; one that does not say what it was trained for only has to fit in size."""
    shape = photo_shape(dataset) or dataset.shape
    if ("image_shape" in model.attributes or "features" in model.attributes) and model.shape != shape:
        return f"samples of {model.shape}, but the test set has {shape}"
    if "classes" in model.attributes and model.classes != dataset.classes:
        was, now = (one_line(", ".join(names), MAX_NAMES) for names in (model.classes, dataset.classes))
        return f"the classes {was}, but the test set has {now}"
    return ""


def _report(outputs: StackOutputs, run: Run | None, run_id: str, test_set: TestSet) -> Report | Judged:
    """Return a report of at most half of what XCom takes: of a run that the ledger does not know, its test set."""
    limit = LIMIT // 2 - 1_000
    if run is not None and run.parameters is not None:
        return fit(build_report(run, test_set, [], cost_of(run, outputs)), limit)
    judged: Judged = {"run_id": run_id, "test_set": test_set, "new_images": [], "new_images_left_out": 0}
    return fit(judged, limit)
