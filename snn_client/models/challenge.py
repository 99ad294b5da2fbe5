"""Champion and challenger evaluated on the same test set, and which of them becomes champion."""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypedDict

from snn.errors import InvalidInput, one_line
from snn_client.data.staging import photo_shape, read_source
from snn_client.judging import evidence as evidences
from snn_client.judging.answers import Answers
from snn_client.judging.contents import METRICS
from snn_client.judging.evidence import LOWER_IS_BETTER, Evidence
from snn_client.models.champion import Candidate, find_champion
from snn_client.reports.contents import Judged, Report
from snn_client.reports.metrics import TestSet
from snn_client.reports.report import answers_of, build_report, fit, judge_answers
from snn_client.runs.lists import LIMIT
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run
from snn_cloud.registry.record import DEFAULT_MODEL
from snn_data.dataset import Dataset, load_dataset
from snn_data.model import Model, load_model

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

MAX_NAMES = 300  # characters of a list of classes; there may be thousands
ROUNDING = 1e-9  # 0.85 - 0.80 is a little less than 0.05
SIGNIFICANCE = 0.05
"""How often chance alone may make a challenger look better that is not: one in twenty."""

UNBOUNDED = ("log_loss", "mae", "rmse", "r2")
"""Figures whose differences may be larger than 1."""

AVERAGED = {"precision": "precision", "sensitivity": "recall", "recall": "recall", "f1": "f1"}
"""Rates of two classes, of more than two their macro averages."""


class Decision(TypedDict):
    """Whether the challenger becomes champion, and why; the scores are None where there is none.

    `evidence` is None where nothing was compared, and `significance` what its `p_value` had to be below.
    """

    promote: bool
    reason: str
    metric: str
    margin: float
    champion: float | None
    challenger: float | None
    evidence: Evidence | None
    significance: float


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
    evidence: Evidence | None = None,
    significance: float = SIGNIFICANCE,
    worst_slice: float | None = None,
) -> Decision:
    """Decide by two `test_set`s of reports; `champion` is None when there is none, or none that can be judged.

    The challenger must be better by at least `margin` and, if there is `evidence`, by more than chance gives:
    its p-value must be below `significance` (1: the margin alone counts). An `obstacle` is why champion and challenger
    cannot be compared; then the champion stays. `worst_slice` is what the challenger must reach in the worst slice of
    its test set, of a loss at most. Raises InvalidInput for a metric or a limit that cannot be used.
    """
    check_asked(metric, margin, significance)
    new, old = _figure(challenger, metric), _figure(champion, metric) if champion else None

    def decision(promote: bool, reason: str) -> Decision:
        return {
            "promote": promote, "reason": one_line(reason), "metric": metric, "margin": margin,
            "champion": old, "challenger": new, "evidence": evidence, "significance": significance,
        }  # fmt: skip

    name = metric.replace("_", " ")
    if obstacle:
        return decision(False, obstacle)
    if new is None:
        return decision(False, f"the challenger has no {name} on this test set")
    if worst_slice is not None and (weak := _weak_slice(challenger, name, worst_slice)):
        return decision(False, weak)
    if champion is None:
        return decision(True, f"there is no champion yet; the challenger's {name} is {new:.3f}")
    if old is None:
        return decision(False, f"the champion has no {name} on this test set: compare by another metric")
    better = old - new if metric in LOWER_IS_BETTER else new - old
    scores = f"{name} {new:.3f}, the champion's is {old:.3f}"
    if better <= ROUNDING:
        return decision(False, f"the challenger is not better: {scores}")
    if better < margin - ROUNDING:
        return decision(False, f"the challenger is better by only {better:.3f}, but {margin:g} is required: {scores}")
    if evidence is None or significance >= 1:
        return decision(True, f"the challenger is better by {better:.3f}: {scores}")
    if evidence["p_value"] >= significance:
        return decision(False, f"{_too_small(better, evidence, significance)}: {scores}")
    return decision(True, f"the challenger is better by {better:.3f}, {_by(evidence)}: {scores}")


def check_asked(metric: str, margin: float, significance: float = SIGNIFICANCE) -> None:
    """Raise InvalidInput for a metric or a limit that models cannot be compared by."""
    if metric not in METRICS:
        raise InvalidInput(
            f"{metric!r} is not a metric to compare by", field="metric", hint=f"use one of {', '.join(METRICS)}"
        )
    most = math.inf if metric in UNBOUNDED else 1
    if not (0 <= margin <= most and math.isfinite(margin)):
        kind, hint = ("two rates", "use a number in 0..1") if most == 1 else ("two figures", "use a number from 0 on")
        raise InvalidInput(f"{margin!r} is not a difference between {kind}", field="margin", hint=hint)
    if not 0 < significance <= 1:
        hint = "use 0.05, or 1 to ask for no evidence"
        raise InvalidInput(f"{significance!r} is not a probability", field="significance", hint=hint)


def _weak_slice(challenger: TestSet, name: str, required: float) -> str:
    """Return in words what keeps the worst slice from passing; nothing if it passes."""
    table = challenger.get("slices")
    if table is None:
        raise InvalidInput(
            "the test set has no slices", field="worst_slice", hint="leave it out, or say what to divide by: slice_by"
        )
    worst = table["worst"]
    if worst is None or worst["value"] is None:
        return f"no slice by {table['by']} has enough samples to be judged"
    sign = -1 if table["metric"] in LOWER_IS_BETTER else 1
    if sign * worst["value"] >= sign * required - ROUNDING:
        return ""
    return (
        f"in the slice {worst['name']} (by {table['by']}, {worst['samples']:,} samples) the challenger's {name} is "
        f"{worst['value']:.3f}, and {required:g} is required in every slice"
    )


def _by(evidence: Evidence) -> str:
    """Return in words what a test has shown."""
    p_value = "p < 0.001" if evidence["p_value"] < 0.001 else f"p = {evidence['p_value']:.3f}"
    differ = evidence["differ"]
    among = "" if differ is None else f", {differ:,} of which only one got right"
    return f"and not by chance ({evidence['test']}, {p_value}, {evidence['samples']:,} samples{among})"


def _too_small(better: float, evidence: Evidence, significance: float) -> str:
    """Return in words that a test set is too small to tell, and how large it should be."""
    needed = evidence["needed"]
    about = f"; about {needed:,} would tell" if needed and needed > evidence["samples"] else ""
    chance = f"chance alone gives as much with p = {evidence['p_value']:.3f} ({evidence['test']})"
    return (
        f"the challenger looks better by {better:.3f}, but the test set of {evidence['samples']:,} samples is too "
        f"small to tell{about}: {chance}, which must be below {significance:g}"
    )


def _figure(test_set: TestSet, metric: str) -> float | None:
    """Return a figure of a test set, None if it has none of this name."""
    known: dict[str, Any] = dict(test_set)
    if "macro" in test_set:
        averages: list[tuple[str, Any]] = [("", test_set["macro"]), ("_weighted", test_set["weighted"])]
        known |= {f"{name}{kind}": of[rate] for kind, of in averages for name, rate in AVERAGED.items()}
    figure: float | None = known.get(metric)
    return figure


def gather(metric: str, challenger: Answers, champion: Answers) -> Evidence | None:
    """Return the evidence by a metric, None of one that such answers do not have."""
    named = AVERAGED.get(metric, metric) if challenger.classes > 2 else metric
    if named not in challenger.figures or named not in champion.figures:
        return None
    return evidences.compare(named, challenger, champion)


def compare(
    clients: Clients,
    outputs: StackOutputs,
    run_id: str,
    *,
    metric: str = "accuracy",
    margin: float = 0.0,
    significance: float = SIGNIFICANCE,
    slice_by: str = "",
    worst_slice: float | None = None,
    model: str = DEFAULT_MODEL,
) -> Comparison:
    """Evaluate a completed run and the champion of `model` on the test set of the run's data, and decide.

    Returns `champion` (its report; None if there is none, or none that can be judged), `challenger` (its report),
    `decision` (a Decision's fields) and `champion_etag` (what `champion.promote` takes as `over`): under 48 KB as JSON.
    Raises InvalidInput when the run's model or data cannot be used, or for a metric or a limit that cannot.
    """
    check_asked(metric, margin, significance)
    s3, bucket, ledger = clients.s3, outputs.bucket, Ledger(clients.dynamodb, outputs.table)
    run = ledger.get(run_id)
    data, params = f"s3://{bucket}/{run.dataset}", f"s3://{bucket}/{places.params(run_id)}"
    dataset = load_dataset(BytesIO(read_source(s3, data)), source=data)
    said = answers_of(load_model(BytesIO(read_source(s3, params)), source=params), dataset)
    held = find_champion(clients, bucket, model)
    champions, obstacle = _answers_of_champion(held, run_id, dataset, f"s3://{bucket}/{places.champion(model).params}")
    of_slices = AVERAGED.get(metric, metric) if said.classes > 2 else metric
    of_slices = of_slices if of_slices in said.figures else ""
    challenger = judge_answers(said, dataset, slice_by, of_slices)
    champion = judge_answers(champions, dataset, slice_by, of_slices) if champions else None
    evidence = gather(metric, said, champions) if champions else None
    decision = judge(
        challenger, champion, metric=metric, margin=margin, obstacle=obstacle, evidence=evidence,
        significance=significance, worst_slice=worst_slice,
    )  # fmt: skip
    former = ledger.find(held.run_id) if held and held.run_id and champion else None
    return {
        "champion": _report(outputs, former, held.run_id, champion) if held and champion else None,
        "challenger": _report(outputs, run, run_id, challenger),
        "decision": decision,
        "champion_etag": held.etag if held else "",
    }


def _answers_of_champion(
    held: Candidate | None, challenger: str, dataset: Dataset, source: str
) -> tuple[Answers | None, str]:
    """Return what the champion says of the test set, and why it cannot be compared ("" if it can)."""
    if held is None:
        return None, ""
    if held.run_id == challenger:
        return None, f"run {challenger} is already the champion"
    stays = f"it stays; remove {source} to start over"
    try:
        model = load_model(BytesIO(held.content), source=source)
        if misfit := _misfit(model, dataset):
            return None, f"the champion was trained for {misfit}: {stays}"
        return answers_of(model, dataset), ""
    except InvalidInput as error:
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
