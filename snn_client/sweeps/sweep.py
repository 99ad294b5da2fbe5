"""What a sweep trains: from a grid or a list of combinations to runs, every one of them checked first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NotRequired, TypedDict

from snn.errors import InvalidInput, InvalidParameters
from snn_client.data.folds import number_of_parts
from snn_client.data.staging import Item
from snn_client.runs.lists import read_list
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters

MAX_RUNS = 256
"""Maximum number of runs in a sweep: combinations × folds."""


@dataclass(frozen=True)
class Combination:
    """One network of a sweep: its number, from 1, what was asked for, and the parameters that this makes."""

    number: int
    overrides: dict[str, Any]
    parameters: Parameters


def expand(combinations: Any, base: Mapping[str, Any], validation: float) -> list[Combination]:
    """Return the combinations that a grid or a list stands for, each of which can be trained; of equal ones the first.

    A grid is an object of lists, {"learning_rate": [0.001, 0.01], "seed": [1, 2]}: every value with every other; what
    is no list is the same in all. A list has an object for each combination. Both may be JSON text. They replace single
    fields of `base`, the contents of parameters.json; null takes a field away. `layer_sizes`, a list such as
    [20, 7, 5, 1], stands for layers, neurons and activations: ReLU, and at the end what `base` has there, or, for more
    than one neuron, softmax. What the networks are compared by takes the place of a validation of their own.

    Raises InvalidInput (InvalidParameters), naming the combination and the field, for the first one that cannot be
    trained, and for more runs (combinations × parts of `validation`) than MAX_RUNS.
    """
    asked, count = _listed(combinations)
    if (runs := count * number_of_parts(validation)) > MAX_RUNS:
        raise InvalidInput(
            f"{count:,} make {runs:,} runs",
            field="combinations",
            hint=f"at most {MAX_RUNS} runs; take fewer values, or fewer folds",
        )
    found: list[Combination] = []
    for number, overrides in enumerate(asked, start=1):
        source = f"combination {number} {json.dumps(overrides, default=str)[:200]}"
        fields = {**base, **_spelled_out(overrides, base, source)}
        given = {name: value for name, value in fields.items() if value is not None}
        if "validation" in given:
            given["validation"] = "file"  # what the sweep holds out, which every data set of its has
        parameters = Parameters.load(given, source=source)
        if parameters not in [other.parameters for other in found]:
            found.append(Combination(number, dict(overrides), parameters))
    return found


class Training(TypedDict):
    """One run of a sweep's plan; `parameters` are as in parameters.json.

    `rung`, of a sweep with halving, counts from 1. `resume_from` is the run of the rung before, "" of the first.
    """

    run_id: str
    dataset_key: str
    parameters: dict[str, Any]
    combination: int
    overrides: dict[str, Any]
    rung: NotRequired[int]
    resume_from: str


def one_backbone(combinations: Sequence[Combination]) -> str | None:
    """Return the backbone that all combinations have, None for none. Raises InvalidParameters if they differ."""
    named = {one.parameters.backbone for one in combinations}
    if len(named) > 1:
        hint = "make a sweep for each; its table has the same held-out samples for the same seed"
        raise InvalidParameters("cannot differ within a sweep, which has one data set", field="backbone", hint=hint)
    return named.pop()


def trainings(sweep_id: str, combinations: Sequence[Combination], dataset_keys: Sequence[str]) -> list[Training]:
    """Return the plan of a sweep: for every combination and every staged fold one run.

    Run ids are `<sweep id>-<combination>-f<fold>`, both counted from 1.
    """
    return [
        {
            "run_id": places.check_run_id(f"{sweep_id}-{combination.number}-f{fold}"),
            "dataset_key": key,
            "parameters": json.loads(combination.parameters.to_json()),
            "combination": combination.number,
            "overrides": combination.overrides,
            "resume_from": "",
        }
        for combination in combinations
        for fold, key in enumerate(dataset_keys, start=1)
    ]


def listed(plan: Sequence[Training]) -> list[dict[str, str]]:
    """Return what a task that is mapped over a plan has to know of each run."""
    return [
        {"run_id": one["run_id"], "dataset_key": one["dataset_key"], "resume_from": one["resume_from"]} for one in plan
    ]


def plan_items(sweep_id: str, plan: Sequence[Training], rung: int = 1) -> list[Item]:
    """Return a plan as objects to upload: each run's parameters for its input folder, the whole plan for the sweep's.

    So a task that trains or compares these runs needs only names.
    """
    parameters = [
        Item.of_text(places.input_parameters(one["run_id"]), json.dumps(one["parameters"], indent=2)) for one in plan
    ]
    return [*parameters, Item.of_text(places.sweep_plan(sweep_id, rung), json.dumps(plan))]


def read_plan(clients: Clients, bucket: str, sweep_id: str, rung: int = 1) -> list[Training]:
    """Return the plan of a sweep that was staged, or of a later rung of it. Raises InvalidInput if there is none."""
    return read_list(clients, f"s3://{bucket}/{places.sweep_plan(places.check_run_id(sweep_id), rung)}")


def _listed(combinations: Any) -> tuple[Iterable[Mapping[str, Any]], int]:
    """Return the combinations in turn, and how many they are: a grid of billions is counted, not made."""
    if isinstance(combinations, str):
        try:
            combinations = json.loads(combinations)
        except ValueError as error:
            raise InvalidInput(f"is not JSON: {error}", field="combinations") from None
    asked: Iterable[Mapping[str, Any]] = ()
    count = 0
    if isinstance(combinations, Mapping) and combinations:
        axes = [value if isinstance(value, list) else [value] for value in combinations.values()]
        asked = (dict(zip(combinations, values, strict=True)) for values in product(*axes))
        count = math.prod(map(len, axes))
    elif isinstance(combinations, list) and all(isinstance(one, Mapping) for one in combinations):
        asked, count = combinations, len(combinations)
    if not count:
        raise InvalidInput(
            "contain no network",
            field="combinations",
            hint='give a grid such as {"learning_rate": [0.001, 0.01]}, or a list of objects',
        )
    return asked, count


def _spelled_out(overrides: Mapping[str, Any], base: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the overrides with `layer_sizes` in the words of parameters.json."""
    others = {name: value for name, value in overrides.items() if name != "layer_sizes"}
    if len(others) == len(overrides):
        return others
    sizes = overrides["layer_sizes"]
    if not isinstance(sizes, list) or not sizes:
        raise InvalidParameters(
            f"{sizes!r} is not a list of sizes",
            field="layer_sizes",
            source=source,
            hint="write [[20, 7, 5, 1], [10, 1]]",
        )
    names = [f"layer{number}" for number in range(1, len(sizes) + 1)]
    kinds = ["relu"] * (len(sizes) - 1) + [_output(sizes[-1], base)]
    spelled = {
        "layers": len(sizes),
        "neurons": dict(zip(names, sizes, strict=True)),
        "activations": dict(zip(names, kinds, strict=True)),
    }
    if twice := sorted(set(spelled) & set(others)):
        raise InvalidParameters(
            "contradicts layer_sizes", field=twice[0], source=source, hint=f"leave out {twice[0]} or layer_sizes"
        )
    return {**others, **spelled}


def _output(neurons: Any, base: Mapping[str, Any]) -> str:
    """Return the activation of a last layer of so many neurons."""
    if neurons != 1:
        return "softmax"
    activations = base.get("activations")
    last = activations.get(f"layer{base.get('layers')}") if isinstance(activations, Mapping) else None
    return last if last in ("sigmoid", "identity") else "sigmoid"
