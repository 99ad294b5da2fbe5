"""docs/parameters.md and `snn parameters` say what the registries hold, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from typer.testing import CliRunner

from snn.activations import ACTIVATIONS
from snn.augmentation import AUGMENTATIONS
from snn.losses import LOSSES
from snn.optimizers import OPTIMIZERS
from snn.schedules import SCHEDULES
from snn.strategies import STRATEGIES
from snn_cli.main import app
from snn_cli.parameters_page import EXAMPLE, page
from snn_cloud.ledger.parameters import Parameters

PAGE = Path(__file__).parents[3] / "docs" / "parameters.md"


def test_the_page_is_what_the_registries_say() -> None:
    assert PAGE.read_text() == page(), "python -m snn_cli.parameters_page > docs/parameters.md"


def test_every_key_and_every_name_of_a_registry_is_a_row() -> None:
    rows = [line.split("|")[1].strip() for line in page().splitlines() if line.startswith("| `")]
    wanted = [
        *Parameters.model_fields, *ACTIVATIONS, *(loss.output for loss in LOSSES.values()), *STRATEGIES, *OPTIMIZERS,
        *SCHEDULES, *AUGMENTATIONS,
    ]  # fmt: skip
    assert sorted(rows) == sorted(f"`{name}`" for name in wanted)


def test_the_example_can_be_trained() -> None:
    assert Parameters.load(EXAMPLE).strategy == "sgd"


def test_the_command_prints_a_schema_that_takes_the_example_and_refuses_a_mistake() -> None:
    done = CliRunner().invoke(app, ["parameters"])
    assert done.exit_code == 0
    schema = json.loads(done.output)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(EXAMPLE)) == []
    for mistake in ({"optimizer": "adm"}, {"augmentation": {"flip": True}}, {"epoch": 3}, {"dtype": "float16"}):
        assert list(validator.iter_errors({**EXAMPLE, **mistake})) != []
