"""The contents of `parameters.json`: the recipe, which decides the model, and the execution: its time and money.

itsacat's file works unchanged.
"""

from __future__ import annotations

import json
import logging
import pathlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NoReturn

from pydantic import BaseModel, Field, ValidationError, model_validator

from snn.errors import InvalidInput, InvalidParameters
from snn.recipe import STRICT, Mismatch, Recipe, nearest
from snn.span import choose_path
from snn_data.files import check_size, read_file

log = logging.getLogger(__name__)

MAX_TEXT = 1_000_000
"""Of the text; a hundred layers take some thousand."""

MAX_JSON = 20_000
"""Of the parameters as JSON, in bytes: a thousand class weights. XCom, ledger and model file each hold them whole."""

MAX_SECONDS = 7 * 86_400
"""Of a run, whatever it is doing."""

UNUSED = ("weight", "bias")
"""Of itsacat's own sample file: it never read them, and neither does this."""


class Granularity(StrEnum):
    """What one Lambda invocation computes. It changes cost and visibility, and numbers only by rounding."""

    NEURON = "neuron"
    LAYER = "layer"
    BATCH = "batch"


class Path(StrEnum):
    """How the trainer computes the first layer (see `snn.span`); the numbers are the same but for rounding."""

    AUTO = "auto"
    DIRECT = "direct"
    SPAN = "span"


class Execution(BaseModel):
    """Who computes a recipe, and how much it may use."""

    model_config = STRICT

    granularity: Granularity = Field(default=Granularity.BATCH, description="what one Lambda invocation computes")
    first_layer: Path = Field(default=Path.AUTO, description="how the first layer is computed")
    neurons_per_invocation: int = Field(default=1, ge=1, description="for neuron granularity")
    workers: int = Field(default=1, ge=1, le=100, description="number of trainers that share the mini-batches")
    max_usd: float | None = Field(default=None, gt=0, description="maximum cost of the run, at list prices")
    max_seconds: float | None = Field(
        default=None, gt=0, le=MAX_SECONDS, description="maximum time, from its first trainer on"
    )
    pause_after: int | None = Field(
        default=None, ge=1, description="end after so many epochs with a model and a checkpoint, to be resumed"
    )
    keep_epochs: bool = Field(default=True, description="keep the state after some epochs, to be looked at later")

    @property
    def needs_cache(self) -> str:
        """Return the name of the parameter that makes the run need a cache, or nothing."""
        if self.granularity is not Granularity.BATCH:
            return "granularity"
        return "workers" if self.workers > 1 else ""


class Parameters(Execution, Recipe):
    """A run, in full: a recipe and its execution."""

    @model_validator(mode="after")
    def _recipe_and_execution_agree(self) -> Parameters:
        granularity = self.granularity.value
        if self.neurons_per_invocation > 1 and self.granularity is not Granularity.NEURON:
            raise Mismatch(
                "neurons_per_invocation",
                f"has no effect with {granularity} granularity",
                "leave it out, or choose granularity neuron",
            )
        if self.workers > 1 and (self.granularity is not Granularity.BATCH or not self.how.in_batches):
            raise Mismatch(
                "workers",
                "share mini-batches, which needs batch granularity and batch_size",
                "leave it out, or choose granularity batch and a strategy with mini-batches",
            )
        if self.workers > 1 and self.how.step_a_batch and self.sub_batches < self.workers:
            raise Mismatch(
                "workers",
                f"{self.workers} trainers share each mini-batch, which has only {self.sub_batches} sub_batches",
                f"set sub_batches to {self.workers} or more; it is part of the recipe, and changes the numbers by "
                "rounding",
            )
        if self.first_layer is Path.SPAN:
            if self.granularity is not Granularity.BATCH:
                problem = f"{granularity} granularity computes every neuron directly"
                raise Mismatch("first_layer", problem, "use auto, or granularity batch")
            if obstacle := self.not_linear:
                problem = f"{obstacle} cannot be computed in the span of the data"
                raise Mismatch("first_layer", problem, "use auto or direct")
        return self

    @classmethod
    def load(
        cls, given: pathlib.Path | str | bytes | Mapping[str, Any], source: str = "parameters.json", **overrides: Any
    ) -> Parameters:
        """Read parameters from a file, JSON text or a mapping; overrides that are not None replace single fields.

        A strategy without mini-batches among the overrides drops `batch_size`. Fields that itsacat's own file has and
        never read are ignored, with a warning. Raises InvalidParameters, which names the field, for anything invalid.
        """
        if isinstance(given, pathlib.Path):
            source = str(given)
            given = read_file(given, MAX_TEXT, InvalidParameters)
        data = dict(given) if isinstance(given, Mapping) else _parse(given, source)
        unused = [name for name in UNUSED if data.pop(name, None) is not None]
        if unused:
            log.warning("%s: %s: ignored, as in itsacat", source, " and ".join(unused))
        data.update({field: value for field, value in overrides.items() if value is not None})
        if overrides.get("strategy") == "full-batch" and overrides.get("batch_size") is None:
            data.pop("batch_size", None)
        try:
            loaded = cls.model_validate_json(json.dumps(data, ensure_ascii=False).encode())
        except ValidationError as error:
            refuse(
                error, InvalidParameters, source,
                lambda field: ("is not a parameter", nearest(field, Parameters.model_fields)),
            )  # fmt: skip
        except UnicodeEncodeError:
            raise InvalidParameters(
                "holds half of a surrogate pair", source=source, hint="write text as UTF-8"
            ) from None
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParameters(f"is not JSON: {error}", source=source, hint=_START) from None
        text = loaded.model_dump_json(exclude_none=True)
        if (length := len(text) + text.count(",") + text.count(":")) > MAX_JSON:  # in XCom a blank follows each
            hint = f"at most {MAX_JSON:,}; for class_weights write balanced, or numbers with fewer digits"
            raise InvalidParameters(f"take {length:,} bytes as JSON", source=source, hint=hint)
        return loaded

    def check_cache(self, has_cache: bool, stack: str = "this stack", source: str = "") -> None:
        """Raise InvalidParameters if the run needs a cache, but the stack has none."""
        if (field := self.needs_cache) and not has_cache:
            raise InvalidParameters(
                f"{getattr(self, field)} needs a cache, but {stack} has none",
                field=field,
                source=source,
                hint="deploy it with the option with_cache, or use granularity batch with one worker",
            )

    def to_json(self) -> str:
        """Return the parameters as `parameters.json` text, defaults written out."""
        return self.model_dump_json(exclude_none=True, indent=2)

    def path(self, features: int, samples: int) -> tuple[bool, str]:
        """Return whether the first layer of such a run is computed in the span of the data, and why."""
        if self.granularity is not Granularity.BATCH:
            return False, f"first layer direct: {self.granularity} granularity computes every neuron directly"
        neurons = self.neurons_per_layer[0]
        return choose_path(neurons, features, samples, self.epochs, self.not_linear, self.first_layer.value)


_START = 'start with {"epochs": …'


def _parse(text: str | bytes, source: str) -> dict[str, Any]:
    """Parse JSON, refusing what Python's parser lets through: repeated keys, NaN and Infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        once: dict[str, Any] = {}
        for key, value in pairs:
            if key in once:
                raise InvalidParameters("stands twice", field=key, source=source, hint="keep one")
            once[key] = value
        return once

    def no_constant(name: str) -> NoReturn:
        raise InvalidParameters(f"{name} is not a finite number", source=source, hint="write a finite number")

    check_size(len(text), MAX_TEXT, InvalidParameters, source)
    try:
        data = json.loads(text, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidParameters(f"is not JSON: {error}", source=source, hint=_START) from None
    if not isinstance(data, dict):
        raise InvalidParameters("is not a JSON object", source=source, hint=_START)
    return data


def refuse(
    error: ValidationError, kind: type[InvalidInput], source: str, unknown: Callable[[str], tuple[str, str]],
    hint: str = "",
) -> NoReturn:  # fmt: skip
    """Turn pydantic's report into one line that names every bad field.

    `unknown` gives what is wrong with an unknown field, and how to fix it; `hint` is for what is not an object.
    """
    found: list[tuple[str, str, str]] = []
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        field = ".".join(str(part) for part in item["loc"])
        if isinstance(cause, Mismatch):
            # Of a field in a mapping pydantic knows the key, the check only the field.
            where = field if cause.field and field.startswith(f"{cause.field}.") else cause.field
            found.append((where, cause.problem, cause.hint))
        elif item["type"] == "extra_forbidden":
            found.append((field, *unknown(field)))
        elif item["type"] == "missing":
            found.append((field, "is missing", "add it"))
        else:
            found.append((field, f"{item['msg']}, got {item['input']!r}"[:200], "" if field else hint))
    field, problem, first_hint = found[0]
    others = "".join(f"; {field}: {problem}" for field, problem, _ in found[1:])
    raise kind(problem + others, field=field, source=source, hint=first_hint) from None
