"""What decides a model: the part of `parameters.json` that is the recipe. The rest, the execution, decides time and
money (`snn_cloud.ledger.parameters`). Together with the data set a recipe decides every weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)

from snn.activations import ACTIVATIONS
from snn.augmentation import AUGMENTATIONS, Augmentation
from snn.decision import DEFAULT
from snn.losses import LOSSES, Loss, Targets
from snn.network import Network, Params
from snn.optimizers import OPTIMIZERS, GradientDescent
from snn.scaling import Scaling, in_own_units, in_scaled_units
from snn.schedules import SCHEDULES, Schedule
from snn.strategies import STRATEGIES, Strategy

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
"""Strict: "30" is not 30 and true is not 1; a file that says so holds a mistake worth hearing about."""

BACKBONE_NAME = r"[a-z0-9][a-z0-9-]{0,40}"

OUTPUTS = {loss.output: name for name, loss in LOSSES.items()}
"""The activations of a last layer, each with the loss that it has if none is named."""


class Mismatch(ValueError):
    """A field that cannot be used, or two that contradict each other: where, what is wrong, and how to fix it."""

    def __init__(self, field: str, problem: str, hint: str) -> None:
        self.field, self.problem, self.hint = field, problem, hint
        super().__init__(problem)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint for a name that is not known: the nearest one that is, and all of them."""
    names = list(known)
    close = get_close_matches(name, names, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"known are {', '.join(names)}"


def _named(field: str, what: str, known: Iterable[str]) -> Any:
    """Return the type of a field that holds a name of a registry."""

    def check(name: Any) -> Any:
        if name is not None and (not isinstance(name, str) or name not in known):
            raise Mismatch(field, f"{repr(name)[:200]} is no {what}", nearest(str(name), known))
        return name

    return Annotated[str, BeforeValidator(check), WithJsonSchema({"type": "string", "enum": list(known)})]


def _either(field: str, hint: str) -> WrapValidator:
    """Return what refuses a value that is of none of a field's types in one line."""

    def check(given: Any, of_a_type: Callable[[Any], Any]) -> Any:
        try:
            return of_a_type(given)
        except ValidationError:
            raise Mismatch(field, f"{repr(given)[:200]} cannot be used", hint) from None

    return WrapValidator(check)


def _chosen(field: str, what: str, registry: Mapping[str, type[Any]]) -> Any:
    """Return the type of a field that is "name", or {"name": …} with options: a class of a registry, made with them."""
    models = {name: _options(kind) for name, kind in registry.items()}

    def parse(given: Any) -> Any:
        if is_dataclass(given):
            return given
        asked = {"name": given} if isinstance(given, str) else given
        if not isinstance(asked, Mapping) or not isinstance(asked.get("name"), str):
            hint = f'give a name, or {{"name": …}} with options; {nearest("", registry)}'
            raise Mismatch(field, f"{repr(given)[:200]} names no {what}", hint)
        name, options = asked["name"], {key: value for key, value in asked.items() if key != "name"}
        if name not in registry:
            raise Mismatch(field, f"{name!r} is no {what}", nearest(name, registry))
        return registry[name](**_checked(models[name], f"{field}.", options, f"{name} has"))

    names = {kind: name for name, kind in registry.items()}
    return Annotated[
        Any,
        BeforeValidator(parse),
        PlainSerializer(lambda made: {"name": names[type(made)], **asdict(made)}),
        WithJsonSchema(
            {"anyOf": [{"enum": list(registry)}, *(_schema(name, model) for name, model in models.items())]}
        ),
    ]


def _options(kind: type[Any]) -> type[BaseModel]:
    """Return the model of what can be said of a class: its fields."""
    hints = get_type_hints(kind, include_extras=True)
    known: dict[str, Any] = {field.name: (hints[field.name], field.default) for field in fields(kind)}
    return create_model(kind.__name__, __config__=STRICT, **known)


def _schema(name: str, model: type[BaseModel]) -> dict[str, Any]:
    options = model.model_json_schema()["properties"]
    properties = {"name": {"const": name}, **options}
    return {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}


def _checked(model: type[BaseModel], prefix: str, options: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return options that fit a model. Raises Mismatch, naming the first one that does not."""
    try:
        return model.model_validate(dict(options)).model_dump()
    except ValidationError as error:
        item = error.errors()[0]
        option = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = nearest(option, model.model_fields)
            raise Mismatch(prefix + option, "is not an option", known.replace("known are", owner)) from None
        raise Mismatch(prefix + option, f"{item['msg']}, got {item['input']!r}"[:200], "") from None


_Augmentation = create_model(
    "Augmentation", __config__=STRICT, **{name: (kind.asked | None, None) for name, kind in AUGMENTATIONS.items()}
)  # type: ignore[call-overload]


class Scales(BaseModel):
    """What numbers are while they are learned, or learned from: (x - mean) / scale."""

    model_config = STRICT

    mean: float
    scale: float = Field(gt=0)

    @property
    def scaling(self) -> Scaling:
        """Return these two numbers as the arithmetic takes them, which knows no pydantic."""
        return Scaling(self.mean, self.scale)


Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
AnyActivation = _named("activations", "activation", list(dict.fromkeys([*ACTIVATIONS, *OUTPUTS])))
Dropout = Annotated[
    Share | dict[str, Share], _either("dropout", 'give a share from 0 to below 1, or one by layer: {"layer1": 0.5}')
]
ClassWeights = Annotated[
    Literal["balanced"] | list[Weight] | None, _either("class_weights", "give a positive number per class, or balanced")
]
HeldOut = Annotated[
    Annotated[float, Field(gt=0, lt=1)] | Literal["file"] | None,
    _either(
        "validation", "give a share of the training set between 0 and 1, or file for the file's own validation set"
    ),
]
Wanted = Annotated[float, Field(gt=0, le=1)]
DecisionThreshold = Annotated[
    Annotated[float, Field(gt=0, lt=1)]
    | Literal["best_f1"]
    | Annotated[dict[Literal["precision", "recall"], Wanted], Field(min_length=1, max_length=1)],
    _either("decision_threshold", 'give a probability between 0 and 1, best_f1, {"precision": 0.9} or {"recall": 0.9}'),
]


class Recipe(BaseModel):
    """A training, in full, but for who computes it."""

    model_config = STRICT

    epochs: int = Field(ge=1, le=10_000_000, description="maximum number of passes over the data")
    layers: int = Field(ge=1, le=100, description="L: layers 1..L have weights, layer 0 is the input")
    activations: dict[str, AnyActivation] = Field(  # type: ignore[valid-type]
        description="of layer1 to layerL; the last one: sigmoid (two classes), softmax (K classes), identity (a number)"
    )
    neurons: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(description="of layer1 to layerL")
    learning_rate: float = Field(gt=0, le=1_000, description="step size")
    batch_size: int | None = Field(default=None, ge=1, description="samples in a mini-batch; absent: all in one")
    threshold: float | None = Field(default=None, gt=0, description="stop when an epoch's cost is at or below this")
    seed: int = Field(default=1, ge=0, lt=2**63, description="determines the first weights and all draws")
    strategy: _named("strategy", "strategy", STRATEGIES) = Field(  # type: ignore[valid-type]
        default="full-batch", description="what an epoch does with its mini-batches"
    )
    sub_batches: int = Field(default=1, ge=1, le=1_000, description="sgd: parts of a mini-batch, which trainers share")
    dtype: Literal["float32", "float64"] = Field(default="float64", description="number type of weights and arithmetic")
    loss: _named("loss", "loss", LOSSES) | None = Field(  # type: ignore[valid-type]
        default=None, description="the loss to minimise; absent: the one that goes with the last activation"
    )
    label_smoothing: Share = Field(default=0.0, description="share of a label that is spread over all classes")
    class_weights: ClassWeights = Field(
        default=None,
        description="weight of a sample of each class; balanced: rare classes count as much as frequent ones",
    )
    input_scaling: Scales | None = Field(
        default=None,
        description="the network learns from (x - mean) / scale, x being in 0..1 of photos; the model takes x itself",
    )
    target_scaling: Scales | None = Field(
        default=None,
        description="numbers are learned as (y - mean) / scale, which costs are of too; the model answers in y's units",
    )
    optimizer: _chosen("optimizer", "optimizer", OPTIMIZERS) = Field(  # type: ignore[valid-type]
        default=GradientDescent(), description="how gradients update the weights"
    )
    schedule: _chosen("schedule", "schedule", SCHEDULES) = Field(  # type: ignore[valid-type]
        default=Schedule(), description="how the learning rate changes"
    )
    l2: float = Field(default=0.0, ge=0, le=1_000, description="this times W is added to W's gradient")
    clip_norm: float | None = Field(default=None, gt=0, description="maximum norm of the gradients")
    dropout: Dropout = Field(
        default=0.0,
        description="share of outputs left out while training: for all hidden layers, or by name (layer0: input)",
    )
    augmentation: Annotated[dict[str, Any], WithJsonSchema(_Augmentation.model_json_schema())] = Field(
        default={}, description="changes to the photos while training, different in every epoch"
    )
    validation: HeldOut = Field(
        default=None, description="share of the training set to hold out, or the file's own validation set"
    )
    patience: int | None = Field(
        default=None, ge=1, description="stop after this many epochs without a better validation"
    )
    min_delta: float = Field(default=0.0, ge=0, description="minimum improvement that counts as better")
    restore_best_weights: bool = Field(
        default=True, description="keep the weights of the epoch with the best validation"
    )
    initial_weights: str | None = Field(
        default=None,
        pattern=r"^runs/[a-z0-9][a-z0-9-]{0,62}/params\.h5$",
        description="begin with the weights of this model in the stack's bucket instead of random ones",
    )
    backbone: str | None = Field(
        default=None,
        pattern=f"^{BACKBONE_NAME}$",
        description="a pretrained network of the stack: photos are learned by the features that it sees in them",
    )
    decision_threshold: DecisionThreshold = Field(
        default=DEFAULT,
        description="two classes: probability above which it is class 1, or the rule to choose it by on the validation",
    )

    @field_validator("backbone", mode="before")
    @classmethod
    def _none_is_none(cls, name: Any) -> Any:
        """Take "none" for none: a form's text has no other way to undo what a file says."""
        return None if name == "none" else name

    @model_validator(mode="before")
    @classmethod
    def _strategy_follows_batch_size(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("strategy") is None:
            strategy = "full-batch" if data.get("batch_size") is None else "best-batch"
            return {**data, "strategy": strategy}
        return data

    @model_validator(mode="after")
    def _fields_agree(self) -> Recipe:
        expected = [f"layer{i}" for i in range(1, self.layers + 1)]
        for field in ("activations", "neurons"):
            if set(getattr(self, field)) != set(expected):
                raise Mismatch(
                    field,
                    f"has {names(getattr(self, field))} where layers is {self.layers}",
                    f"name exactly {names(expected)}",
                )
        self._check_last_layer(expected[-1])
        self._check_batches()
        self._check_extras(expected)
        return self

    def _check_last_layer(self, last: str) -> None:
        output, neurons = self.activations[last], self.neurons[last]
        for name, activation in self.activations.items():
            if name != last and activation not in ACTIVATIONS:
                hint = f"use one of {', '.join(ACTIVATIONS)}"
                raise Mismatch(f"activations.{name}", f"{activation} is only for the last layer", hint)
        if output not in OUTPUTS:
            hint = "use sigmoid (two classes), softmax (more), or identity (a number)"
            raise Mismatch(f"activations.{last}", f"{output} cannot be the last layer's activation", hint)
        if output == "softmax" and neurons < 2:
            raise Mismatch(f"neurons.{last}", "softmax needs one neuron per class", "give as many neurons as classes")
        if output != "softmax" and neurons != 1:
            what, hint = ("distinguishes two classes", "use 1 neuron, or softmax with one neuron per class")
            if output == "identity":
                what, hint = "predicts one number", "use 1 neuron"
            raise Mismatch(f"neurons.{last}", f"a last layer of {output} {what}", hint)
        if self.loss is not None and LOSSES[self.loss].output != output:
            belongs = f"use {OUTPUTS[output]}, or {LOSSES[self.loss].output} in the last layer"
            raise Mismatch("loss", f"{self.loss} does not go with {output}", belongs)
        if not self.loss_function.of_classes:
            for field in ("label_smoothing", "class_weights"):
                if getattr(self, field):
                    raise Mismatch(field, "has no effect on a network that predicts a number", "leave it out")
        elif self.target_scaling:
            raise Mismatch("target_scaling", "has no effect on a network that distinguishes classes", "leave it out")
        if isinstance(self.class_weights, list) and len(self.class_weights) != self.classes:
            raise Mismatch(
                "class_weights", f"has {len(self.class_weights)} for {self.classes} classes", "give one for each"
            )

    def _check_batches(self) -> None:
        if not self.how.in_batches and self.batch_size is not None:
            others = [name for name, strategy in STRATEGIES.items() if strategy.in_batches]
            raise Mismatch(
                "strategy",
                f"{self.strategy} takes all data in one step, but batch_size is given",
                f"leave batch_size out, or choose {' or '.join(others)}",
            )
        if self.how.in_batches and self.batch_size is None:
            raise Mismatch(
                "batch_size", f"{self.strategy} works on mini-batches, but batch_size is missing", "add batch_size"
            )
        if self.sub_batches > 1 and not self.how.step_a_batch:
            raise Mismatch("sub_batches", f"has no effect with {self.strategy}", "leave it out, or choose sgd")

    def _check_extras(self, expected: list[str]) -> None:
        if isinstance(self.dropout, dict):
            wrong = set(self.dropout) - {"layer0", *expected[:-1]}
            if wrong:
                hint = f"name layer0 (the input) or {names(expected[:-1])}"
                raise Mismatch(f"dropout.{min(wrong)}", "is not a layer that can have dropout", hint)
        _checked(_Augmentation, "augmentation.", self.augmentation, "known are")
        if self.patience is not None and self.validation is None:
            raise Mismatch("patience", "needs samples to validate by", "add validation, such as 0.1, or leave it out")
        if self.decision_threshold != DEFAULT and self.classes != 2:
            raise Mismatch("decision_threshold", "is for two classes only", "leave it out")
        if not isinstance(self.decision_threshold, float) and self.validation is None:
            hint = "add validation, such as 0.1, or give a number"
            raise Mismatch("decision_threshold", "is chosen on samples that are held out, and there are none", hint)

    @property
    def how(self) -> Strategy:
        """Return the strategy itself."""
        return STRATEGIES[self.strategy]

    @property
    def loss_function(self) -> Loss:
        """Return the loss itself."""
        return LOSSES[self.loss or OUTPUTS[self.activations[f"layer{self.layers}"]]]

    @property
    def classes(self) -> int:
        """Return how many classes the network tells apart, 0 if it gives a number."""
        if not self.loss_function.of_classes:
            return 0
        return max(2, self.neurons_per_layer[-1])

    @property
    def neurons_per_layer(self) -> tuple[int, ...]:
        """Return the sizes of layers 1..L."""
        return tuple(self.neurons[f"layer{i}"] for i in range(1, self.layers + 1))

    @property
    def activation_per_layer(self) -> tuple[str, ...]:
        """Return the activations of layers 1..L."""
        return tuple(self.activations[f"layer{i}"] for i in range(1, self.layers + 1))

    @property
    def augment(self) -> Augmentation:
        """Return how photos are changed while training."""
        return Augmentation.of(self.augmentation)

    @property
    def scaling(self) -> Scaling | None:
        """Return how inputs are scaled, None if they are seen as they are."""
        return self.input_scaling.scaling if self.input_scaling else None

    @property
    def not_linear(self) -> str:
        """Return what keeps this training out of the span of the data (`snn.span`), or nothing."""
        optimizer = next(name for name, kind in OPTIMIZERS.items() if type(self.optimizer) is kind)
        obstacles = {
            optimizer: not self.optimizer.linear,
            "clip_norm": self.clip_norm is not None,
            "augmentation": bool(self.augment),
            "input_scaling": self.input_scaling is not None,
            "dropout of the input": self.network(1).input_dropout > 0,
        }
        return " and ".join(name for name, there in obstacles.items() if there)

    def network(self, features: int) -> Network:
        """Return the network for samples of so many numbers."""
        dropout = self.dropout
        if not isinstance(dropout, dict):
            dropout = {f"layer{i}": dropout for i in range(1, self.layers)}
        return Network.of(features, self.neurons_per_layer, self.activation_per_layer, self.loss_function, dropout)

    def targets(self, y: NDArray[Any], weighted: bool = True) -> Targets:
        """Return what samples labelled so should give; those that only judge are not `weighted`."""
        weights, smoothing = (self.class_weights, self.label_smoothing) if weighted else (None, 0.0)
        if self.target_scaling:
            y = (y - self.target_scaling.mean) / self.target_scaling.scale
        return Targets(self.loss_function, y, self.classes, weights, smoothing, np.dtype(self.dtype))

    def in_own_units(self, params: Params) -> Params:
        """Return a network as it was learned as one that answers in the labels' own units."""
        return in_own_units(params, targets=self.target_scaling.scaling if self.target_scaling else None)

    def in_scaled_units(self, params: Params) -> Params:
        """Return a network in the samples' and the labels' own units as one that goes on learning by this recipe."""
        return in_scaled_units(params, self.scaling, self.target_scaling.scaling if self.target_scaling else None)


def names(given: Iterable[str]) -> str:
    """Return names as a list for people, short ones first."""
    return ", ".join(sorted(given, key=lambda name: (len(name), name))) or "nothing"
