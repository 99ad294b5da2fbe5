"""How a model was trained, in words, and what its cost is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from snn.decision import DEFAULT
from snn.strategies import STRATEGIES
from snn_client.reports.formats import number, usd
from snn_cloud.cost.formats import duration
from snn_cloud.ledger.parameters import Granularity, Parameters

GRANULARITIES = {
    Granularity.NEURON: "every neuron is a Lambda invocation of its own, forward and backward",
    Granularity.LAYER: "every layer is a Lambda invocation, forward and backward",
    Granularity.BATCH: "the trainer computes whole batches itself",
}
MAX_WEIGHTS = 10
"""Class weights that are written out."""


class Fact(NamedTuple):
    """A line of a list of facts; `choice` is what parameters.json calls it, if it is a choice among named ones."""

    name: str
    text: str
    choice: str = ""


def training_facts(parameters: Parameters, classes: Sequence[str], validated: int) -> list[Fact]:
    """Return how a model was trained: what was chosen, without what was left as it is.

    `classes` are the names of the classes, `validated` the samples in the data set's own validation set.
    """
    return [fact for fact in _facts(parameters, classes, validated) if fact.text or fact.choice]


def _facts(parameters: Parameters, classes: Sequence[str], validated: int) -> Iterator[Fact]:
    optimizer, options = _chosen(parameters, "optimizer")
    defaults = {field.name: field.default for field in fields(parameters.optimizer)}
    yield Fact("Optimizer", _listed({k: v for k, v in options.items() if v != defaults[k]}), optimizer)
    yield Fact("Learning rate", f"{parameters.learning_rate}")
    schedule, options = _chosen(parameters, "schedule")
    if not options["warmup"]:
        del options["warmup"]
    if schedule != "constant" or options:
        yield Fact("Schedule", _listed(options), schedule)
    yield Fact("Batch size", number(parameters.batch_size) if parameters.batch_size else "")
    threshold = f", or until the cost is at or below {parameters.threshold}" if parameters.threshold else ""
    yield Fact("Epochs", f"at most {number(parameters.epochs)}{threshold}")
    yield Fact("Validation", _validation(parameters, validated))
    yield Fact("Patience", _patience(parameters))
    yield Fact("Budget", _budget(parameters))
    yield Fact("Strategy", STRATEGIES[parameters.strategy].meaning, parameters.strategy)
    yield Fact("Granularity", GRANULARITIES[parameters.granularity], parameters.granularity.value)
    yield Fact("Dropout", _dropout(parameters))
    yield Fact("L2", f"{parameters.l2} times the weights is added to their gradients" if parameters.l2 else "")
    yield Fact("Gradient clipping", f"to a norm of at most {parameters.clip_norm}" if parameters.clip_norm else "")
    changes = ", ".join(name if asked is True else f"{name} {asked}" for name, asked in parameters.augment)
    yield Fact("Augmentation", "photos are changed differently in every epoch" if changes else "", changes)
    smoothing = parameters.label_smoothing
    yield Fact("Label smoothing", f"{smoothing} of a label is spread over all classes" if smoothing else "")
    yield Fact("Class weights", _class_weights(parameters, classes))
    yield Fact("Decision threshold", _decision(parameters))
    yield Fact("Arithmetic", parameters.dtype if parameters.dtype != "float64" else "")
    yield Fact("Seed", f"{parameters.seed}: the same seed and data give the same weights again")


def guessing_cost(parameters: Parameters, counts: Sequence[int], variance: float) -> float | None:
    """Return what the best answer costs that is the same for every sample; None where that is 0 or unknown.

    Of classes that is the entropy of their frequencies: `counts` are those of the training samples, weighted and
    smoothed as the cost is (see `snn.losses.Targets`). Of numbers it is their `variance`.
    """
    if not parameters.loss_function.of_classes:
        return variance or None
    weights: Sequence[float] = [1.0] * len(counts)
    if isinstance(parameters.class_weights, list):
        weights = parameters.class_weights
    elif parameters.class_weights == "balanced":
        weights = [1 / max(count, 1) for count in counts]
    smoothing, mean = parameters.label_smoothing, sum(counts) / len(counts)
    parts = [weight * ((1 - smoothing) * n + smoothing * mean) for weight, n in zip(weights, counts, strict=False)]
    weighed = math.fsum(weight * n for weight, n in zip(weights, counts, strict=False))
    if not weighed:
        return None
    total = math.fsum(parts)
    return math.fsum(-part * math.log(part / total) for part in parts if part) / weighed or None


def _chosen(parameters: Parameters, field: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of what a field has chosen from a registry."""
    options = dict(parameters.model_dump(include={field})[field])
    return options.pop("name"), options


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(name if value is True else f"{name} {_plain(value)}" for name, value in options.items())


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _validation(parameters: Parameters, validated: int) -> str:
    if parameters.validation == "file":
        return f"the data set's own validation set, {number(validated)} samples"
    return f"{parameters.validation} of the training samples, held out" if parameters.validation else ""


def _decision(parameters: Parameters) -> str:
    rule = parameters.decision_threshold
    if isinstance(rule, float):
        return f"class 1 above a probability of {rule:g}" if rule != DEFAULT else ""
    wanted = "the best F1" if isinstance(rule, str) else next(f"a {name} of {rule[name]:g}" for name in rule)
    return f"chosen on the validation samples for {wanted}"


def _patience(parameters: Parameters) -> str:
    if parameters.patience is None:
        return ""
    better = f"better by more than {parameters.min_delta}" if parameters.min_delta else "better"
    epochs = f"{number(parameters.patience)} epochs" if parameters.patience > 1 else "one epoch"
    return f"stops after {epochs} in which validation gets no {better}"


def _budget(parameters: Parameters) -> str:
    limits = [
        usd(parameters.max_usd) if parameters.max_usd else "",
        duration(parameters.max_seconds) if parameters.max_seconds else "",
    ]
    return f"at most {' and '.join(filter(None, limits))}" if any(limits) else ""


def _dropout(parameters: Parameters) -> str:
    shares = parameters.dropout
    if isinstance(shares, dict):
        named = [f"{share} of {'the inputs' if name == 'layer0' else name}" for name, share in shares.items() if share]
        return f"{', '.join(named)}, left out while training" if named else ""
    return f"{shares} of each hidden layer, left out while training" if shares else ""


def _class_weights(parameters: Parameters, classes: Sequence[str]) -> str:
    weights = parameters.class_weights
    if not isinstance(weights, list):
        return "balanced: rare classes count as much as frequent ones" if weights else ""
    named = [f"{name} {_plain(weight)}" for name, weight in zip(classes, weights, strict=False)]
    more = len(named) - MAX_WEIGHTS
    return ", ".join(named[:MAX_WEIGHTS]) + (f" and those of {number(more)} more" if more > 0 else "")
