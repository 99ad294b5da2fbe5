"""The model card of a run (Mitchell et al. 2019) in Markdown: what the model is, how it was judged, and its limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from snn_client.judging.contents import MIN_SAMPLES
from snn_client.reports.contents import Report
from snn_client.reports.formats import number, usd, utc, visible
from snn_client.reports.headline import Headline, headlines, name_of, shown
from snn_client.reports.recipe import training_facts
from snn_client.reports.sections import sample_count
from snn_cloud.cost.formats import duration
from snn_cloud.ledger.parameters import Parameters

if TYPE_CHECKING:
    from snn_client.reports.page import DataFacts

NOT_GIVEN = "Not given. Whoever uses the model should say what for, and what not for."
MAX_CLASSES = 20
"""Names of classes that are written out."""

FEW = 200
"""Test samples below which the card says that the figures are uncertain."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()#|<>!~])")


def model_card(report: Report, parameters: Parameters, data: DataFacts, ended_at: float = 0.0) -> str:
    """Return the card of a written report."""
    parts = (
        _head(report, data, ended_at), _data(report, data), _recipe(parameters, data), _figures(report),
        _slices(report), _limits(report), _cost(report),
    )  # fmt: skip
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _head(report: Report, data: DataFacts, ended_at: float) -> Iterator[str]:
    things = "photos" if data.has_photos else "samples"
    shape = (
        f"of {data.shape[1]}×{data.shape[0]} pixels" if len(data.shape) > 1 else f"of {number(data.shape[0])} features"
    )
    if data.backbone:
        shape = f"by {number(data.shape[0])} features of {data.backbone}"
    what = f"predicts a number for {things} {shape}"
    if data.classes:
        more = len(data.classes) - MAX_CLASSES
        named = ", ".join(map(_plain, data.classes[:MAX_CLASSES])) + (f" and {number(more)} more" if more > 0 else "")
        what = f"distinguishes {number(len(data.classes))} classes in {things} {shape}: {named}"
    yield from (f"# Model card: {_plain(report['run_id'])}", "", f"A neural network that {what}.", "")
    yield from ("## Intended use", "", _plain(report.get("intended_use", "")) or NOT_GIVEN, "")
    yield from _table(("what", "where"), [
        ("trained", utc(ended_at)),
        *((name.replace("_", " "), f"`{uri}`") for name, uri in report["artifacts"].items()),
    ])  # fmt: skip


def _data(report: Report, data: DataFacts) -> Iterator[str]:
    yield from ("## Data", "")
    rows = [
        ("data set", f"`{data.uri}`"),
        ("SHA-256", f"`{data.sha256}`"),
        ("trained on", number(sum(data.train))),
        *([("its own validation set", number(data.validation))] if data.validation else []),
        ("judged by", f"{number(sum(data.test))}, which it never learned from"),
    ]
    if 1 < len(data.classes) <= MAX_CLASSES:
        rows += [
            (f"class {_plain(name)}", f"{number(train)} to train on, {number(test)} to judge by")
            for name, train, test in zip(data.classes, data.train, data.test, strict=True)
        ]
    yield from _table(("data", ""), rows)
    findings = report["data"]["findings"] if "data" in report else []
    told = [f"- {_plain(finding['text'])}" for finding in findings]
    yield from ("### Warnings", "", *(told or ["None was found, which is no proof that there are none."]), "")


def _recipe(parameters: Parameters, data: DataFacts) -> Iterator[str]:
    sizes = "-".join(str(size) for size in parameters.neurons_per_layer)
    activations = ", ".join(parameters.activation_per_layer)
    facts = [(fact.name, ": ".join(filter(None, (fact.choice, fact.text)))) for fact in
             training_facts(parameters, data.classes, data.validation)]  # fmt: skip
    yield from ("## Recipe", "")
    rows = [("network", f"{sizes} neurons, {activations}"), *((name, _plain(text)) for name, text in facts)]
    yield from _table(("choice", ""), rows)


def _figures(report: Report) -> Iterator[str]:
    test_set = report["test_set"]
    yield from ("## Figures", "", f"On {number(sample_count(test_set))} test samples; 95 % intervals.", "")
    rows = [(one.name, one.text, one.between) for one in headlines(test_set)]
    if "threshold" in test_set:
        rows.append(("Threshold of class 1", f"{test_set['threshold']:.4g}", ""))
    yield from _table(("figure", "value", "between"), rows)


def _slices(report: Report) -> Iterator[str]:
    table = report["test_set"].get("slices")
    if table is None:
        return
    metric = table["metric"]
    worst = table["worst"]
    said = f"Worst: {_plain(worst['name'])}." if worst else f"None has {MIN_SAMPLES} samples, too few to judge by."
    yield from ("## Slices", "", f"By {_plain(table['by'])}, the worst first. {said}", "")
    rows = [
        (_plain(one["name"]), number(one["samples"]), *_told(Headline(metric, "", one["value"], one["interval"])))
        for one in table["slices"]
    ]
    yield from _table(("slice", "samples", name_of(metric), "between"), rows)
    if table["left_out"]:
        yield from (f"{number(table['left_out'])} more are not shown.", "")


def _told(one: Headline) -> tuple[str, str]:
    return one.text, one.between


def _limits(report: Report) -> Iterator[str]:
    test_set = report["test_set"]
    samples, found = sample_count(test_set), headlines(test_set)
    yield from ("## Limits", "")
    if samples < FEW and found and found[0].interval:
        yield f"- {number(samples)} test samples are few: its {found[0].name} may be anything from {found[0].between}."
    calibration = None if "r2" in test_set else test_set.get("calibration")
    if calibration is not None:
        yield f"- Its probabilities are off by {shown('error', calibration['error'])} on average."
    yield from (
        "- It was judged on samples of the same source as those that it learned from; others may be harder.",
        "",
    )


def _cost(report: Report) -> Iterator[str]:
    cost, training = report["cost"], report["training"]
    yield from ("## Cost", "", f"{number(training['epochs_run'])} epochs in {duration(training['seconds'])}, "
                f"{usd(cost['usd']) if 'usd' in cost else 'at a cost unknown'} at AWS's list prices.", "")  # fmt: skip


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _plain(text: str) -> str:
    """Return text that is no markup, in one line: names of classes and folders are a stranger's."""
    return _MARKUP.sub(r"\\\1", str(visible(" ".join(text.split()))))
