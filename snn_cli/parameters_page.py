"""`docs/parameters.md` and `snn parameters`: what parameters.json may say, read from the registries themselves."""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from snn.activations import ACTIVATIONS
from snn.augmentation import AUGMENTATIONS
from snn.errors import InvalidInput
from snn.losses import LOSSES
from snn.optimizers import OPTIMIZERS
from snn.recipe import Recipe
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_cli.making import makes_data, shown
from snn_client.data.options import Options
from snn_client.data.sources import prepare
from snn_client.runs.recipe import parameters_for
from snn_cloud.ledger.parameters import Execution, Parameters
from snn_data.dataset import load_header

HEAD = """# parameters.json

Written by `make docs` from the registries in `lambda_functions/snn`. An entry there is in this table, in the schema
that `snn parameters` prints for editors, in the DAG's form and in the neurons' own checks. What is left out has
its default, as in *itsacat*. Unknown keys are refused; the message names the nearest known one.
"""
EXAMPLE = {
    "epochs": 10,
    "layers": 3,
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "softmax"},
    "neurons": {"layer1": 256, "layer2": 128, "layer3": 10},
    "learning_rate": 0.001,
    "batch_size": 128,
    "strategy": "sgd",
    "optimizer": {"name": "adam", "beta_2": 0.99},
    "schedule": {"name": "cosine", "warmup": 1},
    "dtype": "float32",
    "validation": 0.1,
    "patience": 3,
    "dropout": {"layer1": 0.2},
    "augmentation": {"shift": 1},
}


@makes_data
def command(
    made: dict[str, Any],
    dataset: Annotated[
        str, typer.Option("--for", help="data to train on: print the recipe that is chosen for them instead")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="a file to write it to")] = None,
) -> None:
    """Print the JSON schema of parameters.json, for editors; or, of a data set, a parameters.json that fits it.

    \b
    Examples:
      snn parameters --out parameters.schema.json
      snn parameters --for datasets.h5 --out parameters.json
      snn parameters --for patients.csv --label ill --group patient
    """
    options = Options.of(made)
    if not dataset and options != Options():
        raise InvalidInput("is missing", field="--for", hint="name the data that the other options are about")
    text = _fitting(dataset, options) if dataset else json.dumps(schema(), indent=2)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
    else:
        typer.echo(text)


def _fitting(dataset: str, options: Options) -> str:
    """Return the recipe that is chosen for data of any kind, as JSON text."""
    with tempfile.TemporaryDirectory(prefix="snn-") as folder, shown() as progress:
        header = load_header(prepare(dataset, options, Path(folder), progress), dataset)
    return parameters_for(header).to_json()


def schema() -> dict[str, Any]:
    """Return the JSON schema of parameters.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Parameters.model_json_schema()}


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([HEAD, *_example(), *_fields(), *_registries()]) + "\n"


def _example() -> Iterator[str]:
    yield from ("```json", json.dumps(EXAMPLE, indent=2), "```", "")


def _fields() -> Iterator[str]:
    for title, model, meaning in (
        ("The recipe", Recipe, "What determines the model: the same data and recipe give the same weights."),
        ("The execution", Execution, "What determines time and cost; it changes results by rounding at most."),
    ):
        properties = model.model_json_schema()["properties"]
        yield from (f"## {title}", "", meaning, "")
        rows = [
            (f"`{name}`", field.description or "", _default(field), _may_be(properties[name]))
            for name, field in model.model_fields.items()
        ]
        yield from _table(("key", "what", "default", "may be"), rows)


def _registries() -> Iterator[str]:
    outputs = {loss.output: name for name, loss in LOSSES.items()}
    yield from ("## Activations", "", "Of hidden layers. First weights are N(0,1)·√(gain/inputs).", "")
    yield from _table(("name", "gain"), [(f"`{name}`", f"{one.gain:g}") for name, one in ACTIVATIONS.items()])
    yield from ("Of the last layer, which decides what the network answers:", "")
    answers = {"sigmoid": "1 neuron: two classes", "softmax": "one neuron per class", "identity": "1 neuron: a number"}
    yield from _table(
        ("name", "neurons", "loss"),
        [(f"`{name}`", answers.get(name, ""), f"`{loss}`") for name, loss in outputs.items()],
    )
    yield from ("## Strategies", "", "What an epoch does with its mini-batches.", "")
    rows = [
        (f"`{name}`", one.meaning, "every epoch anew" if one.drawn else "in the order of the file")
        for name, one in STRATEGIES.items()
    ]
    yield from _table(("name", "an epoch is", "mini-batches are drawn"), rows)
    for title, registry in (("Optimizers", OPTIMIZERS), ("Schedules", SCHEDULES)):
        field = title.lower().removesuffix("s")
        yield from (
            f"## {title}",
            "",
            f'`"{field}": "name"`, or with options `"{field}": {{"name": …, "option": …}}`.',
            "",
        )
        rows = [(f"`{name}`", _sentence(kind), _options(kind)) for name, kind in registry.items()]
        yield from _table(("name", "what it does", "options and their defaults"), rows)
    yield from (
        "## Augmentation",
        "",
        'Of photos: `"augmentation": {"mirror": true, "shift": 1, "rotation": 10, "brightness": 0.2}`.',
        "",
    )
    yield from _table(
        ("name", "what it does"),
        [
            (f"`{name}`", inspect.cleandoc(one.change.__doc__ or "").split("\n")[0])
            for name, one in AUGMENTATIONS.items()
        ],
    )


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    if hasattr(field.default, "factor") or hasattr(field.default, "step"):
        known = {**OPTIMIZERS, **SCHEDULES}
        return f"`{next(name for name, kind in known.items() if type(field.default) is kind)}`"
    return f"`{json.dumps(field.default)}`"


def _may_be(schema: Mapping[str, Any]) -> str:
    """Return in a few words what a JSON schema lets through."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return " or ".join(dict.fromkeys(_kind(one) for one in kinds))


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{name}`" for name in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        return _kind(Parameters.model_json_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:,}" for key, sign in words.items() if key in schema]
    named = {"integer": "a whole number", "number": "a number", "object": "an object by layer", "array": "a list",
             "boolean": "true or false", "string": "text"}  # fmt: skip
    if "properties" in schema:
        return "an object with options"
    if keys := schema.get("propertyNames", {}).get("enum"):
        return f"an object with {' or '.join(f'`{key}`' for key in keys)}"
    return " ".join([named.get(schema.get("type", ""), "an object"), " and ".join(limits)]).strip()


def _sentence(kind: type[Any]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _options(kind: type[Any]) -> str:
    return ", ".join(
        f"`{field.name}` {'' if field.default is MISSING else json.dumps(field.default)}".strip()
        for field in fields(kind)
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    titles = list(head)
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(page())
