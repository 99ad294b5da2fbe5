"""The report for people: one HTML file that needs no network, script or font, in light, in dark and on paper."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from snn.dataset import Dataset, Pixels
from snn.images import load_pixels, preview_jpeg, thumbnail_png
from snn.parameters import Granularity, Parameters, Strategy
from snn_cloud.report_chart import cost_chart

MOST_PHOTOS = 60
"""Photos shown in each of the two galleries; more would make the file heavy, and nobody looks at them."""

STRATEGIES = {
    Strategy.FULL_BATCH: "every epoch is one step on all training photos",
    Strategy.BEST_BATCH: "in every epoch each mini-batch takes a step of its own; the one with the lowest cost wins",
    Strategy.AVERAGE: "in every epoch the gradients of all mini-batches, weighted by size, make one step",
}
GRANULARITIES = {
    Granularity.NEURON: "every neuron is a Lambda invocation of its own, forward and backward",
    Granularity.LAYER: "every layer is a Lambda invocation, forward and backward",
    Granularity.BATCH: "the trainer computes whole batches itself",
}
_STEERING = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
STOPPED_BY = {
    "epochs": "all epochs done",
    "threshold": "threshold reached",
    "cancel": "cancelled",
    "budget": "budget spent",
}


@dataclass(frozen=True)
class DataFacts:
    """What the page tells about the data set."""

    classes: tuple[str, str]
    image_shape: tuple[int, int, int]
    train: tuple[int, int]
    test: tuple[int, int]
    sha256: str
    uri: str

    @classmethod
    def of(cls, dataset: Dataset, sha256: str, uri: str) -> DataFacts:
        """Return the facts of a data set; `train` and `test` count its photos of class 0 and 1."""

        def counts(labels: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[int, int]:
            ones = int(labels.sum())
            return labels.size - ones, ones

        return cls(dataset.classes, dataset.image_shape, counts(dataset.train_y), counts(dataset.test_y), sha256, uri)


def render_page(
    report: Mapping[str, Any],
    parameters: Parameters,
    costs: Sequence[float],
    data: DataFacts,
    *,
    mislabelled: Sequence[Pixels] = (),
    new_images: Sequence[bytes] = (),
    started_at: float = 0.0,
    ended_at: float = 0.0,
) -> str:
    """Return the page as HTML text.

    `mislabelled` are the (h, w, 3) pixels of the photos in the report's list of that name and `new_images` the files
    of those in its list of new images, both in the same order; a missing one is shown without its picture.
    """
    test_set = report["test_set"]
    surest = sorted(
        zip(test_set["mislabelled"], [*mislabelled, *[None] * len(test_set["mislabelled"])], strict=False),
        key=lambda pair: -abs(pair[0]["probability"] - 0.5),
    )[:MOST_PHOTOS]
    fresh = report["new_images"][:MOST_PHOTOS]
    return _template().render(
        report=report,
        training=report["training"],
        test_set=test_set,
        cost=report["cost"],
        parameters=parameters,
        network=_network(parameters, data),
        data=data,
        rates=_rates(test_set, data.classes),
        right=_right(test_set),
        judged=sum(test_set["confusion_matrix"].values()),
        majority=max(data.test) / sum(data.test),
        majority_class=data.classes[data.test[1] >= data.test[0]],
        chart=cost_chart(costs, _lines(parameters, data)) if costs else None,
        first_cost=costs[0] if costs else None,
        samples=_samples(costs),
        mislabelled=[
            {**wrong, "picture": pixels is not None and _uri("png", thumbnail_png(pixels, 128))}
            for wrong, pixels in surest
        ],
        more_mislabelled=test_set["mislabelled_left_out"] + len(test_set["mislabelled"]) - len(surest),
        new_images=[
            {**answer, "name": PurePosixPath(answer["uri"]).name or answer["uri"], **_views(file, data)}
            for answer, file in zip(fresh, [*new_images, *[b""] * len(fresh)], strict=False)
        ],
        more_new_images=len(report["new_images"]) - len(fresh) + report["new_images_left_out"],
        strategy=STRATEGIES[parameters.strategy],
        granularity=GRANULARITIES[parameters.granularity],
        stopped_by=STOPPED_BY.get(report["training"]["stopped_by"], ""),
        started_at=started_at,
        ended_at=ended_at,
    )


def _right(test_set: Mapping[str, Any]) -> int:
    return int(test_set["confusion_matrix"]["tn"] + test_set["confusion_matrix"]["tp"])


def _network(parameters: Parameters, data: DataFacts) -> dict[str, Any]:
    sizes = [math.prod(data.image_shape), *parameters.neurons_per_layer]
    return {
        "inputs": sizes[0],
        "layers": list(zip(parameters.neurons_per_layer, parameters.activation_per_layer, strict=True)),
        "short": "-".join(str(size) for size in parameters.neurons_per_layer),
        "weights": sum((fan_in + 1) * size for fan_in, size in pairwise(sizes)),
    }


def _rates(test_set: Mapping[str, Any], classes: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the seven rates with the fraction each one is and a sentence on what it means."""
    no, yes = classes
    m = test_set["confusion_matrix"]
    tn, fp, fn, tp = m["tn"], m["fp"], m["fn"], m["tp"]
    everything = tn + fp + fn + tp
    rows = [
        ("accuracy", tn + tp, everything, "Of all test photos, this share was classified correctly."),
        ("error", fp + fn, everything, "The rest: this share was classified wrongly."),
        ("sensitivity", tp, tp + fn, f"Of the photos that are “{yes}”, this share was found."),
        ("specificity", tn, tn + fp, f"Of the photos that are “{no}”, this share was recognised as that."),
        ("false_positive_rate", fp, tn + fp, f"Of the photos that are “{no}”, this share was taken for “{yes}”."),
        ("precision", tp, tp + fp, f"Of the photos called “{yes}”, this share really is."),
        ("f1", 2 * tp, 2 * tp + fp + fn, "Precision and sensitivity in one: high only when both are."),
    ]
    names = {"f1": "F1 score"}
    return [
        {
            "key": key,
            "name": names.get(key, key.replace("_", " ").capitalize()),
            "value": test_set[key],
            "part": part,
            "whole": whole,
            "meaning": meaning,
            "bad": key in ("error", "false_positive_rate"),
        }
        for key, part, whole, meaning in rows
    ]


def _lines(parameters: Parameters, data: DataFacts) -> list[tuple[float, str]]:
    """Return costs to compare the curve with: knowing nothing but how frequent the classes are, and the threshold."""
    share = data.train[1] / sum(data.train)
    lines = []
    if 0 < share < 1:
        guessing = -share * math.log(share) - (1 - share) * math.log(1 - share)
        lines.append((guessing, f"guessing {guessing:.3g}"))
    if parameters.threshold is not None:
        lines.append((parameters.threshold, f"threshold {parameters.threshold:g}"))
    return lines


def _samples(costs: Sequence[float], rows: int = 11) -> list[tuple[int, float]]:
    """Return some (epoch, cost), evenly spread, with the first and the last."""
    last = len(costs) - 1
    epochs = {round(row * last / (rows - 1)) for row in range(rows)} if last >= 0 else set()
    return [(epoch, costs[epoch]) for epoch in sorted(epochs)]


def _views(file: bytes, data: DataFacts) -> dict[str, Any]:
    """Return a photo as a person sees it and as the network does; the file was checked when it was staged."""
    if not file:
        return {"picture": None, "seen": None}
    return {
        "picture": _uri("jpeg", preview_jpeg(BytesIO(file), 480)),
        "seen": _uri("png", thumbnail_png(load_pixels(BytesIO(file), data.image_shape), 128)),
    }


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("snn_cloud", "."),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, number=number, usd=usd, duration=duration, utc=utc, significant=significant
    )
    return environment.get_template("report_page.html.jinja")


def visible(value: Any) -> Any:
    """Spell out, in text, what steers instead of being shown: control characters, and those that turn text around."""
    return value.translate(_STEERING) if type(value) is str else value


def percent(share: float | None, digits: int = 1) -> str:
    """Return 0.78 as "78 %", with a space that does not break; None, a rate that is not defined, as a dash.

    Nothing but 0 is shown as 0 %, and nothing but 1 as 100 %.
    """
    if share is None:
        return "–"
    smallest = 0.1**digits / 100
    if 0 < share < smallest / 2:
        return f"< {percent(smallest, digits)}"
    if 1 - smallest / 2 < share < 1:
        return f"> {percent(1 - smallest, digits)}"
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}\N{NO-BREAK SPACE}%"


def number(count: float) -> str:
    """Return 12288 as "12,288", and fractions with four digits that count, never in powers of ten."""
    if float(count).is_integer():
        return f"{count:,.0f}"
    return f"{count:,.{max(0, 3 - math.floor(math.log10(abs(count))))}f}"


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number with so many digits that count."""
    return "–" if value is None else f"{value:.{digits}g}"


def usd(amount: float, digits: int = 2) -> str:
    """Return an amount to the cent, or, below ten cents, to some digits that count; never in powers of ten."""
    if amount == 0 or amount >= 0.1:
        return f"${amount:,.2f}"
    text = f"${amount:.{digits - 1 - math.floor(math.log10(amount))}f}"
    return text.rstrip("0") if digits > 2 else text


def duration(seconds: float) -> str:
    """Return seconds as "31.2 s", "4 min 10 s" or "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def utc(moment: float) -> str:
    """Return seconds since 1970 as a date and time."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "–"
