"""The report for people: one HTML file that needs no network, script or font, in light, in dark and on paper."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from numpy.typing import NDArray

from snn.batches import Samples
from snn_client.data.images import preview_jpeg, thumbnail_png
from snn_client.reports.chart import Curve, cost_chart, curve_name
from snn_client.reports.contents import Report
from snn_client.reports.drawing import MAX_HEAT, Heat, heat, histogram, plots
from snn_client.reports.formats import (
    figure,
    is_number,
    number,
    percent,
    portion,
    r_squared,
    significant,
    usd,
    utc,
    visible,
)
from snn_client.reports.headline import headlines, name_of, shown
from snn_client.reports.metrics import Classes, Mislabelled, Off, TestSet
from snn_client.reports.recipe import guessing_cost, training_facts
from snn_client.reports.sections import (
    Kind,
    confusions,
    confusions_are_complete,
    how_wrong,
    kind_of,
    sample_count,
    two_class_rates,
    worst_first,
    wrong_count,
)
from snn_cloud.cost.formats import duration
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset, backbone_name
from snn_photos.reading import Reading, load_pixels

MAX_PHOTOS = 60
"""Photos shown in each of the two galleries; more would make the file heavy, and nobody looks at them."""

MAX_MATRIX = 20
"""Classes of a confusion matrix that can still be read; of more, the most frequent confusions are listed."""

MAX_ROWS = 20
"""Confusions in that list, and classes in the table of their rates that are seen without a click."""

MAX_WORST = 12
"""Classes whose worst mistakes are listed, and of each at most:"""

MAX_OF_CLASS = 4

MAX_HEADING = 36
"""Characters of the names of all classes side by side over a matrix on a phone; more are turned upright."""

STOPPED_BY = {
    "epochs": "all epochs done",
    "threshold": "threshold reached",
    "patience": "validation got no better",
    "pause": "paused, to be resumed",
    "cancel": "cancelled",
    "budget": "budget spent",
}


@dataclass(frozen=True)
class DataFacts:
    """What the page tells about the data set.

    `shape` is that of a sample; `train` and `test` count the samples of each class, or, without classes, all of them.
    `validation` are the samples in the data set's own validation set, `variance` is that of the training samples'
    numbers; `photos` tells how its photos were read, `backbone` which one saw them.
    """

    classes: tuple[str, ...]
    shape: tuple[int, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]
    sha256: str
    uri: str
    validation: int = 0
    variance: float = 0.0
    photos: str = ""
    backbone: str = ""

    @classmethod
    def of(cls, dataset: Dataset, sha256: str, uri: str) -> DataFacts:
        """Return the facts of a data set."""
        classes = dataset.classes

        def counts(samples: Samples) -> tuple[int, ...]:
            if not classes:
                return (len(samples),)
            return tuple(np.bincount(samples.y.astype(np.int64), minlength=len(classes)).tolist())

        return cls(
            classes,
            dataset.shape,
            counts(dataset.train),
            counts(dataset.test),
            sha256,
            uri,
            len(dataset.validation) if dataset.validation else 0,
            0.0 if classes else float(np.var(dataset.train.y)),
            dataset.photos,
            backbone_name(dataset.backbone),
        )

    @property
    def has_photos(self) -> bool:
        """Return whether the samples are photos, or what a backbone saw in some: other features cannot be shown."""
        return len(self.shape) > 1 or bool(self.backbone)


def render_page(
    report: Report,
    parameters: Parameters,
    curves: Mapping[str, Curve],
    data: DataFacts,
    *,
    matrix: Sequence[Sequence[int]] | None = None,
    card: str = "",
    mislabelled: Sequence[NDArray[np.uint8]] = (),
    new_images: Sequence[bytes] = (),
    started_at: float = 0.0,
    ended_at: float = 0.0,
) -> str:
    """Return the page as HTML text.

    `curves` have a figure for every epoch: "cost" and, of a run that validated, "validation_cost" and
    "validation_accuracy" or "validation_r2". `mislabelled` are the pixels of the photos in the report's list of that
    name and `new_images` the files of those in its list of new images, both in the same order; a missing one is shown
    without its picture. `matrix` is the confusion matrix where the report has no room for it, `card` the model card.
    """
    test_set, training = report["test_set"], report["training"]
    kind = kind_of(test_set)
    things = "photos" if data.has_photos else "samples"
    fresh = report["new_images"][:MAX_PHOTOS]
    missed = _missed(test_set, kind, mislabelled)
    return _template().render(
        report=report,
        training=training,
        test_set=test_set,
        kind=kind.value,
        cost=report["cost"],
        parameters=parameters,
        network=_network(parameters, data),
        facts=training_facts(parameters, data.classes, data.validation),
        data=data,
        things=things,
        thing=things.removesuffix("s"),
        size=_size(data.shape),
        judged=sample_count(test_set),
        **({} if "r2" in test_set else _judged(test_set, data, things)),
        **_curve(curves, parameters, data, training.get("best_epoch")),
        missed=missed,
        more_missed=len(test_set["mislabelled"]) + test_set["mislabelled_left_out"] - len(missed),
        new_images=[
            {**answer, "name": PurePosixPath(answer["uri"]).name or answer["uri"], **_views(file, data)}
            for answer, file in zip(fresh, [*new_images, *[b""] * len(fresh)], strict=False)
        ],
        figures=headlines(test_set),
        plots=plots(test_set),
        histogram=histogram(test_set),
        slices=test_set.get("slices"),
        shown=shown,
        name_of=name_of,
        threshold=test_set.get("threshold", 0.5) if kind is Kind.TWO_CLASSES else 0.5,
        heat=_heat(test_set, matrix, data),
        by_class=_by_class(test_set, mislabelled) if kind is Kind.MANY_CLASSES else [],
        card=card,
        more_new_images=len(report["new_images"]) - len(fresh) + report["new_images_left_out"],
        stopped_by=STOPPED_BY.get(training["stopped_by"] or "", ""),
        started_at=started_at,
        ended_at=ended_at,
    )


def _judged(test_set: Classes, data: DataFacts, things: str) -> dict[str, Any]:
    """Return what the page needs to show how well classes were told apart."""
    judged = sample_count(test_set)
    majority = max(range(len(data.test)), key=lambda k: (data.test[k], k))
    shown = {
        "right": judged - wrong_count(test_set),
        "majority": data.test[majority] / (sum(data.test) or 1),
        "majority_class": data.classes[majority],
    }
    if "per_class" not in test_set:
        counts = test_set["confusion_matrix"]
        return {**shown, "right": counts["tn"] + counts["tp"], "rates": two_class_rates(test_set, data.classes, things)}
    matrix, confused = test_set["confusion_matrix"], confusions(test_set)
    rates = worst_first(test_set["per_class"])
    return {
        **shown,
        "matrix": matrix if matrix is not None and len(matrix) <= MAX_MATRIX else None,
        "upright": max(map(len, data.classes)) * len(data.classes) > MAX_HEADING,
        "confused": confused[:MAX_ROWS],
        "more_confused": max(0, len(confused) - MAX_ROWS),
        "confused_in_full": confusions_are_complete(test_set),
        "worst": rates[:MAX_ROWS],
        "better": rates[MAX_ROWS:],
        "classes_left_out": test_set.get("classes_left_out", 0),
    }


def _missed(test_set: TestSet, kind: Kind, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """Return what the model got wrong, the surest mistakes or those furthest off first, with pictures if there are."""
    wrong: Sequence[Mislabelled | Off] = test_set["mislabelled"]
    pairs = zip(wrong, [*pictures, *[None] * len(wrong)], strict=False)
    first = sorted(pairs, key=lambda pair: how_wrong(pair[0], kind), reverse=True)[:MAX_PHOTOS]
    return [{**one, "picture": pixels is not None and _uri("png", thumbnail_png(pixels, 128))} for one, pixels in first]


def _heat(test_set: TestSet, matrix: Sequence[Sequence[int]] | None, data: DataFacts) -> Heat | None:
    """Return the picture of a matrix that is too large for a table."""
    if "per_class" not in test_set:
        return None
    whole = test_set["confusion_matrix"] or matrix
    return heat(whole, data.classes) if whole and MAX_MATRIX < len(whole) <= MAX_HEAT else None


def _by_class(test_set: TestSet, pictures: Sequence[NDArray[np.uint8]]) -> list[tuple[int, int, list[dict[str, Any]]]]:
    """Return (label, mistakes, the worst of them) of the classes with most of the mistakes that the report tells of."""
    wrong: Sequence[Mislabelled | Off] = test_set["mislabelled"]
    counts = Counter(int(one["label"]) for one in wrong)
    pairs = list(zip(wrong, [*pictures, *[None] * len(wrong)], strict=False))
    pairs.sort(key=lambda pair: how_wrong(pair[0], Kind.MANY_CLASSES), reverse=True)
    found = []
    for label, count in counts.most_common(MAX_WORST):
        worst = [pair for pair in pairs if int(pair[0]["label"]) == label][:MAX_OF_CLASS]
        shown = [
            {**one, "picture": pixels is not None and _uri("png", thumbnail_png(pixels, 32))} for one, pixels in worst
        ]
        found.append((label, count, shown))
    return found


def _network(parameters: Parameters, data: DataFacts) -> dict[str, Any]:
    sizes = [math.prod(data.shape), *parameters.neurons_per_layer]
    return {
        "inputs": sizes[0],
        "layers": list(zip(parameters.neurons_per_layer, parameters.activation_per_layer, strict=True)),
        "short": "-".join(str(size) for size in parameters.neurons_per_layer),
        "weights": sum((fan_in + 1) * size for fan_in, size in pairwise(sizes)),
    }


def _size(shape: tuple[int, ...]) -> str:
    """Return the size of a sample: as photos have it, or its number of features."""
    return f"{shape[1]}×{shape[0]} pixels" if len(shape) > 1 else f"{number(shape[0])} features"


def _curve(
    curves: Mapping[str, Curve], parameters: Parameters, data: DataFacts, best_epoch: int | None
) -> dict[str, Any]:
    """Return what the page needs to show how the training went; without a cost there is no chart."""
    costs = curves.get("cost", ())
    guessing = guessing_cost(parameters, data.train, data.variance)
    lines = [] if guessing is None else [(guessing, f"guessing {significant(guessing, 3)}")]
    if parameters.threshold is not None:
        lines.append((parameters.threshold, f"threshold {parameters.threshold:g}"))
    drawn = any(cost is not None and is_number(cost) for cost in costs)
    chart = cost_chart(curves, lines, best_epoch) if drawn else None
    return {
        "chart": chart,
        "first_cost": costs[0] if costs else None,
        "guessing": chart is not None and any(line.label.startswith("guessing") for line in chart.scales[0].lines),
        "curves": [curve_name(name) for name in curves],
        "rows": _rows(curves, best_epoch),
        "best_epoch": chart.best and best_epoch if chart else None,
        "validated": _validated(curves, best_epoch),
    }


def _validated(curves: Mapping[str, Curve], best_epoch: int | None) -> dict[str, Any] | None:
    """Return what validation found in the best epoch or, if none is known, in the last."""
    costs = curves.get("validation_cost", ())
    if not costs:
        return None
    epoch = best_epoch if best_epoch is not None and 0 <= best_epoch < len(costs) else len(costs) - 1
    metric = next((name for name in curves if name in ("validation_accuracy", "validation_r2")), "")
    return {
        "epoch": epoch,
        "cost": costs[epoch],
        "accuracy": curves[metric][epoch] if metric == "validation_accuracy" else None,
        "r2": curves[metric][epoch] if metric == "validation_r2" else None,
    }


def _rows(curves: Mapping[str, Curve], best_epoch: int | None, rows: int = 11) -> list[tuple[int, list[float | None]]]:
    """Return some epochs with their figures, evenly spread, with the first, the last and the best."""
    last = max((len(curve) for curve in curves.values()), default=0) - 1
    epochs = {round(row * last / (rows - 1)) for row in range(rows)} if last >= 0 else set()
    if best_epoch is not None and 0 <= best_epoch <= last:
        epochs.add(best_epoch)
    return [
        (epoch, [curve[epoch] if epoch < len(curve) else None for curve in curves.values()]) for epoch in sorted(epochs)
    ]


def _views(file: bytes, data: DataFacts) -> dict[str, Any]:
    """Return a photo as a person sees it and as the network does; the file was checked when it was staged."""
    if not file or not data.has_photos:
        return {"picture": None, "seen": None}
    picture = _uri("jpeg", preview_jpeg(BytesIO(file), 480))
    if data.backbone:  # it sees the photo itself
        return {"picture": picture, "seen": None}
    shape = data.shape if len(data.shape) == 3 else (*data.shape, 1)
    return {
        "picture": picture,
        "seen": _uri("png", thumbnail_png(load_pixels(BytesIO(file), shape, how=Reading.of(data.photos)), 128)),
    }


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("snn_client.reports", "."),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (duration, figure, number, percent, portion, r_squared, significant, usd, utc)
    environment.filters.update({filter.__name__: filter for filter in filters})
    return environment.get_template("report_page.html.jinja")
