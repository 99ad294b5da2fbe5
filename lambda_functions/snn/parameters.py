"""The contents of `parameters.json`: what to train and how. itsacat's file works unchanged."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snn.errors import InvalidParameters
from snn.files import check_size, read_file

MAX_TEXT = 1_000_000
"""Of the text; a hundred layers take some thousand."""

MOST_SECONDS = 7 * 86_400
"""Of a run, whatever it is doing."""


class Activation(StrEnum):
    """What a layer does with its weighted sum."""

    RELU = "relu"
    SIGMOID = "sigmoid"


class Strategy(StrEnum):
    """What an epoch does with its mini-batches (see `snn.strategies`)."""

    FULL_BATCH = "full-batch"
    BEST_BATCH = "best-batch"
    AVERAGE = "average"


class Granularity(StrEnum):
    """What one Lambda invocation computes. It changes cost and visibility, never numbers."""

    NEURON = "neuron"
    LAYER = "layer"
    BATCH = "batch"


class Path(StrEnum):
    """How the trainer computes the first layer (see `snn.first_layer`); the numbers are the same."""

    AUTO = "auto"
    DIRECT = "direct"
    SPAN = "span"


class Parameters(BaseModel):
    """A training, in full: together with the data set it decides every weight to the last bit."""

    # strict: "30" is not 30 and true is not 1; a file that says so holds a mistake worth hearing about.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    epochs: int = Field(ge=1, le=10_000_000, description="passes over the data, at most")
    layers: int = Field(ge=1, le=100, description="L: layers 1..L have weights, layer 0 is the input")
    activations: dict[str, Activation]
    neurons: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]]
    learning_rate: float = Field(gt=0, le=1_000)
    batch_size: int | None = Field(default=None, ge=1, description="samples in a mini-batch; absent: all in one")
    threshold: float | None = Field(default=None, gt=0, description="stop when an epoch's cost is at or below this")
    seed: int = Field(default=1, ge=0, lt=2**63)
    strategy: Strategy = Strategy.FULL_BATCH
    granularity: Granularity = Granularity.BATCH
    first_layer: Path = Path.AUTO
    neurons_per_invocation: int = Field(default=1, ge=1, description="for neuron granularity")
    workers: int = Field(default=1, ge=1, le=100, description="trainers that share out the mini-batches")
    max_usd: float | None = Field(default=None, gt=0, description="what the run may cost, at list prices")
    max_seconds: float | None = Field(default=None, gt=0, le=MOST_SECONDS, description="from its first trainer on")

    @model_validator(mode="before")
    @classmethod
    def _strategy_follows_batch_size(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("strategy") is None:
            strategy = Strategy.FULL_BATCH if data.get("batch_size") is None else Strategy.BEST_BATCH
            return {**data, "strategy": strategy.value}
        return data

    @model_validator(mode="after")
    def _fields_agree(self) -> Parameters:
        expected = [f"layer{i}" for i in range(1, self.layers + 1)]
        for field in ("activations", "neurons"):
            if set(getattr(self, field)) != set(expected):
                raise _Mismatch(
                    field,
                    f"has {_names(getattr(self, field))} where layers is {self.layers}",
                    f"name exactly {_names(expected)}",
                )
        if self.activations[expected[-1]] is not Activation.SIGMOID:
            raise _Mismatch(f"activations.{expected[-1]}", "the last layer gives a probability", "use sigmoid")
        if self.neurons[expected[-1]] != 1:
            raise _Mismatch(f"neurons.{expected[-1]}", "the last layer tells two classes apart", "use 1 neuron")
        if self.strategy is Strategy.FULL_BATCH and self.batch_size is not None:
            raise _Mismatch(
                "strategy",
                "full-batch takes all data in one step, yet batch_size is given",
                "leave batch_size out, or choose best-batch or average",
            )
        if self.strategy is not Strategy.FULL_BATCH and self.batch_size is None:
            raise _Mismatch(
                "batch_size", f"{self.strategy.value} works on mini-batches, yet none is given", "add batch_size"
            )
        if self.neurons_per_invocation > 1 and self.granularity is not Granularity.NEURON:
            raise _Mismatch(
                "neurons_per_invocation",
                f"says nothing to {self.granularity.value} granularity",
                "leave it out, or choose granularity neuron",
            )
        if self.workers > 1 and (self.granularity is not Granularity.BATCH or self.strategy is Strategy.FULL_BATCH):
            raise _Mismatch(
                "workers",
                "share out mini-batches, which need batch granularity and batch_size",
                "leave it out, or choose granularity batch with best-batch or average",
            )
        if self.first_layer is Path.SPAN and self.granularity is not Granularity.BATCH:
            raise _Mismatch(
                "first_layer",
                f"{self.granularity.value} granularity computes every neuron directly",
                "use auto, or granularity batch",
            )
        return self

    @classmethod
    def load(
        cls, given: pathlib.Path | str | bytes | Mapping[str, Any], source: str = "parameters.json", **overrides: Any
    ) -> Parameters:
        """Read parameters from a file, JSON text or a mapping; overrides that are not None replace single fields.

        Raises InvalidParameters, which names the field, when there is anything to mend.
        """
        if isinstance(given, pathlib.Path):
            source = str(given)
            given = read_file(given, MAX_TEXT, InvalidParameters)
        data = dict(given) if isinstance(given, Mapping) else _parse(given, source)
        data.update({field: value for field, value in overrides.items() if value is not None})
        try:
            return cls.model_validate_json(json.dumps(data, ensure_ascii=False).encode())
        except ValidationError as error:
            _refuse(error, source)
        except UnicodeEncodeError:
            raise InvalidParameters("holds half a character", source=source, mend="write text as UTF-8") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParameters(f"is not JSON: {error}", source=source, mend=_START) from None

    def to_json(self) -> str:
        """Return the parameters as `parameters.json` text, defaults written out."""
        return self.model_dump_json(exclude_none=True, indent=2)

    @property
    def needs_cache(self) -> str:
        """Return the name of the parameter that makes the run need a cache, or nothing."""
        if self.granularity is not Granularity.BATCH:
            return "granularity"
        return "workers" if self.workers > 1 else ""

    @property
    def neurons_per_layer(self) -> tuple[int, ...]:
        """Return the sizes of layers 1..L."""
        return tuple(self.neurons[f"layer{i}"] for i in range(1, self.layers + 1))

    @property
    def activation_per_layer(self) -> tuple[Activation, ...]:
        """Return the activations of layers 1..L."""
        return tuple(self.activations[f"layer{i}"] for i in range(1, self.layers + 1))


_START = 'start with {"epochs": …'


class _Mismatch(ValueError):
    """Two fields contradict each other; pydantic carries it to `_refuse`."""

    def __init__(self, field: str, problem: str, mend: str) -> None:
        self.field, self.problem, self.mend = field, problem, mend
        super().__init__(problem)


def _parse(text: str | bytes, source: str) -> dict[str, Any]:
    """Parse JSON, refusing what Python's parser lets through: repeated keys, NaN and Infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        once: dict[str, Any] = {}
        for key, value in pairs:
            if key in once:
                raise InvalidParameters("stands twice", field=key, source=source, mend="keep one")
            once[key] = value
        return once

    def no_constant(name: str) -> NoReturn:
        raise InvalidParameters(f"{name} is not a number to train with", source=source, mend="write a finite number")

    check_size(len(text), MAX_TEXT, InvalidParameters, source)
    try:
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidParameters(f"is not JSON: {error}", source=source, mend=_START) from None
    if not isinstance(data, dict):
        raise InvalidParameters("is not a JSON object", source=source, mend=_START)
    return data


def _refuse(error: ValidationError, source: str) -> NoReturn:
    """Turn pydantic's report into one line that names every bad field."""
    found: list[tuple[str, str, str]] = []
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, _Mismatch):
            found.append((cause.field, cause.problem, cause.mend))
        elif item["type"] == "extra_forbidden":
            found.append((_dotted(item["loc"]), "is not a parameter", f"known are {_names(Parameters.model_fields)}"))
        elif item["type"] == "missing":
            found.append((_dotted(item["loc"]), "is missing", "add it"))
        else:
            found.append((_dotted(item["loc"]), f"{item['msg']}, got {item['input']!r}"[:200], ""))
    field, problem, mend = found[0]
    others = "".join(f"; {field}: {problem}" for field, problem, _ in found[1:])
    raise InvalidParameters(problem + others, field=field, source=source, mend=mend) from None


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _names(names: Any) -> str:
    return ", ".join(sorted(names, key=lambda name: (len(name), name))) or "nothing"
